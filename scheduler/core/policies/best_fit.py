"""Best fit: the node left with the least.

Free capacity is counted in shares of the node, resource by resource, after the pod is placed. Every resource the node
has counts, also those the pod does not ask for: a pod without GPUs stays off an idle GPU node while another will do.
"""

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
    """Minus the sum over resources of the share left free, in [-R, 0] where nothing is over-committed."""
    left = 0.0
    for r in range(demand.size):
        size = allocatable[node, r]
        if size > 0:
            left += float64(size - requested[node, r] - demand[r]) / float64(size)
    return -left


POLICY = Policy(
    "best-fit",
    "The node left with the least free share, summed over its resources.",
    score,
    taxonomy=Taxonomy(method="greedy"),
)
