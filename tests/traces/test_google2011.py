"""The numbers of the real files, as published with them, to the printed digit."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from tests.traces.builders import a_source, text
from traces.check import check_trace
from traces.importer import import_trace
from traces.reader import get_reader
from traces.schema import Trace, open_trace


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


def test_job_events_of_the_full_month(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    report = import_trace("google2011", [shared_data("google2011/job_events_full_month")], tmp_path / "trace")
    assert report.gaps == []
    assert report.rejected == {}
    checked = check_trace(tmp_path / "trace")
    assert checked.job_events == {
        "SUBMIT": 672_075, "SCHEDULE": 672_075, "EVICT": 22, "FAIL": 10_125, "FINISH": 385_582, "KILL": 272_341,
        "LOST": 16, "UPDATE_RUNNING": 6,
    }  # fmt: skip
    assert checked.rows == {"job_events": 2_012_242}
    assert checked.jobs == 672_074
    trace = open_trace(tmp_path / "trace")
    assert ask(trace, "SELECT count(DISTINCT tenant), count(DISTINCT logical_name) FROM {0}", "job_events") == [
        (933, 39_730)
    ]


def test_usage_of_the_first_window(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    import_trace("google2011", [shared_data("google2011/task_usage")], tmp_path / "trace")
    trace = open_trace(tmp_path / "trace")
    assert trace.meta.rows == {"usage": 120}
    query = """SELECT start_us, end_us, job, task_index, machine, cpu_milli, memory_mib, max_cpu_milli,
        cycles_per_instruction FROM {0} LIMIT 1"""
    assert ask(trace, query, "usage") == [
        (600_000_000, 900_000_000, 3_418_309, 0, 4_155_527_081, 200, 35_583, 5_078, 2.445)
    ]


def test_a_folder_as_published_is_read_whole(shared_data: Callable[[str], Path]) -> None:
    files, _ = get_reader("google2011").find([shared_data("google2011")])
    assert Counter(file.table for file in files) == {
        "task_events": 14, "job_events": 15, "machine_events": 1, "task_usage": 1
    }  # fmt: skip


def test_attributes_and_constraints_follow_the_published_schema(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    for table, rows in (
        (
            "task_constraints",
            ["0,7,0,2,Xk,4", "0,7,0,2,Xk,4", "0,7,0,0,rack,", "600000000,8,1,3,Xk,9", "5,99,0,1,Xk,1"],
        ),
        ("machine_attributes", ["0,3,Xk,4,0", "9,3,Xk,,1"]),
    ):
        (source / table).mkdir()
        (source / table / "part-00000-of-00001.csv").write_bytes(text(rows))
    import_trace("google2011", [source], tmp_path / "trace")
    trace = open_trace(tmp_path / "trace")
    assert ask(trace, "SELECT operator, value FROM {0} WHERE job IN (7, 8)", "task_constraints") == [
        ("LESS", "4"), ("LESS", "4"), ("EQUAL", None), ("GREATER", "9")
    ]  # fmt: skip
    assert ask(trace, "SELECT job, task_index, constraints FROM {0}", "tasks") == [(7, 0, 2), (8, 0, 0), (8, 1, 1)]
    assert ask(trace, "SELECT attribute, value, deleted FROM {0}", "machine_attributes") == [
        ("Xk", "4", False), ("Xk", None, True)
    ]  # fmt: skip


def test_a_part_in_which_no_task_has_a_constraint_is_no_fault(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    (source / "task_constraints").mkdir()
    for part, content in enumerate([text(["0,7,0,2,Xk,4"]), b""]):
        path = source / "task_constraints" / f"part-{part:05}-of-00002.csv.gz"
        path.write_bytes(gzip.compress(content, mtime=0))
    import_trace("google2011", [source], tmp_path / "trace")
    assert open_trace(tmp_path / "trace").meta.rows["task_constraints"] == 1


def test_units_and_facts_of_a_small_trace(tmp_path: Path) -> None:
    import_trace("google2011", [a_source(tmp_path / "source")], tmp_path / "trace")
    trace = open_trace(tmp_path / "trace")
    query = """SELECT job, task_index, tenant, priority, scheduling_class, cpu_milli, memory_mib, disk_mib,
        different_machines, first_submit_us, run_us, attempts FROM {0}"""
    assert ask(trace, query, "tasks") == [
        (7, 0, "alice", 9, 2, 64_000, 131_072, 4_194, False, 0, None, 2),
        (8, 0, "bob", 0, 0, 8_000, 15_729, None, False, 600_000_000, 1_000_000, 1),
        (8, 1, "bob", 0, 0, 8_000, 15_729, None, False, 600_000_000, None, 1),
    ]
    assert ask(trace, "FROM {0}", "attempts") == [
        (0, 0, 0, 0, 603_000_000, "EVICT", 3), (0, 1, 603_000_000, None, None, None, None),
        (1, 0, 600_000_000, 601_000_000, 602_000_000, "FINISH", 3),
        (2, 0, 600_000_000, None, None, None, None),
    ]  # fmt: skip
