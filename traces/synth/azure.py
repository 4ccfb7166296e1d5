"""Azure Functions 2019 in its own layout: three tables a day, invocations by function and minute.

A function has one rate for all days, drawn from the published ones; a timer fires at fixed minutes, the rest follow the
platform's hours and days at random, event and queue triggers in bursts. Every row is whole: what is not invoked on a
day is not in that day's table, as published. Only summaries of the trace stand here (shares, quantiles, profiles).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from traces.tables import from_numpy, strings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MINUTES: Final = 1440
MEMORY_DAYS: Final = 12  # the release has no memory table for the last two days
LEVELS: Final = (0.0, 0.01, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
# [M] Calls a day of an app, over 17,577 apps that make nearly all calls. [C] The last, so that the mean comes out: the
# busiest app has 127 million, but few have so many as a straight line to it would say.
CALLS_PER_DAY: Final = (1, 1, 1, 2, 15, 96, 288, 374, 1415, 8573, 35948, 493984, 8533448, 28000000)
# [C] So many functions follow that curve that the platform's mean of 619,832 calls a minute comes out; the others are
# called once to a hundred times a day.
BUSY_SHARE: Final = 0.345
SELDOM: Final = (1.0, 100.0)
# [M] The platform's calls by hour and by day over the mean, days 1 to 14.
HOUR: Final = (0.936, 0.919, 0.918, 0.914, 0.913, 0.947, 0.973, 1.007, 1.001, 1.006, 1.007, 1.010,
               1.045, 1.088, 1.088, 1.071, 1.050, 1.071, 1.079, 1.035, 1.011, 0.999, 0.973, 0.940)  # fmt: skip
DAY: Final = (1.019, 1.031, 1.034, 1.058, 1.027, 0.935, 0.906, 0.965, 0.969, 0.975, 0.995, 0.993, 1.041, 1.050)
# [M] From a representative sample of 500 functions: triggers, mean execution in ms, longest over mean, MB per app.
TRIGGERS: Final = ("timer", "http", "queue", "orchestration", "event", "storage", "others")
TRIGGER_SHARE: Final = (0.494, 0.278, 0.138, 0.050, 0.028, 0.010, 0.002)
DURATION_MS: Final = (0.5, 1, 3, 21, 100, 271, 567, 1027, 2655, 12079, 27693, 115465, 300287, 300504)
LONGEST: Final = (1, 1, 1, 1.05, 1.85, 3, 4.87, 8, 17.8, 60.8, 150, 693, 2000, 5000)
MEMORY_MB: Final = (1.6, 2.3, 5.6, 9.1, 23.9, 39.7, 57.5, 82.6, 125, 183, 199, 249, 378, 405)
PERIODS_MIN: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 360, 720, 1440)
FULL_HOURS: Final = 0.6  # [C] share of timers that fire at the full hour, half, ...
BURST: Final = 0.3  # [C] shape of the gamma that makes minutes of queue, event and storage triggers uneven
FUNCTIONS_PER_APP: Final = 0.6  # [C] chance that an app is over with a function
_CHUNK = 5_000
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99, 100)


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """One row per function. owner, app, name: 64 hex digits. rate: calls a minute. period_min: of timers, else 0."""

    owner: list[str]
    app: list[str]
    name: list[str]
    trigger: Ints
    rate: Floats
    period_min: Ints
    phase_min: Ints
    duration_ms: Floats
    longest_ms: Floats
    memory_mb: Floats


def write_azure(
    folder: Path, functions: int, days: int, seed: int, progress: Callable[[str, int, int], None]
) -> dict[str, int]:
    """Write the tables of `days` days, SHA256SUMS and synth.json; rows per table."""
    people = draw_population(functions, seed)
    rows = {"invocations_per_function": 0, "function_durations_percentiles": 0, "app_memory_percentiles": 0}
    for day in range(days):
        called = _write_invocations(folder, people, day, seed)
        tables = {"function_durations_percentiles": _durations(people, called)}
        if day < MEMORY_DAYS:
            tables["app_memory_percentiles"] = _memory(people, called, day, seed)
        for name, table in tables.items():
            _write(table, folder / f"{name}.anon.d{day + 1:02}.csv")
            rows[name] += table.num_rows
        rows["invocations_per_function"] += int((called > 0).sum())
        progress("days", day + 1, days)
    sums = []
    for path in sorted(folder.glob("*.csv")):
        with path.open("rb") as stream:
            sums.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  ./{path.name}\n")
    (folder / "SHA256SUMS").write_text("".join(sums))
    wish = {"format": "azure2019", "functions": functions, "days": days, "seed": seed}
    (folder / "synth.json").write_text(json.dumps(wish, indent=2) + "\n")
    return rows


def draw_population(functions: int, seed: int) -> Population:
    """Functions with what stays the same over the days."""
    rng = np.random.default_rng([seed, 20])
    app = np.concatenate([[0], np.cumsum(rng.random(functions - 1) < FUNCTIONS_PER_APP)])
    owner = (app * 0.9).astype(np.int64)  # nine owners have ten apps between them
    trigger = rng.choice(len(TRIGGERS), functions, p=np.array(TRIGGER_SHARE) / sum(TRIGGER_SHARE))
    seldom = np.exp(rng.uniform(np.log(SELDOM[0]), np.log(SELDOM[1]), functions))
    calls = np.where(rng.random(functions) < BUSY_SHARE, _at(CALLS_PER_DAY, rng.random(functions)), seldom)
    is_timer = trigger == TRIGGERS.index("timer")
    nearest = np.abs(np.log(np.array(PERIODS_MIN)[None, :] * calls[:, None] / MINUTES)).argmin(axis=1)
    period = np.where(is_timer, np.array(PERIODS_MIN)[nearest], 0)
    phase = np.where(rng.random(functions) < FULL_HOURS, 0, rng.integers(0, MINUTES, functions))
    duration = _at(DURATION_MS, rng.random(functions))
    return Population(
        owner=[_hash(seed, "owner", number) for number in owner.tolist()],
        app=[_hash(seed, "app", number) for number in app.tolist()],
        name=[_hash(seed, "function", number) for number in range(functions)],
        trigger=trigger, rate=calls / MINUTES, period_min=period, phase_min=phase % np.maximum(period, 1),
        duration_ms=duration, longest_ms=duration * _at(LONGEST, rng.random(functions)),
        memory_mb=_at(MEMORY_MB, rng.random(int(app[-1]) + 1))[app],
    )  # fmt: skip


def calls_of(people: Population, rows: Ints, day: int, seed: int) -> Ints:
    """(rows, 1440) calls of these functions on a day (0 the first); a chunk of rows does not depend on the others."""
    rng = np.random.default_rng([seed, 21, day, int(rows[0])])
    minute = np.arange(MINUTES)
    load = np.array(HOUR)[minute // 60] * DAY[day % len(DAY)]
    mean = people.rate[rows, None] * load[None, :]
    bursty = np.isin(people.trigger[rows], [TRIGGERS.index(name) for name in ("queue", "event", "storage")])
    mean[bursty] *= rng.gamma(BURST, 1 / BURST, (int(bursty.sum()), MINUTES))
    calls = rng.poisson(mean)
    for row in np.flatnonzero(people.period_min[rows]).tolist():
        period = int(people.period_min[rows[row]])
        fires = (day * MINUTES + minute - people.phase_min[rows[row]]) % period == 0
        calls[row] = np.where(fires, max(1, round(people.rate[rows[row]] * period)), 0)
    return np.asarray(calls)


def _write_invocations(folder: Path, people: Population, day: int, seed: int) -> Ints:
    """The day's wide table; gives the calls of every function."""
    total = np.zeros(len(people.name), np.int64)
    path = folder / f"invocations_per_function_md.anon.d{day + 1:02}.csv"
    with path.open("wb") as file:
        names = ["HashOwner", "HashApp", "HashFunction", "Trigger", *map(str, range(1, MINUTES + 1))]
        file.write((",".join(names) + "\n").encode())
        for start in range(0, len(people.name), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(people.name)))
            calls = calls_of(people, rows, day, seed)
            total[rows] = calls.sum(axis=1)
            kept = np.flatnonzero(total[rows])
            columns = [
                strings([texts[row] for row in rows[kept].tolist()]) for texts in (people.owner, people.app,
                people.name)
            ]
            columns.append(strings([TRIGGERS[code] for code in people.trigger[rows[kept]].tolist()]))
            columns += [from_numpy(np.ascontiguousarray(calls[kept, minute])) for minute in range(MINUTES)]
            _append(pa.table(columns, names=names), file)
    return total


