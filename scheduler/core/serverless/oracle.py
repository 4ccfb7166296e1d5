"""Oracles: what could be had by whoever knew when the next call comes. Not policies to run, but bounds to beat none of.

For a price of memory, a pod is kept over an idle time if and only if that costs less than the cold start it saves. Idle
times do not touch each other while pods are not limited, so doing the best in each is the best over all: no policy
of its kind has fewer cold starts (or less time in them) with as much idle memory. `oracle` keeps pods;
`oracle-pre-warm` also loads them ahead, which costs a lead and no more.
"""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.serverless.policy import COLD_US, MEMORY_GIB, MINUTE_US, Parameter, ServerlessPolicy, Sweep
from scheduler.core.taxonomy import Taxonomy

PRICE, BY_TIME = 0, 1
HOUR_US = 3_600_000_000.0


def decide_keeping(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    since_us: int,
    horizon_us: int,
    windows: NDArray[int64],
) -> int:
    """The whole idle time where that is worth it, else nothing."""
    worth = 1.0 + settings[BY_TIME] * (facts[subject, COLD_US] / 1e6 - 1.0)
    if float(horizon_us) / HOUR_US * facts[subject, MEMORY_GIB] * settings[PRICE] >= worth:
        return 0
    windows[0, 0], windows[0, 1] = 0, horizon_us + 1
    return 1


def decide_loading(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    since_us: int,
    horizon_us: int,
    windows: NDArray[int64],
) -> int:
    """The end of the idle time where a load ahead is worth it, else nothing."""
    worth = 1.0 + settings[BY_TIME] * (facts[subject, COLD_US] / 1e6 - 1.0)
    lead_us = min(float(horizon_us), float(MINUTE_US))
    if lead_us / HOUR_US * facts[subject, MEMORY_GIB] * settings[PRICE] >= worth:
        return 0
    windows[0, 0], windows[0, 1] = horizon_us, horizon_us + 1
    return 1


_PARAMETERS = (
    Parameter("price", "number", 10.0, "Worth of cold starts that a GB h of idle memory must save."),
    Parameter("by-time", "number", 0.0, "1: a cold start is worth its seconds, 0: one, between: in between.", 0, 1),
)

KEEPING = ServerlessPolicy(
    "oracle",
    "Bound for keep-alive: knows every idle time and keeps the pod where that is worth it.",
    _PARAMETERS,
    decide_keeping,
    clairvoyant=True,
    sweep=Sweep("price", 0.1, 10_000.0),
    taxonomy=Taxonomy(control="decentralised", method="exact"),
)
LOADING = ServerlessPolicy(
    "oracle-pre-warm",
    "Bound for pre-warming at minute grain: knows every idle time and loads a minute before it ends.",
    _PARAMETERS,
    decide_loading,
    clairvoyant=True,
    sweep=Sweep("price", 0.1, 10_000.0),
    taxonomy=Taxonomy(control="decentralised", method="exact"),
)
