"""Fragmentation: which shapes no longer fit, what is free and of no use to them, and FGD's curves."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import fragmentation
from dashboard import show, state

shapes, fits, allocated = (
    state.cached(fragmentation.shapes),
    state.cached(fragmentation.fits),
    state.cached(fragmentation.allocated),
)
HEADINGS = {
    "asks_for": "A pod asks for",
    "weight": "Share of requests",
    "fits_mean": "More of it fit, mean",
    "fits_least": "Least",
    "fits_last": "At the end",
    "cpu_unusable": "CPU of no use to it, share",
    "memory_unusable": "Memory of no use to it, share",
    "gpu_unusable": "GPUs of no use to it, share",
    "unusable_usd_h": "That costs, USD per h",
}


def render() -> None:
    """The page."""
    of_run, of_gpus = st.tabs(["Request shapes of a run", "GPUs as pods arrive (FGD)"])
    with of_run:
        _show_shapes()
    with of_gpus:
        _show_gpus()


def _show_shapes() -> None:
    item = state.choose_run()
    if item is None:
        return
    frame = shapes(item)
    if frame.empty:
        st.write("This run has no sampled shapes.")
        return
    none = frame[frame["fits_last"] == 0]
    worst = frame.sort_values("unusable_usd_h", ascending=False, kind="stable").iloc[0]
    show.tiles(
        [
            show.Tile("Shapes that do not fit at the end", show.number(len(none)), f"of {len(frame)} common ones"),
            show.Tile("Requests of those shapes", show.share(none["weight"].sum()), "of those with a common shape"),
            show.Tile("Most stranded shape", str(worst["asks_for"])),
            show.Tile(
                "Free, and of no use to it",
                show.number(worst["unusable_usd_h"], "USD per h"),
                help="Free capacity on nodes where a pod of this shape does not fit, at the prices of Cost and energy.",
            ),
        ]
    )
    st.subheader("How many more of each shape fit")
    show.chart(_heat(fits(item)), fits(item), "fits", "How many more pods of each common shape fit, over time")
    st.subheader("Shapes")
    show.table(frame, "shapes", HEADINGS)


def _heat(frame: pd.DataFrame) -> show.Drawing:
    """A row per shape, the most common first; a cell per sampled time, dark where none fits."""
    cells: alt.Chart = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("hour:O", title="hours since the window opened", axis=alt.Axis(format=".0f")),
            y=alt.Y("asks_for:N", title=None, sort=frame["asks_for"].drop_duplicates().tolist()),
            color=alt.Color("fits:Q", title="more fit", scale=alt.Scale(type="symlog")),
            tooltip=["asks_for:N", alt.Tooltip("hour:Q", format=".1f"), alt.Tooltip("fits:Q", format=",")],
        )
    )
    return cells


def _show_gpus() -> None:
    chosen = state.choose_many(
        "Reports", "fgd", "fgd", missing="No report of GPU placements is here.",
        commands=("stowage fgd NODES PODS --policy stowage --json > runs/fgd-stowage.json",),
    )  # fmt: skip
    if not chosen:
        return
    frame = allocated(chosen)
    if not st.toggle("Published results too", key="published", bind="query-params"):
        frame = frame[~frame["policy"].str.startswith("published ")]
    end = frame[frame["arrived_pct"] <= 100].groupby("policy", sort=False)["allocated_pct"].last()
    show.tiles(
        [
            show.Tile(str(name), show.number(value, "%"), "of GPUs allocated at 100 % asked for")
            for name, value in end.items()
        ]
    )
    lines = (
        alt.Chart(frame)
        .mark_line()
        .encode(
            x=alt.X("arrived_pct:Q", title="GPUs asked for by pods that arrived, % of the cluster's"),
            y=alt.Y("allocated_pct:Q", title="GPUs allocated, % of the cluster's", scale=alt.Scale(zero=False)),
            color=alt.Color("policy:N", title=None),
            tooltip=["policy:N", "arrived_pct:Q", "allocated_pct:Q", "fragmented_pct:Q"],
        )
    )
    show.chart(lines, frame, "allocated", "GPUs allocated against GPUs asked for, a line per policy")
