"""Machines of a replay: how full they are by pool, cell by cell, and what ran on one of them."""

from __future__ import annotations

import pandas as pd

from analytics.cost import CostModel
from analytics.views import ask
from analytics.workspace import Item

CELLS = 1_200
MOST_MACHINES = 500
MOST_TASKS = 500
Size = tuple[int, int]  # CPU millicores, memory MiB


def pools(item: Item) -> pd.DataFrame:
    """One row per size of machine: how many, shares requested, what is left over, and its cost in USD per hour.

    Left over: of the resource that is less asked for, what remains when the other is used up at the present mix.
    """
    frame = ask(item.path, "node_pools")
    model = CostModel()
    frame["left_over_usd_h"] = (
        frame.pop("cpu_left_over_milli") / 1000 * model.core_hour_usd
        + frame.pop("memory_left_over_mib") / 1024 * model.gib_hour_usd
    )
    return _with_group(frame)


def cells(item: Item) -> pd.DataFrame:
    """The heat map: one row per cell, machines of one size that follow each other by number; at most about `CELLS`.

    requested: the higher of the two shares, mean over the cell.
    """
    return _with_group(ask(item.path, "node_cells", cells=CELLS))


def machines(item: Item, first: int, last: int, size: Size) -> pd.DataFrame:
    """The machines of this size whose numbers lie between two, at most `MOST_MACHINES`."""
    return ask(
        item.path, "nodes_between", first=first, last=last, cpu_milli=size[0], memory_mib=size[1], most=MOST_MACHINES
    ).drop(columns=["cpu_milli", "memory_mib"])


def tasks_on(item: Item, node: int) -> pd.DataFrame:
    """Attempts that ran on a machine, the `MOST_TASKS` longest; hours since the window opened."""
    return ask(item.path, "tasks_on_node", node=node, most=MOST_TASKS)


def _with_group(frame: pd.DataFrame) -> pd.DataFrame:
    sizes = zip(frame["cpu_milli"], frame["memory_mib"], strict=True)
    names = [f"{cpu / 1000:g} cores, {mib / 1024:.4g} GiB" for cpu, mib in sizes]
    frame.insert(0, "group", names)
    return frame
