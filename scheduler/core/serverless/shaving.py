"""Peak shaving: work of asynchronous triggers may wait, so that the peak that must be provisioned is lower.

Per step of time (an hour, as a rule) `fixed` must run then and `movable` may run later. What "later" means is a choice
with consequences: inside fixed blocks of time (as in the figure of "Serverless Cold Starts and Where to Find Them",
EuroSys 2025), or at most so many steps after it came, which is what a user can be promised. Both bounds are exact. The
rule that knows no future lets the peak grow only when a deadline forces it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import StowageInputError

Floats = NDArray[np.float64]
_HALVINGS = 60


@dataclass(frozen=True, slots=True, eq=False)
class Shaved:
    """What runs when. running: (T,) fixed and movable work. waited: work times steps that it waited, in all."""

    running: Floats
    waited: float

    @property
    def peak(self) -> float:
        """The most that ran at once."""
        return float(self.running.max(initial=0.0))


def check_load(fixed: Floats, movable: Floats) -> None:
    """Raise StowageInputError unless both are finite, not negative and equally long."""
    if fixed.shape != movable.shape or fixed.ndim != 1:
        raise StowageInputError(f"fixed and movable work differ in length: {fixed.shape} and {movable.shape}")
    for name, load in (("fixed", fixed), ("movable", movable)):
        for step in np.flatnonzero(~(np.isfinite(load) & (load >= 0)))[:1]:
            raise StowageInputError(f"{name} work of step {step} is {load[step]}; it must be a number of at least 0")


def least_peak_in_blocks(fixed: Floats, movable: Floats, block: int) -> float:
    """The least peak when movable work may run at any time of its own block of so many steps, earlier ones included."""
    check_load(fixed, movable)
    peak = 0.0
    for start in range(0, len(fixed), block):
        load, work = np.sort(fixed[start : start + block]), float(movable[start : start + block].sum())
        # Pour the work over the block: the lowest steps rise together until all of it is in.
        rise = np.arange(1, len(load) + 1)
        level = float(((np.cumsum(load) + work) / rise).min()) if work else 0.0
        peak = max(peak, level, float(load[-1]))
    return peak


def least_peak_with_delay(fixed: Floats, movable: Floats, delay: int) -> float:
    """The least peak when movable work may wait at most `delay` steps, the whole future being known."""
    check_load(fixed, movable)
    low, high = float(fixed.max(initial=0.0)), float((fixed + movable).max(initial=0.0))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _is_enough(fixed, movable, delay, middle) else (middle, high)
    return high


def shave(fixed: Floats, movable: Floats, delay: int) -> Shaved:
    """Decide step by step without the future: work waits while it would raise the peak, and runs when it must.

    Work that has waited `delay` steps runs whatever it costs; below the highest peak so far everything runs at once.
    """
    check_load(fixed, movable)
    waiting: deque[list[float]] = deque()  # [last step, work], oldest first
    running = np.empty(len(fixed))
    peak = waited = 0.0
    for step in range(len(fixed)):
        waiting.append([step + delay, float(movable[step])])
        due = sum(work for last, work in waiting if last <= step or step == len(fixed) - 1)
        peak = max(peak, float(fixed[step]) + due)
        running[step] = fixed[step] + _serve(waiting, peak - float(fixed[step]))
        waited += sum(work for _, work in waiting)
    return Shaved(running, waited)


def _is_enough(fixed: Floats, movable: Floats, delay: int, peak: float) -> bool:
    """Whether everything runs in time with so much room; earliest deadline first is optimal here."""
    waiting: deque[list[float]] = deque()
    for step in range(len(fixed)):
        waiting.append([step + delay, float(movable[step])])
        if fixed[step] > peak:
            return False
        _serve(waiting, peak - float(fixed[step]))
        if waiting and (waiting[0][0] <= step or step == len(fixed) - 1):
            return False
    return True


def _serve(waiting: deque[list[float]], room: float) -> float:
    """Run what waits, oldest first, as far as the room goes; gives how much ran."""
    served = 0.0
    while waiting and room - served > 1e-9:
        work = min(waiting[0][1], room - served)
        waiting[0][1] -= work
        served += work
        if waiting[0][1] <= 1e-9:
            waiting.popleft()
    while waiting and waiting[0][1] <= 1e-9:
        waiting.popleft()
    return served
