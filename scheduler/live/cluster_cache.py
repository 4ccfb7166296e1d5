"""The cluster as the live edge knows it: nodes, pods, reservations, kept up to date by watches, without I/O.

Kinds arrive on separate streams and in any order between them: a pod may come before its node, a node may go before its
pods and come back. So pods keep the name of their node, a node counts whatever pods name it, and the order of events of
different kinds makes no difference to what the cache says in the end.

What the cache says is one truth in two shapes: `NodeState.used` counts exact base units (reservations are checked
against it), `columns` the units of `scheduler.core.cluster` (policies score them).

Not safe for threads by itself: every caller that shares a cache holds `lock`, or runs on one event loop.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.core import kube_types as kube
from scheduler.core.cluster import NONZERO_DEFAULT
from scheduler.core.requests import amounts_of, effective_requests
from scheduler.core.snapshot import PriorityClass, Snapshot, a_snapshot, read_budget, read_node, read_pod
from scheduler.live.kube_objects import (
    HEALTH_ANNOTATION,
    PRICE_ANNOTATION,
    QUARANTINE_TAINT,
    Health,
    LiveBudget,
    LiveNode,
    LivePlan,
    LivePod,
)
from scheduler.live.node_columns import MIB, NodeColumns, Requests
from scheduler.live.reservations import Hold, ReservationBook

logger = logging.getLogger(__name__)

ASSUMED_S: Final = 30.0
"""How long an assumed placement counts when no watch confirms it."""

_DEFAULT_REQUEST: Final = {"cpu": f"{NONZERO_DEFAULT[0]}m", "memory": f"{NONZERO_DEFAULT[1]}Mi"}

Listener = Callable[[str, str, Any, Any], None]
"""Called with kind ("node", "pod", "plan", "budget"), key, object before and object after; None for no object."""


@dataclass(slots=True)
class NodeState:
    """A node by name. obj is None while only its pods are known. used: requests of its pods in base units."""

    name: str
    obj: LiveNode | None = None
    row: int = -1
    allocatable: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    pods: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod that uses or will use a node. obj is None in a cache that keeps no objects.

    node: where the API server says it runs; "" while pending. requests: effective, base units, `pods` included.
    nonzero: CPU millicores and memory MiB as kube-scheduler's scores count them.
    """

    key: str
    uid: str
    version: str
    node: str
    requests: Requests
    nonzero: tuple[int, int]
    priority: int
    owner_uid: str
    obj: LivePod | None


@dataclass(frozen=True, slots=True)
class Flag:
    """Why a node refuses pods, whatever room it has. gpus_only: only those that ask for GPUs."""

    rule: str
    reason: str
    taints: tuple[kube.Taint, ...] = ()
    gpus_only: bool = False


