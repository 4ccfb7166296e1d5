"""Hybrid histogram, as published: each application's own idle times say when to unload and when to load again.

Source: Shahrad et al., "Serverless in the Wild", ATC 2020. The test for a representative histogram is the coefficient
of variation of the bins' counts: below the limit the histogram is too flat to tell anything. Where most idle times are
longer than the range, the next one is forecast; the paper uses ARIMA, see `forecast` for what stands for it here.
"""

from __future__ import annotations

import numpy as np
from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.compiled import compiled
from scheduler.core.serverless.forecast import forecast_next
from scheduler.core.serverless.histogram import (
    BINS,
    INSIDE,
    OUTSIDE,
    WIDTH,
    bin_count_cv,
    count_idle,
    write_usual_window,
)
from scheduler.core.serverless.policy import MINUTE_US, Parameter, ServerlessPolicy, Sweep
from scheduler.core.taxonomy import Taxonomy

RANGE, CV, HEAD, TAIL, MARGIN, FORECAST_MARGIN = range(6)
KEPT = 32  # idle times that a forecast is made from
SEEN, RECENT = WIDTH, WIDTH + 1  # how many idle times there were; the last KEPT of them, in a ring


def decide(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    since_us: int,
    horizon_us: int,
    windows: NDArray[int64],
) -> int:
    """One window, by the histogram, by a forecast, or the whole range where neither tells anything."""
    bins = int(settings[RANGE]) // MINUTE_US
    inside, outside = state[subject, INSIDE], state[subject, OUTSIDE]
    if outside > 0 and 2 * outside >= inside + outside:
        forecast = float(forecast_idle(state, subject))
        windows[0, 0] = int(forecast * (1.0 - settings[FORECAST_MARGIN]))
        windows[0, 1] = int(forecast * (1.0 + settings[FORECAST_MARGIN]))
        return 1
    windows[0, 0], windows[0, 1] = 0, bins * MINUTE_US
    if bin_count_cv(state, subject, bins) < settings[CV]:
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
    """Count the idle time and remember it."""
    if idle_us < 0:
        return
    count_idle(state, subject, idle_us, int(settings[RANGE]) // MINUTE_US)
    state[subject, RECENT + state[subject, SEEN] % KEPT] = idle_us
    state[subject, SEEN] += 1


@compiled
def forecast_idle(state: NDArray[int64], subject: int) -> float:
    """The next idle time in microseconds, from the last ones in the order they came."""
    seen = state[subject, SEEN]
    count = min(seen, KEPT)
    recent = np.empty(count)
    for k in range(count):
        recent[k] = state[subject, RECENT + (seen - count + k) % KEPT]
    return forecast_next(recent / MINUTE_US) * MINUTE_US


POLICY = ServerlessPolicy(
    "hybrid",
    "Hybrid histogram as published: unload, and load again before the usual idle time ends.",
    (
        Parameter("range", "duration", BINS * MINUTE_US, "What the histogram covers.", MINUTE_US, BINS * MINUTE_US),
        Parameter("cv", "number", 2.0, "Flatter histograms (CV of bin counts) are not trusted."),
        Parameter("head", "share", 0.05, "Share of idle times that may end before the pod is loaded again.", 0, 1),
        Parameter("tail", "share", 0.99, "Share of idle times that end before the pod is unloaded.", 0, 1),
        Parameter("margin", "share", 0.1, "How much earlier to load, and later to unload.", 0, 1),
        Parameter("forecast-margin", "share", 0.15, "The same around a forecast.", 0, 1),
    ),
    decide,
    learn,
    state_width=RECENT + KEPT,
    sweep=Sweep("range", 5 * MINUTE_US, BINS * MINUTE_US),
    taxonomy=Taxonomy(control="decentralised", method="greedy"),
)
