"""Nodes: how full the machines are, pool by pool and cell by cell, and what ran on one of them."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from analytics.views import nodes
from analytics.workspace import Item
from dashboard import show, state

pools, cells, machines, tasks_on = (
    state.cached(nodes.pools),
    state.cached(nodes.cells),
    state.cached(nodes.machines),
    state.cached(nodes.tasks_on),
)
COLUMNS = 60  # cells in a row of the heat map
WHAT = {"requested": "the scarcer of both", "cpu": "CPU", "memory": "memory"}
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
    item = state.choose(
        "Run", "run", "replay", missing="No run of a cluster trace is here.",
        commands=("stowage replay TRACE --policy best-fit -o runs/best-fit",),
    )  # fmt: skip
    if item is not None:
        _show_run(item)


def _show_run(item: Item) -> None:
    of_pools = pools(item)
    worst = of_pools.sort_values("left_over_usd_h", ascending=False, kind="stable").iloc[0]
    show.tiles(
        [
            show.Tile("Machines", show.number(of_pools["machines"].sum())),
            show.Tile("Sizes", show.number(len(of_pools))),
            show.Tile(
                "Most stranded size",
                str(worst["pool"]),
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
    state.forget_unknown("shade", list(WHAT))
    shade = st.segmented_control(
        "Shade by the requested share of", list(WHAT), default="requested", key="shade", bind="query-params",
    )  # fmt: skip
    frame = cells(item)
    picked = show.chart(
        _heat(frame, shade or "requested"), frame, "cells", "Requested share of machines, by size and number",
        on_select="rerun", selection_mode="cell",
    )  # fmt: skip
    chosen = _picked(frame, picked)
    if chosen is not None:
        _show_machines(item, chosen)
    _show_machine(item)
    st.subheader("By size")
    show.table(of_pools.drop(columns=["cpu_milli", "memory_mib"]), "pools", HEADINGS)


def _heat(frame: pd.DataFrame, shade: str) -> show.Drawing:
    """Cells in rows of COLUMNS, a block for each size of machine with its name beside it."""
    order = {pool: number for number, pool in enumerate(frame["pool"].drop_duplicates())}
    placed = frame.assign(
        column=frame["cell"] % COLUMNS, line=frame["pool"].map(order) * 1000 + frame["cell"] // COLUMNS
    )
    names = placed.groupby("pool", sort=False, as_index=False).agg(line=("line", "min"), machines=("machines", "sum"))
    names["name"] = names["pool"] + " (" + names["machines"].map("{:,}".format) + ")"
    cell = alt.selection_point("cell", fields=["pool", "cell"], on="click")
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
                "pool:N",
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
    return alt.layer(cells, words).properties(height=alt.Step(13))


def _picked(frame: pd.DataFrame, answer: Any) -> pd.Series | None:
    """The cell that somebody clicked, None for none."""
    points = list(answer.get("selection", {}).get("cell", [])) if answer else []
    for point in points[:1]:
        rows = frame[(frame["pool"] == point.get("pool")) & (frame["cell"] == point.get("cell"))]
        if len(rows):
            row: pd.Series = rows.iloc[0]
            return row
    return None


def _show_machines(item: Item, cell: pd.Series) -> None:
    st.subheader(f"Machines {cell['first_node']} to {cell['last_node']}: {show.plain(cell['pool'])}")
    size = (int(cell["cpu_milli"]), int(cell["memory_mib"]))
    show.table(machines(item, int(cell["first_node"]), int(cell["last_node"]), size), "machines")


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
