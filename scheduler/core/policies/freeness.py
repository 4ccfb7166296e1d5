"""Freeness (Llumnix): the freest node, counted in pods like the one that is to be placed.

The rest of what follows from freeness (migrations, defragmentation, headroom, draining) is in
`scheduler.core.balance.freeness`; `planner` tells the driver to ask it at fixed instants. Among typical tasks the pod
itself is the one that this score is given, so a node's freeness here is how many more of this pod it would take (ours;
Llumnix divides by the batch that runs there).
"""

from __future__ import annotations

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.policies import Policy, score_function
from scheduler.core.policies.parameters import MIGRATION, Parameter
from scheduler.core.taxonomy import Taxonomy

PARAMETERS = (
    Parameter("interval_s", 300, "Between two rounds.", "s", 1, 1e6, is_whole=True),
    Parameter("low", 0, "A node gives tasks away below this freeness.", "typical tasks", 0, 1e6),
    Parameter("high", 1, "A node takes them above this one, not less than low.", "typical tasks", 0, 1e6),
    Parameter("headroom", 0, "Share of a node kept free while an important task runs there.", "", 0, 1),
    Parameter("important", 9, "From which priority tasks are important.", "priority", 0, 1e9, is_whole=True),
    Parameter("heads", 20, "Waiting tasks for which nodes are made free at the same time.", "tasks", 0, 1000,
              is_whole=True),
    Parameter("drain", 0, "Nodes are drained and switched off while the others' mean freeness stays above; 0: none.",
              "typical tasks", 0, 1e6),
    Parameter("fill", 0, "They are taken back when it falls below this, which is less than drain.", "typical tasks", 0,
              1e6),
    *MIGRATION,
)  # fmt: skip


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


POLICY = Policy(
    "freeness",
    "The freest node (Llumnix), and every few minutes tasks migrate from the least free nodes to the freest.",
    score,
    planner="freeness",
    parameters=PARAMETERS,
    taxonomy=Taxonomy(method="greedy"),
)
