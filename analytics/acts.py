"""What people did from a page, in the journal: one row an act, in a segment of its own, like the planner's rows.

Segments are append-only: each is written whole under another name and then renamed, so that readers see it whole.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analytics.errors import InputError
from scheduler.live.journal_schema import COLUMNS


@dataclass(frozen=True, slots=True)
class Act:
    """verdict: `asked`, `done`, or the status with which it was refused. who, groups: whose rights were checked."""

    time_us: int
    plan: str
    act: str
    verdict: str
    who: str
    groups: tuple[str, ...]
    message: str = ""


def record_act(folder: Path, act: Act) -> Path:
    """Write the act as a segment of the journal in `folder`. Raises InputError if it cannot be kept."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = f"dashboard-{socket.gethostname()[:63]}-{os.getpid()}"
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {
        "time_us": act.time_us, "writer": writer, "kind": "action", "plan": act.plan, "reason": act.act,
        "verdict": act.verdict, "message": f"{act.who}: {act.message}" if act.message else act.who,
        "details": json.dumps({"who": act.who, "groups": list(act.groups)}),
    }  # fmt: skip
    table = pa.table({name: pa.array([row[name]], getattr(pa, kind)()) for name, kind in COLUMNS.items()})
    path = folder / f"segment-{act.time_us:017d}-{writer}-{uuid.uuid4().hex[:12]}.parquet"
    partial = path.with_suffix(".partial")
    try:
        pq.write_table(table, partial, compression="zstd")
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}: what nobody can look up later is not done") from error
    return path