def _durations(people: Population, called: Ints) -> pa.Table:
    rows = np.flatnonzero(called)
    mean, longest = np.rint(people.duration_ms[rows]), np.rint(people.longest_ms[rows])
    steps = {"0": 0.3, "1": 0.4, "25": 0.7, "50": 0.95, "75": 1.2, "99": 2.5}
    columns = {
        **_ids(people, rows),
        "Average": from_numpy(mean),
        "Count": from_numpy(called[rows]),
        "Minimum": from_numpy(np.floor(0.2 * mean)),
        "Maximum": from_numpy(np.maximum(longest, mean)),
        **{
            f"percentile_Average_{share}": from_numpy(np.minimum(np.rint(mean * factor), longest))
            for share, factor in steps.items()
        },
        "percentile_Average_100": from_numpy(np.maximum(longest, mean)),
    }
    return pa.table(columns)


def _memory(people: Population, called: Ints, day: int, seed: int) -> pa.Table:
    """One row per app that was called, in the order of the apps."""
    rng = np.random.default_rng([seed, 22, day])
    rows = np.flatnonzero(called)
    first = rows[np.unique([people.app[row] for row in rows.tolist()], return_index=True)[1]]
    rows = np.sort(first)
    mean = np.round(people.memory_mb[rows] * rng.normal(1, 0.02, len(rows)).clip(0.9, 1.1), 2)
    spread = (0.90, 0.93, 0.97, 1.0, 1.03, 1.08, 1.12, 1.3)
    columns = {
        "HashOwner": strings([people.owner[row] for row in rows.tolist()]),
        "HashApp": strings([people.app[row] for row in rows.tolist()]),
        "SampleCount": from_numpy(rng.integers(1, 50_000, len(rows))),
        "AverageAllocatedMb": from_numpy(mean),
        **{
            f"AverageAllocatedMb_pct{share}": from_numpy(np.round(mean * factor, 2))
            for share, factor in zip(_PERCENTILES, spread, strict=True)
        },
    }
    return pa.table(columns)


def _ids(people: Population, rows: Ints) -> dict[str, pa.Array]:
    texts = {"HashOwner": people.owner, "HashApp": people.app, "HashFunction": people.name}
    return {name: strings([text[row] for row in rows.tolist()]) for name, text in texts.items()}


def _write(table: pa.Table, path: Path) -> None:
    with path.open("wb") as file:
        file.write((",".join(table.column_names) + "\n").encode())
        _append(table, file)


def _append(table: pa.Table, file: object) -> None:
    pa_csv.write_csv(table, file, pa_csv.WriteOptions(include_header=False, quoting_style="none"))


def _at(curve: tuple[float, ...], share: Floats) -> Floats:
    """The curve's quantiles at these shares, log-linear between LEVELS."""
    return np.asarray(np.exp(np.interp(share, LEVELS, np.log(curve))))


def _hash(seed: int, kind: str, number: int) -> str:
    return hashlib.sha256(f"{seed} {kind} {number}".encode()).hexdigest()
