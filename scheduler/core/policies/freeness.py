"""Freeness (Llumnix): the freest node, counted in pods like the one that is to be placed.

The rest of what follows from freeness (migrations, defragmentation, headroom, draining) is in
`scheduler.core.balance.freeness`. Among typical tasks the pod itself is the one that this score is given, so a node's
freeness here is how many more of this pod it would take (ours; Llumnix divides by the batch that runs there).
"""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.policies import Policy, score_function


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
    """The least over resources of what is free, divided by what the pod asks of it.

    Of CPU and memory the pod asks as kube-scheduler counts it, so that a pod that names no request has a size too.
    """
    least = 1e300
    for r in range(demand.size):
        size, used = demand[r], requested[node, r]
        if r < 2:
            size, used = demand_nonzero[r], requested_nonzero[node, r]
        if size > 0:
            least = min(least, float64(allocatable[node, r] - used) / float64(size))
    return least


POLICY = Policy("freeness", "The freest node (Llumnix): where most more pods like this one would fit.", score)
