"""Plan: what moves, in what order, what it gains and puts at risk; of reports, the journal, and a live cluster."""

from __future__ import annotations

from typing import Final

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import MOST_ROWS, plan
from analytics.workspace import Item
from dashboard import live, show, state
from dashboard.screens.live_plans import show_live_plans

headline, tiers_of, objective, steps = (
    state.cached(plan.headline), state.cached(plan.tiers_of), state.cached(plan.objective), state.cached(plan.steps),
)  # fmt: skip
node_changes, budgets, unplaced, matches = (
    state.cached(plan.node_changes), state.cached(plan.budgets), state.cached(plan.unplaced),
    state.cached(plan.matches),
)  # fmt: skip
journal_plans, journal_steps, journal_actions = (
    state.cached(plan.journal_plans), state.cached(plan.journal_steps), state.cached(plan.journal_actions),
)  # fmt: skip

COMMANDS: Final = (
    "kubectl get nodes,pods,pdb,priorityclass -A -o json > runs/cluster.json",
    "stowage pack runs/cluster.json --budget 5s --json > runs/plan.json",
    "stowage dashboard runs",
)
VERDICTS: Final = {"optimal": "proven best", "feasible": "found, not proven best", "undecided": "nothing better found"}
DRAWN: Final = 60  # rows of a chart with names beside it
NO_SNAPSHOT: Final = "none"


def render() -> None:
    """The page."""
    if live.visible_namespaces() is not None:
        show_live_plans()
        return
    if live.is_on():
        sources = ["the live cluster", "reports and the journal"]
        chosen = st.segmented_control("Plans of", sources, default=sources[0], key="source", bind="query-params")
        if chosen != sources[1]:
            show_live_plans()
            return
    item = state.choose(
        "Plan", "plan", "plan", "drain", "balance", "journal", missing="No plan is here.", commands=COMMANDS
    )
    if item is None:
        return
    if item.kind == "journal":
        _show_journal(item)
        return
    _show_report(item)


def _show_report(item: Item) -> None:
    found = headline(item)
    snapshot = _choose_snapshot()
    if snapshot is not None:
        lost, unknown = matches(item, snapshot)
        if lost or unknown:
            st.warning(
                f"This is not the snapshot that the plan was made from: {lost:,} pods of the plan are not in it"
                + (f", {unknown:,} of its pods are not in the plan" if unknown else "")
                + ". What is said of nodes and budgets may be wrong.",
                icon=":material/warning:",
            )
    _show_headline(found)
    for note in found.notes:
        st.caption(show.plain(note))
    _show_gains(item)
    frame = steps(item, snapshot)
    if frame.empty:
        st.success("Nothing moves.", icon=":material/check:")
        return
    _show_worth(frame)
    _show_order(frame)
    if snapshot is not None:
        _show_nodes(node_changes(item, snapshot))
        _show_budgets(budgets(item, snapshot))
    else:
        st.caption("With the snapshot that the plan was made from: nodes before and after, and disruption budgets.")
    left = unplaced(item)
    if not left.empty:
        st.subheader("Pods that still wait")
        show.table(left, "unplaced")


def _choose_snapshot() -> Item | None:
    items = state.workspace().of("snapshot")
    if not items:
        return None
    names = [item.name for item in items]
    offered = [*names, NO_SNAPSHOT]
    state.forget_unknown("from", offered)
    name = st.selectbox("Made from the snapshot", offered, key="from", bind="query-params")
    return next((item for item in items if item.name == name), None)


def _show_headline(found: plan.Headline) -> None:
    tiles = [show.Tile("Verdict", found.verdict, VERDICTS.get(found.verdict))]
    if found.gained is not None:
        proven = "no plan could place more" if not found.gap else f"at most {found.gap:,} more are possible"
        tiles.append(show.Tile("Pods gained", f"{found.gained:+,}", proven))
    tiles.append(show.Tile("Pods moved", show.number(found.moves)))
    tiles.append(show.Tile("Pods evicted for others", show.number(found.evictions), help="They have no place then."))
    if found.disruption is not None:
        least = "" if found.least_disruption is None else f"at least {found.least_disruption:,} by the bound"
        label = "Cost of the moves" if found.kind == "balance" else "Disruption"
        tiles.append(show.Tile(label, show.number(found.disruption), least or None, help=_COST[found.kind]))
    if found.seconds is not None:
        tiles.append(show.Tile("Searched for", show.number(found.seconds, "s")))
    show.tiles(tiles)


