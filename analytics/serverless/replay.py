"""One pass over a trace's calls for any number of policies."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.serverless import minute as minutes
from analytics.serverless.options import PolicySpec, ServerlessOptions
from analytics.serverless.results import Outcome
from analytics.serverless.stream import BATCH_ROWS, Calls, read_calls, recorded_us
from analytics.serverless.subjects import Subjects, read_subjects
from scheduler.core.serverless import get_serverless_policy
from scheduler.core.serverless.policy import (
    DECIDE_SIGNATURE,
    FACTS,
    LEARN_SIGNATURE,
    MAX_WINDOWS,
    MINUTE_US,
    compiled_callback,
    learn_nothing,
)
from traces.schema import Trace

Ints = NDArray[np.int64]
HOUR_US = 3_600_000_000

_RULES = {
    minutes.UNSORTED: "rows are sorted by start_us",
    minutes.WIDE: "a window of calls is at most a minute long",
    minutes.UNKNOWN: "a function that is called is in the table functions",
    minutes.NEGATIVE: "counts and times are at least 0",
}


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """All policies over one trace. window_us: what was replayed. cpu_s: reading and all decisions,
    compiling not counted."""

    subjects: Subjects
    outcomes: list[Outcome]
    window_us: tuple[int, int]
    cpu_s: float


@dataclass(slots=True, eq=False)
class _Running:
    """A policy in the middle of a pass."""

    spec: PolicySpec
    state: Ints
    pooled: Ints
    account: Ints
    settings: NDArray[np.float64] = field(init=False)
    cpu_s: float = 0.0

    def __post_init__(self) -> None:
        self.settings = np.asarray(self.spec.settings, np.float64)


def replay(
    trace: Trace,
    specs: Sequence[PolicySpec],
    options: ServerlessOptions,
    tick: Callable[[float], None] = lambda share: None,
) -> Pass:
    """Replay the trace's calls under each policy, reading them once; `tick` hears the share of time that is done.

    Raises InputError if there is nothing to replay or the calls break a rule of the canonical tables.
    """
    if not specs:
        raise InputError("a serverless replay needs a policy")
    _load_compiled(specs)
    began = time.process_time()
    subjects = read_subjects(trace, options)
    first, last = recorded_us(trace)
    window = (first if options.from_us is None else options.from_us, last if options.to_us is None else options.to_us)
    if window[0] >= last or window[1] <= first:
        raise InputError(f"the window {window} us holds none of the recording, which is {first} to {last} us")
    window = (window[0], min(window[1], last))
    outcomes = _replay_minutes(trace, specs, subjects, window, tick)
    return Pass(subjects, outcomes, window, time.process_time() - began)


def _replay_minutes(
    trace: Trace,
    specs: Sequence[PolicySpec],
    subjects: Subjects,
    window: tuple[int, int],
    tick: Callable[[float], None],
) -> list[Outcome]:
    versions = window[1] // HOUR_US + 2
    running = [_start(spec, len(subjects), versions) for spec in specs]
    last_minute, invocations = np.full(len(subjects), -1, np.int64), np.zeros(len(subjects), np.int64)
    activity, windows = np.zeros((BATCH_ROWS, 3), np.int64), np.zeros((MAX_WINDOWS, 2), np.int64)
    for calls in read_calls(trace, window):
        columns = (calls.start_us, calls.window_us, calls.function, calls.count)
        n, row = minutes.find_activity(columns, subjects.of_function, last_minute, invocations, activity)
        if n < 0:
            raise InputError(f"{trace.folder}: {_RULES[n]}, but not row {_describe(calls, row)} of invocations")
        for one in running:
            mark = time.process_time()
            decide, learn = callbacks_of(one.spec.name)
            minutes.replay_minutes(
                decide, learn, one.spec.policy.learn is not None, one.settings, subjects.facts, one.state, one.pooled,
                activity, n, windows, one.account,
            )  # fmt: skip
            one.cpu_s += time.process_time() - mark
        tick((int(calls.start_us[-1]) - window[0]) / (window[1] - window[0]))
    end_minute = -(-window[1] // MINUTE_US)
    for one in running:
        minutes.close_minutes(
            callbacks_of(one.spec.name)[0], one.settings, subjects.facts, one.state, one.pooled, last_minute,
            end_minute, windows, one.account,
        )  # fmt: skip
    return [
        Outcome(one.spec, subjects, invocations, one.account[:, 0], one.account[:, 1], one.account[:, 2], one.cpu_s)
        for one in running
    ]


def _load_compiled(specs: Sequence[PolicySpec]) -> None:
    """Have all loops ready, from numba's cache or compiled: a cost of the process, not of the replay."""
    none, few = np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    arrow = (np.int64, np.int64, np.int32, np.int64)
    columns = tuple(np.frombuffer(b"", kind) for kind in arrow)  # read-only like Arrow's, or it compiles again
    minutes.find_activity(columns, few, few, few, none)
    for spec in specs:
        decide, learn = callbacks_of(spec.name)
        facts = (np.zeros(0), np.zeros((0, FACTS)), none, none)
        minutes.replay_minutes(decide, learn, False, *facts, none, 0, none, none)
        minutes.close_minutes(decide, *facts, few, 0, none, none)


def _start(spec: PolicySpec, subjects: int, versions: int) -> _Running:
    policy = spec.policy
    return _Running(
        spec,
        np.zeros((subjects, policy.state_width), np.int64),
        np.zeros((versions if policy.pooled_width else 0, policy.pooled_width), np.int64),
        np.zeros((subjects, 3), np.int64),
    )


@functools.cache
def callbacks_of(name: str) -> tuple[Any, Any]:
    """A policy's decide and learn, compiled; the latter does nothing where the policy learns nothing."""
    policy = get_serverless_policy(name)
    assert policy.decide is not None, f"{name} is a cache"
    return (
        compiled_callback(policy.decide, DECIDE_SIGNATURE),
        compiled_callback(policy.learn or learn_nothing, LEARN_SIGNATURE),
    )


def _describe(calls: Calls, row: int) -> str:
    return (
        f"start_us={calls.start_us[row]} window_us={calls.window_us[row]} function={calls.function[row]} "
        f"count={calls.count[row]}"
    )
