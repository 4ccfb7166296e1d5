"""Hazard: a pod is loaded in exactly those minutes of an idle time in which it is worth its price.

For each coming minute the chance that the next call comes in it, if none came before, is estimated from the subject's
own idle times, with a prior for what they do not tell. A pod is there in that minute if this chance times what a cold
start costs is above what an idle minute of its memory costs. One price holds for all subjects, so the last GB h spent
saves as much everywhere: it is the oracle's rule with estimates in place of knowledge. Idle times that come at a few
fixed lengths, as of timers, give windows around these lengths; others give a keep-alive of their own.

Up to four hours every minute has its count. Of longer idle times the last ones are kept as they are, each standing for
its share of all of them. The prior falls as 1 / (minutes + 5): what has not been called for long is not called soon.
Its weight (one idle time), its level and that shift matter little: halved or doubled, they move the cold starts of
Azure's sample at equal memory by a few per cent.
"""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.compiled import compiled
from scheduler.core.serverless.histogram import BINS, INSIDE, OUTSIDE, WIDTH, count_idle
from scheduler.core.serverless.policy import (
    COLD_US,
    MEMORY_GIB,
    MINUTE_US,
    Parameter,
    ServerlessPolicy,
    Sweep,
)
from scheduler.core.taxonomy import Taxonomy

PRICE, BY_TIME, STRENGTH, PRIOR, SHIFT = range(5)
LONG = WIDTH  # the last KEPT idle times of four hours and more, in minutes and in a ring
KEPT = 16


def decide(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    since_us: int,
    horizon_us: int,
    windows: NDArray[int64],
) -> int:
    """As many windows as it takes; what would be too many is left unloaded."""
    worth = 1.0 + settings[BY_TIME] * (facts[subject, COLD_US] / 1e6 - 1.0)
    price = settings[PRICE] * facts[subject, MEMORY_GIB] / 60.0
    if worth <= 0.0:
        return 0
    needed = price / (worth + price)  # chance * worth > (1 - chance) * price
    strength, weight = settings[STRENGTH], settings[STRENGTH] * settings[PRIOR]
    shift = settings[SHIFT]
    left = float(state[subject, INSIDE] + state[subject, OUTSIDE]) + strength
    reach_us = horizon_us + max(int(facts[subject, COLD_US]), MINUTE_US)  # what is ready then may be loading before
    reach, n = reach_us // MINUTE_US + 1, 0
    for minute in range(min(BINS, reach)):
        here = float(state[subject, minute])
        # (here + weight / (minute + shift)) / left > needed, without the divisions
        if (here - needed * left) * (minute + shift) + weight > 0.0:
            n = _keep(windows, n, minute, minute + 1)
        elif n == windows.shape[0]:
            return n
        left -= here
    minute = BINS
    while minute < reach:
        upto, here = _next_long(state, subject, minute)
        # Between known lengths the prior alone decides, which falls: until it is too small.
        enough = int(min(weight / max(needed * left, 1e-12) - shift, float(reach))) + 1
        if enough > minute:
            n = _keep(windows, n, minute, min(enough, upto))
        if upto < reach and (here - needed * left) * (upto + shift) + weight > 0.0:
            n = _keep(windows, n, upto, upto + 1)
        left -= here
        minute = upto + 1
    return n


def learn(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    now_us: int,
    idle_us: int,
) -> None:
    """Count the idle time; remember a long one."""
    if idle_us >= 0:
        count_idle(state, subject, idle_us, BINS)
        if idle_us // MINUTE_US >= BINS:
            state[subject, LONG + (state[subject, OUTSIDE] - 1) % KEPT] = idle_us // MINUTE_US


@compiled
def _keep(windows: NDArray[int64], n: int, first: int, last: int) -> int:
    """Add the minutes [first, last) to the windows, which they follow; returns how many windows there are."""
    if last <= first:
        return n
    if n > 0 and windows[n - 1, 1] == first * MINUTE_US:
        windows[n - 1, 1] = last * MINUTE_US
    elif n < windows.shape[0]:
        windows[n, 0], windows[n, 1] = first * MINUTE_US, last * MINUTE_US
        n += 1
    return n


@compiled
def _next_long(state: NDArray[int64], subject: int, minute: int) -> tuple[int, float]:
    """The next known length from `minute` on, and how many idle times it stands for; (far away, 0) after the last."""
    outside = state[subject, OUTSIDE]
    known = min(outside, KEPT)
    found, alike = 1 << 40, 0
    for k in range(known):
        length = state[subject, LONG + k]
        if minute <= length < found:
            found, alike = length, 1
        elif length == found:
            alike += 1
    return found, float(alike * outside) / float(max(known, 1))


POLICY = ServerlessPolicy(
    "hazard",
    "Loads a pod in exactly the minutes in which the chance of a call is worth the memory.",
    (
        Parameter("price", "number", 4.0, "Worth of cold starts that a GB h of idle memory must save."),
        Parameter("by-time", "number", 0.03, "1: a cold start is worth its seconds, 0: one; else in between.", 0, 1),
        Parameter("strength", "number", 1.0, "How many idle times the prior weighs.", 1e-6),
        Parameter("prior", "number", 0.5, "Level of the prior chance of a call in a minute, before the fall.", 0, 1),
        Parameter("shift", "number", 5.0, "Minutes over which the prior chance halves at first.", 1),
    ),
    decide,
    learn,
    state_width=LONG + KEPT,
    sweep=Sweep("price", 0.001, 10_000.0),
    taxonomy=Taxonomy(control="decentralised", method="greedy"),
)
