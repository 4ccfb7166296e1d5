"""FaasCache: pods are kept like objects in a cache, and go only when memory runs short.

Greedy-dual size frequency, Priority = Clock + Freq x Cost / Size: Cost is the time of a cold start, Size the memory,
Freq the calls since the pod was loaded, Clock the highest priority that was evicted. Source: Fuerst and Sharma,
"FaasCache", ASPLOS 2021.
"""

from __future__ import annotations

from numpy import float64
from numpy.typing import NDArray

from scheduler.core.serverless.policy import COLD_US, MEMORY_GIB, Parameter, ServerlessPolicy, Sweep
from scheduler.core.taxonomy import Taxonomy


def priority(settings: NDArray[float64], facts: NDArray[float64], subject: int, clock: float, calls: int) -> float:
    """Seconds of cold starts per GiB, from the clock on."""
    return clock + calls * facts[subject, COLD_US] / 1e6 / max(facts[subject, MEMORY_GIB], 1e-6)


POLICY = ServerlessPolicy(
    "greedy-dual",
    "FaasCache: pods stay until memory runs short; then those go that are cheapest to lose.",
    (Parameter("memory", "memory", 16 * 1024, "Memory of all pods together, busy ones included."),),
    None,
    priority=priority,
    sweep=Sweep("memory", 64.0, 4.0 * 1024 * 1024),
    taxonomy=Taxonomy(method="greedy"),
)
