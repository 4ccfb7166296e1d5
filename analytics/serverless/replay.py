"""One pass over a trace's calls for any number of policies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.serverless import events, minute
from analytics.serverless.drivers import Driver, new_driver
from analytics.serverless.options import PolicySpec, ServerlessOptions
from analytics.serverless.results import Outcome
from analytics.serverless.stream import BATCH_ROWS, Calls, find_recording, read_calls
from analytics.serverless.subjects import Subjects, no_subjects, read_subjects
from traces.schema import Trace

Ints = NDArray[np.int64]
Tick = Callable[[float], None]

_RULES = {
    minute.UNSORTED: "rows are sorted by start_us",
    minute.WIDE: "a window of calls is at most a minute long",
    minute.UNKNOWN: "a function that is called is in the table functions",
    minute.NEGATIVE: "counts and times are at least 0",
}


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """All policies over one trace. window_us: what was replayed. cpu_s: reading and all decisions, compiling not
    counted."""

    subjects: Subjects
    outcomes: list[Outcome]
    window_us: tuple[int, int]
    cpu_s: float


def replay(
    trace: Trace, specs: Sequence[PolicySpec], options: ServerlessOptions, tick: Tick = lambda share: None
) -> Pass:
    """Replay the trace's calls under each policy, reading them once; `tick` hears the share of time that is done.

    Raises InputError if there is nothing to replay or the calls break a rule of the canonical tables.
    """
    if not specs:
        raise InputError("a serverless replay needs a policy")
    _load_compiled(specs, options)
    began = time.process_time()
    subjects = read_subjects(trace, options)
    window = window_of(trace, options)
    drivers = [new_driver(spec, subjects, options.grain) for spec in specs]
    feed = _feed_minutes if options.grain == "minute" else _feed_events
    batches = read_calls(trace, window, with_duration=options.grain == "event")
    invocations, last_minute = feed(trace, batches, subjects, drivers, window, tick)
    for driver in drivers:
        driver.close(window[1], last_minute)
    outcomes = [driver.outcome(invocations) for driver in drivers]
    return Pass(subjects, outcomes, window, time.process_time() - began)


def window_of(trace: Trace, options: ServerlessOptions) -> tuple[int, int]:
    """What is replayed, [from, to) in the trace's time; InputError if nothing was recorded then."""
    recording = find_recording(trace)
    first, last = recording.start_us, recording.end_us
    window = (first if options.from_us is None else options.from_us, last if options.to_us is None else options.to_us)
    if window[0] >= last or window[1] <= first:
        raise InputError(f"the window {window} us holds none of the recording, which is {first} to {last} us")
    return window[0], min(window[1], last)


def _feed_minutes(
    trace: Trace,
    batches: Iterable[Calls],
    subjects: Subjects,
    drivers: Sequence[Driver],
    window: tuple[int, int],
    tick: Tick,
) -> tuple[Ints, Ints]:
    """(calls, minute of the last ones) per subject."""
    last_minute, last_row, invocations = (np.full(len(subjects), start, np.int64) for start in (-1, 0, 0))
    activity = np.zeros((BATCH_ROWS, 4), np.int64)
    for calls in batches:
        n, row = minute.find_activity(
            columns_of(calls), subjects.of_function, last_minute, last_row, invocations, activity
        )
        if n < 0:
            raise broken_row(trace, calls, n, row)
        for driver in drivers:
            driver.feed(activity, n)
        tick((int(calls.start_us[-1]) - window[0]) / (window[1] - window[0]))
    return invocations, last_minute


def _feed_events(
    trace: Trace,
    batches: Iterable[Calls],
    subjects: Subjects,
    drivers: Sequence[Driver],
    window: tuple[int, int],
    tick: Tick,
) -> tuple[Ints, Ints]:
    """The same, call by call. Where rows of one pod overlap, calls are put in order of time, a slice at once."""
    sorts = subjects.level == "app" or find_recording(trace).is_mixed
    invocations = np.zeros(len(subjects), np.int64)
    single = np.zeros((events.SLICE, 3), np.int64)
    for calls in batches:
        row = done = 0
        while row < len(calls.start_us):
            n, row, done = events.spread_calls(
                columns_of(calls), calls.duration_us, subjects.of_function, subjects.duration_us, row, done, single
            )
            if n < 0:
                raise broken_row(trace, calls, n, row)
            if sorts:
                single[:n] = single[np.argsort(single[:n, 0], kind="stable")]
            invocations += np.bincount(single[:n, 1], minlength=len(subjects))
            for driver in drivers:
                driver.feed(single, n)
        tick((int(calls.start_us[-1]) - window[0]) / (window[1] - window[0]))
    return invocations, np.zeros(0, np.int64)


def columns_of(calls: Calls) -> tuple[Ints, Ints, NDArray[np.int32], Ints]:
    """As the compiled loops take them."""
    return calls.start_us, calls.window_us, calls.function, calls.count


def _load_compiled(specs: Sequence[PolicySpec], options: ServerlessOptions) -> None:
    """Have all loops ready, from numba's cache or compiled: a cost of the process, not of the replay."""
    nobody, few = no_subjects(), np.zeros(0, np.int64)
    arrow = (np.int64, np.int64, np.int32, np.int64)
    columns = tuple(np.frombuffer(b"", kind) for kind in arrow)  # read-only like Arrow's, or it compiles again
    if options.grain == "minute":
        minute.find_activity(columns, few, few, few, few, np.zeros((0, 4), np.int64))
    else:
        events.spread_calls(columns, columns[0], few, few, 0, 0, np.zeros((0, 3), np.int64))
    for spec in specs:
        driver = new_driver(spec, nobody, options.grain)
        driver.feed(np.zeros((0, 4 if options.grain == "minute" else 3), np.int64), 0)
        driver.close(0, few)


def broken_row(trace: Trace, calls: Calls, rule: int, row: int) -> InputError:
    """What to say of a row of calls that breaks a rule."""
    return InputError(
        f"{trace.folder}: {_RULES[rule]}, but not row start_us={calls.start_us[row]} window_us={calls.window_us[row]} "
        f"function={calls.function[row]} count={calls.count[row]} of invocations"
    )
