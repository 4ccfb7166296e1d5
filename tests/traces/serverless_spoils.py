"""Ways to spoil the small serverless traces, and the rows and file names that tests spoil them with."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

from tests.traces.serverless_builders import (
    a_huawei_trace,
    an_azure_trace,
    calls_row,
    cold_row,
    duration_row,
    memory_row,
)

Spoil = Callable[[Path], object]
CALLS = "invocations_per_function_md.anon.d01.csv"
TIMES = "function_durations_percentiles.anon.d01.csv"
SIZES = "app_memory_percentiles.anon.d01.csv"
COLD = "cold_start/R2/day_00.csv"
PER_MINUTE = "quantiles/R2/requests/day_00.csv"
REQUESTS = "per_request/R2/part_000.csv"
KINDS = "runtime_triggerType/df_funcID_runtime_triggerType.csv"


GOOD = [calls_row("o,a,f", "timer", {1: 2}), calls_row("o,a,g", "http", {7: 30})]
COLD_ROWS = [cold_row(0, 1), cold_row(0, 2)]
TIMED = [duration_row("o,a,f", 5), duration_row("o,a,g", 5)]
SIZED = [memory_row("o,a", 5), memory_row("o,b", 5)]


def a_source(format_name: str, folder: Path) -> Path:
    return an_azure_trace(folder) if format_name == "azure2019" else a_huawei_trace(folder)


def edit(name: str, change: Callable[[str], str]) -> Spoil:
    """Change the text of a file of the source."""

    def spoil(source: Path) -> None:
        (source / name).write_text(change((source / name).read_text()))

    return spoil


def replace(name: str, old: str, new: str) -> Spoil:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit(name, change)


def zipped(name: str, change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(source: Path) -> None:
        content = change(gzip.compress((source / name).read_bytes() * 50, mtime=0))
        (source / name).unlink()
        (source / f"{name}.gz").write_bytes(content)

    return spoil


def drop(*names: str) -> Spoil:
    def spoil(source: Path) -> None:
        for name in names:
            (source / name).unlink()

    return spoil


def put(name: str, content: str) -> Spoil:
    def spoil(source: Path) -> None:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content)

    return spoil


def more(path: Callable[..., Path], *where: object, rows: list[str]) -> Spoil:
    """Write a file anew, of good rows and bad ones."""
    return lambda source: path(source, *where, rows)
