"""A live cluster as a balancing instance: what `kubectl get nodes,pods,pdb -A -o json` prints, or our own snapshot.

Pods load their node with their requests: the list says nothing of use. What may move is what the planner may move
(`scheduler.core.balance.from_snapshot`). Moving a pod costs what `scheduler.core.balance.migration` says of the memory
it requests, moved live as `UsualMove` states; one whose move is refused stays. Pods that wait are placed where there is
room.

Pods of one data-parallel group share a kind of NIC, as a rule, and a rack, as a preference or a rule: by labels of
nodes and pods. Their names are settings, for Kubernetes has no agreed ones; the defaults are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analytics.balance.move_notes import MOVE_NOTE, refusal_notes
from analytics.errors import InputError
from scheduler.core.balance.from_snapshot import Balancing, make_balancing
from scheduler.core.balance.move_price import UsualMove
from scheduler.core.balance.problem import Domain, Instance
from scheduler.core.columns import intern
from scheduler.core.snapshot import Node, Pod, parse_snapshot

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
    balancing = make_balancing(parse_snapshot(data), move=move or UsualMove())
    snapshot, tasks = balancing.packing.snapshot, balancing.instance.tasks.tolist()
    pod_of = {pod.key: pod for pod in snapshot.pods}
    domains = _domains(snapshot.nodes, [pod_of[task] for task in tasks], labels or DomainLabels())
    refused = [balancing.refused.get(task, "") for task in tasks]
    notes = [*_notes(balancing, path), *refusal_notes(balancing.instance, refused)]
    return replace(balancing.instance, domains=domains), notes


def _domains(nodes: Sequence[Node], pods: Sequence[Pod], labels: DomainLabels) -> tuple[Domain, ...]:
    """NIC and rack, each if some node says what it has and some pod has a group."""
    team = intern(f"{pod.namespace}/{pod.labels[labels.group]}" if labels.group in pod.labels else None for pod in pods)
    found = []
    for name, label, rule in (("nic", labels.nic, "required"), ("rack", labels.rack, labels.rack_rule)):
        value = intern(node.labels.get(label) for node in nodes)
        if team.values and value.values and rule != "off":
            found.append(Domain(name, value.values, value.code, team.code, rule == "required"))
    return tuple(found)


def _notes(balancing: Balancing, path: Path) -> list[str]:
    notes = [f"{path}: pods load nodes with their requests", MOVE_NOTE]
    for pod, why in sorted(balancing.pinned.items())[:1]:
        many = f"{len(balancing.pinned)} pods must not move, or have rules that are not modelled"
        notes.append(f"{many}: {pod}: {why}")
    left_out = len(balancing.packing.snapshot.pods) - len(balancing.instance.tasks)
    if left_out:
        notes.append(f"{left_out} pods that wait are held back, or have rules that are not modelled: left out")
    return notes
