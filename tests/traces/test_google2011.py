"""The numbers of the real files, as published with them, to the printed digit."""

from __future__ import annotations

from typing import Any

import duckdb

from traces.schema import Trace


def ask(trace: Trace, query: str, *tables: str) -> list[tuple[Any, ...]]:
    """Rows of a query; {0}, {1}, ... stand for the tables."""
    return duckdb.sql(query.format(*(trace.scan(table) for table in tables))).fetchall()


def test_task_events_of_the_slice(slice2011: Trace) -> None:
    counts = dict(ask(slice2011, "SELECT event, count(*) FROM {0} GROUP BY ALL", "task_events"))
    assert counts == {
        "SUBMIT": 936_182, "SCHEDULE": 890_517, "EVICT": 219_839, "FAIL": 18_604, "FINISH": 330_742, "KILL": 213_308,
        "UPDATE_PENDING": 3, "UPDATE_RUNNING": 140,
    }  # fmt: skip
    assert ask(slice2011, "SELECT count(DISTINCT job), count(*) FROM {0}", "tasks") == [(19_146, 614_019)]
    assert slice2011.meta.rows["tasks"] == 614_019
    assert slice2011.meta.rejected == {}
    assert slice2011.meta.illegal_transitions == {}


def test_every_submission_is_an_attempt(slice2011: Trace) -> None:
    assert slice2011.meta.rows["attempts"] == 936_182
    assert ask(slice2011, "SELECT sum(attempts) FROM {0}", "tasks") == [(936_182,)]
    ends = dict(ask(slice2011, 'SELECT "end", count(*) FROM {0} GROUP BY ALL', "attempts"))
    assert ends == {"EVICT": 219_839, "FAIL": 18_604, "FINISH": 330_742, "KILL": 213_308, None: 153_689}


def test_attempts_are_sorted_and_numbered(slice2011: Trace) -> None:
    query = """SELECT bool_and(task * 100000 + attempt > before OR before IS NULL), max(task) + 1
        FROM (SELECT task, attempt, lag(task * 100000 + attempt) OVER (ORDER BY file_row_number) AS before
              FROM read_parquet('{0}', file_row_number=true))"""
    assert duckdb.sql(query.format(slice2011.files("attempts")[0])).fetchall() == [(True, 614_019)]


def test_gaps_of_the_slice(slice2011: Trace) -> None:
    assert [(gap.table, gap.present, gap.parts, gap.missing) for gap in slice2011.meta.gaps] == [
        ("job_events", 15, 500, ["15-499"]), ("task_events", 14, 500, ["14-499"]),
    ]  # fmt: skip
    assert all(source.verified for source in slice2011.meta.sources)
