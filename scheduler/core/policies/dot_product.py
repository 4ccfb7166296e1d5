"""Tetris alignment: the node whose free resources point where the pod's demand points.

Source: Grandl et al., "Multi-Resource Packing for Cluster Schedulers", SIGCOMM 2014. Demand and free capacity are both
shares of the node, before the pod is placed. We divide by the number of resources, so that scores compare across
clusters.
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
    """The dot product of demanded and free shares over R, in [0, 1] where nothing is over-committed."""
    alignment = 0.0
    for r in range(demand.size):
        size = allocatable[node, r]
        if size > 0 and demand[r] > 0:
            free = float64(size - requested[node, r])
            alignment += float64(demand[r]) * free / (float64(size) * float64(size))
    return alignment / float64(demand.size)


POLICY = Policy(
    "dot-product",
    "Tetris alignment: demand and free shares point the same way.",
    score,
    taxonomy=Taxonomy(method="greedy"),
)
