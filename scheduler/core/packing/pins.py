"""Pods that stay where they are, and why: what must not move, and what the planner cannot model."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.packing.selectors import PodMatcher, affinity_terms, anti_affinity_terms
from scheduler.core.snapshot import OUR_GATE, Pod, Snapshot

SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")
SYSTEM_PRIORITY = 2_000_000_000
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"


@dataclass(frozen=True, slots=True)
class PackOptions:
    """What a plan may do. allow_system_critical: move system-critical pods. keep_equal: a running pod gives way only
    to a more important one. cost_by_age, cost_by_priority: a move of an older or more important pod costs more."""

    allow_system_critical: bool = False
    keep_equal: bool = True
    cost_by_age: bool = False
    cost_by_priority: bool = False


def unmodelled_rules(pod: Pod, snapshot: Snapshot, matcher: PodMatcher) -> list[str]:
    """Rules of the pod that cannot be represented, in words."""
    reasons = list(pod.unmodelled)
    reasons += [
        f'volume claim "{claim}", which is not in the snapshot (add pv,pvc to kubectl get)'
        for claim in pod.claims
        if claim not in snapshot.claims
    ]
    for term in [*anti_affinity_terms(pod), *affinity_terms(pod)]:
        try:
            matcher.spaces(term, pod.namespace)
        except LookupError as error:
            reasons.append(str(error))
    return reasons


def pin_reason(pod: Pod, options: PackOptions) -> str | None:
    """Why a running pod must not move, or None."""
    rules = (
        (pod.terminating, "it is terminating"),
        (pod.owner_kind == "DaemonSet", "it belongs to a DaemonSet"),
        (_is_static(pod), "it is a static or mirror pod"),
        (not pod.owner, "it has no controller that would replace it"),
        (bool(pod.local_volumes), f"it has local storage ({', '.join(pod.local_volumes)})"),
        (pod.annotations.get(SAFE_TO_EVICT) == "false", f'it is annotated {SAFE_TO_EVICT}: "false"'),
        (not options.allow_system_critical and is_system_critical(pod), "it is critical to the system"),
    )
    return next((reason for holds, reason in rules if holds), None)


def _is_static(pod: Pod) -> bool:
    source = pod.annotations.get("kubernetes.io/config.source", "api")
    return pod.owner_kind == "Node" or "kubernetes.io/config.mirror" in pod.annotations or source != "api"


def is_system_critical(pod: Pod) -> bool:
    """Whether the cluster itself depends on the pod."""
    return pod.priority_class in SYSTEM_CLASSES or pod.priority >= SYSTEM_PRIORITY


def held_back(pod: Pod) -> str | None:
    """Why a pending pod is not for the planner, or None."""
    if pod.terminating:
        return "it is terminating"
    gates = [gate for gate in pod.gates if not gate.startswith(OUR_GATE)]
    return f"it waits for scheduling gate {', '.join(gates)}" if gates else None
