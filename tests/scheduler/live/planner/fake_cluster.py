"""An API server in memory, with the parts of a cluster that act on it: controllers, kubelets, a scheduler, strangers.

Objects have resource versions that grow; writes are refused as the real server refuses them. Every change is an event,
and every client reads events at its own pace, so its view is as old as the test likes. A client can die at any call,
before or after its effect. What must never happen raises `Violation` at the moment it happens.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from scheduler.core.kube_types import Affinity, NodeAffinity, NodeSelector, NodeSelectorTerm, Requirement
from scheduler.core.snapshot import Node, Pod
from scheduler.live.api import ApiError
from scheduler.live.planner.plan_resource import FINISHED, Plan, PlanMetadata, PlanStatus, seconds_of, stamp
from scheduler.live.planner.steer import pinned_to
from scheduler.live.planner.world import PodView, World, node_fault

HOLD = "stowage.dev/hold"
SHAPE = "shape"


class Violation(AssertionError):
    """Something happened that must never happen."""


class Died(BaseException):
    """The planner was killed here."""


@dataclass
class Owner:
    """A controller that keeps so many pods; `gated` makes them with our gate."""

    uid: str
    replicas: int
    cpu: int
    gated: bool = False
    is_broken: bool = False
    made: int = 0


@dataclass
class FakeCluster:
    """The server's state. `evictions`: (uid, plan) in order. guard: the scheduler asks the extender."""

    seed: int = 0
    guard: bool = True
    now: float = 1_700_000_000.0
    pods: dict[str, PodView] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)
    owners: dict[str, Owner] = field(default_factory=dict)
    budgets: dict[str, int] = field(default_factory=dict)  # owner -> pods that must stay up
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)  # pod uid -> answer to its eviction
    evictions: list[tuple[str, str]] = field(default_factory=list)
    events: list[tuple[str, str, Any]] = field(default_factory=list)
    version: int = 100
    uids: int = 0
    must_have_place: bool = True

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    # ---- making things

    def add_node(self, name: str, cpu: int, **more: Any) -> None:
        """A node with so many millicores."""
        self.put_node(Node(name=name, allocatable={"cpu": cpu, "pods": 110}, **more))

    def put_node(self, node: Node) -> None:
        """Create or change a node."""
        self.version += 1
        self.nodes[node.name] = node
        self.events.append(("node", node.name, node))

    def drop_node(self, name: str) -> None:
        """Delete a node, and what ran there."""
        del self.nodes[name]
        self.events.append(("node", name, None))
        for live in [p for p in self.pods.values() if p.pod.node == name]:
            self.remove(live.key)

    def add_pod(self, name: str, cpu: int, node: str | None = None, owner: str = "", **more: Any) -> PodView:
        """A pod of namespace default."""
        self.uids += 1
        gates = [HOLD] if more.pop("gated", False) else []
        pod = Pod(
            name=name, uid=f"u{self.uids}", node=node, requests={"cpu": cpu}, owner=owner, gates=gates,
            owner_kind="ReplicaSet" if owner else "", created=stamp(self.now), **more,
        )  # fmt: skip
        return self.store(PodView(pod=pod, scheduler="stowage", owner_name=owner, shape=f"{SHAPE}-{cpu}"))

    def add_owner(self, uid: str, replicas: int, cpu: int, *, up: int = -1, **more: Any) -> Owner:
        """A controller; up: with a disruption budget that keeps so many running."""
        self.owners[uid] = Owner(uid, replicas, cpu, **more)
        if up >= 0:
            self.budgets[uid] = up
        return self.owners[uid]

    def store(self, live: PodView) -> PodView:
        """Write a pod under a new resource version."""
        self.version += 1
        live = replace(live, resource_version=str(self.version))
        self.pods[live.key] = live
        self.events.append(("pod", live.key, live))
        return live

    def remove(self, key: str) -> None:
        """A pod is gone."""
        self.version += 1
        del self.pods[key]
        self.events.append(("pod", key, None))

    def store_plan(self, plan: Plan) -> Plan:
        """Write a plan under a new resource version."""
        self.version += 1
        meta = msgspec.structs.replace(plan.metadata, resource_version=str(self.version))
        plan = msgspec.structs.replace(plan, metadata=meta)
        self.plans[plan.name] = plan
        self.events.append(("plan", plan.name, plan))
        return plan

    def create_plan(self, name: str, spec: Any) -> Plan:
        """A new plan."""
        self.uids += 1
        meta = PlanMetadata(name=name, uid=f"u{self.uids}", creation_timestamp=stamp(self.now), generation=1)
        return self.store_plan(Plan(spec=spec, metadata=meta, status=PlanStatus()))

    # ---- what acts by itself

    def used(self, node: str) -> int:
        """Millicores taken on a node."""
        return sum(p.pod.requests["cpu"] for p in self.pods.values() if p.pod.node == node)

    def tick(self, seconds: float = 0.5) -> None:
        """Time passes: kubelets end terminating pods, controllers make new ones, the scheduler binds."""
        self.now += seconds
        for live in [p for p in self.pods.values() if p.pod.terminating]:
            if self.random.random() < 0.7:
                self.remove(live.key)
        for owner in self.owners.values():
            alive = [p for p in self.pods.values() if p.pod.owner == owner.uid and not p.pod.terminating]
            for _ in range(0 if owner.is_broken else owner.replicas - len(alive)):
                owner.made += 1
                self.add_pod(f"{owner.uid}-r{owner.made}", owner.cpu, owner=owner.uid, gated=owner.gated)
        self.schedule()

    def schedule(self) -> None:
        """Bind waiting pods: the nominated node first, else any that takes them."""
        for live in sorted(self.pods.values(), key=lambda p: p.key):
            if not live.is_waiting or live.pod.gates:
                continue
            names = [n for n in sorted(self.nodes) if self.takes(n, live)]
            if live.nominated in names:
                names = [live.nominated]
            if names:
                node = self.random.choice(names)
                self.store(replace(live, pod=msgspec.structs.replace(live.pod, node=node)))

    def takes(self, name: str, live: PodView) -> bool:
        """In-tree filters, then the extender's, as far as the guard is on."""
        node = self.nodes[name]
        if node_fault(node, live.pod) is not None or (pinned_to(live) or name) != name:
            return False
        kept = self.reservations()
        named = [r for r in kept if r.uid == live.pod.uid]
        mine = (named or [r for r in kept if _is_for(r, live)]) if self.guard else []
        if any(r.hard for r in mine) and not any(r.node == name for r in mine):
            return False
        others = sum(r.requests["cpu"] for r in kept if self.guard and r.node == name and r not in mine)
        return self.used(name) + others + live.pod.requests["cpu"] <= node.allocatable["cpu"]

    def reservations(self) -> list[Any]:
        """Every reservation that has not expired."""
        every = [r for p in self.plans.values() if p.status.phase not in FINISHED for r in p.status.reservations]
        return [r for r in every if (seconds_of(r.expires) or 0) > self.now]

    # ---- what the API server checks

    def checked(self, namespace: str, name: str, uid: str) -> PodView:
        """The pod, if it is still that one."""
        live = self.pods.get(f"{namespace}/{name}")
        if live is None:
            raise ApiError(404, "NotFound", f"pod {name} not found")
        if live.pod.uid != uid:
            raise ApiError(409, "Conflict", "the UID in the precondition does not match")
        return live

    def evict(self, namespace: str, name: str, uid: str, version: str) -> None:
        """The eviction subresource."""
        live = self.checked(namespace, name, uid)
        if live.resource_version != version:
            raise ApiError(409, "Conflict", "the ResourceVersion in the precondition does not match")
        if live.pod.terminating:
            return
        if uid in self.refuse:
            raise ApiError(self.refuse[uid][0], "Refused", self.refuse[uid][1], 1.0)
        up = sum(
            1 for p in self.pods.values() if p.pod.owner == live.pod.owner and p.pod.node and not p.pod.terminating
        )
        if up - 1 < self.budgets.get(live.pod.owner, 0):
            raise ApiError(429, "TooManyRequests", "Cannot evict pod as it would violate the disruption budget", 1.0)
        self.check_eviction(live)
        self.store(replace(live, pod=msgspec.structs.replace(live.pod, terminating=True)))

    def check_eviction(self, live: PodView) -> None:
        """An eviction is decided by a plan that goes on, happens once, and leads somewhere."""
        decided = [
            (plan, spec)
            for plan in self.plans.values()
            if not plan.is_finished
            for spec, step in zip(plan.spec.steps, plan.status.steps, strict=False)
            if spec.uid == live.pod.uid and step.state == "evicting"
        ]
        if not decided:
            raise Violation(f"{live.key} is evicted, but no unfinished plan has decided so")
        if any(uid == live.pod.uid for uid, _ in self.evictions):
            raise Violation(f"{live.key} is evicted twice")
        plan, spec = decided[0]
        if self.must_have_place and spec.action == "move" and spec.room_is_free:
            claimed = {s.replacement_uid for s in plan.status.steps}
            twins = [  # a pod of its owner and shape that took the room already counts as its replacement
                p
                for p in self.pods.values()
                if p.pod.node == spec.to and p.pod.owner == live.pod.owner and p.pod.uid not in claimed
                if p.pod.name.startswith(f"{p.pod.owner}-r")
            ]
            room = self.nodes[spec.to].allocatable["cpu"] - self.used(spec.to)
            if spec.requests["cpu"] > room and not twins:
                raise Violation(f"{live.key} is evicted while {spec.to} has no room for it")
        self.evictions.append((live.pod.uid, plan.name))

    def write_status(self, plan: Plan) -> Plan:
        """Conditional on the resource version; the schema's rules hold."""
        known = self.plans.get(plan.name)
        if known is None:
            raise ApiError(404, "NotFound", plan.name)
        if known.metadata.resource_version != plan.metadata.resource_version:
            raise ApiError(409, "Conflict", "the object has been modified")
        if known.is_finished and plan.status.phase != known.status.phase:
            raise Violation("a finished plan comes back to life")
        if plan.is_finished and plan.status.reservations:
            raise Violation("a finished plan holds a reservation")
        return self.store_plan(msgspec.structs.replace(known, status=plan.status))


