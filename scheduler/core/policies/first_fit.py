"""First fit: the first node by name on which the pod fits."""

from __future__ import annotations

from numpy import int64
from numpy.typing import NDArray

from scheduler.core.policies import Policy, score_function
from scheduler.core.taxonomy import Taxonomy


@score_function
def score(
    demand: NDArray[int64],
    demand_nonzero: NDArray[int64],
    allocatable: NDArray[int64],
    requested: NDArray[int64],
    requested_nonzero: NDArray[int64],
    node: int,
    draw: int,
) -> float:
    """Zero for every node: rows are sorted by name, and the lowest row breaks ties."""
    return 0.0


POLICY = Policy("first-fit", "The first node by name.", score, taxonomy=Taxonomy(method="greedy"))
