"""Small run folders with numbers a reader can check by hand."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analytics.facts import RunCost, RunFacts, TraceFacts, installed_versions, trace_facts
from analytics.options import ReplayOptions
from analytics.runs import result_columns, write_run
from traces.schema import PLAIN_UNITS, Meta, Tier, arrow_schema, write_meta

S = 1_000_000
TIERS = (Tier("free", 0, 1), Tier("middle", 2, 8), Tier("production", 9, 10))
COST = RunCost(wall_s=2.0, cpu_s=1.5, engine_cpu_s=1.0, events_per_cpu_s=100.0, peak_rss_mib=300.0, machine="test")


def a_trace(folder: Path, digest: str = "0" * 64, **changes: Any) -> Path:
    """A trace folder with nothing but its description."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults: dict[str, Any] = {
        "format": "tiny",
        "digest": digest,
        "units": PLAIN_UNITS,
        "tiers": list(TIERS),
        "time_range_us": (0, 1000 * S),
        "rows": {},
        "rejected": {},
        "gaps": [],
    }
    write_meta(Meta(**(defaults | changes)), folder)
    return folder


def some_facts(**changes: Any) -> RunFacts:
    defaults: dict[str, Any] = {
        "mode": "what-if",
        "policy": "best-fit",
        "seed": 1,
        "trace": TraceFacts("tiny", "0" * 64),
        "window_us": (0, 1000 * S),
        "resources": ("cpu_milli", "memory_mib"),
        "tiers": TIERS,
    }
    return RunFacts(**(defaults | changes))


def an_attempt(
    task: int,
    submit_s: float = 0,
    start_s: float | None = 0,
    end_s: float | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """One row of placements; times in seconds. It started once, unless `last_start_us` says otherwise."""
    row = {
        "task": task,
        "copy": 0,
        "attempt": 0,
        "job": task,
        "task_index": 0,
        "tenant": "a",
        "priority": 0,
        "cpu_milli": 1000,
        "memory_mib": 1024,
        "disk_mib": 0,
        "gpu_milli": 0,
        "submit_us": round(submit_s * S),
        "start_us": None if start_s is None else round(start_s * S),
        "end_us": None if end_s is None else round(end_s * S),
        "end": None if end_s is None else ("CANCELLED" if start_s is None else "FINISH"),
        "node": None if start_s is None else 1,
        "evictions": 0,
        "preemptions": 0,
        "initial": False,
    } | changes
    return {"last_start_us": row["start_us"]} | row


def a_sample(time_s: float = 0, **changes: Any) -> dict[str, Any]:
    """One row of series for CPU and memory."""
    return {
        "time_us": round(time_s * S),
        "pending": 0,
        "running": 0,
        "nodes": 1,
        "overloaded_nodes": 0,
        "overload": 0.0,
        "capacity_cpu_milli": 4000,
        "capacity_memory_mib": 4096,
        "requested_cpu_milli": 2000,
        "requested_memory_mib": 1024,
        "used_cpu_milli": None,
        "used_memory_mib": None,
        "stranded_cpu_milli": 1000,
        "stranded_memory_mib": 0,
    } | changes


def some_tables(
    placements: Sequence[dict[str, Any]] = (),
    series: Sequence[dict[str, Any]] = (),
    shapes: Sequence[dict[str, Any]] = (),
    nodes: Sequence[dict[str, Any]] = (),
    resources: tuple[str, ...] = ("cpu_milli", "memory_mib"),
) -> dict[str, pa.Table]:
    columns = result_columns(resources)
    given = {"placements": placements, "series": series or [a_sample()], "shapes": shapes, "nodes": nodes}
    return {
        name: pa.Table.from_pylist(list(rows), schema=pa.schema(columns[name].items())) for name, rows in given.items()
    }


def a_run(
    out: Path,
    placements: Sequence[dict[str, Any]] = (),
    series: Sequence[dict[str, Any]] = (),
    shapes: Sequence[dict[str, Any]] = (),
    nodes: Sequence[dict[str, Any]] = (),
    **facts: Any,
) -> Path:
    """A run folder written from rows; returns its path."""
    write_run(out, some_facts(**facts), some_tables(placements, series, shapes, nodes), COST)
    return out


RECORDED_NODES = 40


def pretend_replay(options: ReplayOptions, force: bool) -> Path:
    """Stands in for the engine in studies: every attempt of production waits 4,000 s / nodes, times the load.

    Importable by name, as worker processes need. A policy called "broken" fails, "deadly" takes its process with it.
    """
    if options.policy == "broken":
        raise ValueError("this policy cannot decide")
    if options.policy == "deadly":
        os._exit(9)
    nodes = options.nodes.machines(RECORDED_NODES)
    delay_s = 4000 / nodes * options.scale_load + (options.policy == "worst-fit") + options.seed / 1000
    rows = [an_attempt(task, 0, delay_s, priority=9) for task in range(10)]
    facts = some_facts(
        mode=options.mode,
        policy=options.policy,
        seed=options.seed,
        trace=trace_facts(options.trace),
        window_us=(0, 10_000 * S),
        options=options.facts(),
        versions=installed_versions(),
    )
    machines = [{"node": n, "busy_s": 1.0, "share_cpu_milli": 0.5, "share_memory_mib": 0.5} for n in range(nodes)]
    write_run(options.out, facts, some_tables(rows, nodes=machines), COST, force=force)
    return options.out


def a_loaded_trace(folder: Path, machines: int = 8, tasks: int = 200, seed: int = 0) -> Path:
    """A trace the engine can replay: equal machines, tasks that come within 900 s and overfill them at times."""
    draw = random.Random(seed)
    submits_us = sorted(draw.randrange(900 * S) for _ in range(tasks))
    runs_us = [draw.randrange(10 * S, 300 * S) for _ in range(tasks)]
    cores = [draw.choice([500, 1000, 4000]) for _ in range(tasks)]
    table_rows: dict[str, list[dict[str, Any]]] = {
        "machines": [
            {"time_us": 0, "machine": n, "event": "ADD", "cpu_milli": 8000, "memory_mib": 16384, "gpus": 0}
            for n in range(machines)
        ],
        "tasks": [
            {
                "job": n // 4,
                "task_index": n % 4,
                "tenant": "abc"[n // 4 % 3],
                "priority": draw.choice([0, 4, 9]),
                "cpu_milli": cores[n],
                "memory_mib": 2 * cores[n],
                "gpus": 0,
                "gpu_milli": 0,
                "different_machines": False,
                "first_submit_us": submits_us[n],
                "run_us": runs_us[n],
                "attempts": 1,
                "constraints": 0,
            }
            for n in range(tasks)
        ],
        "attempts": [
            {
                "task": n,
                "attempt": 0,
                "submit_us": submits_us[n],
                "schedule_us": submits_us[n],
                "end_us": submits_us[n] + runs_us[n],
                "end": "FINISH",
                "machine": n % machines,
            }
            for n in range(tasks)
        ],
    }
    a_trace(folder, digest=f"{seed:064d}", rows={name: len(rows) for name, rows in table_rows.items()})
    for name, rows in table_rows.items():
        pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(name)), folder / f"{name}.parquet")
    return folder
