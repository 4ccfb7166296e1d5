"""A small trace in the published format of 2011, good in every respect, to be spoilt by tests."""

from __future__ import annotations

import gzip
from pathlib import Path

TASK_ROWS = (
    "0,,7,0,3,0,alice,2,9,0.5,0.25,0.001,0",
    "0,,7,0,3,1,alice,2,9,0.5,0.25,0.001,0",
    "600000000,,8,0,,0,bob,0,0,0.0625,0.03,,",
    "600000000,,8,1,,0,bob,0,0,0.0625,0.03,,",
    "601000000,,8,0,3,1,bob,0,0,0.0625,0.03,,",
    "602000000,,8,0,3,4,bob,0,0,0.0625,0.03,,",
    "603000000,,7,0,3,2,alice,2,9,0.5,0.25,0.001,0",
    "603000000,,7,0,,0,alice,2,9,0.5,0.25,0.001,0",
)
JOB_ROWS = ("0,,7,0,alice,2,web,web", "0,,7,1,alice,2,web,web", "600000000,,8,0,bob,0,batch,batch")
MACHINE_ROWS = ("0,3,0,platform,0.5,0.5", "0,4,0,platform,1,1", "700000000,4,1,platform,1,1")
TASK_FILE = "task_events/part-00000-of-00001.csv"


def text(rows: tuple[str, ...] | list[str]) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def a_source(folder: Path, *, zipped: bool = False) -> Path:
    """A folder laid out as published: task_events, job_events and machine_events, one part each."""
    for table, rows in (("task_events", TASK_ROWS), ("job_events", JOB_ROWS), ("machine_events", MACHINE_ROWS)):
        (folder / table).mkdir(parents=True)
        path = folder / table / "part-00000-of-00001.csv"
        if zipped:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(text(rows), mtime=0))
        else:
            path.write_bytes(text(rows))
    return folder


def with_row(row: int, content: str, rows: tuple[str, ...] = TASK_ROWS) -> bytes:
    """The rows as a file, one of them (from 1) replaced."""
    changed = list(rows)
    changed[row - 1] = content
    return text(changed)


def with_field(row: int, field: int, value: str, rows: tuple[str, ...] = TASK_ROWS) -> bytes:
    """The rows as a file, one field (both from 1) replaced."""
    cells = rows[row - 1].split(",")
    cells[field - 1] = value
    return with_row(row, ",".join(cells), rows)
