"""GPU faults: who is accused and why, health of nodes, how many spares are enough, where a gang's hours go."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import gpu_faults
from analytics.workspace import Item
from dashboard import show, state

verdict, accused, delays = (
    state.cached(gpu_faults.verdict),
    state.cached(gpu_faults.accused),
    state.cached(gpu_faults.delays),
)
signals, gang, spares = state.cached(gpu_faults.signals), state.cached(gpu_faults.gang), state.cached(gpu_faults.spares)
goodput, health = state.cached(gpu_faults.goodput), state.cached(gpu_faults.health)


def render() -> None:
    """The page."""
    diagnosis, fleet, nodes = st.tabs(["Diagnosis", "Spares and goodput", "Health of nodes"])
    with diagnosis:
        _show_diagnosis()
    with fleet:
        _show_fleet()
    with nodes:
        _show_health()


def _show_diagnosis() -> None:
    item = state.choose(
        "Diagnosis", "diagnosis", "diagnosis", missing="No diagnosis is here.",
        commands=("stowage diagnose DUMPS --json > runs/diagnosis.json",),
    )  # fmt: skip
    if item is None:
        return
    known = verdict(item)
    who = accused(item)
    show.tiles(
        [
            show.Tile("Verdict", known["verdict"]),
            show.Tile("Accused", show.number(len(who))),
            show.Tile("Ranks looked at", show.number(known["ranks"])),
            show.Tile("Ranks without a dump", show.number(len(known["missing"]))),
            show.Tile("Files not readable", show.number(known["unreadable"])),
        ]
    )
    for words in [*known["late"], *known["notes"]]:
        st.caption(show.plain(words))
    if who.empty:
        st.write("Nobody is accused.")
    else:
        show.table(who, "accused")
    _show_delays(delays(item), who)
    said = signals(item)
    if not said.empty:
        st.subheader("What monitors and logs say")
        show.table(said, "signals")


def _show_delays(frame: pd.DataFrame, who: pd.DataFrame) -> None:
    st.subheader("Delay matrix")
    if frame.empty:
        st.write("No times of single messages were recorded (NCCL Inspector writes them).")
        return
    cells = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("target:O", title="receiving rank"),
            y=alt.Y("source:O", title="sending rank"),
            color=alt.Color(
                "factor:Q", title="times as usual", scale=alt.Scale(type="log"), legend=alt.Legend(format=".3~g")
            ),
            tooltip=["source:O", "target:O", alt.Tooltip("factor:Q", format=".3f"), "samples:Q"],
        )
    )
    text = "How long messages between each pair of ranks take, against what is usual"
    show.chart(cells, frame, "delays", text)


def _show_fleet() -> None:
    item = state.choose(
        "Gangs under faults", "gangs", "gangs", missing="No replay of gangs under faults is here.",
        commands=("stowage replay --faults fitted --gang-nodes 128 --json > runs/gangs.json",),
    )  # fmt: skip
    if item is None:
        return
    known = gang(item)
    show.tiles(
        [
            show.Tile("Fleet", show.number(known["fleet"], "nodes")),
            show.Tile("Gang", " + ".join(map(str, known["gang_nodes"])) + " nodes"),
            show.Tile("Outages", show.number(known["outages"]), f"in {show.number(known['days'], 'days')}"),
            show.Tile("Of the fleet down", show.share(known["down_share"]), help="Mean over the time."),
            show.Tile("Between faults of the gang", show.number(known["mtbf_h"], "h")),
            show.Tile("Spares for 99 %", show.number(known["spares_for_99"], "nodes")),
        ]
    )
    _show_spares(item)
    _show_goodput(item)


def _show_spares(item: Item) -> None:
    st.subheader("How many spares are enough")
    frame = spares(item)
    line = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=alt.X("spares:Q", title="spare nodes", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("share_of_time:Q", title="share of the time in which they are enough", axis=alt.Axis(format="%")),
            tooltip=["spares:Q", alt.Tooltip("share_of_time:Q", format=".2%")],
        )
    )
    show.chart(line, frame, "spares", "Share of the time in which so many spares are enough")


def _show_goodput(item: Item) -> None:
    st.subheader("What is lost, by how one recovers")
    frame = goodput(item)
    lost = frame[frame["part"] != "useful work"]
    bars = (
        alt.Chart(lost)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of the gang's hours that is lost", axis=alt.Axis(format=".1%")),
            y=alt.Y("recovery:N", title=None),
            color=alt.Color("part:N", title=None),
            tooltip=["recovery:N", "part:N", alt.Tooltip("share:Q", format=".3%")],
        )
    )
    useful = frame[frame["part"] == "useful work"].set_index("recovery")["share"]
    words = ", ".join(f"{show.share(share)} with {show.plain(name)} recovery" for name, share in useful.items())
    st.caption(f"The rest is useful work: {words}.")
    show.chart(bars, frame, "goodput", "Shares of a gang's hours lost to detection, diagnosis, restarts and lost work")


def _show_health() -> None:
    item = state.choose(
        "Journal", "journal", "journal", missing="No journal is here.", commands=("stowage dashboard --journal FOLDER",)
    )
    if item is None:
        return
    frame = health(item)
    if frame.empty:
        st.write("No node's health mark changed.")
        return
    show.tiles([show.Tile(str(name), show.number(count)) for name, count in frame["state"].value_counts().items()])
    show.table(frame, "health")