_COST: Final = {
    "packing": "Sum over disturbed pods of their cost: 1, or what stowage.dev/move-cost says.",
    "balance": "As the instance states it: MiB of memory to send, for a cluster.",
}


def _show_gains(item: Item) -> None:
    if item.kind != "plan":
        st.subheader("Before and after")
        show.table(objective(item), "objective", {"bound": "Least by the bound"})
        return
    st.subheader("Pods placed, by priority")
    frame = tiers_of(item)
    words = {"before": "before", "after": "with the plan", "bound": "the most any plan could"}
    long = frame.melt(["priority", "pods"], list(words), "when", "placed").replace({"when": words})
    long["share"] = long["placed"] / long["pods"].clip(lower=1)
    bars = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of the pods of this priority that have a place", axis=alt.Axis(format="%"),
                    scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("priority:O", title="priority", sort="descending"),
            yOffset=alt.YOffset("when:N", sort=list(words.values())),
            color=alt.Color("when:N", title=None, sort=list(words.values())),
            tooltip=["priority:O", "when:N", alt.Tooltip("placed:Q", format=","), alt.Tooltip("pods:Q", format=",")],
        )
        .properties(height=60 + 48 * len(frame))
    )  # fmt: skip
    show.chart(bars, frame, "tiers", "Share of pods placed by priority: before, with the plan, and at most")


