"""The real Azure sample as a canonical trace, read with plain Python so that no reader of ours is trusted."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from traces.schema import PLAIN_UNITS, TIERS_NONE, Meta, arrow_schema, write_meta

MINUTE_US = 60_000_000


def open_sample(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, gzipped or not, by column name."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        return list(csv.DictReader(stream))


def sample_rows(folder: Path) -> tuple[list[dict[str, str]], dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """(rows of invocations, durations by function, memory by function) of a sample folder."""
    calls = open_sample(next(folder.glob("invocations.csv*")))
    durations = {row["HashFunction"]: row for row in open_sample(folder / "durations.csv")}
    memory = {row["HashFunction"]: row for row in open_sample(folder / "memory.csv")}
    return calls, durations, memory


def write_sample(sample: Path, out: Path) -> None:
    """The sample as `functions` and `invocations`; minute 480 of the day is at 480 minutes."""
    calls, durations, memory = sample_rows(sample)
    functions, rows = [], []
    for number, row in enumerate(calls):
        name = row["HashFunction"]
        times = durations[name]
        functions.append({
            "function": number, "name": name, "app": row["HashApp"], "owner": row["HashOwner"],
            "trigger": row["Trigger"], "triggers": row["Trigger"],
            "memory_mib": float(memory[name]["AverageAllocatedMb"]),
            "duration_us": round(float(times["Average"]) * 1e3),
            "max_duration_us": round(float(times["Maximum"]) * 1e3),
        })  # fmt: skip
        rows += [
            {"start_us": int(minute) * MINUTE_US, "window_us": MINUTE_US, "function": number, "count": int(count)}
            for minute, count in row.items()
            if minute.isdigit() and int(count)
        ]
    rows.sort(key=lambda row: (row["start_us"], row["function"]))
    write_trace(out, functions, rows)


def write_trace(
    out: Path,
    functions: list[dict[str, object]],
    invocations: list[dict[str, object]],
    **tables: list[dict[str, object]],
) -> Path:
    """A canonical trace with these rows; what a row leaves out is NULL."""
    out.mkdir(parents=True)
    every = {"functions": functions, "invocations": invocations, **tables}
    for name, rows in every.items():
        schema = arrow_schema(name)
        full = [{column: row.get(column) for column in schema.names} for row in rows]
        pq.write_table(pa.Table.from_pylist(full, schema), out / f"{name}.parquet")
    write_meta(
        Meta(
            format="test", digest="0" * 64, units=PLAIN_UNITS, tiers=list(TIERS_NONE), time_range_us=None,
            rows={name: len(rows) for name, rows in every.items()}, rejected={}, gaps=[],
        ),
        out,
    )  # fmt: skip
    return out