class ClusterCache:
    """See the module. keep_objects: keep the decoded objects, which `snapshot` and listeners need."""

    def __init__(self, *, keep_objects: bool = False) -> None:
        self.lock = threading.RLock()
        self.columns = NodeColumns()
        self.nodes: dict[str, NodeState] = {}
        self.pods: dict[str, PodState] = {}
        self.pod_of_uid: dict[str, str] = {}
        self.budgets: dict[str, LiveBudget] = {}
        self.plans: dict[str, LivePlan] = {}
        self.reservations = ReservationBook()
        self.flags: dict[str, Flag] = {}
        self.listeners: list[Listener] = []
        self.unreadable: dict[str, str] = {}
        self._keep_objects = keep_objects
        self._assumed: dict[str, tuple[str, float]] = {}
        self._interned: dict[Requests, Requests] = {}
        self._examined: NDArray[np.bool_] | None = None

    # ---- events

    def put_node(self, node: LiveNode) -> None:
        """A node is there, or changed."""
        name = node.metadata.name
        state = self.nodes.setdefault(name, NodeState(name))
        before, state.obj = state.obj, node
        if state.row < 0:
            state.row = self.columns.add(name)
            for key in state.pods:
                self._count(state, self.pods[key], 1, exact=False)
        offered = node.status.allocatable if node.status.allocatable is not None else node.status.capacity
        state.allocatable = self._read(f"node {name}", lambda: amounts_of(offered, f"node {name}: allocatable"))
        self.columns.set_allocatable(state.row, state.allocatable)
        annotations = node.metadata.annotations or {}
        is_avoided = any(one.effect == "PreferNoSchedule" for one in node.spec.taints or ())
        self.columns.set_wishes(state.row, _price(annotations.get(PRICE_ANNOTATION, "")), is_avoided)
        health = _health(annotations.get(HEALTH_ANNOTATION))
        self.columns.is_suspect[state.row] = health.state != "healthy"
        self._examined = None
        if (flag := _flag(node, health)) is None:
            self.flags.pop(name, None)
        else:
            self.flags[name] = flag
        self._tell("node", name, before, node)

    def drop_node(self, name: str) -> None:
        """A node is gone; pods that name it are remembered, in case it comes back."""
        state = self.nodes.get(name)
        if state is None or state.obj is None:
            return
        before, state.obj = state.obj, None
        self.columns.remove(name)
        state.row, state.allocatable = -1, {}
        self.flags.pop(name, None)
        self._examined = None
        self.unreadable.pop(f"node {name}", None)
        self._forget_if_empty(state)
        self._tell("node", name, before, None)

    def put_pod(self, pod: LivePod) -> None:
        """A pod is there, or changed; one that has ended counts as gone."""
        key = pod.key
        if pod.has_ended:
            self.drop_pod(key)
            return
        before = self.pods.get(key)
        after = self._pod_state(key, pod)
        if key in self._assumed and _is_refused(pod):
            self._unassume(key)
        if before is not None and before.uid != after.uid:
            self._unassume(key)
        was = "" if before is None else self._where(before)
        if after.node:
            self._assumed.pop(key, None)  # confirmed, or decided otherwise
        where = self._where(after)
        if before is None or (was, before.requests, before.nonzero) != (where, after.requests, after.nonzero):
            if before is not None and was:
                self._leave(was, before)
            self.pods[key] = after
            if where:
                self._join(where, after)
        else:
            self.pods[key] = after
        if before is not None and before.uid != after.uid:
            self.pod_of_uid.pop(before.uid, None)
        self.pod_of_uid[after.uid] = key
        self._tell("pod", key, before and before.obj, pod)

    def drop_pod(self, key: str) -> None:
        """A pod is gone."""
        self._unassume(key)
        before = self.pods.get(key)
        if before is None:
            return
        if before.node:
            self._leave(before.node, before)
        del self.pods[key]
        self.pod_of_uid.pop(before.uid, None)
        self.unreadable.pop(f"pod {key}", None)
        self._tell("pod", key, before.obj, None)

    def put_plan(self, plan: LivePlan) -> None:
        """A Plan is there, or changed; its reservations count."""
        before = self.plans.get(plan.metadata.name)
        self.plans[plan.metadata.name] = plan
        self.reservations.put(plan)
        self._examined = None
        self._tell("plan", plan.metadata.name, before, plan)

    def drop_plan(self, name: str) -> None:
        """A Plan is gone, and its reservations with it."""
        before = self.plans.pop(name, None)
        self.reservations.drop(name)
        self._examined = None
        if before is not None:
            self._tell("plan", name, before, None)

    def put_budget(self, budget: LiveBudget) -> None:
        """A disruption budget is there, or changed."""
        key = f"{budget.metadata.namespace}/{budget.metadata.name}"
        before = self.budgets.get(key)
        self.budgets[key] = budget
        self._tell("budget", key, before, budget)

    def drop_budget(self, key: str) -> None:
        """A disruption budget is gone."""
        before = self.budgets.pop(key, None)
        if before is not None:
            self._tell("budget", key, before, None)

    # ---- assumptions

    def assume(self, key: str, node: str, now_s: float) -> bool:
        """Count a pending pod on a node until a watch says where it is, at most ASSUMED_S; False if it is not pending.

        now_s: any clock that only goes forward, the one `expire` is given too.
        """
        pod = self.pods.get(key)
        if pod is None or pod.node:
            return False
        self._unassume(key)
        self._assumed[key] = (node, now_s + ASSUMED_S)
        self._join(node, pod)
        return True

    def forget(self, key: str) -> None:
        """Take an assumption back."""
        self._unassume(key)

    def expire(self, now_s: float) -> list[str]:
        """Drop assumptions that nobody confirmed; their pods."""
        late = [key for key, (_, until_s) in self._assumed.items() if until_s <= now_s]
        for key in late:
            self._unassume(key)
        return late

    def assumed_requests(self, key: str, node: str) -> dict[str, int]:
        """What an assumed pod adds to a node; nothing unless it is assumed there."""
        return dict(self.pods[key].requests) if self._assumed.get(key, ("",))[0] == node else {}

    @property
    def assumed(self) -> int:
        """How many pods are assumed somewhere."""
        return len(self._assumed)

    # ---- questions

    @property
    def examined(self) -> NDArray[np.bool_]:
        """(N,), the rows of nodes that may refuse a pod: flagged, or with room that is kept."""
        if self._examined is None:
            self._examined = np.zeros(len(self.columns.name_of), np.bool_)
            row_of = self.columns.row_of
            for name in (*self.flags, *self.reservations.on_node):
                if (row := row_of.get(name)) is not None:
                    self._examined[row] = True
        return self._examined

    def holds_against(self, node: str, now_s: float) -> list[Hold]:
        """Reservations on a node that count now. now_s: seconds since 1970."""
        return [one for one in self.reservations.on_node.get(node, ()) if self.is_active(one, now_s)]

    def is_active(self, hold: Hold, now_s: float) -> bool:
        """Whether a reservation still keeps room: not expired, and its pod, where known, not there yet."""
        if hold.expires_s <= now_s:
            return False
        if not hold.names_pod:
            return True
        pod = self.pods.get(self.pod_of_uid.get(hold.uid, "") if hold.uid else hold.pod)
        return pod is None or pod.node != hold.node

    def snapshot(
        self,
        classes: list[PriorityClass] | None = None,
        gang_sizes: dict[str, int] | None = None,
        **rest: Any,
    ) -> Snapshot:
        """The cluster now, for a planner; pods of unknown nodes are left out.

        classes, gang_sizes: as `scheduler.core.snapshot.read_pod` takes them; rest: further fields of the snapshot
        (claims, namespaces). Raises ValueError in a cache that keeps no objects.
        """
        if not self._keep_objects:
            raise ValueError("this cache keeps no objects; make it with keep_objects=True")
        known = {name for name, state in self.nodes.items() if state.obj is not None}
        return a_snapshot(
            [read_node(state.obj, f"node {name}") for name, state in self.nodes.items()
             if state.obj is not None and f"node {name}" not in self.unreadable],
            [read_pod(pod.obj, classes or [], gang_sizes, f"pod {pod.key}: spec") for pod in self.pods.values()
             if pod.obj is not None and (not pod.node or pod.node in known)
             and not {f"pod {pod.key}", f"node {pod.node}"} & self.unreadable.keys()],
            budgets=[read_budget(one) for _, one in sorted(self.budgets.items())],
            priority_classes=classes or [],
            **rest,
        )  # fmt: skip

    def fingerprint(self) -> str:
        """A digest of all that decides answers; two caches that would answer alike have the same. Tests compare it.

        Counted from what the cache keeps up to date, not from the objects, and without assumptions.
        """
        parts = (
            [facts for name in sorted(self.nodes) if (facts := self._node_facts(name)) is not None],
            [(pod.key, pod.uid, pod.node, pod.requests, pod.nonzero, pod.priority, pod.owner_uid)
             for _, pod in sorted(self.pods.items())],
            sorted(self.pod_of_uid.items()),
            sorted(map(str, self.reservations)),
            sorted((node, *sorted(map(str, holds))) for node, holds in self.reservations.on_node.items()),
            sorted((name, str(flag)) for name, flag in self.flags.items()),
            sorted((key, one.status.disruptions_allowed) for key, one in self.budgets.items()),
        )  # fmt: skip
        return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).hexdigest()

    def check(self) -> None:
        """Raise AssertionError unless counts kept in place are what counting anew gives."""
        for name, state in self.nodes.items():
            there = [pod for pod in self.pods.values() if self._where(pod) == name]
            assert state.pods == {pod.key for pod in there}, name
            used: dict[str, int] = {}
            for pod in there:
                for resource, amount in pod.requests:
                    used[resource] = used.get(resource, 0) + amount
            assert state.used == used, (name, state.used, used)
            if state.row < 0:
                continue
            wanted = sum((self.columns.demand(pod.requests) for pod in there), start=0 * self.columns.requested[0])
            assert (self.columns.requested[state.row] == wanted).all(), name
        assert set(self.columns.row_of) == {name for name, state in self.nodes.items() if state.obj is not None}

    # ---- inside

    def _node_facts(self, name: str) -> tuple[Any, ...] | None:
        state = self.nodes[name]
        used = dict(state.used)
        columns: list[Any] = []
        assumed = [self.pods[key] for key, (node, _) in self._assumed.items() if node == name]
        for pod in assumed:
            for resource, amount in pod.requests:
                used[resource] -= amount
        if state.row >= 0:
            c, row = self.columns, state.row
            requested, nonzero = c.requested[row].copy(), c.requested_nonzero[row].copy()
            for pod in assumed:
                requested -= c.demand(pod.requests)
                nonzero -= pod.nonzero
            columns = [
                sorted((axis, int(a), int(q)) for axis, a, q in zip(c.axes, c.allocatable[row], requested, strict=True)
                       if a or q),
                nonzero.tolist(), int(c.price_milli[row]), bool(c.is_suspect[row]),
            ]  # fmt: skip
        pods = sorted(state.pods - {pod.key for pod in assumed})
        if state.obj is None and not pods:
            return None
        return (name, sorted(state.allocatable.items()), sorted((k, v) for k, v in used.items() if v), pods, columns)

    def _pod_state(self, key: str, pod: LivePod) -> PodState:
        spec, meta = pod.spec, pod.metadata
        amounts = self._read(f"pod {key}", lambda: effective_requests(spec, pod.status, f"pod {key}: spec"))
        requests = tuple(sorted({**amounts, "pods": 1}.items()))
        if len(self._interned) > 100_000:
            self._interned.clear()
        return PodState(
            key=key,
            uid=meta.uid or key,
            version=meta.resource_version,
            node=spec.node_name or "",
            requests=self._interned.setdefault(requests, requests),
            nonzero=nonzero_requests(pod, amounts),
            priority=spec.priority or 0,
            owner_uid=owner_uid(pod),
            obj=pod if self._keep_objects else None,
        )

    def _read(self, where: str, read: Callable[[], dict[str, int]]) -> dict[str, int]:
        """Amounts; none, and a note, where a quantity is out of our range: one odd object must not stop the cache."""
        try:
            amounts = read()
        except ValueError as error:
            if where not in self.unreadable:
                logger.warning("event=unreadable_object object=%r error=%r", where, str(error))
            self.unreadable[where] = str(error)
            return {}
        self.unreadable.pop(where, None)
        return amounts

    def _where(self, pod: PodState) -> str:
        return pod.node or self._assumed.get(pod.key, ("",))[0]

    def _join(self, node: str, pod: PodState) -> None:
        state = self.nodes.setdefault(node, NodeState(node))
        state.pods.add(pod.key)
        self._count(state, pod, 1)

    def _leave(self, node: str, pod: PodState) -> None:
        state = self.nodes[node]
        state.pods.discard(pod.key)
        self._count(state, pod, -1)
        self._forget_if_empty(state)

    def _count(self, state: NodeState, pod: PodState, sign: int, exact: bool = True) -> None:
        if exact:
            used = state.used
            for name, amount in pod.requests:
                used[name] = used.get(name, 0) + sign * amount
                if not used[name]:
                    del used[name]
        if state.row >= 0:
            self.columns.put(state.row, pod.requests, pod.nonzero, sign)

    def _unassume(self, key: str) -> None:
        assumed = self._assumed.pop(key, None)
        if assumed is not None and key in self.pods:
            self._leave(assumed[0], self.pods[key])

    def _forget_if_empty(self, state: NodeState) -> None:
        if state.obj is None and not state.pods:
            del self.nodes[state.name]

    def _tell(self, kind: str, key: str, before: Any, after: Any) -> None:
        for listener in self.listeners:
            listener(kind, key, before, after)


