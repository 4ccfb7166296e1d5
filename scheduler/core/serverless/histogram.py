"""Idle times of one subject in bins of a minute: a row of int64, updated in place.

Columns 0 to BINS - 1 count idle times by whole minutes; then how many were longer than the range, how many were in it,
and the sum of squares of the counts.
"""

from __future__ import annotations

from numpy import int64
from numpy.typing import NDArray

from scheduler.core.compiled import compiled
from scheduler.core.serverless.policy import MINUTE_US

BINS = 240  # 4 h: the range of Shahrad et al., "Serverless in the Wild", ATC 2020
OUTSIDE, INSIDE, SQUARES = BINS, BINS + 1, BINS + 2
WIDTH = BINS + 3


@compiled
def count_idle(state: NDArray[int64], subject: int, idle_us: int, bins: int) -> None:
    """Count one idle time; from `bins` minutes on it is outside."""
    minute = idle_us // MINUTE_US
    if minute >= bins:
        state[subject, OUTSIDE] += 1
        return
    state[subject, SQUARES] += 2 * state[subject, minute] + 1
    state[subject, minute] += 1
    state[subject, INSIDE] += 1


@compiled
def percentile_bin(state: NDArray[int64], subject: int, bins: int, share: float) -> int:
    """The first bin by which this share of the idle times inside the range is reached."""
    wanted = share * state[subject, INSIDE]
    so_far = 0
    for minute in range(bins):
        so_far += state[subject, minute]
        if so_far >= wanted and so_far > 0:
            return minute
    return bins - 1


@compiled
def write_usual_window(
    state: NDArray[int64], subject: int, bins: int, head: float, tail: float, margin: float, windows: NDArray[int64]
) -> None:
    """The first window: from the head's bin to the end of the tail's, wider by the margin at both ends."""
    windows[0, 0] = int(percentile_bin(state, subject, bins, head) * MINUTE_US * (1.0 - margin))
    windows[0, 1] = int((percentile_bin(state, subject, bins, tail) + 1) * MINUTE_US * (1.0 + margin))


@compiled
def bin_count_cv(state: NDArray[int64], subject: int, bins: int) -> float:
    """Coefficient of variation of the bins' counts: 0 is flat, sqrt(bins - 1) is all in one bin; 0 without any."""
    inside = float(state[subject, INSIDE])
    if inside == 0.0:
        return 0.0
    return max(float(bins) * float(state[subject, SQUARES]) / (inside * inside) - 1.0, 0.0) ** 0.5
