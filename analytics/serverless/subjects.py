"""What is loaded as one: a function, or an application with all its functions.

Memory is the trace's measured mean per pod; an application has the sum of its functions'. What the trace does not say
is filled in and counted: memory by the median of the others, a cold start by `cold_start_us`. How long a cold start
takes is, in this order: the mean of the function's rows in `cold_starts`; FaasCache's estimate, longest less mean
execution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.serverless.options import COMPONENTS, Level, ServerlessOptions
from scheduler.core.serverless.policy import COLD_US, FACTS, MEMORY_GIB, TRIGGER, TRIGGERS, trigger_group
from traces.schema import Trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_COLUMNS = (
    "function", "name", "app", "owner", "region", "trigger", "limit_mib", "memory_mib", "duration_us",
    "max_duration_us", "concurrency",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Subjects:
    """Subjects as columns; row s of every array is the same one, sorted by its first function's number.

    name: (S,) unique. of_function: (N,), the subject of each function number, -1 where it is left out or unknown.
    facts: (S, F), see `scheduler.core.serverless.policy`. duration_us: (N,) mean execution of each function.
    concurrency: (S,). notes: what was filled in, for people.
    """

    level: Level
    name: list[str]
    of_function: Ints
    facts: Floats
    duration_us: Ints
    concurrency: Ints
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.name)

    @property
    def memory_gib(self) -> Floats:
        return self.facts[:, MEMORY_GIB]

    @property
    def cold_s(self) -> Floats:
        return self.facts[:, COLD_US] / 1e6


def no_subjects() -> Subjects:
    """A table without rows."""
    none = np.zeros(0, np.int64)
    return Subjects("function", [], none, np.zeros((0, FACTS)), none, none, ())


def read_subjects(trace: Trace, options: ServerlessOptions) -> Subjects:
    """The subjects of a trace at this level; InputError if it has no functions, or none in these regions."""
    files = trace.files("functions")
    if not files:
        raise InputError(f"{trace.folder} has no table functions: a serverless replay needs functions and invocations")
    table = pa.concat_tables([pq.ParquetFile(file).read(list(_COLUMNS)) for file in files])
    columns = {name: table[name].to_pylist() for name in _COLUMNS}
    kept = [n for n, region in enumerate(columns["region"]) if not options.regions or region in options.regions]
    if not kept:
        raise InputError(f"no function is in {', '.join(options.regions) or 'the trace'}: functions name their region")
    function = np.asarray(columns["function"], np.int64)
    notes: list[str] = []
    memory_mib = _memory(columns, notes)
    cold_us = _cold_start(trace, options, function, columns, notes)
    subject, first = _group(columns, kept, options.level)
    of_function = np.full(int(function.max()) + 1, -1, np.int64)
    of_function[function[kept]] = subject
    duration_us = np.zeros(len(of_function), np.int64)
    duration_us[function] = [value or 0 for value in columns["duration_us"]]
    facts = np.zeros((len(first), FACTS))
    np.add.at(facts[:, MEMORY_GIB], subject, memory_mib[kept] / 1024)
    np.maximum.at(facts[:, COLD_US], subject, cold_us[kept])
    facts[:, TRIGGER] = _trigger(columns["trigger"], kept, subject, len(first))
    concurrency = np.array([options.concurrency or columns["concurrency"][n] or 1 for n in first], np.int64)
    names = [_name(columns, n, options.level) for n in first]
    return Subjects(options.level, names, of_function, facts, duration_us, concurrency, tuple(notes))


def _group(columns: dict[str, list[object]], kept: list[int], level: Level) -> tuple[Ints, list[int]]:
    """(subject of each kept row, first row of each subject)."""
    first: dict[object, int] = {}
    numbers: list[int] = []
    rows: list[int] = []
    for n in kept:
        is_alone = level == "function" or columns["app"][n] is None
        key = n if is_alone else (columns["region"][n], columns["owner"][n], columns["app"][n])
        if key not in first:
            first[key] = len(rows)
            rows.append(n)
        numbers.append(first[key])
    return np.asarray(numbers, np.int64), rows


def _name(columns: dict[str, list[object]], n: int, level: Level) -> str:
    parts = ["region", "owner", "app", "name"] if level == "function" or columns["app"][n] is None else [
        "region", "owner", "app"
    ]  # fmt: skip
    return "/".join(str(columns[part][n]) for part in parts if columns[part][n] is not None)


def _memory(columns: dict[str, list[object]], notes: list[str]) -> Floats:
    stated = [a if a is not None else b for a, b in zip(columns["memory_mib"], columns["limit_mib"], strict=True)]
    memory = np.array([np.nan if value is None else value for value in stated], np.float64)
    unknown = np.isnan(memory)
    if unknown.any():
        filler = float(np.median(memory[~unknown])) if not unknown.all() else 128.0
        memory[unknown] = filler
        notes.append(f"memory of {unknown.sum():,} functions is not in the trace: {filler:.4g} MiB assumed")
    return memory


def _cold_start(
    trace: Trace, options: ServerlessOptions, function: Ints, columns: dict[str, list[object]], notes: list[str]
) -> Floats:
    longest = [np.nan if value is None else value for value in columns["max_duration_us"]]
    mean = [np.nan if value is None else value for value in columns["duration_us"]]
    cold = np.maximum(np.array(longest, np.float64) - np.array(mean, np.float64), 0.0)
    is_estimated = ~np.isnan(cold)
    if trace.has("cold_starts"):
        measured = _measured(trace, options)
        known = np.isin(function, measured[0])
        cold[known] = measured[1][np.searchsorted(measured[0], function[known])]
        is_estimated &= ~known
        notes.append(f"cold start of {known.sum():,} functions measured: mean of their rows in cold_starts")
    elif set(options.speed_ups) & set(COMPONENTS):
        raise InputError("the trace has no table cold_starts, so its components are not known: speed up total instead")
    if estimated := int(is_estimated.sum()):
        notes.append(f"cold start of {estimated:,} functions estimated: longest less mean execution, as FaasCache does")
    if unknown := int(np.isnan(cold).sum()):
        cold[np.isnan(cold)] = options.cold_start_us
        notes.append(
            f"cold start of {unknown:,} functions is not in the trace: {options.cold_start_us / 1e6:g} s assumed"
        )
    return np.round(cold / options.speed_ups.get("total", 1.0))


def _measured(trace: Trace, options: ServerlessOptions) -> tuple[Ints, Floats]:
    """(function, mean cold start in us) of the functions with rows in cold_starts, its components sped up."""
    import duckdb

    saved = " - ".join(
        ["total_us", *(f"coalesce({name}_us, 0) * ?" for name in COMPONENTS if name in options.speed_ups)]
    )
    shares = [1 - 1 / options.speed_ups[name] for name in COMPONENTS if name in options.speed_ups]
    rows = duckdb.execute(
        f"SELECT function, avg({saved}) AS cold FROM {trace.scan('cold_starts')} GROUP BY function ORDER BY function",
        shares,
    ).fetchnumpy()
    return np.asarray(rows["function"], np.int64), np.asarray(rows["cold"], np.float64)


def _trigger(triggers: list[str | None], kept: list[int], subject: Ints, subjects: int) -> Floats:
    """The trigger group of each subject; "others" where its functions differ."""
    found = np.full(subjects, -1.0)
    for n, s in zip(kept, subject.tolist(), strict=True):
        group = trigger_group(triggers[n])
        found[s] = group if found[s] in (-1, group) else TRIGGERS.index("others")
    return found