def owner_uid(pod: kube.PodObject) -> str:
    """The uid of a pod's controller; "" for none."""
    return next((one.uid for one in pod.metadata.owner_references or () if one.controller), "")


def nonzero_requests(pod: kube.PodObject, amounts: dict[str, int]) -> tuple[int, int]:
    """CPU millicores and memory MiB as kube-scheduler's scores count them.

    amounts: the effective requests. A container that names no CPU or memory counts as `cluster.NONZERO_DEFAULT`, init
    containers and sidecars by the usual rules, unless the pod's own figure stands in their place.
    Source: Kubernetes v1.36.2, pkg/scheduler/framework/plugins/noderesources/resource_allocation.go.
    """
    spec = pod.spec
    every = [*(spec.containers or ()), *(spec.init_containers or ())]
    if all(one.resources is not None and {"cpu", "memory"} <= (one.resources.requests or {}).keys() for one in every):
        counted = amounts
    else:
        filled = msgspec.structs.replace(
            spec, containers=_filled(spec.containers), init_containers=_filled(spec.init_containers)
        )
        try:
            counted = effective_requests(filled, pod.status, "spec")
        except ValueError:
            counted = amounts
    return counted.get("cpu", 0), -(-counted.get("memory", 0) // MIB)


def _filled(containers: list[kube.Container] | None) -> list[kube.Container] | None:
    """The containers with a default for what they neither request nor limit."""
    if containers is None:
        return None
    filled = []
    for one in containers:
        named = one.resources or kube.Resources()
        requests = {**_DEFAULT_REQUEST, **(named.limits or {}), **(named.requests or {})}
        filled.append(msgspec.structs.replace(one, resources=msgspec.structs.replace(named, requests=requests)))
    return filled


def _is_refused(pod: LivePod) -> bool:
    """Whether the scheduler last said that no node will do."""
    verdict = pod.condition("PodScheduled")
    return verdict is not None and verdict.status == "False" and verdict.reason == "Unschedulable"


def _price(text: str) -> int:
    """The price in an annotation; 0 where there is none that can be read."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    return sign * int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 15 else 0


def _health(text: str | None) -> Health:
    try:
        return msgspec.json.decode(text, type=Health) if text else Health()
    except msgspec.MsgspecError as error:
        return Health(state="suspect", reason=f"its health annotation cannot be read: {error}")


def _flag(node: LiveNode, health: Health) -> Flag | None:
    name = node.metadata.name
    taints = tuple(taint for taint in node.spec.taints or () if taint.key == QUARANTINE_TAINT)
    if taints:
        why = taints[0].value or health.reason
        return Flag("quarantine", f"node {name} is in quarantine{': ' if why else ''}{why}", taints)
    if health.state == "failing":
        why = f": {health.reason}" if health.reason else ""
        return Flag("gpu-health", f"the GPUs of node {name} are failing{why}", gpus_only=True)
    return None
