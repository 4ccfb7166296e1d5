"""Nodes: how full they are, by pool or rack and cell by cell, in a run or a cluster; and what is on one of them."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import cluster_nodes, nodes
from analytics.workspace import Item
from dashboard import show, state

pools, cells, machines, tasks_on = (
    state.cached(nodes.pools),
    state.cached(nodes.cells),
    state.cached(nodes.machines),
    state.cached(nodes.tasks_on),
)
cluster_cells, cluster_groups = state.cached(cluster_nodes.cells), state.cached(cluster_nodes.groups)
nodes_between, pods_on = state.cached(cluster_nodes.nodes_between), state.cached(cluster_nodes.pods_on)
COLUMNS = 60  # cells in a row of the heat map
MOST_BLOCKS = 40
SHADES = ("requested", "cpu", "memory")  # requested: of the two the scarcer
HEADINGS = {
    "machines": "Machines",
    "cpu": "CPU requested, share",
    "memory": "Memory requested, share",
    "cpu_left_over": "CPU left over, share",
    "memory_left_over": "Memory left over, share",
    "left_over_usd_h": "Left over, USD per h",
}


def render() -> None:
    """The page."""
    of_run, of_cluster = st.tabs(["Machines of a run", "Nodes of a cluster"])
    with of_run:
        _show_run()
    with of_cluster:
        _show_cluster()


def _show_run() -> None:
    item = state.choose_run()
    if item is None:
        return
    of_pools = pools(item)
    worst = of_pools.sort_values("left_over_usd_h", ascending=False, kind="stable").iloc[0]
    show.tiles(
        [
            show.Tile("Machines", show.number(of_pools["machines"].sum())),
            show.Tile("Sizes", show.number(len(of_pools))),
            show.Tile(
                "Most stranded size",
                str(worst["group"]),
                f"{show.number(worst['left_over_usd_h'], 'USD per h')} left over",
            ),
            show.Tile("CPU left over there", show.share(worst["cpu_left_over"])),
            show.Tile("Memory left over there", show.share(worst["memory_left_over"])),
        ]
    )
    st.caption(
        "Left over: what remains of a resource when the machine's other one is used up at the present mix. "
        "Shares are of what is installed, over the whole run; above 100 % where requests were over-committed."
    )
    state.forget_unknown("shade", SHADES)
    shade = st.segmented_control(
        "Shade by the requested share of", SHADES, default="requested", key="shade", bind="query-params",
    )  # fmt: skip
    frame = cells(item)
    picked = show.chart(
        _heat(frame, shade or "requested"), frame, "cells", "Requested share of machines, by size and number",
        on_select="rerun", selection_mode="cell",
    )  # fmt: skip
    chosen = _picked(frame, picked)
    if chosen is not None:
        st.subheader(f"Machines {chosen['first_node']} to {chosen['last_node']}: {show.plain(chosen['group'])}")
        size = (int(chosen["cpu_milli"]), int(chosen["memory_mib"]))
        show.table(machines(item, int(chosen["first_node"]), int(chosen["last_node"]), size), "machines")
    _show_machine(item)
    st.subheader("By size")
    show.table(of_pools.drop(columns=["cpu_milli", "memory_mib"]), "pools", HEADINGS)


def _heat(frame: pd.DataFrame, shade: str) -> show.Drawing:
    """Cells in rows of COLUMNS, a block with its name for each group; one after the other where groups are many."""
    has_blocks = frame["group"].nunique() <= MOST_BLOCKS
    order = {group: number for number, group in enumerate(frame["group"].drop_duplicates())}
    place = frame["cell"] if has_blocks else pd.Series(range(len(frame)), index=frame.index)
    line = place // COLUMNS + (frame["group"].map(order) * 1000 if has_blocks else 0)
    placed = frame.assign(column=place % COLUMNS, line=line)
    names = placed.groupby("group", sort=False, as_index=False).agg(line=("line", "min"), machines=("machines", "sum"))
    names["name"] = names["group"] + " (" + names["machines"].map("{:,}".format) + ")"
    cell = alt.selection_point("cell", fields=["group", "cell"], on="click")
    x = alt.X("column:O", axis=None, scale=alt.Scale(domain=list(range(COLUMNS))))
    y = alt.Y("line:O", axis=None)
    cells = (
        alt.Chart(placed)
        .mark_rect(stroke="#888888", strokeOpacity=0.3)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                f"{shade}:Q", title="requested", legend=alt.Legend(format="%"), scale=alt.Scale(zero=False)
            ),
            opacity=alt.condition(cell, alt.value(1.0), alt.value(0.35)),
            tooltip=[
                "group:N",
                "machines:Q",
                "first_node:O",
                "last_node:O",
                alt.Tooltip("cpu:Q", format=".1%"),
                alt.Tooltip("memory:Q", format=".1%"),
            ],
        )
        .add_params(cell)
    )
    words = alt.Chart(names).mark_text(align="right", dx=-8, color="#888888").encode(x=alt.value(0), y=y, text="name:N")
    return alt.layer(cells, *([words] if has_blocks else [])).properties(height=alt.Step(13))


def _picked(frame: pd.DataFrame, answer: Any) -> pd.Series | None:
    """The cell that somebody clicked, None for none."""
    points = list(answer.get("selection", {}).get("cell", [])) if answer else []
    for point in points[:1]:
        rows = frame[(frame["group"] == point.get("group")) & (frame["cell"] == point.get("cell"))]
        if len(rows):
            row: pd.Series = rows.iloc[0]
            return row
    return None


def _show_machine(item: Item) -> None:
    node = st.number_input("Look at machine number", value=None, min_value=0, step=1, key="node", bind="query-params")
    if node is None:
        st.caption("Click a cell to see its machines; give a machine's number to see what ran on it.")
        return
    frame = tasks_on(item, int(node))
    if frame.empty:
        st.write("Nothing ran on this machine, or there is none of this number.")
        return
    show.table(frame, "tasks")


def _show_cluster() -> None:
    item = state.choose(
        "Snapshot", "snapshot", "snapshot", missing="No snapshot of a cluster is here.",
        commands=("stowage snapshot -o runs/cluster.json",),
    )  # fmt: skip
    if item is None:
        return
    state.forget_unknown("by", cluster_nodes.GROUPS)
    by = st.segmented_control(
        "Group by", cluster_nodes.GROUPS, default=cluster_nodes.GROUPS[0], key="by", bind="query-params"
    )
    by = by or cluster_nodes.GROUPS[0]
    frame = cluster_cells(item, by)
    picked = show.chart(
        _heat(frame, "requested"), frame, "cluster-cells", f"Requested share of nodes, by {by} and name",
        on_select="rerun", selection_mode="cell",
    )  # fmt: skip
    chosen = _picked(frame, picked)
    if chosen is not None:
        st.subheader(f"Nodes {show.plain(chosen['first_node'])} to {show.plain(chosen['last_node'])}")
        between = (str(chosen["group"]), str(chosen["first_node"]), str(chosen["last_node"]))
        show.table(nodes_between(item, by, *between), "cluster-nodes")
    name = st.text_input("Look at node", key="host", bind="query-params", max_chars=253)
    if name:
        show.table(pods_on(item, name), "pods")
    st.subheader(f"By {by}")
    show.table(cluster_groups(item, by), "groups", HEADINGS)
