"""kube-default, with the packing planner behind it: where the scheduler finds no room, running tasks move to make some.

Placing one task is kube-default's business; `planner` tells the driver (a replay, or the live planner) to ask
`scheduler.core.packing` for a plan when tasks stay unschedulable.
"""

from __future__ import annotations

from scheduler.core.policies import Policy
from scheduler.core.policies.kube_default import score
from scheduler.core.taxonomy import Taxonomy

POLICY = Policy(
    "packing",
    "kube-default, and the CP-SAT planner moves running tasks when some find no room.",
    score,
    planner="packing",
    taxonomy=Taxonomy(method="exact"),
)
