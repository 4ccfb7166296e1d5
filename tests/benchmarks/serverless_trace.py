"""A generated Azure 2019 trace as canonical tables: `python -m tests.benchmarks.serverless_trace DIR FUNCTIONS`.

The same draws as `stowage trace synth azure2019`, without the way through 2 GB of text. Days already there are kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from traces.schema import PLAIN_UNITS, TIERS_NONE, Meta, arrow_schema, write_meta
from traces.synth.azure import MINUTES, TRIGGERS, Population, calls_of, draw_population

DAYS, SEED, CHUNK = 14, 1, 5_000
MINUTE_US = 60_000_000
DAY_US = MINUTES * MINUTE_US


def make_trace(folder: Path, functions: int) -> Path:
    """The trace of so many functions over 14 days in `folder`."""
    people = draw_population(functions, SEED)
    (folder / "invocations").mkdir(parents=True, exist_ok=True)
    _write_functions(folder, people)
    for day in range(DAYS):
        part = folder / "invocations" / f"part-{day:05}.parquet"
        if not part.exists():
            _write_day(part, people, day)
    rows = sum(pq.ParquetFile(part).metadata.num_rows for part in (folder / "invocations").glob("part-*.parquet"))
    meta = Meta(
        format="azure2019", digest=f"{functions:064}", units=PLAIN_UNITS, tiers=list(TIERS_NONE),
        time_range_us=(0, DAYS * DAY_US), rows={"functions": functions, "invocations": rows}, rejected={}, gaps=[],
    )  # fmt: skip
    write_meta(meta, folder)
    return folder


def _write_functions(folder: Path, people: Population) -> None:
    """An app's memory is split evenly over its functions, as FaasCache does."""
    _, app, sizes = np.unique(people.app, return_inverse=True, return_counts=True)
    count = len(people.name)
    known = {
        "function": np.arange(count, dtype=np.int32), "name": people.name, "app": people.app, "owner": people.owner,
        "trigger": [TRIGGERS[code] for code in people.trigger.tolist()], "memory_mib": people.memory_mb / sizes[app],
        "duration_us": np.rint(people.duration_ms * 1e3).astype(np.int64),
        "max_duration_us": np.rint(people.longest_ms * 1e3).astype(np.int64),
    }  # fmt: skip
    schema = arrow_schema("functions")
    columns = [pa.array(known[f.name], f.type) if f.name in known else pa.nulls(count, f.type) for f in schema]
    pq.write_table(pa.table(columns, schema=schema), folder / "functions.parquet")


def _write_day(part: Path, people: Population, day: int) -> None:
    """Rows sorted by (minute, function), whole or not there."""
    found = []
    for start in range(0, len(people.name), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(people.name)))
        calls = calls_of(people, rows, day, SEED)
        row, minute = np.nonzero(calls)
        found.append((minute.astype(np.int32), (row + start).astype(np.int32), calls[row, minute]))
    minute, function, count = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((function, minute))
    schema = arrow_schema("invocations")
    known = {
        "start_us": day * DAY_US + minute[order].astype(np.int64) * MINUTE_US,
        "window_us": np.full(len(order), MINUTE_US), "function": function[order], "count": count[order],
    }  # fmt: skip
    columns = [pa.array(known[f.name], f.type) if f.name in known else pa.nulls(len(order), f.type) for f in schema]
    partial = part.with_suffix(".partial")
    pq.write_table(pa.table(columns, schema=schema), partial, compression="zstd", row_group_size=1_000_000)
    partial.rename(part)


if __name__ == "__main__":
    print(make_trace(Path(sys.argv[1]), int(sys.argv[2])))
