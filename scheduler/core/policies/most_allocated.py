"""kube-scheduler's MostAllocated: fill nodes up.

Follows Kubernetes v1.36.2, pkg/scheduler/framework/plugins/noderesources/most_allocated.go, over cpu and memory with
weight 1 each, non-zero requests counted. This is the scoring strategy alone, an integer in [0, 100]; a scheduler
profile that selects it still adds BalancedAllocation unless that is disabled.
"""

from __future__ import annotations

from numba import njit
from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.policies import Policy, score_function
from scheduler.core.taxonomy import Taxonomy

_EXACT_IN_FLOAT = 2**46  # as in kube_default


@njit(error_model="numpy")
def _most_requested_score(requested: int64, capacity: int64) -> int64:
    """The requested part of the capacity in [0, 100], rounded down; most_allocated.go mostRequestedScore."""
    if capacity == 0:
        return int64(0)
    # Non-zero defaults and over-commitment can ask for more than there is.
    used = min(requested, capacity)
    if capacity >= _EXACT_IN_FLOAT:
        return used * 100 // capacity
    return int64(float64(used * 100) / float64(capacity))


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
    """The mean requested percentage of CPU and memory, an integer in [0, 100]."""
    cpu_size = allocatable[node, 0]
    memory_size = allocatable[node, 1]
    most = _most_requested_score(requested_nonzero[node, 0] + demand_nonzero[0], cpu_size)
    most += _most_requested_score(requested_nonzero[node, 1] + demand_nonzero[1], memory_size)
    if cpu_size != 0 and memory_size != 0:  # the mean over the resources that the node has
        most >>= 1
    return float64(most)


POLICY = Policy(
    "most-allocated",
    "kube-scheduler's MostAllocated strategy in v1.36.2: fill nodes up.",
    score,
    taxonomy=Taxonomy(method="greedy"),
)
