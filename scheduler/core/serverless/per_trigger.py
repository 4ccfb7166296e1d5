"""Keep-alive per trigger: how long a pod waits depends on what calls it.

Timers slower than the keep-alive gain nothing from it ("Serverless Cold Starts and Where to Find Them", EuroSys 2025,
section 5), so by default theirs is short.
"""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.serverless.policy import MINUTE_US, TRIGGER, TRIGGERS, Parameter, ServerlessPolicy
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
    """One window from 0 to the keep-alive of the subject's trigger."""
    windows[0, 0] = 0
    windows[0, 1] = int(settings[int(facts[subject, TRIGGER])])
    return 1


POLICY = ServerlessPolicy(
    "per-trigger",
    "Every pod stays for the keep-alive of its trigger.",
    tuple(
        Parameter(name, "duration", (1 if name == "timer" else 10) * MINUTE_US, f"Keep-alive of {name} functions.")
        for name in TRIGGERS
    ),
    decide,
    taxonomy=Taxonomy(control="decentralised", method="greedy"),
)
