"""The per-minute replay of a cache: pods of all subjects share a memory, and go when it runs short.

A subject has one pod. Who is called in this minute cannot be evicted in it; where all that is left is busy, the pod is
loaded over the limit. Evictions happen at the start of a minute, so the minutes before it are paid.

The heap holds one entry per cached subject, with the priority it had when it was put there. Priorities only rise, so an
entry that comes up with an outdated one goes back with the true one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from analytics.serverless.minute import MORE
from scheduler.core.serverless.policy import MEMORY_GIB, MINUTE_US

HEAP, ASIDE, MINUTE = 0, 1, 2  # positions in Cache.at


class Cache(NamedTuple):
    """The state of one cache over S subjects."""

    at: Any  # (3,) int64: entries of the heap, entries set aside, the minute they were set aside in
    level: Any  # (2,) float64: the clock, GiB in use
    is_cached: Any  # (S,) bool
    last: Any  # (S,) minute of the last calls
    calls: Any  # (S,) since the pod was loaded
    priority: Any  # (S,)
    key: Any  # (S,) heap of priorities, with `subject` beside it
    subject: Any
    aside: Any  # (S,) subjects that came up while they were busy


def new_cache(subjects: int) -> Cache:
    whole, real = (np.zeros(subjects, np.int64) for _ in range(4)), (np.zeros(subjects) for _ in range(2))
    last, calls, subject, aside = whole
    priority, key = real
    return Cache(
        np.zeros(3, np.int64), np.zeros(2), np.zeros(subjects, np.bool_), last, calls, priority, key, subject, aside
    )


@njit(cache=True)
def replay_cache(priority: Any, settings: Any, facts: Any, cache: Cache, activity: Any, n: int, account: Any) -> None:
    """Apply a cache to the first `n` rows of activity; `account` as in `minute.replay_minutes`."""
    at, level = cache.at, cache.level
    limit_gib = settings[0] / 1024.0
    for k in range(n):
        s, minute, idle = activity[k, 0], activity[k, 1], activity[k, 2]
        if minute != at[MINUTE]:
            for i in range(at[ASIDE]):
                _push(cache, cache.priority[cache.aside[i]], cache.aside[i])
            at[ASIDE], at[MINUTE] = 0, minute
        if cache.is_cached[s]:
            account[s, 1] += max(idle, 0) * MINUTE_US
        elif idle != MORE:
            account[s, 0] += 1
            _make_room(cache, limit_gib - facts[s, MEMORY_GIB], minute, facts, account)
            cache.is_cached[s], cache.calls[s] = True, 0
            level[1] += facts[s, MEMORY_GIB]
        is_new = cache.calls[s] == 0
        cache.calls[s] += activity[k, 3]
        cache.last[s] = minute
        cache.priority[s] = priority(settings, facts, s, level[0], cache.calls[s])
        if is_new:
            _push(cache, cache.priority[s], s)


@njit(cache=True)
def close_cache(cache: Cache, end_minute: int, account: Any) -> None:
    """What is cached stays until the recording ends."""
    for s in range(cache.last.shape[0]):
        if cache.is_cached[s]:
            account[s, 1] += max(end_minute - cache.last[s] - 1, 0) * MINUTE_US


@njit(cache=True)
def _make_room(cache: Cache, room_gib: float, minute: int, facts: Any, account: Any) -> None:
    """Evict until what is in use is at most `room_gib`, or only busy pods are left."""
    at, level = cache.at, cache.level
    while level[1] > room_gib and at[HEAP] > 0:
        key, s = _pop(cache)
        if cache.priority[s] > key:
            _push(cache, cache.priority[s], s)
        elif cache.last[s] == minute:
            cache.aside[at[ASIDE]] = s
            at[ASIDE] += 1
        else:
            cache.is_cached[s] = False
            level[0] = max(level[0], key)
            level[1] -= facts[s, MEMORY_GIB]
            account[s, 1] += (minute - cache.last[s] - 1) * MINUTE_US


@njit(cache=True)
def _is_before(cache: Cache, i: int, j: int) -> bool:
    key, subject = cache.key, cache.subject
    return key[i] < key[j] or (key[i] == key[j] and subject[i] < subject[j])


@njit(cache=True)
def _swap(cache: Cache, i: int, j: int) -> None:
    key, subject = cache.key, cache.subject
    key[i], key[j] = key[j], key[i]
    subject[i], subject[j] = subject[j], subject[i]


@njit(cache=True)
def _push(cache: Cache, key: float, s: int) -> None:
    i = cache.at[HEAP]
    cache.at[HEAP] += 1
    cache.key[i], cache.subject[i] = key, s
    while i > 0 and _is_before(cache, i, (i - 1) // 2):
        _swap(cache, i, (i - 1) // 2)
        i = (i - 1) // 2


@njit(cache=True)
def _pop(cache: Cache) -> tuple[float, int]:
    key, s = cache.key[0], cache.subject[0]
    cache.at[HEAP] -= 1
    n, i = cache.at[HEAP], 0
    cache.key[0], cache.subject[0] = cache.key[n], cache.subject[n]
    while True:
        child = 2 * i + 1
        if child >= n:
            return key, s
        if child + 1 < n and _is_before(cache, child + 1, child):
            child += 1
        if not _is_before(cache, child, i):
            return key, s
        _swap(cache, i, child)
        i = child
