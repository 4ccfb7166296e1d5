"""Hybrid histogram as FaasCache's evaluation copied it, which reads the test of variation the other way round.

Here a subject is predictable when the coefficient of variation of its inter-arrival times is low, where the paper asks
for a histogram of bins that varies much; there is no forecast, and the unpredictable stay for two hours. Source:
Fuerst and Sharma, "FaasCache", ASPLOS 2021, section 7.1.
"""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.serverless.histogram import BINS, INSIDE, WIDTH, count_idle, write_usual_window
from scheduler.core.serverless.policy import MINUTE_US, Parameter, ServerlessPolicy, Sweep
from scheduler.core.taxonomy import Taxonomy

RANGE, COV, HEAD, TAIL, MARGIN, FALLBACK = range(6)
CALLED, LAST_US, COUNT, SUM_S, SQUARES_S = range(WIDTH, WIDTH + 5)


def decide(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    since_us: int,
    horizon_us: int,
    windows: NDArray[int64],
) -> int:
    """One window: by the histogram where inter-arrival times are regular, else the fallback."""
    count, bins = state[subject, COUNT], int(settings[RANGE]) // MINUTE_US
    windows[0, 0], windows[0, 1] = 0, int(settings[FALLBACK])
    if count == 0 or state[subject, INSIDE] == 0:
        return 1
    mean = float(state[subject, SUM_S]) / count
    variance = max(float(state[subject, SQUARES_S]) / count - mean * mean, 0.0)
    if variance**0.5 > settings[COV] * mean:
        return 1
    write_usual_window(state, subject, bins, settings[HEAD], settings[TAIL], settings[MARGIN], windows)
    return 1


def learn(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    now_us: int,
    idle_us: int,
) -> None:
    """Count the idle time, and the time since the call before in whole seconds."""
    if state[subject, CALLED] > 0 and idle_us >= 0:
        count_idle(state, subject, idle_us, int(settings[RANGE]) // MINUTE_US)
        between_s = (now_us - state[subject, LAST_US]) // 1_000_000
        state[subject, COUNT] += 1
        state[subject, SUM_S] += between_s
        state[subject, SQUARES_S] += between_s * between_s
    state[subject, CALLED] = 1
    state[subject, LAST_US] = now_us


POLICY = ServerlessPolicy(
    "hybrid-iat",
    "Hybrid histogram in FaasCache's reading: regular inter-arrival times are trusted, no forecast.",
    (
        Parameter("range", "duration", BINS * MINUTE_US, "What the histogram covers.", MINUTE_US, BINS * MINUTE_US),
        Parameter("cov", "number", 2.0, "Up to this CoV of inter-arrival times a subject is predictable."),
        Parameter("head", "share", 0.05, "Share of idle times that may end before the pod is loaded again.", 0, 1),
        Parameter("tail", "share", 0.99, "Share of idle times that end before the pod is unloaded.", 0, 1),
        Parameter("margin", "share", 0.1, "How much earlier to load, and later to unload.", 0, 1),
        Parameter("fallback", "duration", 120 * MINUTE_US, "Keep-alive of what is not predictable."),
    ),
    decide,
    learn,
    state_width=WIDTH + 5,
    sweep=Sweep("range", 5 * MINUTE_US, BINS * MINUTE_US),
    taxonomy=Taxonomy(control="decentralised", method="greedy"),
)
