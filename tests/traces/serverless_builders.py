"""Small serverless traces in their published layouts, good in every respect, to be spoilt by tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from traces.schema import open_trace

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


def read(folder: Path, table: str, columns: str = "*") -> list[Any]:
    """Rows of a table of an imported trace."""
    return duckdb.sql(f"SELECT {columns} FROM {open_trace(folder).scan(table)}").fetchall()


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


COLD_COLUMNS = (
    "day,time,clusterName,funcName,userID,requestID,totalCost_cold_start,podAllocationCost,deployCodeCost,"
    "deployDependencyCost,schedulingCost,podID"
)
CALL_COLUMNS = (
    "time_worker,time_frontend,requestID,clusterName,funcName,podID,userID,totalCost_worker,workerCost,runtimeCost,"
    "totalCost_frontend,frontendCost,busCost,readBodyCost,writeRspCost,cpu_usage,memory_usage,requestBodySize"
)
KIND_COLUMNS = "funcID,cpu_request,runtime,triggerType-invocationType"
POD = "pool22-300-128-0000000007"
FUNCTION = "11---22---pool22-300-128"


def cold_row(day: object, time: object, total: object = "0.7", parts: str = "0.1,0.2,0.3,0.1", pod: str = POD) -> str:
    return f"{day},{time},1,11,22,abc,{total},{parts},{pod}"


def cold_starts(folder: Path, region: str, day: int, rows: Iterable[str]) -> Path:
    return write(folder / "cold_start" / region / f"day_{day:02}.csv", [COLD_COLUMNS, *rows])


def per_minute(folder: Path, region: str, day: int, rows: Iterable[str], metric: str = "requests") -> Path:
    """Two functions, the second in another pool."""
    header = f"day,time,{FUNCTION},11---22---pool30-1800-2048"
    return write(folder / "quantiles" / region / metric / f"day_{day:02}.csv", [header, *rows])


def call_row(time: object, run: object = 0.25, front: object = 0.1, memory: object = 34.5, pod: str = POD) -> str:
    return f"{time},{front},abc,1,11,{pod},22,0.3,0.05,{run},{front},{front},{front},{front},{front},0.06,{memory},2.0"


def kinds(folder: Path, rows: Iterable[str]) -> Path:
    return write(folder / "runtime_triggerType" / "df_funcID_runtime_triggerType.csv", [KIND_COLUMNS, *rows])


def a_huawei_trace(folder: Path) -> Path:
    """Two days of R2 and one of R1, with calls per minute in R2, single calls of day 1 and a table of runtimes."""
    folder.mkdir(parents=True)
    (folder / "synth.json").write_text(json.dumps({"days": 2}))
    cold_starts(folder, "R2", 0, [cold_row(0, 12.5), cold_row(0, 30.25)])
    cold_starts(folder, "R2", 1, [cold_row(1, 86400.5)])
    cold_starts(folder, "R1", 0, [cold_row(0, 12.5)])
    per_minute(folder, "R2", 0, ["0,0,2.0,", "0,60,NaN,1.0", "0,120,,"])
    per_minute(folder, "R2", 1, ["1,86400,,5"])
    per_minute(folder, "R2", 0, ["0,0,0.125,"], "busCost_quantile_050")
    per_minute(folder, "R2", 1, ["1,86400,,0.5"], "busCost_quantile_050")
    write(
        folder / "per_request" / "R2" / "part_000.csv", [CALL_COLUMNS, call_row(86401.25), call_row(86402, 0.75, "NaN")]
    )
    kinds(folder, [f"{FUNCTION},100,Python3,APIG-S TIMER-A", "11---22---pool30-1800-2048,1000,http,APIG-S"])
    return folder
