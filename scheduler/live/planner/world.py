"""The cluster as the planner sees it: pods and nodes as last observed, indexed by node and by owner.

Fed by watches; a reader must bear that it may be a moment old. What is decided from it is written with the resource
version it was decided on, so that an old view makes a write fail instead of doing harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.core.packing.selectors import affinity_accepts, untolerated
from scheduler.core.snapshot import Node, Pod, PriorityClass, read_pod
from scheduler.live.kube_objects import HOLD_GATE, LivePod, shape_hash
from scheduler.live.planner.plan_resource import seconds_of


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod and what only a live cluster knows of it. unschedulable_since: Unix time; None unless it was refused."""

    pod: Pod
    resource_version: str = ""
    phase: str = "Pending"
    scheduler: str = "default-scheduler"
    nominated: str = ""
    owner_name: str = ""
    unschedulable_since: float | None = None
    why_unschedulable: str = ""
    shape: str = ""

    @property
    def key(self) -> str:
        """namespace/name."""
        return self.pod.key

    @property
    def is_waiting(self) -> bool:
        """Whether it has no node and is not going."""
        return self.pod.node is None and not self.pod.terminating

    @property
    def is_gated(self) -> bool:
        """Whether it carries our scheduling gate."""
        return HOLD_GATE in self.pod.gates

    def demand(self) -> dict[str, int]:
        """Its requests, and the one pod that it is."""
        return {**self.pod.requests, "pods": 1}


def view_of(item: LivePod, classes: list[PriorityClass], gang_sizes: dict[str, int] | None = None) -> PodView:
    """The live view of a pod object; raises ValueError naming the field of a broken quantity."""
    meta, spec, status = item.metadata, item.spec, item.status
    pod = read_pod(item, classes, gang_sizes)
    owner = next((o for o in meta.owner_references or () if o.controller), None)
    verdict = item.condition("PodScheduled")
    refused = verdict if verdict is not None and verdict.reason == "Unschedulable" else None
    since = None if refused is None else seconds_of(refused.last_transition_time) or 0.0
    return PodView(
        pod=pod,
        resource_version=meta.resource_version,
        phase=status.phase,
        scheduler=spec.scheduler_name or "default-scheduler",
        nominated=status.nominated_node_name or "",
        owner_name=owner.name if owner else "",
        unschedulable_since=since,
        why_unschedulable=refused.message if refused else "",
        shape=shape_hash(item),
    )


class World:
    """Pods by namespace/name, nodes by name; ended pods are not kept."""

    def __init__(self) -> None:
        self.pods: dict[str, PodView] = {}
        self.nodes: dict[str, Node] = {}
        self.version = 0
        self._on_node: dict[str, set[str]] = {}
        self._of_owner: dict[str, set[str]] = {}
        self._waiting: set[str] = set()

    def put_pod(self, live: PodView) -> None:
        """Take over a pod's newest state; an ended pod is dropped."""
        self.drop_pod(live.key)
        self.version += 1
        if live.phase in ("Succeeded", "Failed"):
            return
        self.pods[live.key] = live
        if live.is_waiting:
            self._waiting.add(live.key)
        if live.pod.node:
            self._on_node.setdefault(live.pod.node, set()).add(live.key)
        if live.pod.owner:
            self._of_owner.setdefault(live.pod.owner, set()).add(live.key)

    def drop_pod(self, key: str) -> None:
        """Forget a pod."""
        old = self.pods.pop(key, None)
        if old is None:
            return
        self.version += 1
        self._waiting.discard(key)
        if old.pod.node:
            self._on_node[old.pod.node].discard(key)
        if old.pod.owner:
            self._of_owner[old.pod.owner].discard(key)

    def put_node(self, node: Node) -> None:
        """Take over a node's newest state."""
        if self.nodes.get(node.name) != node:
            self.version += 1
            self.nodes[node.name] = node

    def drop_node(self, name: str) -> None:
        """Forget a node."""
        if self.nodes.pop(name, None) is not None:
            self.version += 1

    def pod(self, key: str, uid: str) -> PodView | None:
        """The pod of this name if it is still that very pod."""
        live = self.pods.get(key)
        return live if live is not None and live.pod.uid == uid else None

    def on_node(self, node: str) -> Iterator[PodView]:
        """Pods bound to a node, terminating ones included."""
        return (self.pods[key] for key in sorted(self._on_node.get(node, ())))

    def of_owner(self, owner_uid: str) -> list[PodView]:
        """Pods of a controller, oldest first, then by name."""
        live = [self.pods[key] for key in self._of_owner.get(owner_uid, ())] if owner_uid else []
        return sorted(live, key=lambda p: (p.pod.created, p.key))

    def waiting(self) -> list[PodView]:
        """Pods without a node, by name."""
        return [self.pods[key] for key in sorted(self._waiting)]


class Rooms:
    """Free amounts on nodes, worked out when asked for; `take` and `give` try things out.

    leaving: whether pods that are terminating count as gone.
    """

    def __init__(self, world: World, *, leaving: bool) -> None:
        self.world, self.leaving = world, leaving
        self._free: dict[str, dict[str, int]] = {}

    def free(self, node: str) -> dict[str, int]:
        """What is left on the node; a resource that it does not offer is absent."""
        if node not in self._free:
            known = self.world.nodes.get(node)
            free = dict(known.allocatable) if known is not None else {}
            free.setdefault("pods", 1 << 30)
            for live in self.world.on_node(node):
                if not (self.leaving and live.pod.terminating):
                    for name, amount in live.demand().items():
                        free[name] = free.get(name, 0) - amount
            self._free[node] = free
        return self._free[node]

    def take(self, node: str, demand: dict[str, int]) -> None:
        """Use up room."""
        free = self.free(node)
        for name, amount in demand.items():
            free[name] = free.get(name, 0) - amount

    def give(self, node: str, demand: dict[str, int]) -> None:
        """Free room."""
        self.take(node, {name: -amount for name, amount in demand.items()})

    def fits(self, node: str, demand: dict[str, int]) -> bool:
        """Whether the demand fits into what is left."""
        free = self.free(node)
        return all(free.get(name, 0) >= amount for name, amount in demand.items() if amount)

    def short_of(self, node: str, demand: dict[str, int]) -> str:
        """The first resource that is short, in words."""
        free = self.free(node)
        for name, amount in sorted(demand.items()):
            if amount and free.get(name, 0) < amount:
                return f"{name}: {amount} asked, {max(0, free.get(name, 0))} free"
        return "nothing"


def node_fault(node: Node | None, pod: Pod | None) -> tuple[str, str] | None:
    """(reason, sentence) why the node takes no such pod any more, whatever its room; None where it does."""
    if node is None:
        return "NodeGone", "it was deleted"
    if not node.ready:
        return "NodeNotReady", "it is not ready"
    if node.unschedulable:
        return "NodeCordoned", "it is cordoned"
    if pod is None:
        return None
    taint = untolerated(pod, node)
    if taint is not None:
        return "NodeTainted", f"it has taint {taint.key}:{taint.effect}"
    if not affinity_accepts(pod, node):
        return "NodeRelabelled", "its labels no longer match the pod's node selector or affinity"
    return None
