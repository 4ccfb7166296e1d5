"""A replay over time, and between two of its instants. Hours count from when its window opened."""

from __future__ import annotations

import pandas as pd
import pyarrow.parquet as pq

from analytics.runs import read_run
from analytics.views import ask, bin_us
from analytics.workspace import Item

BINS = 400
FLOW_BINS = 120
OVERLOAD = "overloaded_nodes"


def course(item: Item) -> pd.DataFrame:
    """Tasks waiting and running, and nodes, over the run in `BINS` steps."""
    return ask(item.path, "course", bin_us=_step(item, BINS))


def shares(item: Item) -> pd.DataFrame:
    """Requested, used and stranded shares of what is installed, by resource, in `BINS` steps."""
    return ask(item.path, "shares", bin_us=_step(item, BINS))


def overloaded(item: Item) -> pd.DataFrame | None:
    """Overloaded nodes in `BINS` steps; None where the run does not tell."""
    if OVERLOAD not in pq.read_schema(item.path / "series.parquet").names:
        return None
    return ask(item.path, "overloaded", bin_us=_step(item, BINS))


def flow(item: Item) -> pd.DataFrame:
    """Attempts submitted, started, ended and set back per step, in `FLOW_BINS` steps; step_h: how long one is."""
    step = _step(item, FLOW_BINS)
    return ask(item.path, "flow", bin_us=step).assign(step_h=step / 3.6e9)


def hours(item: Item) -> float:
    """How long the run's window is."""
    opens, closes = read_run(item.path).facts.window_us
    return (closes - opens) / 3.6e9


def between(item: Item, from_h: float, to_h: float) -> pd.DataFrame:
    """What happened between two instants, in all and by tier."""
    opens = read_run(item.path).facts.window_us[0]
    return ask(item.path, "between", from_us=opens + round(from_h * 3.6e9), to_us=opens + round(to_h * 3.6e9))


def _step(item: Item, most: int) -> int:
    return bin_us(read_run(item.path).facts, most)
