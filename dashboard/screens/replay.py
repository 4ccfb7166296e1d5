"""Replay: queue, utilisation and evictions over a run, and what happened between two instants."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import replay
from dashboard import show, state

course, between, hours = state.cached(replay.course), state.cached(replay.between), state.cached(replay.hours)
SHARES = {
    "cpu_requested": "CPU requested", "cpu_used": "CPU used", "cpu_stranded": "CPU stranded",
    "memory_requested": "memory requested", "memory_used": "memory used", "memory_stranded": "memory stranded",
}  # fmt: skip
COMMANDS = ("stowage replay TRACE --policy best-fit -o runs/best-fit", "stowage dashboard runs")


def render() -> None:
    """The page."""
    item = state.choose("Run", "run", "replay", missing="No run of a cluster trace is here.", commands=COMMANDS)
    if item is None:
        return
    length_h = hours(item)
    chosen = st.slider(
        "Between, hours since the window opened", 0.0, length_h, (0.0, length_h), key="hours", bind="query-params"
    )
    frame = course(item)
    st.subheader("Queue")
    columns = {"running": "running", "pending": "waiting"}
    show.chart(
        _lines(frame, columns, "tasks", chosen), frame[["hour", *columns, "nodes"]], "queue",
        "Tasks waiting and running over time",
    )  # fmt: skip
    st.subheader("Utilisation")
    columns = {name: text for name, text in SHARES.items() if frame[name].notna().any()}
    show.chart(
        _lines(frame, columns, "share of what is installed", chosen, "%"), frame[["hour", *columns]], "utilisation",
        "Shares of installed CPU and memory over time",
    )  # fmt: skip
    st.subheader("Between the two instants, by tier")
    show.table(between(item, *chosen), "between")


def _lines(
    frame: pd.DataFrame, columns: dict[str, str], title: str, chosen: tuple[float, float], form: str = "~s"
) -> show.Drawing:
    """Columns as steps over time, with what is outside the chosen instants greyed."""
    long = frame.melt("hour", list(columns), "what", "value").replace({"what": columns})
    first, last = frame["hour"].min(), frame["hour"].max()
    outside = pd.DataFrame({"from": [first, chosen[1]], "to": [chosen[0], last]})
    grey = alt.Chart(outside[outside["from"] < outside["to"]]).mark_rect(color="#888", opacity=0.25)
    lines = (
        alt.Chart(long)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("hour:Q", title="hours since the window opened", scale=alt.Scale(domain=[first, last], nice=False)),
            y=alt.Y("value:Q", title=title, axis=alt.Axis(format=form)),
            color=alt.Color("what:N", title=None, sort=list(columns.values())),
            tooltip=[alt.Tooltip("hour:Q", format=".2f"), "what:N", alt.Tooltip("value:Q", format=".4~s")],
        )
    )
    return alt.layer(grey.encode(x="from:Q", x2="to:Q"), lines)
