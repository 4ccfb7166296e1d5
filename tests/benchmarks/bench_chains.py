"""Pods loaded down workflow chains, beside fixed keep-alive at equal idle memory, on a synthetic region of Huawei.

The calls are those that the generator gives R2's workflow functions (`stowage trace synth huawei2025 --days 1
--seed 1`). It says which function calls which, but not when within the minute: here a later function is called
when the execution of the one before it ends, and first ones at equal distances within their minute. Functions called
more than once a second are left out, with what they call: they are never cold. Executions are drawn from the region's
published ones, cold starts from those of workflow-S.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.benchmarks.harness import Report, stowage
from traces.schema import PLAIN_UNITS, TIERS_NONE, Meta, arrow_schema, write_meta
from traces.synth.huawei import calibration as cal
from traces.synth.huawei.components import KnownRuntimes
from traces.synth.huawei.curves import value_at
from traces.synth.huawei.functions import draw_functions
from traces.synth.huawei.requests import Callers, calls_of_day, draw_callers

REGION, SCALE, SEED = "R2", 1.0, 1
PROBE = 200_000
MINUTE_US = 60_000_000
FASTEST = 1440 * 60  # calls a day of the busiest function that is kept
KEEP_ALIVES = ("5s", "10s", "15s", "20s", "30s", "45s", "1m", "90s", "2m", "3m", "5m", "10m", "20m", "40m", "2h")
LAG = "10s"
ROOM = "400x64cpu,256Gi"  # for all pods, so that keep-alive alone decides

Columns = dict[str, NDArray[Any]]


def bench(work: Path) -> Report:
    """Sweep fixed keep-alive with and without chains, and meet each point with chains at its idle memory."""
    report = Report("chains", "Pods loaded down workflow chains on a synthetic R2 of Huawei")
    trace = make_trace(work / "chains")
    words = ["serverless", "place", trace, "--nodes", ROOM]
    words += [word for time in KEEP_ALIVES for word in ("--keep-alive", time)]
    fixed, _ = stowage(*words)
    chained, cost = stowage(*words, "--chains", LAG)
    memory = [row["idle_gb_h"] for row in fixed["rows"]]
    for row in chained["rows"]:
        report.add(
            f"{row['policy']} with chains",
            idle_gb_h=row["idle_gb_h"],
            cold_starts=row["cold_starts"],
            shortened=row["shortened"],
            waited_s=_waited_s(row),
            fixed_cold_starts=float(
                np.interp(row["idle_gb_h"], memory, [each["cold_starts"] for each in fixed["rows"]])
            ),
            fixed_waited_s=float(np.interp(row["idle_gb_h"], memory, [_waited_s(each) for each in fixed["rows"]])),
        )
    calls = fixed["rows"][0]["invocations"]
    report.notes.append(f"{calls:,} calls; with chains {cost.cpu_s:.1f} CPU s for {len(KEEP_ALIVES)} keep-alives")
    report.notes.append("fixed: keep-alive without chains at the same idle memory, between the two that enclose it")
    report.notes.append("when a later function is called within the minute is assumed here, not published")
    return report


def _waited_s(row: dict[str, Any]) -> float:
    """What all calls together waited for their pods."""
    return float(row["mean_delay_s"] * row["invocations"])


def make_trace(folder: Path) -> Path:
    """The trace, as canonical tables."""
    number = cal.REGIONS.index(REGION)
    rng = np.random.default_rng([SEED, 9, number])
    functions = draw_functions(REGION, SCALE, KnownRuntimes().draw(rng, rng.standard_normal(PROBE)), SEED)
    callers = draw_callers(REGION, functions, SEED)
    counts = calls_of_day(REGION, callers, 0, SEED)
    chosen = [
        f for f in np.flatnonzero(functions.trigger == cal.TRIGGERS.index("workflow-S")).tolist()
        if 0 < counts[:, f].sum() <= FASTEST
    ]  # fmt: skip
    rng = np.random.default_rng(SEED)
    calls = _calls(callers, counts, chosen, rng)
    cold_us = (value_at(cal.TOTAL_BY_TRIGGER["workflow-S"], rng.random(len(chosen))) * 1e6).round().astype(np.int64)
    sizes = [cal.POOLS[functions.pool[f]].split("-") for f in chosen]
    size = len(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, "functions", {
        "function": np.arange(size), "name": np.array([f"f{f}" for f in chosen]),
        "trigger": np.full(size, "workflow-S"),
        "cpu_milli": np.array([int(words[1]) for words in sizes]), "duration_us": np.ones(size, np.int64),
        "max_duration_us": cold_us + 1, "limit_mib": np.array([int(words[2]) for words in sizes]),
    })  # fmt: skip
    order = np.lexsort((calls["function"], calls["start_us"]))
    _write(folder, "invocations", {name: column[order] for name, column in calls.items()})
    write_meta(
        Meta(
            format="huawei2025", digest="0" * 64, units=PLAIN_UNITS, tiers=list(TIERS_NONE),
            time_range_us=(0, 1440 * MINUTE_US), rows={"functions": size, "invocations": len(order)}, rejected={},
            gaps=[],
        ),
        folder,
    )  # fmt: skip
    return folder


def _calls(callers: Callers, counts: NDArray[np.int64], chosen: list[int], rng: np.random.Generator) -> Columns:
    """Single calls. Functions are in order of their chains, so who calls comes before who is called."""
    ends: dict[int, NDArray[np.int64]] = {}
    columns = []
    for n, f in enumerate(chosen):
        parent = int(callers.parent[f])
        if parent in ends:
            start = ends[parent]
        else:
            of_minute = counts[:, f]
            first = np.repeat(np.cumsum(of_minute) - of_minute, of_minute)
            within = (np.arange(int(of_minute.sum())) - first) * MINUTE_US // np.repeat(of_minute, of_minute)
            start = np.repeat(np.arange(1440), of_minute) * MINUTE_US + within
        runs = np.maximum((value_at(cal.EXECUTION[REGION], rng.random(len(start))) * 1e6).round(), 1).astype(np.int64)
        ends[f] = start + runs
        columns.append({
            "start_us": start, "window_us": np.zeros(len(start), np.int64), "function": np.full(len(start), n),
            "count": np.ones(len(start), np.int64), "duration_us": runs,
        })  # fmt: skip
    return {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}


def _write(folder: Path, table: str, columns: Columns) -> None:
    schema = arrow_schema(table)
    rows = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name]).cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in schema
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), folder / f"{table}.parquet")
