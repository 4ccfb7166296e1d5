"""What pages draw: one function a chart or table, each a small frame that DuckDB made; `sql/views/` has the queries.

A frame has at most `MOST_ROWS` rows: a browser draws them at once, and a page's memory does not grow with the trace.
Queries put instants into bins of the width that keeps them below that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pandas as pd

from analytics.errors import InputError
from analytics.facts import RunFacts
from analytics.runs import read_run
from analytics.store import open_store, query

MOST_ROWS: Final = 2_000


def ask(folder: Path, name: str, **values: Any) -> pd.DataFrame:
    """The answer of sql/views/NAME.sql over a run folder; values: the query's parameters.

    Raises InputError if the folder is no whole run (any more), or the answer has more rows than a page may draw.
    """
    import duckdb

    run = read_run(folder)
    try:
        with open_store(folder, run.facts) as store:
            frame: pd.DataFrame = store.execute(query(f"views/{name}"), values or None).df()
    except duckdb.Error as unreadable:  # a file is gone or cut, or another version wrote other columns
        reason = str(unreadable).partition("\n")[0]
        raise InputError(f"{folder} cannot be read by this version: {reason}; replay it again") from unreadable
    if len(frame) > MOST_ROWS:
        raise InputError(f"{name} gives {len(frame)} rows; a page draws at most {MOST_ROWS}")
    return frame


def bin_us(facts: RunFacts, most: int) -> int:
    """The width in microseconds, a whole number of minutes, that cuts a run's window into at most so many bins."""
    minute = 60_000_000
    opens, closes = facts.window_us
    return -(-(closes - opens) // (most * minute)) * minute
