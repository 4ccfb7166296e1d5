"""The journal of live decisions, asked in SQL: `sql/views/journal_*.sql` over the table `journal`.

Any number of readers may open it while the planner writes: a segment is renamed into place whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analytics.errors import InputError
from analytics.store import MEMORY_LIMIT, query
from analytics.views import MOST_ROWS
from scheduler.live.journal_schema import COLUMNS, SEGMENT_GLOB


def ask_journal(folder: Path, name: str, **values: Any) -> pd.DataFrame:
    """The answer of sql/views/NAME.sql over the journal in this folder; values: the query's parameters.

    Raises InputError if it has no segments (any more), they cannot be read, or there are more rows than a page draws.
    """
    import duckdb

    segments = sorted(str(path) for path in folder.glob(SEGMENT_GLOB))
    if not segments:
        raise InputError(f"{folder} has no journal: the planner writes one where journal.folder says")
    try:
        with duckdb.connect(config={"memory_limit": MEMORY_LIMIT}) as con:
            rows = con.read_parquet(segments, union_by_name=True)
            rows.select(", ".join(f'"{column}"' for column in COLUMNS)).create_view("journal")
            frame: pd.DataFrame = con.execute(query(f"views/{name}"), values or None).df()
    except duckdb.Error as unreadable:  # a segment was cut, removed by retention, or is of another version
        reason = str(unreadable).partition("\n")[0]
        raise InputError(f"{folder} cannot be read as a journal of this version: {reason}") from unreadable
    if len(frame) > MOST_ROWS:
        raise InputError(f"{name} gives {len(frame)} rows; a page draws at most {MOST_ROWS}")
    return frame
