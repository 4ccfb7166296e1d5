"""The per-minute replay: a minute with calls after idle minutes is warm or one cold start.

A subject is busy in every minute with calls and idle in the minutes between; an idle time is a whole number of them,
and what follows a minute with calls at once is always warm. A pod that is to be ready is loaded a minute ahead, so
that no policy is ever ready for nothing. After the last minute with calls pods stay as the policy says, to the end of
the recording.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from analytics.serverless.windows import settle_windows
from scheduler.core.serverless.policy import MINUTE_US

UNSORTED, WIDE, UNKNOWN, NEGATIVE = -1, -2, -3, -4
FIRST = -1  # the idle time before the first call of a subject: there is none
MORE = -2  # more calls of a minute that the batch before had begun


@njit(cache=True)
def find_activity(
    calls: Any, of_function: Any, last_minute: Any, last_row: Any, invocations: Any, out: Any
) -> tuple[int, int]:
    """Rows of calls as (subject, minute, idle minutes before it, calls) in `out` (n, 4), one per subject and minute.

    calls: (start_us, window_us, function, count). last_minute: (S,), -1 = no calls yet; brought up to date, as are
    last_row (S,), where in `out` a subject is, and `invocations` (S,). Returns (how many, row); of a row that breaks
    a rule (the rule's code, row).
    """
    start_us, window_us, function, count = calls
    n, before = 0, np.int64(-1)
    for row in range(start_us.shape[0]):
        f, minute = function[row], start_us[row] // MINUTE_US
        if start_us[row] < before:
            return UNSORTED, row
        if window_us[row] > MINUTE_US:
            return WIDE, row
        if f < 0 or f >= of_function.shape[0]:
            return UNKNOWN, row
        if count[row] < 0 or start_us[row] < 0:
            return NEGATIVE, row
        before = start_us[row]
        s = of_function[f]
        if s < 0 or count[row] == 0:
            continue
        invocations[s] += count[row]
        idle = FIRST if last_minute[s] < 0 else minute - last_minute[s] - 1
        if last_minute[s] == minute:
            r = last_row[s]
            if r < n and out[r, 0] == s and out[r, 1] == minute:
                out[r, 3] += count[row]
                continue
            idle = MORE
        out[n, 0], out[n, 1], out[n, 2], out[n, 3] = s, minute, idle, count[row]
        last_minute[s], last_row[s] = minute, n
        n += 1
    return n, 0


@njit(cache=True)
def replay_minutes(
    decide: Any, learn: Any, learns: bool, settings: Any, facts: Any, state: Any, activity: Any, n: int,
    windows: Any, account: Any,
) -> None:  # fmt: skip
    """Apply a policy to the first `n` rows of activity; `account` (S, 3): cold starts, idle us paid, loads ahead."""
    for k in range(n):
        s, minute, idle = activity[k, 0], activity[k, 1], activity[k, 2]
        if idle == MORE:
            continue
        idle_us = idle * MINUTE_US
        if idle > 0:
            since_us = (minute - idle) * MINUTE_US
            count = decide(settings, facts, state, s, since_us, idle_us, windows)
            loaded_us, is_ready, loads = settle_windows(windows, count, idle_us, MINUTE_US)
            account[s, 0] += not is_ready
            account[s, 1] += loaded_us
            account[s, 2] += loads
        elif idle == FIRST:
            account[s, 0] += 1
            idle_us = FIRST
        if learns:
            learn(settings, facts, state, s, minute * MINUTE_US, idle_us)


@njit(cache=True)
def close_minutes(
    decide: Any, settings: Any, facts: Any, state: Any, last_minute: Any, end_minute: int, windows: Any,
    account: Any,
) -> None:  # fmt: skip
    """What the policy keeps after the last calls, until the recording ends."""
    for s in range(last_minute.shape[0]):
        idle_us = (end_minute - last_minute[s] - 1) * MINUTE_US
        if last_minute[s] < 0 or idle_us <= 0:
            continue
        since_us = (last_minute[s] + 1) * MINUTE_US
        count = decide(settings, facts, state, s, since_us, idle_us, windows)
        loaded_us, _, loads = settle_windows(windows, count, idle_us, MINUTE_US)
        account[s, 1] += loaded_us
        account[s, 2] += loads
