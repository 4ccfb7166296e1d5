"""Which request shapes no longer fit, what is free and of no use to them, and FGD's measure of GPU clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analytics.cost import CostModel
from analytics.views import MOST_ROWS, ask
from analytics.workspace import Item, read_report

MOST_SHAPES = 16  # of the lines in a chart
POINTS = 200


def shapes(item: Item) -> pd.DataFrame:
    """One row per common request shape: how many more fit, what is free and of no use to it, and its cost per hour."""
    frame = ask(item.path, "shapes", rates=_prices())
    frame.insert(1, "asks_for", _names(frame))
    return frame.drop(columns=["shape", "cpu_milli", "memory_mib", "gpu_milli"]).dropna(axis="columns", how="all")


def fits(item: Item) -> pd.DataFrame:
    """How many more of each common shape fit, over time; hours since the window opened."""
    frame = ask(item.path, "shape_fits", most=MOST_SHAPES)
    frame.insert(1, "asks_for", _names(frame))
    return frame[["hour", "asks_for", "fits"]]


def allocated(reports: Sequence[Item]) -> pd.DataFrame:
    """GPUs allocated and fragmented against GPUs asked for, in % of the cluster's: FGD's figure, a line per report.

    A report's published results, where it has any, are lines of their own.
    """
    rows: list[tuple[str, float, float, float | None]] = []
    seen: set[str] = set()
    for item in reports:
        report = read_report(item)
        rows += _line(str(report.get("policy", item.name)), report["allocated_pct"], report.get("fragmented_pct"))
        published = (report.get("published") or {}).get("allocated_pct", {})
        for name, curve in published.items():
            if name not in seen:
                rows += _line(f"published {name}", curve, None)
            seen.add(name)
    return pd.DataFrame(rows, columns=["policy", "arrived_pct", "allocated_pct", "fragmented_pct"]).head(MOST_ROWS)


def _line(
    name: str, curve: dict[str, Any], fragmented: dict[str, Any] | None
) -> list[tuple[str, float, float, float | None]]:
    """A curve thinned out to POINTS points, the last one kept."""
    points = sorted((float(arrived), float(value)) for arrived, value in curve.items() if value is not None)
    step = max(len(points) // POINTS, 1)
    kept = points[::step] + (points[-1:] if (len(points) - 1) % step else [])
    known = {float(arrived): value for arrived, value in (fragmented or {}).items()}
    return [(name, arrived, value, known.get(arrived)) for arrived, value in kept]


def _prices() -> list[dict[str, Any]]:
    return [{name: rate[name] for name in ("resource", "usd_per_unit_hour")} for rate in CostModel().rates()]


def _names(frame: pd.DataFrame) -> list[str]:
    """What a shape asks for, in words."""
    names = []
    for cpu, memory, gpu in zip(frame["cpu_milli"], frame["memory_mib"], frame["gpu_milli"], strict=True):
        words = [f"{cpu / 1000:.3g} cores", f"{memory / 1024:.3g} GiB"]
        names.append(", ".join(words + ([f"{gpu / 1000:g} GPUs"] if gpu else [])))
    return names
