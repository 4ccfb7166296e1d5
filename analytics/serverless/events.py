"""The event-level replay: every call, the pods of its subject, and how many calls each of them serves at once.

A call goes to the pod that was busy last among those that are ready and have a place; where there is none, a new pod is
loaded, and the call waits for it for as long as a cold start takes. A pod that falls idle follows the first window of
its policy, if that begins at once. When all pods are idle, the one that stopped last follows all windows.

Calls counted per minute are spread over it as FaasCache does: one at its start, several at equal distances.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from analytics.serverless.minute import FIRST, NEGATIVE, UNKNOWN, UNSORTED
from analytics.serverless.windows import settle_windows
from scheduler.core.serverless.policy import COLD_US

SLICE = 1 << 18  # calls that are spread out at a time
FREE, USED = 0, 1  # positions in Pods.at
NEVER_US = 1 << 60
NONE = -1


class Pods(NamedTuple):
    """Pods of all subjects. A subject has two chains: of busy pods, and of idle ones, those that stopped last first.

    An idle pod whose time is over may stand in its chain until somebody looks for a pod, and is paid then.
    """

    at: Any  # (2,) int64: first pod to use again, pods ever used
    busy: Any  # (S,) first of the chain; a pod moves to the other at the first call after it fell idle
    idle: Any  # (S,)
    next: Any  # (P,) in its chain; pods that ended are chained from `at[FREE]`
    last_us: Any  # (P,) when its last call ends or ended
    until_us: Any  # (P,) of an idle pod: how long it stays if nobody calls
    ready_us: Any  # (P,) when it was loaded
    place_us: Any  # (P, C) when each of its places is free
    idle_from_us: Any  # (S,) when the last call of the subject ends or ended, -1 = never called


def new_pods(subjects: int, places: int) -> Pods:
    none = np.zeros(0, np.int64)
    empty = Pods(
        np.array([NONE, 0]), np.full(subjects, NONE), np.full(subjects, NONE), none, none, none, none,
        np.zeros((0, places), np.int64), np.full(subjects, NONE),
    )  # fmt: skip
    return grow_pods(empty, SLICE)


def grow_pods(pods: Pods, calls: int) -> Pods:
    """Room for a new pod for each of so many calls."""
    missing = int(pods.at[USED]) + calls - len(pods.next)
    if missing <= 0:
        return pods
    more = max(missing, len(pods.next))
    return pods._replace(**{
        name: np.concatenate([column, np.zeros((more, *column.shape[1:]), np.int64)])
        for name, column in pods._asdict().items()
        if name in ("next", "last_us", "until_us", "ready_us", "place_us")
    })  # fmt: skip


@njit(cache=True)
def spread_calls(
    calls: Any, durations_us: Any, of_function: Any, mean_us: Any, row: int, done: int, out: Any
) -> tuple[int, int, int]:
    """Single calls as (time, subject, duration) in `out` (n, 3), from call `done` of `row` on.

    Returns (how many, row, done) to go on from; of a row that breaks a rule (the rule's code, row, 0).
    """
    start_us, window_us, function, count = calls
    n = 0
    while row < start_us.shape[0]:
        f = function[row]
        if row > 0 and start_us[row] < start_us[row - 1]:
            return UNSORTED, row, 0
        if f < 0 or f >= of_function.shape[0]:
            return UNKNOWN, row, 0
        if count[row] < 0 or start_us[row] < 0:
            return NEGATIVE, row, 0
        s = of_function[f]
        if s < 0:
            row += 1
            continue
        duration_us = mean_us[f]
        if durations_us.shape[0] > 0 and durations_us[row] > 0:
            duration_us = durations_us[row]
        while done < count[row]:
            if n == out.shape[0]:
                return n, row, done
            out[n, 0] = start_us[row] + window_us[row] * done // count[row]
            out[n, 1], out[n, 2] = s, duration_us
            n, done = n + 1, done + 1
        row, done = row + 1, 0
    return n, row, 0


@njit(cache=True)
def replay_events(
    decide: Any, learn: Any, learns: bool, settings: Any, facts: Any, state: Any, calls: Any, n: int, concurrency: Any,
    pods: Pods, windows: Any, account: Any,
) -> None:  # fmt: skip
    """Apply a policy to the first `n` calls; `account` as in `minute.replay_minutes`."""
    for k in range(n):
        now_us, s, duration_us = calls[k, 0], calls[k, 1], calls[k, 2]
        since_us = pods.idle_from_us[s]
        cold_us = int(facts[s, COLD_US])
        idle_us = FIRST if since_us < 0 else max(now_us - since_us, 0)
        is_kept = True
        if idle_us > 0:
            count = decide(settings, facts, state, s, since_us, idle_us, windows)
            loaded_us, is_kept, loads = settle_windows(windows, count, idle_us, cold_us)
            account[s, 1] += loaded_us
            account[s, 2] += loads
        pod = _find_pod(
            decide, settings, facts, state, s, now_us, concurrency[s], idle_us, is_kept, pods, windows, account
        )
        begin_us = now_us
        if pod == NONE:
            account[s, 0] += 1
            begin_us = now_us + cold_us
            pod = _new_pod(pods, s, begin_us)
        end_us = begin_us + duration_us
        for place in range(concurrency[s]):
            if pods.place_us[pod, place] <= now_us:
                pods.place_us[pod, place] = end_us
                break
        pods.last_us[pod] = max(pods.last_us[pod], end_us)
        pods.idle_from_us[s] = max(since_us, end_us)
        if learns:
            learn(settings, facts, state, s, now_us, idle_us)


@njit(cache=True)
def _find_pod(
    decide: Any, settings: Any, facts: Any, state: Any, s: int, now_us: int, concurrency: int, idle_us: int,
    is_kept: bool, pods: Pods, windows: Any, account: Any,
) -> int:  # fmt: skip
    """The pod for a call at `now_us`, at the head of the busy ones or among them, or NONE.

    is_kept: whether the pod that stopped last is there, where all were idle; it has been paid.
    """
    chosen = _part_pods(decide, settings, facts, state, s, now_us, concurrency, idle_us > 0, pods, windows)
    if chosen != NONE:
        return chosen
    if idle_us > 0 and pods.idle[s] != NONE:
        pod = pods.idle[s]
        pods.idle[s] = pods.next[pod]
        if is_kept:
            _push(pods.busy, pods, s, pod)
            return pod
        _push(pods.at, pods, FREE, pod)
    while pods.idle[s] != NONE:
        pod = pods.idle[s]
        pods.idle[s] = pods.next[pod]
        last_us, until_us = pods.last_us[pod], pods.until_us[pod]
        if until_us > now_us or last_us == now_us:
            account[s, 1] += now_us - last_us
            _push(pods.busy, pods, s, pod)
            return pod
        account[s, 1] += until_us - last_us
        _push(pods.at, pods, FREE, pod)
    return NONE


@njit(cache=True)
def _part_pods(
    decide: Any, settings: Any, facts: Any, state: Any, s: int, now_us: int, concurrency: int, all_idle: bool,
    pods: Pods, windows: Any,
) -> int:  # fmt: skip
    """Move pods that fell idle to their chain; gives the busy one that has a place and ends last, or NONE.

    Where all are idle, the one that stopped last needs no time to go: it follows all windows of its policy.
    """
    next_pod, last_of = pods.next, pods.last_us
    stopped_us = pods.idle_from_us[s]
    chosen, chosen_us, before = NONE, NONE, NONE
    pod = pods.busy[s]
    while pod != NONE:
        after, last_us = next_pod[pod], last_of[pod]
        if last_us > now_us:
            has_place = False
            for place in range(concurrency if pods.ready_us[pod] <= now_us and last_us > chosen_us else 0):
                has_place = has_place or pods.place_us[pod, place] <= now_us
            if has_place:
                chosen, chosen_us = pod, last_us
            before = pod
        else:
            if before == NONE:
                pods.busy[s] = after
            else:
                next_pod[before] = after
            if all_idle and last_us == stopped_us:
                all_idle = False
            else:
                keep_us = _first_window(decide, settings, facts, state, s, last_us, windows)
                pods.until_us[pod] = last_us + keep_us
            _insert_idle(pods, s, pod)
        pod = after
    return chosen


@njit(cache=True)
def _insert_idle(pods: Pods, s: int, pod: int) -> None:
    """Into the idle chain, behind those that stopped as late or later."""
    before, after = NONE, pods.idle[s]
    while after != NONE and pods.last_us[after] >= pods.last_us[pod]:
        before, after = after, pods.next[after]
    pods.next[pod] = after
    if before == NONE:
        pods.idle[s] = pod
    else:
        pods.next[before] = pod


@njit(cache=True)
def _first_window(decide: Any, settings: Any, facts: Any, state: Any, s: int, since_us: int, windows: Any) -> int:
    """How long a pod stays that falls idle while others of its subject are busy."""
    count = decide(settings, facts, state, s, since_us, NEVER_US, windows[:1])
    return windows[0, 1] if count > 0 and windows[0, 0] <= facts[s, COLD_US] else 0


@njit(cache=True)
def _new_pod(pods: Pods, s: int, ready_us: int) -> int:
    """A pod at the head of the busy ones."""
    pod = pods.at[FREE]
    if pod == NONE:
        pod = pods.at[USED]
        pods.at[USED] += 1
    else:
        pods.at[FREE] = pods.next[pod]
    _push(pods.busy, pods, s, pod)
    pods.last_us[pod], pods.ready_us[pod] = 0, ready_us
    pods.place_us[pod, :] = 0
    return pod


@njit(cache=True)
def _push(heads: Any, pods: Pods, chain: int, pod: int) -> None:
    pods.next[pod], heads[chain] = heads[chain], pod


@njit(cache=True)
def close_events(
    decide: Any, settings: Any, facts: Any, state: Any, end_us: int, pods: Pods, windows: Any, account: Any
) -> None:
    """What pods stay after their last calls, until the recording ends."""
    for s in range(pods.busy.shape[0]):
        stopped_us = pods.idle_from_us[s]
        idle_us = end_us - stopped_us
        if stopped_us >= 0 and idle_us > 0:
            count = decide(settings, facts, state, s, stopped_us, idle_us, windows)
            loaded_us, _, loads = settle_windows(windows, count, idle_us, int(facts[s, COLD_US]))
            account[s, 1] += loaded_us
            account[s, 2] += loads
        _part_pods(decide, settings, facts, state, s, end_us, 0, idle_us > 0, pods, windows)
        pod = pods.next[pods.idle[s]] if idle_us > 0 and pods.idle[s] != NONE else pods.idle[s]
        while pod != NONE:
            account[s, 1] += min(pods.until_us[pod], end_us) - pods.last_us[pod]
            pod = pods.next[pod]
