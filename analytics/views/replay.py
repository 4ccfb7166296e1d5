"""A replay over time, and between two of its instants."""

from __future__ import annotations

import pandas as pd

from analytics.runs import read_run
from analytics.views import ask, bin_us
from analytics.workspace import Item

BINS = 500


def course(item: Item) -> pd.DataFrame:
    """Queue, tasks, nodes and shares of capacity over the run in `BINS` steps; hours since its window opened."""
    return ask(item.path, "course", bin_us=bin_us(read_run(item.path).facts, BINS))


def hours(item: Item) -> float:
    """How long the run's window is."""
    opens, closes = read_run(item.path).facts.window_us
    return (closes - opens) / 3.6e9


def between(item: Item, from_h: float, to_h: float) -> pd.DataFrame:
    """What happened between two instants, by tier; hours since the window opened."""
    opens = read_run(item.path).facts.window_us[0]
    return ask(item.path, "between", from_us=opens + round(from_h * 3.6e9), to_us=opens + round(to_h * 3.6e9))
