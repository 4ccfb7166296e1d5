"""The files of the release: cold_start, runtime_triggerType, quantiles/*/requests and per_request of the last day."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from traces.synth.huawei import arrivals
from traces.synth.huawei import calibration as cal
from traces.synth.huawei.components import Codes, ColdStarts, KnownRuntimes, UnknownRuntimes
from traces.synth.huawei.curves import Floats
from traces.synth.huawei.functions import Functions, draw_functions
from traces.synth.huawei.requests import calls_of_day, calls_of_pods, draw_callers
from traces.tables import from_numpy, strings

DAY_S = 86_400
MOST_PODS = 100  # of a function whose calls are recorded, as in the release
_PROBE = 200_000
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_ID_BYTES = 23  # the release's request ids are hashes; as many digits as its notebook prints


def write_release(
    folder: Path,
    *,
    days: int,
    scale: float,
    seed: int,
    like: Path | None,
    progress: Callable[[str, int, int], None] = lambda step, done, of: None,
) -> dict[str, int]:
    """Write the release into `folder`; rows per table.

    scale: share of the published cold starts and functions. like: folder with the published counts, see `arrivals`.
    """
    rows = {"cold_start": 0, "per_request": 0, "quantiles": 0, "runtime_triggerType": 0}
    for number, region in enumerate(cal.REGIONS):
        model = KnownRuntimes() if region == "R2" else UnknownRuntimes(region)
        rng = np.random.default_rng([seed, 9, number])
        functions = draw_functions(region, scale, model.draw(rng, rng.standard_normal(_PROBE)), seed)
        come = (
            arrivals.modelled(region, days, scale, seed)
            if like is None
            else arrivals.published(like, region, days, scale, seed)
        )
        callers = draw_callers(region, functions, seed)
        ids = functions.ids()
        for day in range(days):
            counts = come.counts[day * 1440 : (day + 1) * 1440]
            starts, time_s = _starts_of_day(model, come, counts, day, np.random.default_rng([seed, 10, number, day]))
            table = _cold_start_table(functions, starts, time_s, day, np.random.default_rng([seed, 11, number, day]))
            rows["cold_start"] += _write(table, folder / "cold_start" / region / f"day_{day:02}.csv")
            calls = _wide(calls_of_day(region, callers, day, seed), ids, day)
            rows["quantiles"] += _write(calls, folder / "quantiles" / region / "requests" / f"day_{day:02}.csv")
            if day == days - 1:
                last = _pod_calls(region, table, starts, time_s, days, seed)
                rows["per_request"] += _write(last, folder / "per_request" / region / "part_000.csv")
            progress("days", number * days + day + 1, len(cal.REGIONS) * days)
        if region == "R2":
            kinds = folder / "runtime_triggerType" / "df_funcID_runtime_triggerType.csv"
            rows["runtime_triggerType"] = _write(_kinds(functions, ids), kinds)
    _describe(folder, {"days": days, "scale": scale, "seed": seed, "like": like is not None})
    return rows


def _starts_of_day(
    model: KnownRuntimes | UnknownRuntimes, come: arrivals.Arrivals, counts: Codes, day: int, rng: np.random.Generator
) -> tuple[ColdStarts, Floats]:
    minute = np.repeat(np.arange(1440), counts)
    time_s = np.sort(np.round(minute * 60 + rng.random(len(minute)) * 59.999, 3)) + day * DAY_S
    return model.draw(rng, come.hour_score[day * 24 + minute // 60]), time_s


def _cold_start_table(
    functions: Functions, starts: ColdStarts, time_s: Floats, day: int, rng: np.random.Generator
) -> pa.Table:
    chosen = functions.choose(rng, starts)
    seconds = np.round(starts.seconds, 6)
    pods = rng.integers(0, 10_000_000, len(chosen))
    pool = functions.pool[chosen]
    columns = {
        "day": from_numpy(np.full(len(chosen), day)),
        "time": from_numpy(time_s),
        "clusterName": from_numpy(rng.integers(1, 5, len(chosen))),
        "funcName": from_numpy(functions.name[chosen]),
        "userID": from_numpy(functions.user[chosen]),
        "requestID": _hashes(rng, len(chosen)),
        "totalCost_cold_start": from_numpy(np.round(seconds.sum(axis=1), 6)),
        "podAllocationCost": from_numpy(seconds[:, 0]),
        "deployCodeCost": from_numpy(seconds[:, 1]),
        "deployDependencyCost": from_numpy(seconds[:, 2]),
        "schedulingCost": from_numpy(seconds[:, 3]),
        "podID": strings([f"{cal.POOLS[p]}-{n:010}" for p, n in zip(pool.tolist(), pods.tolist(), strict=True)]),
    }
    return pa.table(columns)


def _hashes(rng: np.random.Generator, count: int) -> pa.Array:
    raw = np.frombuffer(rng.bytes(count * _ID_BYTES), np.uint8).reshape(count, _ID_BYTES)
    digits = np.empty((count, 2 * _ID_BYTES), np.uint8)
    digits[:, 0::2], digits[:, 1::2] = _HEX[raw >> 4], _HEX[raw & 15]
    ends = np.arange(count + 1, dtype=np.int32) * (2 * _ID_BYTES)
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(digits.tobytes()))


def _wide(calls: NDArray[np.int64], ids: list[str], day: int) -> pa.Table:
    columns: dict[str, Any] = {
        "day": from_numpy(np.full(1440, day)),
        "time": from_numpy(np.arange(1440) * 60 + day * DAY_S),
    }
    for name, column in zip(ids, calls.T, strict=True):
        values = column.astype(np.float64)
        columns[name] = from_numpy(values, values == 0)
    return pa.table(columns)


def _pod_calls(
    region: str, table: pa.Table, starts: ColdStarts, time_s: Floats, days: int, seed: int
) -> pa.Table:
    """The calls of the pods that were started on the last day, at most MOST_PODS of a function."""
    function = np.asarray(table["funcName"])
    order = np.argsort(function, kind="stable")
    first = np.searchsorted(function[order], function[order])
    kept = np.sort(order[np.arange(len(order)) - first < MOST_PODS])
    calls = calls_of_pods(
        region, starts.runtime[kept], time_s[kept], starts.seconds[kept].sum(axis=1), days * DAY_S, seed
    )
    rng = np.random.default_rng([seed, 12, cal.REGIONS.index(region)])
    of = table.take(pa.array(kept[calls.start]))
    size = len(calls.start)
    front = np.round(rng.gamma(2.0, 0.001, (size, 4)), 6)
    worker = np.round(rng.gamma(2.0, 0.0001, size), 6)
    busy = np.round(calls.busy_s, 6)
    total = np.round(worker + busy, 6)
    columns = {
        "time_worker": from_numpy(np.round(calls.time_s, 3)),
        "time_frontend": from_numpy(np.round(calls.time_s + 0.001, 3)),
        "requestID": _hashes(rng, size),
        "clusterName": of["clusterName"],
        "funcName": of["funcName"],
        "podID": of["podID"],
        "userID": of["userID"],
        "totalCost_worker": from_numpy(total),
        "workerCost": from_numpy(worker),
        "runtimeCost": from_numpy(busy),
        "totalCost_frontend": from_numpy(np.round(total + front.sum(axis=1), 6)),
        "frontendCost": from_numpy(front[:, 0]),
        "busCost": from_numpy(front[:, 1]),
        "readBodyCost": from_numpy(front[:, 2]),
        "writeRspCost": from_numpy(front[:, 3]),
        "cpu_usage": from_numpy(np.round(rng.gamma(2.0, 0.05, size), 6)),
        "memory_usage": from_numpy(np.round(20 + rng.gamma(2.0, 10.0, size), 6)),
        "requestBodySize": from_numpy(np.rint(rng.gamma(1.0, 500.0, size))),
    }
    return pa.table(columns)


def _kinds(functions: Functions, ids: list[str]) -> pa.Table:
    limit = [int(cal.POOLS[pool].split("-")[1]) for pool in functions.pool.tolist()]
    trigger = [cal.TRIGGER_WORDS[cal.TRIGGERS[code]] for code in functions.trigger.tolist()]
    columns = {
        "funcID": strings(ids),
        "cpu_request": from_numpy(np.array([cal.CPU_REQUEST[milli] for milli in limit])),
        "runtime": strings([cal.RUNTIMES[code] for code in functions.runtime.tolist()]),
        "triggerType-invocationType": strings(trigger),
    }
    return pa.table(columns)


def _write(table: pa.Table, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # pyarrow would put the names in quotes, which the release does not
        file.write((",".join(table.column_names) + "\n").encode())
        pa_csv.write_csv(table, file, pa_csv.WriteOptions(include_header=False, quoting_style="none"))
    return int(table.num_rows)


def _describe(folder: Path, wish: dict[str, Any]) -> None:
    files = sorted(path for path in folder.rglob("*.csv"))
    sums = []
    for path in files:
        with path.open("rb") as stream:
            sums.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  ./{path.relative_to(folder)}\n")
    (folder / "SHA256SUMS").write_text("".join(sums))
    (folder / "synth.json").write_text(json.dumps({"format": "huawei2025", **wish}, indent=2) + "\n")
