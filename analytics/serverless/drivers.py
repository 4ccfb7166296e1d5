"""A policy in the middle of a pass: what it remembers, and the loop that applies it to the next calls."""

from __future__ import annotations

import functools
import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.serverless import cache, events, minute
from analytics.serverless.options import Grain, PolicySpec
from analytics.serverless.results import Outcome
from analytics.serverless.subjects import Subjects
from scheduler.core.serverless import get_serverless_policy
from scheduler.core.serverless.policy import (
    DECIDE_SIGNATURE,
    LEARN_SIGNATURE,
    MAX_WINDOWS,
    MINUTE_US,
    PRIORITY_SIGNATURE,
    compiled_callback,
    learn_nothing,
)

Ints = NDArray[np.int64]


class Driver(ABC):
    """One policy over the subjects of a trace. account: (S, 3) cold starts, idle us paid, pods loaded ahead."""

    def __init__(self, spec: PolicySpec, subjects: Subjects) -> None:
        self.spec, self.subjects = spec, subjects
        self.settings = np.asarray(spec.settings, np.float64)
        self.account = np.zeros((len(subjects), 3), np.int64)
        self.cpu_s = 0.0

    def feed(self, rows: Ints, n: int) -> None:
        """Apply the policy to the first `n` rows, and count the time it took."""
        mark = time.process_time()
        self._apply(rows, n)
        self.cpu_s += time.process_time() - mark

    @abstractmethod
    def _apply(self, rows: Ints, n: int) -> None: ...

    @abstractmethod
    def close(self, end_us: int, last_minute: Ints) -> None:
        """Pay for what stays until the recording ends. last_minute: (S,) of each subject's calls, at minute grain."""

    def outcome(self, invocations: Ints) -> Outcome:
        cold_starts, idle_us, loads = (self.account[:, column].copy() for column in range(3))
        return Outcome(self.spec, self.subjects, invocations, cold_starts, idle_us, loads, self.cpu_s)


class _WindowDriver(Driver):
    """A policy that names windows of idle time."""

    def __init__(self, spec: PolicySpec, subjects: Subjects) -> None:
        super().__init__(spec, subjects)
        self.decide, self.learn = callbacks_of(spec.name)
        self.learns = spec.policy.learn is not None
        self.state = np.zeros((len(subjects), spec.policy.state_width), np.int64)
        self.windows = np.zeros((MAX_WINDOWS, 2), np.int64)


class MinuteDriver(_WindowDriver):
    """Per minute: rows are those of `minute.find_activity`."""

    def _apply(self, rows: Ints, n: int) -> None:
        minute.replay_minutes(
            self.decide, self.learn, self.learns, self.settings, self.subjects.facts, self.state, rows, n,
            self.windows, self.account,
        )  # fmt: skip

    def close(self, end_us: int, last_minute: Ints) -> None:
        if self.spec.policy.clairvoyant:
            return  # it knows that no call comes any more
        end_minute = -(-end_us // MINUTE_US)
        minute.close_minutes(
            self.decide, self.settings, self.subjects.facts, self.state, last_minute, end_minute, self.windows,
            self.account,
        )  # fmt: skip


class CacheDriver(Driver):
    """A cache, per minute."""

    def __init__(self, spec: PolicySpec, subjects: Subjects) -> None:
        super().__init__(spec, subjects)
        self.priority = priority_of(spec.name)
        self.cache = cache.new_cache(len(subjects))

    def _apply(self, rows: Ints, n: int) -> None:
        cache.replay_cache(self.priority, self.settings, self.subjects.facts, self.cache, rows, n, self.account)

    def close(self, end_us: int, last_minute: Ints) -> None:
        cache.close_cache(self.cache, -(-end_us // MINUTE_US), self.account)


class EventDriver(_WindowDriver):
    """Call by call: rows are those of `events.spread_calls`."""

    def __init__(self, spec: PolicySpec, subjects: Subjects) -> None:
        super().__init__(spec, subjects)
        self.pods = events.new_pods(len(subjects), int(subjects.concurrency.max(initial=1)))

    def _apply(self, rows: Ints, n: int) -> None:
        self.pods = events.grow_pods(self.pods, n)
        events.replay_events(
            self.decide, self.learn, self.learns, self.settings, self.subjects.facts, self.state, rows, n,
            self.subjects.concurrency, self.pods, self.windows, self.account,
        )  # fmt: skip

    def close(self, end_us: int, last_minute: Ints) -> None:
        events.close_events(
            self.decide, self.settings, self.subjects.facts, self.state, end_us, self.pods, self.windows, self.account
        )


def new_driver(spec: PolicySpec, subjects: Subjects, grain: Grain) -> Driver:
    """The driver of a policy; InputError where it cannot be replayed at this grain."""
    policy = spec.policy
    if grain == "minute":
        return CacheDriver(spec, subjects) if policy.priority is not None else MinuteDriver(spec, subjects)
    if policy.priority is not None or policy.clairvoyant:
        kind = "an oracle" if policy.clairvoyant else "a cache"
        raise InputError(f"{spec.name} is {kind}, which is replayed per minute: use --grain minute")
    return EventDriver(spec, subjects)


@functools.cache
def callbacks_of(name: str) -> tuple[Any, Any]:
    """A policy's decide and learn, compiled; the latter does nothing where the policy learns nothing."""
    policy = get_serverless_policy(name)
    assert policy.decide is not None, f"{name} is a cache"
    return (
        compiled_callback(policy.decide, DECIDE_SIGNATURE),
        compiled_callback(policy.learn or learn_nothing, LEARN_SIGNATURE),
    )


@functools.cache
def priority_of(name: str) -> Any:
    """A cache's priority, compiled."""
    policy = get_serverless_policy(name)
    assert policy.priority is not None, f"{name} is not a cache"
    return compiled_callback(policy.priority, PRIORITY_SIGNATURE)