def _is_for(reservation: Any, live: PodView) -> bool:
    if reservation.uid:
        return bool(reservation.uid == live.pod.uid)
    owner = reservation.owner
    return owner is not None and owner.uid == live.pod.owner and reservation.shape_hash == live.shape


@dataclass
class FakeApi:
    """One client. at_call: called before (True) and after (False) every call's effect; it may raise."""

    cluster: FakeCluster
    at_call: Callable[[str, bool], None] = lambda verb, before: None
    position: int = 0
    calls: int = 0

    def _do(self, verb: str, effect: Callable[[], Any]) -> Any:
        self.calls += 1
        self.at_call(verb, True)
        answer = effect()
        self.at_call(verb, False)
        return answer

    def observe(self, world: World, runner: Any, most: int = 1 << 30) -> None:
        """Read events, at most so many."""
        events = self.cluster.events[self.position : self.position + most]
        self.position += len(events)
        for kind, key, value in events:
            if kind == "pod":
                world.put_pod(value) if value is not None else world.drop_pod(key)
            elif kind == "node":
                world.put_node(value) if value is not None else world.drop_node(key)
            elif value is not None:
                runner.put_plan(value)
            else:
                runner.drop_plan(key)

    def read_plan(self, name: str) -> Plan:
        def effect() -> Plan:
            if name not in self.cluster.plans:
                raise ApiError(404, "NotFound", name)
            return self.cluster.plans[name]

        return self._do("read_plan", effect)

    def write_plan_status(self, plan: Plan) -> Plan:
        return self._do("write_plan_status", lambda: self.cluster.write_status(plan))

    def write_finalizers(self, plan: Plan, finalizers: list[str]) -> Plan:
        def effect() -> Plan:
            known = self.cluster.plans.get(plan.name)
            if known is None:
                raise ApiError(404, "NotFound", plan.name)
            if known.metadata.resource_version != plan.metadata.resource_version:
                raise ApiError(409, "Conflict", "the object has been modified")
            meta = msgspec.structs.replace(known.metadata, finalizers=finalizers or None)
            written = self.cluster.store_plan(msgspec.structs.replace(known, metadata=meta))
            if meta.deletion_timestamp is not None and not finalizers:
                del self.cluster.plans[plan.name]
                self.cluster.events.append(("plan", plan.name, None))
            return written

        return self._do("write_finalizers", effect)

    def evict(self, namespace: str, pod: str, uid: str, resource_version: str) -> None:
        self._do("evict", lambda: self.cluster.evict(namespace, pod, uid, resource_version))

    def annotate(self, namespace: str, pod: str, uid: str, annotations: dict[str, str]) -> None:
        def effect() -> None:
            live = self.cluster.checked(namespace, pod, uid)
            merged = {**live.pod.annotations, **annotations}
            self.cluster.store(replace(live, pod=msgspec.structs.replace(live.pod, annotations=merged)))

        self._do("annotate", effect)

    def release(self, live: PodView, resource_version: str, node: str, plan: str, *, pin: bool) -> None:
        def effect() -> None:
            known = self.cluster.checked(live.pod.namespace, live.pod.name, live.pod.uid)
            if known.resource_version != resource_version:
                raise ApiError(409, "Conflict", "the object has been modified")
            if HOLD not in known.pod.gates:
                raise ApiError(422, "Invalid", "no such gate")
            affinity = known.pod.affinity
            if pin:
                term = NodeSelectorTerm(match_fields=[Requirement(key="metadata.name", operator="In", values=[node])])
                required = NodeSelector(node_selector_terms=[term])
                affinity = Affinity(node_affinity=NodeAffinity(required=required))
            marks = {**known.pod.annotations, "stowage.dev/plan": plan}
            pod = msgspec.structs.replace(known.pod, gates=[], affinity=affinity, annotations=marks)
            self.cluster.store(replace(known, pod=pod))

        self._do("release", effect)

    def nominate(self, namespace: str, pod: str, uid: str, node: str) -> None:
        def effect() -> None:
            live = self.cluster.checked(namespace, pod, uid)
            self.cluster.store(replace(live, nominated=node))

        self._do("nominate", effect)

    def delete_pod(self, namespace: str, pod: str, uid: str) -> None:
        def effect() -> None:
            live = self.cluster.checked(namespace, pod, uid)
            if live.pod.node is not None:
                raise Violation(f"{live.key} runs and is deleted")
            self.cluster.remove(live.key)

        self._do("delete_pod", effect)
