"""Replay: queue, utilisation and set-backs over a run, and what happened between two instants."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import replay
from analytics.workspace import Item
from dashboard import show, state

course, shares, flow = state.cached(replay.course), state.cached(replay.shares), state.cached(replay.flow)
overloaded, between, hours = (
    state.cached(replay.overloaded),
    state.cached(replay.between),
    state.cached(replay.hours),
)
RESOURCES = {"cpu_milli": "CPU", "memory_mib": "memory", "disk_mib": "disk", "gpu_milli": "GPUs"}
PLAY_EVERY_S = 1.5
Span = tuple[float, float]


def render() -> None:
    """The page."""
    item = state.choose_run()
    if item is None:
        return
    span = _choose_span(hours(item))
    frame = between(item, *span)
    _tiles(frame, span)
    _queue(item, span)
    _utilisation(item, span)
    _flow(item, span)
    _overload(item, span)
    st.subheader(f"Between hour {span[0]:.4g} and {span[1]:.4g}")
    show.table(
        frame, "between",
        {"set_back": "Set back", "waiting_at_the_end": "Not started by the end", "given_up": "Given up unstarted"},
    )  # fmt: skip
    st.caption(
        "Attempts of tasks. Set back: evicted (as recorded), or started anew after an eviction or a preemption. "
        "Delay: of those that started in between."
    )


def _choose_span(length_h: float) -> Span:
    """Two instants; buttons move both by what lies between them, and play does so by itself."""
    st.session_state.pop("replay-drawn", None)
    step = st.session_state.pop("replay-step", 0)
    if step and "hours" in st.session_state:
        st.session_state["hours"] = _moved(st.session_state["hours"], step, length_h)
    scrubber, back, on, play = st.columns([14, 1, 1, 2], vertical_alignment="bottom")
    span: Span = scrubber.slider(
        "Between, hours since the window opened", 0.0, length_h, (0.0, length_h), step=0.01, format="%.2f h",
        key="hours", bind="query-params",
    )  # fmt: skip
    whole = span == (0.0, length_h)
    back.button(
        "", icon=":material/skip_previous:", key="back", on_click=_step, args=(-1,), disabled=whole, help="Back",
    )  # fmt: skip
    on.button("", icon=":material/skip_next:", key="on", on_click=_step, args=(1,), disabled=whole, help="On")
    is_over = whole or span[1] >= length_h
    if play.toggle("Play", key="play", disabled=is_over, help="Choose a part of the window first") and not is_over:
        _play()
    return span


def _step(by: int) -> None:
    st.session_state["replay-step"] = by


def _moved(span: Span, step: int, length_h: float) -> Span:
    """The span by its own length further on (or back), inside the window."""
    width = span[1] - span[0]
    start = min(max(span[0] + step * width, 0.0), length_h - width)
    return (round(start, 2), round(start + width, 2)) if start + width < length_h else (length_h - width, length_h)


@st.fragment(run_every=PLAY_EVERY_S)
def _play() -> None:
    """Every time but the first, which is when the page was drawn, goes on by a step."""
    if st.session_state.pop("replay-drawn", False):
        _step(1)
        st.rerun(scope="app")
    st.session_state["replay-drawn"] = True


def _tiles(frame: pd.DataFrame, span: Span) -> None:
    together = frame[frame["tier"] == "all"]
    if together.empty:
        return
    row = together.iloc[0]
    per_hour = max(span[1] - span[0], 1e-9)
    rates = {name: f"{show.number(row[name] / per_hour)} per hour" for name in ("submitted", "started")}
    median, given_up = show.number(row["delay_p50_s"], "s"), show.number(row["given_up"])
    show.tiles(
        [
            show.Tile("Submitted", show.number(row["submitted"]), rates["submitted"]),
            show.Tile("Started", show.number(row["started"]), rates["started"]),
            show.Tile("Not started by the end", show.number(row["waiting_at_the_end"]), f"{given_up} gave up"),
            show.Tile("p99 delay", show.number(row["delay_p99_s"], "s"), f"median {median}"),
            show.Tile("Set back", show.number(row["set_back"]), "evicted or started anew"),
        ]
    )


def _queue(item: Item, span: Span) -> None:
    frame = course(item)
    columns = {"running": "running", "pending": "waiting"}
    st.subheader("Queue")
    show.chart(_lines(_long(frame, columns), "tasks", span), frame, "queue", "Tasks waiting and running over time")


def _utilisation(item: Item, span: Span) -> None:
    frame = shares(item)
    kinds = [kind for kind in ("requested", "used", "stranded") if frame[kind].notna().any()]
    st.subheader("Utilisation")
    long = frame.melt(["hour", "resource"], kinds, "kind", "value").dropna()
    long["what"] = long["resource"].map(RESOURCES).fillna(long["resource"]) + " " + long["kind"]
    show.chart(
        _lines(long[["hour", "what", "value"]], "share of what is installed", span, "%"), frame, "utilisation",
        "Shares of installed resources that are requested, used and stranded over time",
    )  # fmt: skip


def _flow(item: Item, span: Span) -> None:
    frame = flow(item)
    if frame.empty:
        return
    minutes = 60 * frame["step_h"].iloc[0]
    title = f"attempts in {minutes:.3g} min"
    left, right = st.columns(2)
    with left:
        st.subheader("Submitted, started")
        long = _long(frame, {"submitted": "submitted", "started": "started"})
        show.chart(_lines(long, title, span), frame, "flow", "Attempts submitted and started over time")
    with right:
        st.subheader("Set back")
        long = _long(frame, {"set_back": "evicted or started anew"})
        show.chart(_lines(long, title, span), frame[["hour", "set_back"]], "set-back", "Attempts set back over time")


def _overload(item: Item, span: Span) -> None:
    """Only of runs that tell."""
    frame = overloaded(item)
    if frame is None:
        return
    st.subheader("Overloaded nodes")
    long = _long(frame, {"overloaded_nodes": "nodes beyond their limit"})
    show.chart(_lines(long, "nodes", span), frame, "overloaded", "Overloaded nodes over time")


def _long(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    return frame.melt("hour", list(columns), "what", "value").replace({"what": columns})


def _lines(long: pd.DataFrame, title: str, span: Span, form: str = "~s") -> show.Drawing:
    """Columns as steps over time, with what is outside the chosen instants greyed."""
    first, last = float(long["hour"].min()), float(long["hour"].max())
    outside = pd.DataFrame({"from": [first, span[1]], "to": [span[0], last]})
    grey = alt.Chart(outside[outside["from"] < outside["to"]]).mark_rect(color="#888", opacity=0.25)
    every = next((hours for hours in (1, 3, 6, 24, 72) if last <= 24 * hours), 168)
    ticks = list(range(0, int(last) + 1, every))
    lines = (
        alt.Chart(long)
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X(
                "hour:Q", title=None, scale=alt.Scale(domain=[first, last], nice=False),
                axis=alt.Axis(values=ticks, labelExpr="datum.value + ' h'"),
            ),
            y=alt.Y("value:Q", title=title, axis=alt.Axis(format=form)),
            color=alt.Color("what:N", title=None, sort=list(dict.fromkeys(long["what"]))),
            tooltip=[alt.Tooltip("hour:Q", title="hour", format=".2f"), alt.Tooltip("what:N", title="what"),
                     alt.Tooltip("value:Q", title=title, format=".4~s" if form == "~s" else ".2%")],
        )
    )  # fmt: skip
    return alt.layer(grey.encode(x="from:Q", x2="to:Q"), lines).properties(height=230)