def _show_worth(frame: pd.DataFrame) -> None:
    """What every further disturbed pod buys: where to stop, if not all of it is wanted."""
    if not frame["action"].isin(["place"]).any() or not frame["action"].isin(["move", "evict"]).any():
        return
    st.subheader("What disruption buys")
    course = plan.worth(frame)
    line = (
        alt.Chart(course)
        .mark_line(interpolate="step-after", point=True)
        .encode(
            x=alt.X("disturbed:Q", title="running pods disturbed so far", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("placed:Q", title="waiting pods placed so far", axis=alt.Axis(tickMinStep=1, format="d")),
            order="step:Q",
            tooltip=["step:Q", "disturbed:Q", "placed:Q", alt.Tooltip("cpu_milli_gained:Q", format=",")],
        )
    )
    show.chart(line, course, "worth", "Waiting pods placed against running pods disturbed, step by step")
    disturbed, placed = int(course["disturbed"].iloc[-1]), int(course["placed"].iloc[-1])
    free = int(course.loc[course["disturbed"] == 0, "placed"].max())
    st.caption(
        f"{placed:,} pods placed for {disturbed:,} disturbed; the first {free:,} of them before anybody is disturbed."
    )


def _show_order(frame: pd.DataFrame) -> None:
    st.subheader("What moves, in what order")
    with st.container(horizontal=True):
        step_s = st.number_input("A step takes, s (assumed)", 1, 3_600, 30, key="step_s", bind="query-params")
        at_once = st.number_input("Steps at once (assumed)", 1, 100, 5, key="at_once", bind="query-params")
    times = plan.timeline(frame, float(step_s), int(at_once))
    drawn = times.head(DRAWN)
    show.chart(_bars_of_time(drawn), times.head(MOST_ROWS), "timeline", "When each step would begin and end")
    more = "" if len(times) == len(drawn) else f" The first {len(drawn)} of {len(times):,} steps are drawn."
    st.caption(f"{show.number(times['end_s'].max() / 60, 'min')} in all under these assumptions.{more}")
    show.table(frame.head(MOST_ROWS), "plan_steps", {"room_left": "Room left in it", "budget": "Tightest budget"})
    circle = frame[~frame["room_is_free"].astype(bool)]
    if len(circle):
        st.warning(f"{len(circle):,} steps evict a pod before its new place is free.", icon=":material/warning:")


def _bars_of_time(frame: pd.DataFrame) -> show.Drawing:
    drawn = frame.assign(
        way=frame["from"].fillna("waiting").astype(str) + " → " + frame["to"].fillna("no place").astype(str)
    )
    drawing: show.Drawing = (
        alt.Chart(drawn)
        .mark_bar(height=11)
        .encode(
            x=alt.X("begin_s:Q", title="seconds after the start"),
            x2="end_s:Q",
            y=alt.Y("pod:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelOverlap=False)),
            color=alt.Color("action:N", title="step", sort=["move", "place", "evict"]),
            tooltip=["step:Q", "action:N", "pod:N", "way:N", alt.Tooltip("begin_s:Q", format=","),
                     alt.Tooltip("end_s:Q", format=",")],
        )
        .properties(height=40 + 18 * len(drawn))
    )  # fmt: skip
    return drawing


def _show_nodes(frame: pd.DataFrame) -> None:
    st.subheader("Nodes, before and after")
    if frame.empty:
        st.write("No node changes.")
        return
    known = ["cpu", "memory"]
    resource = st.segmented_control("Resource", known, default="cpu", key="of", bind="query-params") or "cpu"
    drawn = frame.head(DRAWN)
    names = alt.Y("node:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelOverlap=False))
    base = alt.Chart(drawn).encode(y=names)
    title = f"share of the node's {'CPU' if resource == 'cpu' else 'memory'} that is requested"
    line = base.mark_rule(color="#888").encode(x=f"{resource}_before:Q", x2=f"{resource}_after:Q")
    marks = drawn.melt("node", [f"{resource}_before", f"{resource}_after"], "when", "share")
    marks["when"] = marks["when"].str.removeprefix(f"{resource}_")
    points = (
        alt.Chart(marks)
        .mark_circle(size=70, opacity=1)
        .encode(
            x=alt.X("share:Q", title=title, axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)),
            y=names,
            color=alt.Color("when:N", title=None, sort=["before", "after"]),
            tooltip=["node:N", "when:N", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    chart = alt.layer(line, points).properties(height=40 + 18 * len(drawn))
    show.chart(chart, frame, "nodes_changed", "Requested share of each node that changes, before and after")
    if len(frame) > len(drawn):
        st.caption(f"The {len(drawn)} nodes that change most, of {len(frame):,}; all of them in the CSV.")


def _show_budgets(frame: pd.DataFrame) -> None:
    st.subheader("Room of disruption budgets")
    if frame.empty:
        st.write("No disruption budget (PDB) is touched.")
        return
    tight = int((frame["left"] < 0).sum())
    if tight:
        st.warning(
            f"{tight:,} budgets allow less at once than the plan disturbs: those steps wait for replacements to run.",
            icon=":material/warning:",
        )
    show.table(frame, "budgets", {"budget": "Budget (PDB)", "pods": "Pods it covers", "left": "Left after the plan"})


# ---- the journal


def _show_journal(item: Item) -> None:
    plans = journal_plans(item)
    if plans.empty:
        st.info("The journal tells of no plan yet.", icon=":material/info:")
        return
    st.subheader("Plans")
    show.table(plans, "plans")
    names = plans["plan"].tolist()
    state.forget_unknown("name", names)
    name = st.selectbox("One plan", names, key="name", bind="query-params")
    one = plans[plans["plan"] == name].iloc[0]
    show.tiles([
        show.Tile("Phase", str(one["phase"] or "–"), str(one["reason"] or "") or None),
        show.Tile("Steps done", f"{one['done']:,} of {one['steps']:,}"),
        show.Tile("Steps failed or skipped", show.number(one["failed"])),
        show.Tile("Writes refused", show.number(one["refused_writes"])),
    ])  # fmt: skip
    if one["message"]:
        st.markdown(show.plain(one["message"]))
    went = journal_steps(item, name)
    if not went.empty:
        st.subheader("How it went")
        drawn = went[went["pod"].isin(went["pod"].unique()[:DRAWN])]
        bars = (
            alt.Chart(drawn)
            .mark_bar(height=11)
            .encode(
                x=alt.X("begin_utc:T", title="time, UTC"),
                x2="end_utc:T",
                y=alt.Y("pod:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelOverlap=False)),
                color=alt.Color("state:N", title="state"),
                tooltip=["pod:N", "action:N", "state:N", "begin_utc:T", "end_utc:T", "planned_node:N", "message:N"],
            )
            .properties(height=40 + 18 * drawn["pod"].nunique())
        )
        show.chart(bars, went, "went", "States of each pod of the plan over time")
    actions = journal_actions(item, name)
    if not actions.empty:
        st.subheader("Evictions, and what people did")
        show.table(actions, "actions")
