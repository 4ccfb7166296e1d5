"""Huawei's release of 2023: wide tables per minute and per second of two data sets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.traces.serverless_builders import read, write
from traces.errors import TraceFormatError
from traces.importer import import_trace

MINUTE, SECOND, DAY = 60_000_000, 1_000_000, 86_400_000_000


def private(folder: Path, metric: str, day: int, rows: Iterable[str]) -> Path:
    return write(folder / "private_dataset" / metric / f"day_{day:03}.csv", ["day,time,0,1,10", *rows])


def test_requests_become_invocations_and_metrics_series(tmp_path: Path) -> None:
    source = tmp_path / "datasets"
    private(source, "requests_minute", 0, ["0,0,816.0,NaN,0.0", "0,60,,3.0,1.0"])
    private(source, "requests_minute", 2, ["2,172800,,,5.0"])
    private(source, "function_delay_second", 0, ["0,1,0.5,,0.0"])
    public = write(source / "public_dataset" / "requests_minute" / "day_00.csv", ["day,time,0,5092", "0,0,1.0,2.0"])
    report = import_trace("huawei2023", [source], tmp_path / "trace")
    assert read(tmp_path / "trace", "functions", "function, region, name") == [
        (0, "private", "0"), (1, "private", "1"), (2, "private", "10"), (3, "public", "0"), (4, "public", "5092"),
    ]  # fmt: skip
    assert read(tmp_path / "trace", "invocations", "start_us, window_us, function, count") == [
        (0, MINUTE, 0, 816), (0, MINUTE, 3, 1), (0, MINUTE, 4, 2), (MINUTE, MINUTE, 1, 3), (MINUTE, MINUTE, 2, 1),
        (2 * DAY, MINUTE, 2, 5),
    ]  # fmt: skip
    assert read(tmp_path / "trace", "series") == [
        (SECOND, SECOND, "private", 0, "function_delay", None, 0.5),
        (SECOND, SECOND, "private", 2, "function_delay", None, 0.0),
    ]
    gaps = {gap.table: (gap.parts, gap.missing) for gap in report.gaps}
    assert gaps["requests private/requests_minute"] == (235, ["1", "3-234"])
    assert gaps["requests public/requests_minute"] == (26, ["1-25"])
    again = import_trace("huawei2023", [public], tmp_path / "public")
    assert again.rows == {"functions": 2, "invocations": 2}


def test_requests_per_second_are_not_counted_beside_those_per_minute(tmp_path: Path) -> None:
    private(tmp_path / "both", "requests_minute", 0, ["0,0,5,,"])
    seconds = private(tmp_path / "both", "requests_second", 0, ["0,0,2,,", "0,59,3,,"])
    report = import_trace("huawei2023", [tmp_path / "both"], tmp_path / "trace")
    assert read(tmp_path / "trace", "invocations", "start_us, window_us, count") == [(0, MINUTE, 5)]
    assert any("2 rows of requests per second were left out" in note for note in report.notes)
    import_trace("huawei2023", [seconds], tmp_path / "seconds")
    assert read(tmp_path / "seconds", "invocations", "start_us, window_us, count") == [
        (0, SECOND, 2), (59 * SECOND, SECOND, 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("private_dataset/requests/day_000.csv", "METRIC_minute or METRIC_second"),
        ("private_dataset/requests_minute/000.csv", "the name must say the day"),
        ("elsewhere/requests_minute/day_000.csv", "cannot tell its table"),
    ],
)
def test_the_layout_says_what_a_file_is(tmp_path: Path, path: str, words: str) -> None:
    source = write(tmp_path / path, ["day,time,0", "0,0,1"])
    with pytest.raises(TraceFormatError, match=words):
        import_trace("huawei2023", [source], tmp_path / "trace")
