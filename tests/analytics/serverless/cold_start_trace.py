"""Canonical serverless traces for tests: a few rows by hand, or many drawn by the generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from traces.schema import PLAIN_UNITS, TABLES, Meta, arrow_schema, write_meta
from traces.tables import open_writer

US = 1_000_000


def write_trace(folder: Path, **tables: Sequence[Mapping[str, Any]]) -> Path:
    """Rows by table; a column that is not given is NULL."""
    folder.mkdir()
    for table, rows in tables.items():
        columns = {name: [row.get(name) for row in rows] for name in TABLES[table]}
        with open_writer(folder / f"{table}.parquet", table) as writer:
            writer.write_table(pa.table(columns, schema=arrow_schema(table)))
    write_meta(
        Meta(
            format="huawei2025", digest="", units=PLAIN_UNITS, tiers=[], time_range_us=(0, 3600 * US),
            rows={table: len(rows) for table, rows in tables.items()}, rejected={}, gaps=[],
        ),
        folder,
    )  # fmt: skip
    return folder


def a_function(function: int, **known: Any) -> dict[str, Any]:
    return {"function": function, "name": f"f{function}", "owner": "u0", "region": "R1", **known}


def a_start(time_s: float, function: int, parts_s: tuple[float, float, float, float], **known: Any) -> dict[str, Any]:
    """parts_s: pod allocation, code, dependencies, scheduling."""
    names = ("pod_allocation_us", "deploy_code_us", "deploy_dependency_us", "scheduling_us")
    parts = {name: round(part * US) for name, part in zip(names, parts_s, strict=True)}
    return {"time_us": round(time_s * US), "function": function, "total_us": sum(parts.values()), **parts, **known}


def a_call(start_s: float, function: int, count: int = 1, **known: Any) -> dict[str, Any]:
    return {"start_us": round(start_s * US), "window_us": 0, "function": function, "count": count, **known}


def a_sum(hour: int, value: float, **known: Any) -> dict[str, Any]:
    return {"time_us": hour * 3600 * US, "window_us": 3600 * US, "metric": "num_cold_starts", "value": value, **known}
