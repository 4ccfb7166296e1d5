"""Serverless: what cold starts are made of, by region, runtime, trigger and size; and what policies trade for them."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import serverless
from analytics.workspace import Item
from dashboard import show, state

regions, groups, hours = (
    state.cached(serverless.regions),
    state.cached(serverless.groups),
    state.cached(serverless.hours),
)
utility, basis, policies = (
    state.cached(serverless.utility),
    state.cached(serverless.basis),
    state.cached(serverless.policies),
)
NAMES = {
    "pod_allocation": "allocating a pod",
    "deploy_code": "deploying code",
    "deploy_dependency": "deploying dependencies",
    "scheduling": "scheduling",
}


def render() -> None:
    """The page."""
    made, traded = st.tabs(["What cold starts are made of", "Policies"])
    with made:
        _show_components()
    with traded:
        _show_policies()


def _show_components() -> None:
    item = state.choose(
        "Analysis", "analysis", "analysis", missing="No analysis of cold starts is here.",
        commands=("stowage serverless analyse TRACE --json > runs/analysis.json",),
    )  # fmt: skip
    if item is None:
        return
    known = regions(item)
    state.forget_unknown("region", known)
    left, right = st.columns(2)
    region = left.selectbox("Region", known, key="region", bind="query-params")
    state.forget_unknown("by", serverless.BY)
    by = right.selectbox("By", serverless.BY, key="by", bind="query-params")
    every = groups(item, "region", "")
    ours = every[every["region"] == region].iloc[0]
    show.tiles(
        [
            show.Tile(f"Cold starts in {region}", show.number(ours["cold_starts"])),
            show.Tile("Median", show.number(ours["p50_s"], "s")),
            show.Tile("p99", show.number(ours["p99_s"], "s")),
            show.Tile("Mean", show.number(ours["mean_s"], "s")),
            *(
                show.Tile(
                    f"of it {NAMES[part]}",
                    show.number(ours[f"{part}_mean_s"], "s"),
                    show.share(ours[f"{part}_mean_s"] / ours["mean_s"]),
                )
                for part in serverless.COMPONENTS
            ),
        ]
    )
    st.subheader(f"Mean cold start by {by}" + ("" if by == "region" else f" in {show.plain(region)}"))
    st.caption(show.plain(basis(item, f"by {by}")))
    frame = groups(item, by, region)
    show.chart(_stacks(frame, by), frame, "components", f"Components of a mean cold start by {by}")
    show.table(frame, "groups")
    _show_hours(item, region)
    st.subheader("Pod utility")
    st.caption(show.plain(basis(item, f"pod utility by {by if by != 'size' else 'region'}")))
    show.table(utility(item, by if by != "size" else "region", region), "utility")


def _stacks(frame: pd.DataFrame, by: str) -> show.Drawing:
    """A bar per group: its components one after the other, in seconds."""
    long = frame.melt(by, [f"{part}_mean_s" for part in NAMES], "component", "seconds")
    long["component"] = long["component"].str.removesuffix("_mean_s").replace(NAMES)
    bars: alt.Chart = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("sum(seconds):Q", title="mean seconds of a cold start"),
            y=alt.Y(f"{by}:N", title=None, sort=frame[by].tolist()),
            color=alt.Color("component:N", title=None, sort=list(NAMES.values())),
            tooltip=[f"{by}:N", "component:N", alt.Tooltip("sum(seconds):Q", format=".3f", title="seconds")],
        )
    )
    return bars


def _show_hours(item: Item, region: str) -> None:
    st.subheader(f"Cold starts per hour in {show.plain(region)}")
    frame = hours(item, region)
    line = (
        alt.Chart(frame)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("hour:Q", title="hours since the trace began"),
            y=alt.Y("cold_starts:Q", title="cold starts per hour"),
            tooltip=["hour:Q", "cold_starts:Q", alt.Tooltip("mean_s:Q", format=".2f")],
        )
    )
    show.chart(line, frame, "hours", f"Cold starts per hour in {region}")


def _show_policies() -> None:
    item = state.choose(
        "Run", "run", "serverless", missing="No serverless run is here.",
        commands=("stowage serverless replay TRACE --policy fixed --policy hybrid --policy hazard -o runs/serverless",),
    )  # fmt: skip
    if item is None:
        return
    frame = policies(item)
    points = alt.Chart(frame).encode(
        x=alt.X("idle_gb_h:Q", title="idle memory paid for, GB h (less is better)", scale=alt.Scale(zero=False)),
        y=alt.Y("cold_starts:Q", title="cold starts (fewer is better)", scale=alt.Scale(zero=False)),
        tooltip=["policy:N", "cold_starts:Q", alt.Tooltip("idle_gb_h:Q", format=".4~s")],
    )
    named = points.mark_circle(size=110) + points.mark_text(align="left", dx=9).encode(text="policy:N")
    show.chart(named, frame, "frontier", "Cold starts against idle memory, a point per policy")
    show.table(frame, "policies")
