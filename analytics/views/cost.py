"""What runs cost under a model of prices and power that the reader may change."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd

from analytics.cost import CostModel
from analytics.errors import InputError
from analytics.metrics import cost
from analytics.runs import read_run
from analytics.workspace import Item

PARTS: Final = ("useful", "stranded", "idle")
JOULES_PER_KWH: Final = 3.6e6
DEFAULT: Final = CostModel()


def split(item: Item, model: CostModel) -> pd.DataFrame:
    """One row per part of a run's capacity: USD and kWh over its window, and their shares of the whole.

    The summary's figures where the model is the one the run was written with.
    """
    import duckdb

    run = read_run(item.path)
    found: dict[str, Any] = run.summary.get("cost") or {}
    if found.get("model") != model.to_json():
        try:
            found = cost(run.folder, run.facts, model)
        except duckdb.Error as unreadable:
            reason = str(unreadable).partition("\n")[0]
            raise InputError(f"{item.path} cannot be read by this version: {reason}; replay it again") from unreadable
    frame = pd.DataFrame(
        {
            "part": PARTS,
            "usd": [found["usd"][part] for part in PARTS],
            "kwh": [found["joules"][part] / JOULES_PER_KWH for part in PARTS],
        }
    )
    for unit in ("usd", "kwh"):
        whole = frame[unit].sum()
        frame[f"{unit}_share"] = frame[unit] / whole if whole else 0.0
    return frame


def basis(item: Item) -> tuple[float, list[str], bool]:
    """Of a run: hours of its window, resources that have a price, and whether its trace measured use."""
    run = read_run(item.path)
    opens, closes = run.facts.window_us
    priced = {rate["resource"] for rate in DEFAULT.rates()}
    used = run.summary.get("used") or {}
    return (
        (closes - opens) / 3.6e9,
        [name for name in run.facts.resources if name in priced],
        any(value is not None for value in used.values()),
    )
