"""Pending: what waits, what stands in its way node by node, and the smallest change that would free it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import MOST_ROWS, fitting, waiting
from analytics.workspace import Item, Kind
from dashboard import live, show, state

waiting_pods, nodes_against = state.cached(waiting.waiting_pods), state.cached(waiting.nodes_against)
explain, run_waits, run_longest = (
    state.cached(waiting.explain), state.cached(waiting.run_waits), state.cached(waiting.run_longest),
)  # fmt: skip
journal_pods, journal_reasons, journal_history = (
    state.cached(waiting.journal_pods), state.cached(waiting.journal_reasons), state.cached(waiting.journal_history),
)  # fmt: skip
fits_over_time = state.cached(fitting.fits_over_time)

COMMANDS: Final = (
    "kubectl get nodes,pods,pdb,priorityclass -A -o json > cluster.json",
    "stowage dashboard cluster.json",
)
VERDICTS: Final = {"optimal": "proven", "feasible": "found, not proven best", "undecided": "not found in the time"}
BUDGETS_S: Final = (0.5, 1.0, 2.0, 5.0, 20.0)
MOST_CHOICES: Final = 300
OBSTACLES: Final = ("none", "full", "too small", "node rules")


def render() -> None:
    """The page."""
    visible = live.visible_namespaces()
    kinds: tuple[Kind, ...] = ("snapshot", "journal", "replay") if visible is None else ("snapshot", "journal")
    item = state.choose(
        "Cluster, journal or replay", "on", *kinds, missing="No snapshot, journal or replay is here.", commands=COMMANDS
    )
    if item is None:
        return
    if item.kind == "snapshot":
        _show_snapshot(item, visible)
    elif item.kind == "journal":
        _show_journal(item, visible)
    else:
        _show_run(item)


def choose_budget(key: str) -> float:
    """How long a search may take, in seconds."""
    chosen = st.select_slider(
        "Search for at most", BUDGETS_S, 1.0, format_func=lambda s: f"{s:g} s", key=key, bind="query-params",
        help="A longer search proves more. The smallest change of a pod without a place may take as long again.",
    )  # fmt: skip
    return float(chosen)


def choose_one(label: str, key: str, names: Sequence[str]) -> str | None:
    """One of many names, held in the address; those that hold the text in the box above it."""
    text = st.text_input("Names that contain", key=f"{key}_has", bind="query-params") if len(names) > 20 else ""
    found = [name for name in names if (text or "").lower() in name.lower()]
    if not found:
        st.write("No name contains it.")
        return None
    kept = st.query_params.get(key)
    offered = found[:MOST_CHOICES]
    if kept in found and kept not in offered:
        offered.append(kept)
    if len(found) > len(offered):
        st.caption(f"{len(found):,} names; the first {MOST_CHOICES} are offered: narrow them down above")
    state.forget_unknown(key, offered)
    chosen: str = st.selectbox(label, offered, key=key, bind="query-params")
    return chosen


# ---- a snapshot


def _show_snapshot(item: Item, visible: waiting.Names) -> None:
    frame = waiting_pods(item, visible)
    if frame.empty:
        st.success("No pod waits in this snapshot.", icon=":material/check:")
        return
    keys = (frame["namespace"] + "/" + frame["pod"]).tolist()
    first = frame["priority"].max()
    show.tiles([
        show.Tile("Pods that wait", show.number(len(frame))),
        show.Tile("They ask for", show.number(frame["cpu_milli"].sum() / 1000, "cores")),
        show.Tile("and for", show.number(frame["memory_mib"].sum() / 1024, "GiB")),
        show.Tile(f"Of the highest priority ({first:,})", show.number((frame["priority"] == first).sum())),
    ])  # fmt: skip
    st.subheader("What stands in the way")
    causes = waiting.ranked_causes(frame)
    show.chart(_bars(causes), causes, "causes", "Waiting pods by cause")
    st.subheader("Why this pod waits")
    pod = choose_one("Pod", "pod", keys)
    if pod is not None:
        _show_pod(item, pod, choose_budget("budget"), visible)
    st.subheader("All that wait")
    shown = frame.head(MOST_ROWS)
    left_out = "" if len(shown) == len(frame) else f" The {len(shown):,} most important of {len(frame):,}."
    st.caption(f"A row chosen here is the pod that is explained above.{left_out}")
    show.table(
        shown, "waiting", {"since_utc": "Since, UTC"}, on_select=partial(_take, keys), selection_mode="single-row",
        height=_height(len(shown)),
    )  # fmt: skip


def _take(keys: Sequence[str]) -> None:
    """A pod clicked in the table is the one chosen below it."""
    rows = st.session_state["waiting"]["selection"]["rows"]
    if rows:
        st.session_state["pod"] = keys[rows[0]]


def _show_pod(item: Item, pod: str, budget_s: float, visible: waiting.Names) -> None:
    answer = st.container()
    nodes = nodes_against(item, pod)
    st.markdown("**Node by node, as things are**")
    drawn = nodes.assign(
        cpu_cores=nodes["cpu_milli"] / 1000, memory_gib=nodes["memory_mib"] / 1024
    )[["node", "obstacle", "cpu_cores", "memory_gib", "why"]]  # fmt: skip
    asked = (float(nodes["cpu_milli_asked"].max()) / 1000, float(nodes["memory_mib_asked"].max()) / 1024)
    if not nodes.empty:
        show.chart(_room(drawn, asked), drawn, "room", "Free CPU and memory of each node, and what the pod asks for")
        st.caption("Dashed: what the pod asks for. A node above and right of both lines has the room.")
        table = nodes.drop(columns=["cpu_milli_asked", "memory_mib_asked", "obstacles"])
        headings = {"cpu_milli": "CPU free, millicores", "memory_mib": "Memory free, MiB"}
        show.table(table, "nodes", headings, height=_height(len(table)))
    with answer:
        _show_answer(explain(item, pod, budget_s, visible))


def _show_answer(found: dict[str, Any]) -> None:
    show.tiles([
        show.Tile("Answer", found["answer"]),
        show.Tile("Verdict", found["verdict"], VERDICTS[found["verdict"]]),
        show.Tile("Node", found["node"] or "–"),
    ])  # fmt: skip
    st.markdown(f"**Why:** {show.plain(found['why'])}")
    if found["smallest_change"]:
        st.info(f"**Smallest change:** {show.plain(found['smallest_change'])}", icon=":material/lightbulb:")
    if len(found["changes"]) > 1:
        others = "\n".join(f"- {show.plain(text)}" for text in found["changes"][1:])
        st.markdown(f"Or, each alone:\n{others}")
    if found["steps"]:
        st.markdown("**What would happen, in order**")
        show.table(steps_frame(found["steps"]), "steps")
    if found["causes"]:
        causes = pd.DataFrame(found["causes"])
        st.markdown("**What refuses it as things are**")
        show.table(causes, "rules", {"nodes": "Nodes that refuse so", "example": "One of them"})


def steps_frame(steps: list[dict[str, Any]]) -> pd.DataFrame:
    """Steps of a plan as a table, numbered from 1."""
    frame = pd.DataFrame(steps, columns=["action", "pod", "source", "target", "why", "room_is_free"])
    frame.insert(0, "step", range(1, len(frame) + 1))
    return frame.rename(columns={"source": "from", "target": "to"}).head(MOST_ROWS)


def _bars(causes: pd.DataFrame) -> show.Drawing:
    drawing: show.Drawing = (
        alt.Chart(causes)
        .mark_bar()
        .encode(
            x=alt.X("pods:Q", title="pods that wait", axis=alt.Axis(tickMinStep=1, format="~s")),
            y=alt.Y("cause:N", title=None, sort=None, axis=alt.Axis(labelLimit=420)),
            tooltip=["cause:N", alt.Tooltip("pods:Q", format=","), "example:N"],
        )
        .properties(height=30 + 30 * len(causes))
    )
    return drawing


def _room(frame: pd.DataFrame, asked: tuple[float, float]) -> show.Drawing:
    ask = pd.DataFrame({"cpu": [asked[0]], "memory": [asked[1]]})
    nodes = (
        alt.Chart(frame)
        .mark_circle(size=55, opacity=0.7)
        .encode(
            x=alt.X("cpu_cores:Q", title="free CPU, cores"),
            y=alt.Y("memory_gib:Q", title="free memory, GiB"),
            color=alt.Color("obstacle:N", title="in the way", sort=list(OBSTACLES)),
            tooltip=["node:N", "obstacle:N", alt.Tooltip("cpu_cores:Q", format=".4~g"),
                     alt.Tooltip("memory_gib:Q", format=".4~g"), "why:N"],
        )
    )  # fmt: skip
    lines = [
        alt.Chart(ask).mark_rule(color="#888", strokeDash=[6, 4], strokeWidth=2).encode(x="cpu:Q"),
        alt.Chart(ask).mark_rule(color="#888", strokeDash=[6, 4], strokeWidth=2).encode(y="memory:Q"),
    ]
    return alt.layer(nodes, *lines)


def _height(rows: int) -> int:
    return min(38 + 35 * max(rows, 1), 390)


# ---- the journal


def _show_journal(item: Item, visible: waiting.Names) -> None:
    frame = journal_pods(item)
    if visible is not None:
        frame = frame[frame["namespace"].isin(visible)]
    if frame.empty:
        st.success("The planner's last word on every pod is that it has a place.", icon=":material/check:")
        return
    show.tiles([
        show.Tile("Pods that wait", show.number(len(frame))),
        show.Tile("Proven to have no place", show.number((frame["verdict"] == "impossible").sum())),
        show.Tile("Undecided", show.number((frame["verdict"] == "undecided").sum())),
        show.Tile("Told last", f"{frame['since_utc'].max():%Y-%m-%d %H:%M} UTC"),
    ])  # fmt: skip
    if visible is None:
        st.subheader("Reasons the planner gave")
        show.table(journal_reasons(item), "reasons")
    st.subheader("The pods")
    show.table(frame, "journal_waiting", height=_height(len(frame)))
    st.subheader("What was decided about one pod")
    keys = (frame["namespace"] + "/" + frame["pod"]).tolist()
    pod = choose_one("Pod", "pod", keys)
    if pod is not None:
        namespace, _, name = pod.partition("/")
        show.table(journal_history(item, namespace, name), "history")


# ---- a replay


def _show_run(item: Item) -> None:
    frame = run_waits(item)
    tiers = frame.groupby("tier")["waited_h"].sum().sort_values(ascending=False)
    if tiers.empty:
        st.info("No task arrived in this run's window.")
        return
    state.forget_unknown("tier", list(tiers.index))
    tier = st.selectbox("Tier", list(tiers.index), key="tier", bind="query-params")
    mine = frame[frame["tier"] == tier]
    show.tiles([
        show.Tile("Tasks that arrived", show.number(mine["tasks"].sum())),
        show.Tile("Never placed", show.number(mine["never_placed"].sum())),
        show.Tile("Hours waited, all together", show.number(mine["waited_h"].sum(), "h")),
        show.Tile("Sizes", show.number(len(mine)), help="In powers of two of CPU and memory."),
    ])  # fmt: skip
    st.subheader("Which sizes wait")
    by_size = mine.drop(columns="tier")
    show.chart(_sizes(by_size), by_size, "sizes", "Hours of waiting by requested CPU and memory")
    st.subheader("The tasks that waited longest")
    longest = run_longest(item, tier)
    show.table(longest, "longest", on_select="rerun", selection_mode="single-row", height=_height(len(longest)))
    rows = st.session_state["longest"]["selection"]["rows"] or [0]
    if not longest.empty:
        _show_room_for(item, longest.iloc[min(rows[0], len(longest) - 1)])


def _sizes(frame: pd.DataFrame) -> show.Drawing:
    drawn = frame.assign(cpu=frame["cpu_milli"] / 1000, memory=frame["memory_mib"] / 1024)
    drawing: show.Drawing = (
        alt.Chart(drawn)
        .mark_rect()
        .encode(
            x=alt.X("cpu:O", title="CPU asked for, up to, cores", axis=alt.Axis(format=".3~g", labelAngle=0)),
            y=alt.Y("memory:O", title="memory, up to, GiB", sort="descending", axis=alt.Axis(format=".3~g")),
            color=alt.Color("waited_h:Q", title="hours waited"),
            tooltip=[alt.Tooltip("cpu:Q", title="CPU up to, cores"), alt.Tooltip("memory:Q", title="memory up to, GiB"),
                     "tasks:Q", "never_placed:Q", alt.Tooltip("waited_h:Q", format=".4~g"),
                     alt.Tooltip("p50_s:Q", format=".4~g"), alt.Tooltip("p99_s:Q", format=".4~g")],
        )
        .properties(height=320)
    )  # fmt: skip
    return drawing


def _show_room_for(item: Item, task: pd.Series) -> None:
    """Whether there was room for the task's size while it waited; a run keeps counts over nodes, not nodes."""
    frame = fits_over_time(item, int(task["cpu_milli"]), int(task["memory_mib"]))
    size = f"{task['cpu_milli'] / 1000:.4g} cores, {task['memory_mib'] / 1024:.4g} GiB"
    st.subheader("Room for the chosen task's size")
    st.caption(
        f"Task {task['task_index']} of job {task['job']}: {size}; grey: while it waited. A run keeps how many of its "
        "commonest sizes would fit, so the number lies between two lines; reasons per node are for snapshots."
    )
    until = task["started_h"] if pd.notna(task["started_h"]) else task["arrived_h"] + task["waited_s"] / 3600
    show.chart(room_lines(frame, (task["arrived_h"], until)), frame, "fits", "How many more of this size would fit")


def room_lines(frame: pd.DataFrame, between: tuple[float, float] | None = None) -> show.Drawing:
    """How many of a size would fit over time, at least and at most; the time between two hours greyed."""
    words = {"at_least": "at least", "at_most": "at most"}
    long = frame.melt("hour", list(words), "bound", "tasks").replace({"bound": words}).dropna()
    lines = (
        alt.Chart(long)
        .mark_line(interpolate="step-after", point=True)
        .encode(
            x=alt.X("hour:Q", title="hours since the window opened"),
            y=alt.Y("tasks:Q", title="tasks of this size that would fit", axis=alt.Axis(format="~s")),
            color=alt.Color("bound:N", title=None, sort=list(words.values())),
            tooltip=[alt.Tooltip("hour:Q", format=".2f"), "bound:N", alt.Tooltip("tasks:Q", format=",")],
        )
    )
    if between is None:
        return alt.layer(lines)
    grey = pd.DataFrame({"from": [between[0]], "to": [between[1]]})
    return alt.layer(alt.Chart(grey).mark_rect(color="#888", opacity=0.3).encode(x="from:Q", x2="to:Q"), lines)
