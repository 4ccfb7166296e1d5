from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from traces.check import check_trace
from traces.errors import TraceFormatError
from traces.importer import import_trace
from traces.schema import Trace, open_trace

DAY_US = 86_400_000_000
Event = dict[str, Any]


def an_event(node: str, day: object, what: str = "fault_start", cause: str = "GPU") -> Event:
    fault = {"Level": "Hardware Failure", "Class": cause, "Desc": f"{cause} broken"}
    return {"node_id": node, "event_time": day, "event_type": what, "fault_type": fault}


def an_end(node: str, day: object, cause: str = "GPU") -> Event:
    return an_event(node, day, "fault_end", cause)


def imported(tmp_path: Path, events: object, **options: Any) -> Trace:
    source = tmp_path / "fault_trace.json"
    source.write_text(events if isinstance(events, str) else json.dumps(events, indent=1))
    import_trace("infinitehbd", [source], tmp_path / "trace", **options)
    return open_trace(tmp_path / "trace")


def faults(trace: Trace) -> list[tuple[Any, ...]]:
    query = f"SELECT node, cause, start_us / {DAY_US}, end_us / {DAY_US} FROM {trace.scan('faults')}"
    return duckdb.sql(query).fetchall()


def test_a_start_and_the_end_that_follows_it_are_one_fault(tmp_path: Path) -> None:
    trace = imported(tmp_path, [an_event("a", 1), an_event("b", 1.5), an_end("a", 2), an_end("b", 4), an_event("a", 5)])
    assert faults(trace) == [("a", "GPU", 1, 2), ("b", "GPU", 1.5, 4), ("a", "GPU", 5, None)]
    assert trace.meta.time_range_us == (DAY_US, 5 * DAY_US)
    assert trace.meta.fleet == 400


def test_events_out_of_order_are_paired_by_time(tmp_path: Path) -> None:
    trace = imported(tmp_path, [an_end("a", 4), an_event("a", 3), an_end("a", 2), an_event("a", 1)])
    assert faults(trace) == [("a", "GPU", 1, 2), ("a", "GPU", 3, 4)]


def test_overlapping_faults_of_a_node_stay_apart(tmp_path: Path) -> None:
    both = [an_event("a", 1), an_event("a", 2, cause="NIC"), an_end("a", 3), an_end("a", 5, "NIC")]
    twice = [an_event("b", 1), an_event("b", 2), an_end("b", 3), an_end("b", 4)]
    trace = imported(tmp_path, both + twice)
    assert sorted(faults(trace)) == [("a", "GPU", 1, 3), ("a", "NIC", 2, 5), ("b", "GPU", 1, 3), ("b", "GPU", 2, 4)]
    found = check_trace(trace.folder).faults
    assert found is not None
    assert [(row["cause"], row["faults"], row["nodes"], row["open"], row["overlapping"]) for row in found] == [
        ("all", 4, 2, 0, 2), ("GPU", 3, 2, 0, 1), ("NIC", 1, 1, 0, 1),
    ]  # fmt: skip


def test_an_end_without_a_start_is_kept_with_its_reason(tmp_path: Path) -> None:
    events = [an_end("a", 0.5), an_event("a", 1), an_end("a", 2), an_end("a", 3), an_event("a", 4), an_end("a", 4)]
    trace = imported(tmp_path, [*events, an_event("b", 1), an_end("b", 2, "NIC")])
    assert faults(trace) == [("a", "GPU", 1, 2), ("b", "GPU", 1, None), ("a", "GPU", 4, 4)]
    rejected = duckdb.sql(f"SELECT row, reason, line FROM {trace.scan('rejected')} ORDER BY row").fetchall()
    assert [row for row, _, _ in rejected] == [1, 4, 8]
    assert "field event_type: must follow a fault_start of the same node" in rejected[0][1]
    assert json.loads(rejected[2][2]) == an_end("b", 2, "NIC")


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (an_event("", 1), "field node_id: is mandatory"),
        (an_event("a", "soon"), "field event_time: must be a number, found 'soon'"),
        (an_event("a", -1), "field event_time: must be >= 0, found '-1'"),
        (an_event("a", 1, "fault"), "must be one of fault_start, fault_end, found 'fault'"),
    ],
)
def test_rows_that_break_a_rule_are_set_aside_and_pair_with_nothing(
    tmp_path: Path, spoilt: Event, reason: str
) -> None:
    trace = imported(tmp_path, [an_event("z", 1), an_end("z", 2), an_event("z", 3), spoilt])
    assert faults(trace) == [("z", "GPU", 1, 2), ("z", "GPU", 3, None)]
    ((row, found),) = duckdb.sql(f"SELECT row, reason FROM {trace.scan('rejected')}").fetchall()
    assert row == 4
    assert reason in found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("[]", "holds no rows"),
        ("{}", "cannot be read"),
        ('[{"node_id": "a", ', "cannot be read"),
        (json.dumps([an_event("a", 1), 7]), "row 2, field line: must be a JSON object"),
        (json.dumps([an_end("a", 1), an_end("b", 1)]), "2 of 2 rows break a rule"),
    ],
)
def test_a_file_that_is_no_fault_trace_is_refused_by_name(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(TraceFormatError, match=rf"fault_trace\.json.*{words}"):
        imported(tmp_path, content)
    assert not (tmp_path / "trace").exists()


def test_intervals_in_a_table_are_the_same_faults(tmp_path: Path) -> None:
    trace = imported(tmp_path, [an_event("a", 1), an_end("a", 2.25), an_event("b", 3)])
    table = tmp_path / "fault_intervals.csv.gz"
    rows = ["node_id,start_day,end_day,Level,Class,Desc"]
    rows += ["a,1,2.25,Hardware Failure,GPU,GPU broken", "b,3,,Hardware Failure,GPU,GPU broken", "c,4,3,,,"]
    table.write_bytes(gzip.compress("\n".join(rows).encode()))
    report = import_trace("infinitehbd", [table], tmp_path / "from-table")
    assert faults(open_trace(tmp_path / "from-table")) == faults(trace)
    assert report.rejected == {"faults": 1}


def test_the_published_trace(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    found = []
    for name in ("", "fault_events.parquet", "fault_intervals.parquet"):
        out = tmp_path / (name or "folder")
        report = import_trace("infinitehbd", [shared_data("gpu/infinitehbd") / name], out)
        assert report.rows == {"faults": 584}
        assert report.rejected == {}
        found.append(sorted(faults(open_trace(out))))
    assert found[0] == found[1] == found[2]
    assert not any(end is None for *_, end in found[0])
    first_us, last_us = open_trace(tmp_path / "folder").meta.time_range_us or (0, 0)
    assert (first_us / DAY_US, last_us / DAY_US) == (3.8955, pytest.approx(348.98, abs=0.01))
    by_cause = {row["cause"]: row["faults"] for row in check_trace(tmp_path / "folder").faults or ()}
    assert (by_cause["GPU"], by_cause["Unknown Error"], by_cause["Parameter Plane Cable"]) == (158, 144, 40)
