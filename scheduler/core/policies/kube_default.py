"""What kube-scheduler prefers when nobody configures it: LeastAllocated plus BalancedAllocation, each with weight 1.

Follows Kubernetes v1.36.2, pkg/scheduler/framework/plugins/noderesources: least_allocated.go, balanced_allocation.go
and resource_allocation.go; weights from apis/config/v1/default_plugins.go, resources (cpu and memory, weight 1 each)
from apis/config/v1/defaults.go. Each plugin gives an integer in [0, 100] that is not normalised further; the score is
their sum, in [0, 200]. Three things are easy to miss:

* LeastAllocated counts non-zero requests (100 millicores and 200 MiB for a container that names none),
  BalancedAllocation counts requests as they are.
* BalancedAllocation scores the change of the balance, 50 + (50 + with - without) / 2, not the balance; a pod that
  changes nothing gets 75.
* BalancedAllocation is skipped for a pod that asks for neither CPU nor memory, whatever else it asks for.

Not here: the plugins that score labels, images and other pods (TaintToleration 3, NodeAffinity 2, PodTopologySpread 2,
InterPodAffinity 2, ImageLocality 1). They give every node the same where a trace has none of these. kube-scheduler also
samples large clusters and breaks ties at random; we score every feasible node and take the first by name.

Any unit of memory gives the same result as bytes, as long as every quantity is a whole number of it: scores depend on
ratios, and a factor of 2**20 is exact in floating point too. A node whose bytes are not a whole number of MiB was
rounded when it was read and may score a point off (of random nodes above 4 GiB, one in five hundred does).
"""

from __future__ import annotations

from numba import njit
from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.policies import Policy, score_function
from scheduler.core.taxonomy import Taxonomy

# Below this, a correctly rounded float division gives floor(100 * free / capacity): 100 * free < 2**53 is exact, and a
# quotient just below an integer is at least 1/capacity below it, more than a rounding near 100 can bridge. The float
# division is several times as fast as the integer one.
_EXACT_IN_FLOAT = 2**46


@njit(error_model="numpy")
def _least_requested_score(requested: int64, capacity: int64) -> int64:
    """The free part of the capacity in [0, 100], rounded down; least_allocated.go leastRequestedScore."""
    if capacity == 0 or requested > capacity:
        return int64(0)
    if capacity >= _EXACT_IN_FLOAT:
        return (capacity - requested) * 100 // capacity
    return int64(float64((capacity - requested) * 100) / float64(capacity))


@njit(error_model="numpy")
def _balanced_resource_score(cpu: int64, memory: int64, cpu_size: int64, memory_size: int64) -> int64:
    """How even the used shares are, in [50, 100], rounded down; balanced_allocation.go balancedResourceScore."""
    if cpu_size == 0 or memory_size == 0:
        return int64(100)
    cpu_share = min(float64(cpu) / float64(cpu_size), 1.0)
    memory_share = min(float64(memory) / float64(memory_size), 1.0)
    return int64((1.0 - abs((cpu_share - memory_share) / 2.0)) * 100.0)


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
    """LeastAllocated plus BalancedAllocation, an integer in [0, 200]."""
    cpu_size = allocatable[node, 0]
    memory_size = allocatable[node, 1]
    least = _least_requested_score(requested_nonzero[node, 0] + demand_nonzero[0], cpu_size)
    least += _least_requested_score(requested_nonzero[node, 1] + demand_nonzero[1], memory_size)
    if cpu_size != 0 and memory_size != 0:  # the mean over the resources that the node has
        least >>= 1
    if demand[0] == 0 and demand[1] == 0:
        return float64(least)
    cpu = requested[node, 0]
    memory = requested[node, 1]
    after = _balanced_resource_score(cpu + demand[0], memory + demand[1], cpu_size, memory_size)
    before = _balanced_resource_score(cpu, memory, cpu_size, memory_size)
    return float64(least + 50 + ((50 + after - before) >> 1))


POLICY = Policy(
    "kube-default",
    "kube-scheduler's default in v1.36.2: LeastAllocated plus BalancedAllocation.",
    score,
    taxonomy=Taxonomy(method="greedy"),
)
