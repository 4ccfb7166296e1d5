"""Hazard: a pod is loaded in exactly those minutes of an idle time in which it is worth its price.

For each coming minute the chance that the next call comes in it, if none came before, is estimated from the subject's
own idle times, with a prior for what they do not tell. A pod is there in that minute if this chance times what a cold
start costs is above what an idle minute of its memory costs. One price holds for all subjects, so the last GB h spent
saves as much everywhere: it is the oracle's rule with estimates in place of knowledge. Idle times that come at
a few fixed lengths, as of timers, give windows around these lengths; others give a keep-alive of their own.

The prior falls as 1 / (minutes + 5): what has not been called for long is not called soon. Its weight (one idle
time), its level and that shift matter little: halved or doubled, they move the cold starts of Azure's sample at equal
memory by a few per cent.
"""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.serverless.histogram import BINS, INSIDE, OUTSIDE, WIDTH, count_idle
from scheduler.core.serverless.policy import (
    COLD_US,
    MAX_WINDOWS,
    MEMORY_GIB,
    MINUTE_US,
    Parameter,
    ServerlessPolicy,
    Sweep,
)

PRICE, BY_TIME, STRENGTH, PRIOR, SHIFT = range(5)


def decide(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    since_us: int,
    horizon_us: int,
    windows: NDArray[int64],
) -> int:
    """As many windows as it takes, within four hours; what would be too many is left unloaded."""
    worth = 1.0 + settings[BY_TIME] * (facts[subject, COLD_US] / 1e6 - 1.0)
    price = settings[PRICE] * facts[subject, MEMORY_GIB] / 60.0
    left = float(state[subject, INSIDE] + state[subject, OUTSIDE])
    strength, n, is_open = settings[STRENGTH], 0, False
    reach_us = horizon_us + max(int(facts[subject, COLD_US]), MINUTE_US)  # what is ready then may be loading before
    for minute in range(min(BINS, reach_us // MINUTE_US + 1)):
        here = float(state[subject, minute])
        prior = settings[PRIOR] / (minute + settings[SHIFT])
        chance = min((here + strength * prior) / (left + strength), 1.0)
        left -= here
        is_worth = chance * worth > (1.0 - chance) * price
        if is_worth and not is_open:
            if n == MAX_WINDOWS:
                break
            windows[n, 0] = minute * MINUTE_US
            n += 1
        if is_worth:
            windows[n - 1, 1] = (minute + 1) * MINUTE_US
        is_open = is_worth
    return n


def learn(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    now_us: int,
    idle_us: int,
) -> None:
    """Count the idle time."""
    if idle_us >= 0:
        count_idle(state, subject, idle_us, BINS)


POLICY = ServerlessPolicy(
    "hazard",
    "Loads a pod in exactly the minutes in which the chance of a call is worth the memory.",
    (
        Parameter("price", "number", 20.0, "Worth of cold starts that a GB h of idle memory must save."),
        Parameter("by-time", "number", 0.0, "1: a cold start is worth its seconds, 0: one, between: in between.", 0, 1),
        Parameter("strength", "number", 1.0, "How many idle times the prior weighs.", 1e-6),
        Parameter("prior", "number", 0.5, "Level of the prior chance of a call in a minute, before the fall.", 0, 1),
        Parameter("shift", "number", 5.0, "Minutes over which the prior chance halves at first.", 1),
    ),
    decide,
    learn,
    state_width=WIDTH,
    sweep=Sweep("price", 0.1, 10_000.0),
)
