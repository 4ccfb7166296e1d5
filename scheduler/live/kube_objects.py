"""Kubernetes objects as the live edge reads them, and how their bytes become them.

The types of `scheduler.core.kube_types` with what only a live cluster has: resource versions, finalizers, reasons of
conditions, and our own Plan. Decoding is partial: a field that is not named is skipped without being built, which costs
a hundredth of what the typed models of the `kubernetes` package cost.
"""

from __future__ import annotations

import hashlib
from typing import Final, Generic, TypeVar

import msgspec

from scheduler.core import kube_types as kube
from scheduler.core.requests import effective_requests

DOMAIN: Final = "stowage.dev"
QUARANTINE_TAINT: Final = f"{DOMAIN}/quarantine"
PRICE_ANNOTATION: Final = f"{DOMAIN}/price-milli"
"""An integer: what a node costs, in thousandths of whatever the price round counts in."""
PRICE_NOTE: Final = f"{DOMAIN}/price-of-round"
"""The same integer where the price round wrote it; a price without it, or beside another figure, is a person's."""
WEIGHT_ANNOTATION: Final = f"{DOMAIN}/auction-weight"
"""On a namespace: a number above 0 that multiplies its pods' bids."""
BUDGET_ANNOTATION: Final = f"{DOMAIN}/auction-budget"
"""On a namespace: the most that its pods bid together in a round; at least 0."""
BID_ANNOTATION: Final = f"{DOMAIN}/bid"
"""On a pod: what it bids for a place, instead of what its priority says; at least 0."""
HEALTH_ANNOTATION: Final = f"{DOMAIN}/health"
"""JSON, see `Health`."""
HOLD_GATE: Final = f"{DOMAIN}/hold"
POKE_ANNOTATION: Final = f"{DOMAIN}/poke"
PLAN_ANNOTATION: Final = f"{DOMAIN}/plan"
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
TERMINAL_PLAN_PHASES: Final = frozenset({"Succeeded", "Stopped", "Failed", "Superseded"})

PLANS_PATH: Final = f"/apis/{DOMAIN}/v1alpha1/plans"
NODES_PATH: Final = "/api/v1/nodes"
PODS_PATH: Final = "/api/v1/pods"
NAMESPACES_PATH: Final = "/api/v1/namespaces"
BUDGETS_PATH: Final = "/apis/policy/v1/poddisruptionbudgets"

T = TypeVar("T")


class LiveMetadata(kube.Metadata, frozen=True, kw_only=True):
    """metadata of an object in a live cluster."""

    resource_version: str = ""
    generation: int = 0
    finalizers: list[str] | None = None


class LiveCondition(kube.Condition, frozen=True, kw_only=True):
    """status.conditions[] with why."""

    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class LivePodStatus(kube.PodStatus, frozen=True, kw_only=True):
    """status of a pod with its conditions."""

    conditions: list[LiveCondition] | None = None


class LivePod(kube.PodObject, frozen=True, kw_only=True):
    """v1.Pod."""

    metadata: LiveMetadata = msgspec.field(default_factory=LiveMetadata)
    status: LivePodStatus = msgspec.field(default_factory=LivePodStatus)

    @property
    def key(self) -> str:
        """namespace/name."""
        return f"{self.metadata.namespace or 'default'}/{self.metadata.name}"

    @property
    def has_ended(self) -> bool:
        """Whether it uses nothing any more."""
        return self.status.phase in ("Succeeded", "Failed")

    def condition(self, kind: str) -> LiveCondition | None:
        """Its condition of that type, if it has one."""
        return next((one for one in self.status.conditions or () if one.type == kind), None)


class LiveNode(kube.NodeObject, frozen=True, kw_only=True):
    """v1.Node."""

    metadata: LiveMetadata = msgspec.field(default_factory=LiveMetadata)


class LiveNamespace(kube.Kube, frozen=True, kw_only=True):
    """v1.Namespace."""

    metadata: LiveMetadata = msgspec.field(default_factory=LiveMetadata)


class LiveBudget(kube.BudgetObject, frozen=True, kw_only=True):
    """policy/v1 PodDisruptionBudget."""

    metadata: LiveMetadata = msgspec.field(default_factory=LiveMetadata)


class Owner(kube.Kube, frozen=True, kw_only=True):
    """The controller a replacement pod will have."""

    kind: str
    name: str = ""
    uid: str = ""


class Reservation(kube.Kube, frozen=True, kw_only=True):
    """status.reservations[] of a Plan: room on a node that is kept for one pod.

    The pod is named (`pod`: namespace/name, `uid`) or described (`owner` and `shapeHash`, for a replacement that does
    not exist yet). requests: in our units, see `scheduler.core.requests`. expires: RFC 3339. hard: the pod may go
    nowhere else.
    """

    node: str
    requests: dict[str, int]
    expires: str
    pod: str = ""
    uid: str = ""
    owner: Owner | None = None
    shape_hash: str = ""
    hard: bool = False


class PlanStatus(kube.Kube, frozen=True, kw_only=True):
    """What the extender reads of a Plan's status."""

    phase: str = ""
    reservations: list[Reservation] | None = None


class LivePlan(kube.Kube, frozen=True, kw_only=True):
    """plans.stowage.dev, as far as the extender reads it."""

    metadata: LiveMetadata = msgspec.field(default_factory=LiveMetadata)
    status: PlanStatus = msgspec.field(default_factory=PlanStatus)


class Health(kube.Kube, frozen=True, kw_only=True):
    """The value of HEALTH_ANNOTATION.

    state: `healthy`; `suspect` (scored last by pods that use GPUs); `failing` (refused to pods that use GPUs).
    reason: for the person who asks why. The other fields are the planner's, RFC 3339 or empty; an annotation without
    `since` is a person's, and the planner leaves the node alone. since: when the state began. quarantined: when the
    node was last taken out of service. until: when that ends, unless the fault is still there. repaired: when it ended.
    """

    state: str = "healthy"
    reason: str = ""
    since: str = ""
    quarantined: str = ""
    until: str = ""
    repaired: str = ""


class ListMetadata(kube.Kube, frozen=True, kw_only=True):
    """metadata of a list; `continue` is where the next page starts."""

    resource_version: str = ""
    more: str = msgspec.field(name="continue", default="")


class ObjectList(kube.Kube, Generic[T], frozen=True, kw_only=True):
    """A page of a list of any kind."""

    metadata: ListMetadata = msgspec.field(default_factory=ListMetadata)
    items: list[T] | None = None


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    """One line of a watch: ADDED, MODIFIED, DELETED, or BOOKMARK (whose object has metadata only)."""

    type: str
    object: T


class Status(kube.Kube, frozen=True, kw_only=True):
    """metav1.Status: what an API server answers instead of what was asked for."""

    message: str = ""
    reason: str = ""
    code: int = 0


def is_initial_events_end(metadata: kube.Metadata) -> bool:
    """Whether this bookmark says that a watch has sent all that a list would have held."""
    return (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"


def shape_hash(pod: kube.PodObject) -> str:
    """16 hex digits that two pods of one owner share when either can take the other's place.

    Requests as the spec states them (a resize in the status of the old pod is not in its replacement), priority and
    node selector. Not the affinity: steering a pod to its planned node adds to it.
    """
    shape = (
        effective_requests(pod.spec, kube.PodStatus(), "spec"),
        pod.spec.priority or 0,
        pod.spec.node_selector or {},
    )
    return hashlib.blake2b(msgspec.json.encode(shape, order="sorted"), digest_size=8).hexdigest()
