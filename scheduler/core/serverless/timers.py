"""Pre-warm by known timers: a subject called at a fixed distance is loaded just before its next call.

Timers slower than the keep-alive need none, or a pod at the known time ("Serverless Cold Starts and Where to Find
Them", EuroSys 2025, section 5). The distance is taken as known when a subject was idle equally long several times in a
row; a subject whose trigger is a timer needs to show it once less. All others have a fixed keep-alive.
"""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.serverless.policy import MINUTE_US, TRIGGER, Parameter, ServerlessPolicy, Sweep
from scheduler.core.taxonomy import Taxonomy

KEEP_ALIVE, REPEATS, TOLERANCE = range(3)
LAST_US, ALIKE = 0, 1  # the last idle time, and how many in a row were like it
TIMER = 0.0  # code of the group in facts


def decide(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    since_us: int,
    horizon_us: int,
    windows: NDArray[int64],
) -> int:
    """One window: around the known distance, or from 0 to the keep-alive."""
    wanted = int(settings[REPEATS]) - (1 if facts[subject, TRIGGER] == TIMER else 0)
    windows[0, 0], windows[0, 1] = 0, int(settings[KEEP_ALIVE])
    if state[subject, ALIKE] >= max(wanted, 1):
        windows[0, 0] = max(state[subject, LAST_US] - int(settings[TOLERANCE]), 0)
        windows[0, 1] = state[subject, LAST_US] + max(int(settings[TOLERANCE]), MINUTE_US)
    return 1


def learn(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    now_us: int,
    idle_us: int,
) -> None:
    """Compare the idle time with the one before."""
    if idle_us < 0:
        return
    is_alike = state[subject, ALIKE] > 0 and abs(idle_us - state[subject, LAST_US]) <= int(settings[TOLERANCE])
    state[subject, ALIKE] = state[subject, ALIKE] + 1 if is_alike else 1
    state[subject, LAST_US] = idle_us


POLICY = ServerlessPolicy(
    "timers",
    "Loads a pod just before the next call of what is called at a fixed distance; else fixed keep-alive.",
    (
        Parameter("keep-alive", "duration", 10 * MINUTE_US, "Of subjects without a known distance."),
        Parameter("repeats", "count", 3, "Equal idle times in a row that make a distance known.", 1, 1000),
        Parameter("tolerance", "duration", 0, "How far idle times may differ and be equal."),
    ),
    decide,
    learn,
    state_width=2,
    sweep=Sweep("keep-alive", MINUTE_US, 240 * MINUTE_US),
    taxonomy=Taxonomy(control="decentralised", method="greedy"),
)
