"""Files that are not what they say, and rows that break a rule: what is refused, what is set aside, what is said."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.traces.builders import (
    MACHINE_ROWS,
    TASK_FILE,
    TASK_ROWS,
    a_source,
    text,
    with_field,
    with_row,
)
from traces.errors import OutputExistsError, TraceError, TraceFormatError
from traces.importer import ImportReport, import_trace
from traces.schema import open_trace

Spoil = Callable[[Path], object]


def put(name: str, content: bytes, instead_of: str = TASK_FILE) -> Spoil:
    """Replace a file of the source by another."""

    def spoil(source: Path) -> None:
        (source / instead_of).unlink()
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(content)

    return spoil


def add(name: str, content: bytes) -> Spoil:
    def spoil(source: Path) -> None:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(content)

    return spoil


PART = "task_events/part-00000-of-00001.csv"
ZIPPED = PART + ".gz"
GOOD = gzip.compress(text(TASK_ROWS * 200), mtime=0)
FLIPPED = GOOD[:-8] + bytes(byte ^ 255 for byte in GOOD[-8:-4]) + GOOD[-4:]
JUNK = zlib.compress(bytes(range(256)) * 40)
MACHINES = "machine_events/part-00000-of-00001.csv"
WRONG_ROWS = [f"0,9,{row[3:]}" if row.startswith("0,") else f"5,9,{row[11:]}" for row in TASK_ROWS]

# what is done to the source, the file named, the row named, words of the message
FATAL: dict[str, tuple[Spoil, str, int | None, str]] = {
    "a column is missing": (put(PART, with_row(3, "6,,8,0,,0,bob,0,0,0.06,0.03,")), PART, 3, "13 columns, found 12"),
    "a column too many": (put(PART, with_row(5, TASK_ROWS[4] + ",1")), PART, 5, "13 columns, found 14"),
    "rows of another table": (put(PART, text(MACHINE_ROWS)), PART, 1, "13 columns, found 6"),
    "semicolons": (put(PART, text(TASK_ROWS).replace(b",", b";")), PART, 1, "found 1"),
    "tabs": (put(PART, text(TASK_ROWS).replace(b",", b"\t")), PART, 1, "found 1"),
    "gzip cut in the middle": (put(ZIPPED, GOOD[: len(GOOD) // 2]), ZIPPED, None, "truncated"),
    "gzip without its last bytes": (put(ZIPPED, GOOD[:-3]), ZIPPED, None, "truncated"),
    "gzip with a wrong sum": (put(ZIPPED, FLIPPED), ZIPPED, None, "damaged"),
    "gzip followed by junk": (put(ZIPPED, GOOD + b"junk"), ZIPPED, None, "damaged"),
    "text named .gz": (put(ZIPPED, text(TASK_ROWS)), ZIPPED, None, "not gzip"),
    "gzip not named .gz": (put(PART, GOOD), PART, None, "is gzip although"),
    "junk named .gz": (put(ZIPPED, JUNK), ZIPPED, None, "not gzip"),
    "junk": (put(PART, JUNK), PART, 1, "UTF-8"),
    "junk in gzip": (put(ZIPPED, gzip.compress(JUNK)), ZIPPED, 1, "UTF-8"),
    "Latin-1": (put(PART, with_field(2, 7, "\xe9lan").decode().encode("latin-1")), PART, 2, "UTF-8"),
    "UTF-16": (put(PART, text(TASK_ROWS).decode().encode("utf-16")), PART, 1, "UTF-8"),
    "an empty file": (put(PART, b""), PART, None, "is empty"),
    "an empty file named .gz": (put(ZIPPED, b""), ZIPPED, None, "is empty"),
    "gzip of nothing": (put(ZIPPED, gzip.compress(b"")), ZIPPED, None, "no rows"),
    "blank lines only": (put(PART, b"\n\n\n"), PART, None, "no rows"),
    "a negative time": (put(PART, with_field(4, 1, "-600")), PART, 4, "must be >= 0, found '-600'"),
    "a CPU request above 1": (put(PART, with_field(1, 10, "12.5")), PART, 1, "must be <= 1, found '12.5'"),
    "a memory request above 1": (put(PART, with_field(8, 11, "1.01")), PART, 8, "must be <= 1"),
    "a negative request": (put(PART, with_field(2, 12, "-0.1")), PART, 2, "must be >= 0"),
    "a machine above 1": (put(MACHINES, with_field(2, 5, "64", MACHINE_ROWS), MACHINES), MACHINES, 2, "found '64'"),
    "a header": (
        put(PART, b"time,missing,job,index,machine,event,user,class,priority,cpu,memory,disk,diff\n" + text(TASK_ROWS)),
        PART, 1, "header",
    ),
    "most rows wrong": (put(PART, text(WRONG_ROWS)), PART, 1, "8 of 8 rows break a rule"),
    "a Git LFS pointer": (put(ZIPPED, b"version https://git-lfs.github.com/spec/v1\n"), ZIPPED, None, "LFS pointer"),
    "a web page": (put(PART, b"<!DOCTYPE html><html>404</html>"), PART, None, "web page"),
    "a wrong checksum": (add("SHA256SUMS", f"{'0' * 64}  ./{PART}\n".encode()), PART, None, "published list says 000"),
    "a broken checksum list": (add("SHA256SUMS", b"\nnot a checksum\n"), "SHA256SUMS", 2, "SHA-256 in hex"),
    "a part beyond the last": (add("task_events/part-00001-of-00001.csv", b"1"), "00001-of-", None, "count from 0"),
    "a part given twice": (add(ZIPPED, GOOD), ZIPPED, None, "twice"),
    "parts of two series": (add("task_events/part-00001-of-00500.csv", b"1"), "task_events", None, "different series"),
    "a name that is no part": (add("task_events/part-1-of-2.csv", text(TASK_ROWS)), "part-1-of-2", None, "which part"),
    "another name": (add("task_events/more.csv", text(TASK_ROWS)), "more.csv", None, "which part"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FATAL)
def test_a_file_that_is_not_what_it_says_stops_the_import(tmp_path: Path, kind: str) -> None:
    spoil, file, row, words = FATAL[kind]
    source = a_source(tmp_path / "source")
    spoil(source)
    out = tmp_path / "out" / "trace"
    with pytest.raises(TraceFormatError) as caught:
        import_trace("google2011", [source], out)
    message = str(caught.value)
    assert words in message
    assert file in (caught.value.file or "")
    assert caught.value.row == row
    assert row is None or f"row {row}" in message
    assert caught.value.fix, "the message says what to do"
    assert not out.exists()


def lines(*objects: object) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in objects).encode()


INSTANCE = {
    "time": "5", "type": 0, "collection_id": "7", "instance_index": 0, "priority": 1,
    "resource_request": {"cpus": 0.5, "memory": 0.1},
}  # fmt: skip
NODES = b"sn,cpu_milli,memory_mib,gpu,model\nn0,64000,1024,2,T4\n"
POD_HEADER = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time"
)
PODS = f"{POD_HEADER}\np0,1000,1024,1,500,,LS,Running,5,9,6\np1,1000,1024,1,500,,LS,Running,5,9,6\n".encode()

# format, file name, content, row named, words of the message
FATAL_ELSEWHERE: dict[str, tuple[str, str, bytes, int | None, str]] = {
    "JSON that is a list": ("google2019", "instance_events.json", lines([INSTANCE]), 1, "JSON object"),
    "JSON that is a number": ("google2019", "instance_events.json", lines(INSTANCE, 5), 2, "JSON object"),
    "no JSON at all": ("google2019", "instance_events.json", text(TASK_ROWS), 1, "must be JSON"),
    "JSON with a negative time": ("google2019", "instance_events.json", lines(INSTANCE | {"time": "-1"}), 1, ">= 0"),
    "JSON with a request above 1": (
        "google2019", "instance_events.json", lines(INSTANCE, INSTANCE | {"resource_request": {"cpus": 2}}), 2, "<= 1",
    ),
    "a 2019 machine above 1": (
        "google2019", "machine_events.json",
        lines({"time": "0", "machine_id": "1", "type": 1, "capacity": {"cpus": 1.5, "memory": 1}}), 1, "<= 1",
    ),
    "Parquet that is text": ("google2019", "instance_events.parquet", lines(INSTANCE), None, "not readable Parquet"),
    "CSV without the header": ("google2019", "instance_events.csv", text(TASK_ROWS), 1, "must name the columns"),
    "CSV without a mandatory column": ("google2019", "instance_events.csv", b"time,type\n1,0\n", None, "collection_id"),
    "codes of no event": (
        "google2019", "collection_events.json", lines({"time": "0", "type": 11, "collection_id": 1}), 1, "break a rule",
    ),
    "a name of no table": ("google2019", "events.json", lines(INSTANCE), None, "cannot tell its table"),
    "nodes without models": ("openb", "openb_node_list.csv", NODES.replace(b"T4", b""), 2, "name the GPUs"),
    "nodes of more columns than names": (
        "openb", "openb_node_list.csv", NODES.replace(b",model", b""), 2, "names 4 columns, found 5",
    ),
    "pods without requests": ("openb", "openb_pod_list.csv", b"name,num_gpu\np,1\n", None, "column cpu_milli"),
    "a pod before time began": ("openb", "openb_pod_list.csv", PODS.replace(b"Running,5,", b"Running,-5,"), 2, ">= 0"),
    "a pod list that stops short": ("openb", "openb_pod_list.csv", PODS[:-20], 3, "names 11 columns, found 5"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FATAL_ELSEWHERE)
def test_other_formats_stop_the_import_too(tmp_path: Path, kind: str) -> None:
    format_name, name, content, row, words = FATAL_ELSEWHERE[kind]
    path = tmp_path / "source" / name
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(TraceFormatError) as caught:
        import_trace(format_name, [path], tmp_path / "trace")
    assert words in str(caught.value)
    assert name in (caught.value.file or "")
    assert caught.value.row == row
    assert not (tmp_path / "trace").exists()


def test_parquet_that_lacks_a_column(tmp_path: Path) -> None:
    path = tmp_path / "instance_events.parquet"
    duckdb.sql(f"COPY (SELECT 5 AS time, 0 AS type, 7 AS collection_id) TO '{path}'")
    with pytest.raises(TraceFormatError, match="lacks the column instance_index"):
        import_trace("google2019", [path], tmp_path / "trace")


@pytest.mark.parametrize(
    ("format_name", "source", "words"),
    [
        ("google2012", ".", "unknown format 'google2012'.*google2011"),
        ("google2011", "nowhere", "no such file or folder"),
        ("google2011", "empty", "no input files"),
        ("openb", "empty", "no input files"),
    ],
)
def test_nothing_to_read(tmp_path: Path, format_name: str, source: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TraceFormatError, match=words):
        import_trace(format_name, [tmp_path / source], tmp_path / "trace")
    assert not (tmp_path / "trace").exists()


# field of row 3, its value, words of the reason
REJECTED: dict[str, tuple[int, str, str]] = {
    "a fraction for a job": (3, "8.5", "field 3 (job ID): must be a whole number, found '8.5'"),
    "an exponent for a job": (3, "6.25E+09", "must be a whole number"),
    "a hexadecimal job": (3, "0x1F", "must be a whole number"),
    "a job in words": (3, "seven", "must be a whole number"),
    "a padded job": (3, " 8", "must be a whole number"),
    "no job": (3, "", "field 3 (job ID): is mandatory, found nothing"),
    "a job beyond 64 bits": (3, "9223372036854775808", "must be a whole number"),
    "no time": (1, "", "field 1 (time): is mandatory"),
    "no event": (6, "", "field 6 (event type): is mandatory"),
    "an unknown event": (6, "9", "must be one of 0, 1, 2, 3, 4, 5, 6, 7, 8, found '9'"),
    "an unknown missing info": (2, "3", "field 2 (missing info): must be one of 0, 1, 2"),
    "an unknown class": (8, "4", "field 8 (scheduling class)"),
    "an unknown priority": (9, "12", "field 9 (priority)"),
    "a negative task index": (4, "-1", "field 4 (task index): must be >= 0"),
    "a task index beyond all": (4, "2000000000", "must be <= 1000000"),
    "a negative machine": (5, "-3", "field 5 (machine ID)"),
    "a request in words": (10, "half", "field 10 (CPU request): must be a number, found 'half'"),
    "a request that is no number": (10, "nan", "must be a number"),
    "a request without end": (11, "inf", "must be a number"),
    "a restriction of 2": (13, "2", "field 13 (different-machines restriction)"),
}


@pytest.mark.parametrize("kind", REJECTED)
def test_a_row_at_fault_is_set_aside_with_its_place_and_reason(tmp_path: Path, kind: str) -> None:
    field, value, words = REJECTED[kind]
    report, rows = rejected_rows(tmp_path, with_field(3, field, value))
    assert report.rejected == {"task_events": 1}
    assert report.rows["task_events"] == len(TASK_ROWS) - 1
    [(file, row, reason, line)] = rows
    assert (file.endswith(PART), row) == (True, 3)
    assert words in reason
    assert line.split(",")[field - 1] == value


def rejected_rows(tmp_path: Path, content: bytes) -> tuple[ImportReport, list[tuple[str, int, str, str]]]:
    source = a_source(tmp_path / "source")
    (source / PART).write_bytes(content)
    report = import_trace("google2011", [source], tmp_path / "trace")
    return report, duckdb.sql(f"FROM {open_trace(tmp_path / 'trace').scan('rejected')}").fetchall()


def test_rows_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    content = b"\n" + text(TASK_ROWS[:2]) + b"\n\n" + with_field(3, 6, "77")[len(text(TASK_ROWS[:2])) :]
    _, rows = rejected_rows(tmp_path, content)
    assert [row for _, row, _, _ in rows] == [6]
    assert content.splitlines()[5].decode() == rows[0][3]


def test_a_window_that_ends_before_it_starts_is_set_aside(tmp_path: Path) -> None:
    good = "600000000,900000000,7,0,3" + ",0.01" * 13 + ",1,0.01"
    bad = good.replace("600000000,900000000", "900000000,600000000")
    path = tmp_path / "task_usage" / "part-00000-of-00001.csv"
    path.parent.mkdir()
    path.write_bytes(text([good, good, bad]))
    report = import_trace("google2011", [path], tmp_path / "trace")
    assert (report.rows, report.rejected) == ({"usage": 2}, {"usage": 1})


def test_pods_at_fault_are_set_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "openb_pod_list.csv"
    path.write_bytes(PODS + b"p2,1000,1024,2,500,,LS,Running,5,9,6\np3,1000,1024,0,0,,LS,Running,5,9,6\n")
    report = import_trace("openb", [path], tmp_path / "trace")
    assert report.rejected == {"pods": 1}
    assert report.rows == {"attempts": 3, "task_events": 6, "tasks": 3}


def test_strict_stops_at_the_first_row_at_fault(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    (source / PART).write_bytes(with_field(3, 6, "77"))
    with pytest.raises(TraceFormatError, match=r"row 3, field 6 \(event type\).*Without --strict"):
        import_trace("google2011", [source], tmp_path / "trace", strict=True)
    assert not (tmp_path / "trace").exists()


def test_times_after_the_end_are_kept(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    (source / PART).write_bytes(text([*TASK_ROWS, f"{2**63 - 1},,7,0,3,1,alice,2,9,0.5,0.25,0.001,0"]))
    report = import_trace("google2011", [source], tmp_path / "trace")
    trace = open_trace(tmp_path / "trace")
    assert report.rejected == {}
    assert trace.meta.time_range_us == (0, 603_000_000)
    assert duckdb.sql(f"SELECT max(time_us) FROM {trace.scan('task_events')}").fetchall() == [(2**63 - 1,)]


def test_an_existing_output_is_not_touched_without_force(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    first = import_trace("google2011", [source], tmp_path / "trace")
    with pytest.raises(OutputExistsError, match="--force"):
        import_trace("google2011", [source], tmp_path / "trace")
    (source / PART).write_bytes(text(TASK_ROWS[:4]))
    second = import_trace("google2011", [source], tmp_path / "trace", force=True)
    assert first.digest != second.digest == open_trace(tmp_path / "trace").meta.digest
    assert not (tmp_path / "trace.partial").exists()


def test_force_replaces_traces_only(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").touch()
    with pytest.raises(OutputExistsError, match="not a trace"):
        import_trace("google2011", [source], tmp_path / "precious", force=True)
    assert (tmp_path / "precious" / "thesis.tex").exists()


def test_a_place_that_cannot_be_written_is_a_failed_run(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    (tmp_path / "file").touch()
    with pytest.raises(TraceError) as caught:
        import_trace("google2011", [source], tmp_path / "file" / "trace")
    assert caught.value.exit_code == 1
