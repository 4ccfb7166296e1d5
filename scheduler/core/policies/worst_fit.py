"""Worst fit: the node left with the most; the opposite order of best fit, over the same shares."""

from __future__ import annotations

from numpy import float64, int64
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
    """The sum over resources of the share left free, in [0, R] where nothing is over-committed."""
    left = 0.0
    for r in range(demand.size):
        size = allocatable[node, r]
        if size > 0:
            left += float64(size - requested[node, r] - demand[r]) / float64(size)
    return left


POLICY = Policy(
    "worst-fit",
    "The node left with the most free share, summed over its resources.",
    score,
    taxonomy=Taxonomy(method="greedy"),
)
