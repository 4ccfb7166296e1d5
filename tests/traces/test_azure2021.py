"""Azure Functions 2021: every invocation with its end and duration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.traces.serverless_builders import read, write
from traces.errors import TraceFormatError
from traces.importer import import_trace

NAME = "AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt"
ROWS = ("app,func,end_timestamp,duration", "b,f,2.5,0.5", "a,f,2.25,2.25", "b,f,0.5,0.75", "a,g,3,0")


@pytest.mark.parametrize("name", [NAME, "some_rows.csv"])
def test_an_invocation_starts_at_its_end_less_its_duration(tmp_path: Path, name: str) -> None:
    source = write(tmp_path / name, ROWS)
    report = import_trace("azure2021", [source], tmp_path / "trace")
    functions = read(tmp_path / "trace", "functions", "function, app, name, duration_us, max_duration_us")
    assert functions == [(0, "a", "f", 2_250_000, 2_250_000), (1, "a", "g", 0, 0), (2, "b", "f", 625_000, 750_000)]
    calls = read(tmp_path / "trace", "invocations", "start_us, window_us, function, count, duration_us")
    assert calls == [
        (0, 0, 0, 1, 2_250_000), (0, 0, 2, 1, 750_000), (2_000_000, 0, 2, 1, 500_000), (3_000_000, 0, 1, 1, 0),
    ]  # fmt: skip
    assert report.notes == [
        "1 invocations began before the recording: they start at 0 here",
        "1 invocations have a duration of 0: kept as published",
    ]


def test_real_rows(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    report = import_trace("azure2021", [shared_data("azure_functions/2021")], tmp_path / "trace")
    assert report.rows == {"functions": 31, "invocations": 199}
    assert read(tmp_path / "trace", "invocations", "min(start_us)") == [(1491,)]  # 0.0794909 s - 0.078 s


def test_another_file_is_not_taken_for_it(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.csv", ["app,func,start,duration", "a,f,1,2"])
    with pytest.raises(TraceFormatError, match="cannot tell its table"):
        import_trace("azure2021", [source], tmp_path / "trace")
