"""A live cluster as a balancing instance: what `kubectl get nodes,pods -A -o json` prints, or our own snapshot.

Pods load their node with their requests: the list says nothing of use. A pod that must not move (as for
`stowage pack`) is pinned, and so is one whose affinity or spreading binds it to others, which is not modelled here.
Moving a pod costs what `scheduler.core.balance.migration` says of the memory it requests, moved live as `UsualMove`
states; one whose move is refused is pinned. Pods that wait are placed where there is room.

Pods of one data-parallel group share a kind of NIC, as a rule, and a rack, as a preference or a rule: by labels of
nodes and pods. Their names are settings, for Kubernetes has no agreed ones; the defaults are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analytics.auction.cluster_file import PODS_UNLESS_STATED, amounts_of
from analytics.balance.move_notes import MOVE_NOTE, refusal_notes
from analytics.errors import InputError
from scheduler.core.balance.move_price import UsualMove, price_moves
from scheduler.core.balance.problem import WAITING, Domain, Instance
from scheduler.core.columns import intern
from scheduler.core.packing.pins import PackOptions, held_back, pin_reason
from scheduler.core.packing.selectors import affinity_accepts, affinity_terms, anti_affinity_terms, untolerated
from scheduler.core.snapshot import Node, Pod, Snapshot, parse_snapshot

RACK_RULES = ("preferred", "required", "off")


@dataclass(frozen=True, slots=True)
class DomainLabels:
    """Names of labels. nic, rack: of nodes. group: of pods, the data-parallel group, within a namespace.

    rack_rule: whether a group shares a rack. Raises InputError for an unknown one.
    """

    nic: str = "stowage.dev/nic-type"
    rack: str = "topology.kubernetes.io/rack"
    group: str = "stowage.dev/data-parallel-group"
    rack_rule: str = "preferred"

    def __post_init__(self) -> None:
        if self.rack_rule not in RACK_RULES:
            raise InputError(f"--same-rack {self.rack_rule}: choose {', '.join(RACK_RULES)}")


def read_cluster(
    path: Path, data: bytes, move: UsualMove | None = None, labels: DomainLabels | None = None
) -> tuple[Instance, list[str]]:
    """The instance, and what the reader should know. move, labels: if not as usual. Raises SnapshotError."""
    snapshot = parse_snapshot(data)
    nodes = sorted(snapshot.nodes, key=lambda node: node.name)
    row = {node.name: n for n, node in enumerate(nodes)}
    pods = sorted((pod for pod in snapshot.pods if _counts(pod, row)), key=lambda pod: pod.key)
    resources = sorted({"cpu", "memory", "pods", *(name for pod in pods for name in pod.requests)})
    use = amounts_of([{**pod.requests, "pods": 1} for pod in pods], resources, up=True)
    pinned = [_is_pinned(pod) for pod in pods]
    allowed = np.zeros((len(pods), len(nodes)), np.bool_)
    for t, pod in enumerate(pods):
        for n, node in enumerate(nodes):
            open_node = node.ready and not node.unschedulable
            allowed[t, n] = open_node and untolerated(pod, node) is None and affinity_accepts(pod, node)
    home = np.array([WAITING if pod.node is None else row[pod.node] for pod in pods], np.int32)
    cost, reasons = price_moves(use[:, resources.index("memory")].tolist(), move)
    refused = ["" if at == WAITING else reason for at, reason in zip(home.tolist(), reasons, strict=True)]
    instance = Instance(
        nodes=np.array([node.name for node in nodes], np.str_),
        resources=tuple(resources),
        capacity=amounts_of([{"pods": PODS_UNLESS_STATED, **node.allocatable} for node in nodes], resources, up=False),
        tasks=np.array([pod.key for pod in pods], np.str_),
        request=use,
        use=use,
        home=home,
        cost=np.where(home == WAITING, 0, cost).astype(np.int64),
        priority=np.array([max(pod.priority, 0) for pod in pods], np.int64),
        pinned=np.array(pinned, np.bool_) | np.array([bool(reason) for reason in refused], np.bool_),
        mask=np.arange(len(pods), dtype=np.int32),
        allowed=allowed,
        group=np.full(len(pods), -1, np.int32),
        domains=_domains(nodes, pods, labels or DomainLabels()),
    )
    return instance, [*_notes(snapshot, path, pods, pinned), *refusal_notes(instance, refused)]


def _domains(nodes: Sequence[Node], pods: Sequence[Pod], labels: DomainLabels) -> tuple[Domain, ...]:
    """NIC and rack, each if some node says what it has and some pod has a group."""
    team = intern(f"{pod.namespace}/{pod.labels[labels.group]}" if labels.group in pod.labels else None for pod in pods)
    found = []
    for name, label, rule in (("nic", labels.nic, "required"), ("rack", labels.rack, labels.rack_rule)):
        value = intern(node.labels.get(label) for node in nodes)
        if team.values and value.values and rule != "off":
            found.append(Domain(name, value.values, value.code, team.code, rule == "required"))
    return tuple(found)


def _counts(pod: Pod, row: dict[str, int]) -> bool:
    return held_back(pod) is None if pod.node is None else pod.node in row


def _is_pinned(pod: Pod) -> bool:
    bound = bool(pod.spread or affinity_terms(pod) or anti_affinity_terms(pod))
    return bound or (pod.node is not None and pin_reason(pod, PackOptions()) is not None)


def _notes(snapshot: Snapshot, path: Path, pods: list[Pod], pinned: list[bool]) -> list[str]:
    notes = [f"{path}: pods load nodes with their requests", MOVE_NOTE]
    if any(pinned):
        first = next(pod.key for pod, held in zip(pods, pinned, strict=True) if held)
        notes.append(f"{sum(pinned)} pods must not move, or have rules that are not modelled: {first}, ...")
    left_out = len(snapshot.pods) - len(pods)
    if left_out:
        notes.append(f"{left_out} pods are held back, or on nodes that are not in the list: left out")
    return notes
