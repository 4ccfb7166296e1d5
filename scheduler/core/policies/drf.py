"""Dominant resource fairness among tenants: the queue serves the tenant that holds least.

A tenant's dominant share is its largest share of any resource of the cluster. Whenever a task can start, the next one
is of the tenant with the least dominant share; a tenant's own tasks go by priority, then arrival. Priorities of
different tenants are not compared. Source: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011. Nodes are chosen as
kube-default does, so that the two differ in their queue alone.
"""

from __future__ import annotations

from scheduler.core.policies import Policy
from scheduler.core.policies.kube_default import score
from scheduler.core.taxonomy import Taxonomy

POLICY = Policy(
    "drf",
    "Dominant resource fairness: the tenant that holds least is served first; nodes by kube-default.",
    score,
    order="dominant-share",
    taxonomy=Taxonomy(level="big-data", method="greedy"),
)
