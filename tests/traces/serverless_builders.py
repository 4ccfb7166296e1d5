"""Small serverless traces in their published layouts, good in every respect, to be spoilt by tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

AZURE_KEYS = "HashOwner,HashApp,HashFunction"
DURATION_COLUMNS = (
    f"{AZURE_KEYS},Average,Count,Minimum,Maximum,percentile_Average_0,percentile_Average_1,percentile_Average_25,"
    "percentile_Average_50,percentile_Average_75,percentile_Average_99,percentile_Average_100"
)
MEMORY_COLUMNS = (
    "HashOwner,HashApp,SampleCount,AverageAllocatedMb,AverageAllocatedMb_pct1,AverageAllocatedMb_pct5,"
    "AverageAllocatedMb_pct25,AverageAllocatedMb_pct50,AverageAllocatedMb_pct75,AverageAllocatedMb_pct95,"
    "AverageAllocatedMb_pct99,AverageAllocatedMb_pct100"
)
Counts = Mapping[int, int]  # minute of the day -> invocations


def write(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def calls_row(key: str, trigger: str, counts: Counts, minutes: Iterable[int] = range(1, 1441)) -> str:
    return f"{key},{trigger},{','.join(str(counts.get(minute, 0)) for minute in minutes)}"


def calls_header(minutes: Iterable[int] = range(1, 1441)) -> str:
    return f"{AZURE_KEYS},Trigger,{','.join(map(str, minutes))}"


def azure_calls(folder: Path, day: int, rows: Iterable[str]) -> Path:
    return write(folder / f"invocations_per_function_md.anon.d{day:02}.csv", [calls_header(), *rows])


def azure_durations(folder: Path, day: int, rows: Iterable[str]) -> Path:
    return write(folder / f"function_durations_percentiles.anon.d{day:02}.csv", [DURATION_COLUMNS, *rows])


def azure_memory(folder: Path, day: int, rows: Iterable[str]) -> Path:
    return write(folder / f"app_memory_percentiles.anon.d{day:02}.csv", [MEMORY_COLUMNS, *rows])


def duration_row(key: str, average: object, calls: object = 10, maximum: object = 900) -> str:
    return f"{key},{average},{calls},1,{maximum}{',5' * 7}"


def memory_row(key: str, mib: object, samples: object = 10) -> str:
    return f"{key},{samples},{mib}{',5' * 8}"


def an_azure_trace(folder: Path) -> Path:
    """Two days of three functions in two applications, laid out as published."""
    folder.mkdir(parents=True)
    (folder / "synth.json").write_text(json.dumps({"days": 2}))
    first = (("o,a,f", "timer", {1: 2, 1440: 1}), ("o,a,g", "http", {7: 30}), ("o,b,h", "http", {}))
    azure_calls(folder, 1, [calls_row(*row) for row in first])
    azure_calls(folder, 2, [calls_row("o,b,h", "queue", {1: 4}), calls_row("o,a,f", "timer", {1: 5})])
    azure_durations(
        folder, 1, [duration_row("o,a,f", 100, 3), duration_row("o,a,g", 20.5, 30), duration_row("o,b,h", 7, 0)]
    )
    azure_durations(folder, 2, [duration_row("o,b,h", 50, 4), duration_row("o,a,f", 300, 1, 1200.5)])
    azure_memory(folder, 1, [memory_row("o,a", 300, 30), memory_row("o,b", 64)])
    azure_memory(folder, 2, [memory_row("o,a", 100, 10), memory_row("o,b", 64)])
    return folder
