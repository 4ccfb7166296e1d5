from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from traces.errors import TraceFormatError
from traces.schema import (
    EVENTS,
    GOOGLE_UNITS,
    TABLES,
    TIERS_2011,
    Meta,
    Tier,
    arrow_schema,
    open_trace,
    read_meta,
    write_meta,
)


def a_meta(**changes: object) -> Meta:
    fields: dict[str, object] = {
        "format": "google2011", "digest": "d", "units": GOOGLE_UNITS, "tiers": list(TIERS_2011),
        "time_range_us": (1, 2), "rows": {"tasks": 1}, "rejected": {}, "gaps": [],
    }  # fmt: skip
    return Meta(**(fields | changes))  # type: ignore[arg-type]


def test_meta_survives_the_disk(tmp_path: Path) -> None:
    write_meta(a_meta(), tmp_path)
    assert read_meta(tmp_path) == a_meta()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no meta.json"), ("{", "cannot be read"), ("{}", "cannot be read"), ("v9", "version 9")],
)
def test_a_folder_that_is_no_trace_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content == "v9":
        write_meta(a_meta(schema_version=9), tmp_path)
    elif content is not None:
        (tmp_path / "meta.json").write_text(content)
    with pytest.raises(TraceFormatError, match=words):
        open_trace(tmp_path)


def test_a_table_is_a_file_or_a_folder_of_parts(tmp_path: Path) -> None:
    write_meta(a_meta(), tmp_path)
    (tmp_path / "tasks.parquet").write_bytes(b"PAR1PAR1")
    (tmp_path / "task_events").mkdir()
    for part in (1, 0):
        (tmp_path / "task_events" / f"part-{part:05}.parquet").write_bytes(b"PAR1PAR1")
    trace = open_trace(tmp_path)
    assert trace.files("tasks") == [tmp_path / "tasks.parquet"]
    assert [file.name for file in trace.files("task_events")] == ["part-00000.parquet", "part-00001.parquet"]
    assert not trace.has("usage")
    with pytest.raises(TraceFormatError, match="usage"):
        trace.scan("usage")


@pytest.mark.parametrize("content", [b"", b"PAR1 and half of a table"])
def test_a_table_that_was_cut_short_is_named(tmp_path: Path, content: bytes) -> None:
    write_meta(a_meta(), tmp_path)
    (tmp_path / "attempts.parquet").write_bytes(content)
    with pytest.raises(TraceFormatError, match=r"attempts\.parquet.*cut short.*import the trace again"):
        open_trace(tmp_path).files("attempts")


def test_tiers_cover_both_ends_and_say_other_outside() -> None:
    meta = a_meta(tiers=[Tier("low", 0, 4), Tier("high", 5, 9)])
    assert [meta.tier_of(p) for p in (0, 4, 5, 9, 10)] == ["low", "low", "high", "high", "other"]


def test_every_table_has_an_arrow_schema() -> None:
    assert len(set(EVENTS)) == 11
    for table, columns in TABLES.items():
        assert arrow_schema(table).names == list(columns)


def test_the_error_says_where_what_and_how_to_cure() -> None:
    error = TraceFormatError("must be >= 0, found -1", file="a.csv", row=7, field="time", fix="Cut the row")
    assert str(error) == "a.csv, row 7, field time: must be >= 0, found -1. Cut the row"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert error.exit_code == 2
