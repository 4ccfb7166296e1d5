"""Fixed keep-alive: every pod stays the same time after its last call, as most platforms do it."""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.serverless.policy import MINUTE_US, Parameter, ServerlessPolicy, Sweep
from scheduler.core.taxonomy import Taxonomy


def decide(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    since_us: int,
    horizon_us: int,
    windows: NDArray[int64],
) -> int:
    """One window from 0 to the keep-alive."""
    windows[0, 0] = 0
    windows[0, 1] = int(settings[0])
    return 1


POLICY = ServerlessPolicy(
    "fixed",
    "Every pod stays the same time after its last call.",
    (Parameter("keep-alive", "duration", 10 * MINUTE_US, "Time after the last call; 10 min is OpenWhisk's."),),
    decide,
    sweep=Sweep("keep-alive", MINUTE_US, 240 * MINUTE_US),
    taxonomy=Taxonomy(control="decentralised", method="greedy"),
)
