"""Whether pods that do not exist yet would fit: where, at whose cost, and if not which shape would."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from scheduler.core import kube_types as kube
from scheduler.core.packing.explain import alone
from scheduler.core.packing.from_snapshot import make_packing
from scheduler.core.packing.ledger import disturbed
from scheduler.core.packing.pins import PackOptions
from scheduler.core.packing.plan import Step, order_steps
from scheduler.core.packing.problem import Budget, Order
from scheduler.core.packing.solve import solve
from scheduler.core.quantity import format_resource
from scheduler.core.snapshot import Pod, Snapshot, SnapshotError, read_pod

MOST_REPLICAS = 20_000


@dataclass(slots=True)
class Fit:
    """nodes: where the new pods would land. victims: running pods that would move or go. nearest_shape: requests."""

    verdict: str
    answer: str
    nodes: list[str]
    victims: list[str]
    nearest_shape: dict[str, str]
    placed: int
    total: int
    placements: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    why: str = ""


def read_manifest(text: bytes, snapshot: Snapshot, read_yaml: Callable[[bytes], Any]) -> list[Pod]:
    """The pods a manifest would make: a Pod, a List, or anything with a pod template (and replicas or parallelism)."""
    try:
        documents = [json.loads(text)]
    except ValueError:
        documents = read_yaml(text)
    pods: list[Pod] = []
    for document in documents:
        if document is not None:
            pods += _pods_of(document, snapshot)
    if not pods:
        raise SnapshotError("the manifest holds no pods")
    taken = {p.key for p in snapshot.pods}
    if clash := next((p.key for p in pods if p.key in taken), None):
        raise SnapshotError(f'pod "{clash}" is in the snapshot already')
    return pods


def _pods_of(document: Any, snapshot: Snapshot) -> list[Pod]:
    if not isinstance(document, dict):
        raise SnapshotError(f"the manifest is a {type(document).__name__}, not an object")
    kind = document.get("kind", "")
    if kind.endswith("List") or "items" in document:
        return [pod for item in document.get("items", []) for pod in _pods_of(item, snapshot)]
    if kind == "Pod":
        return [_pod(document, snapshot, f'Pod "{_name(document)}".spec')]
    spec = document.get("spec") or {}
    template = spec.get("template") or ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
    if not isinstance(template, dict):
        raise SnapshotError(f"a {kind or 'manifest'} holds no pod template: give a Pod, Deployment, Job or the like")
    replicas = spec.get("replicas", spec.get("parallelism", 1))
    if not isinstance(replicas, int) or isinstance(replicas, bool) or not 0 <= replicas <= MOST_REPLICAS:
        raise SnapshotError(f"replicas is {replicas!r}: write a number from 0 to {MOST_REPLICAS}")
    name = _name(document)
    meta = {
        **(template.get("metadata") or {}),
        "namespace": (document.get("metadata") or {}).get("namespace", "default"),
    }
    where = f'{kind} "{name}".spec.template.spec'
    first = _pod({"metadata": {**meta, "name": name}, "spec": template.get("spec") or {}}, snapshot, where)
    return [
        msgspec.structs.replace(first, name=f"{name}-{i}", owner_kind=kind, owner=f"{kind}/{name}")
        for i in range(replicas)
    ]


def _name(document: dict[str, Any]) -> str:
    meta = document.get("metadata") or {}
    return str(meta.get("name") or meta.get("generateName") or "new")


def _pod(document: dict[str, Any], snapshot: Snapshot, where: str) -> Pod:
    try:
        item = msgspec.convert(document, kube.PodObject)
        pod = read_pod(item, snapshot.priority_classes, None, where)
    except (msgspec.ValidationError, ValueError) as error:
        raise SnapshotError(f"{where}: {error}" if where not in str(error) else str(error)) from error
    return msgspec.structs.replace(pod, node=None, name=pod.name or "new", gates=[])


def fit_pods(
    snapshot: Snapshot,
    pods: list[Pod],
    order: Order = "no-harm",
    budget: Budget | None = None,
    options: PackOptions | None = None,
    seed: int = 0,
) -> Fit:
    """Ask the search for a place for these pods, with nobody else waiting."""
    budget = budget or Budget(2.0)
    cluster = _with(snapshot, pods)
    packing = make_packing(cluster, options)
    keys = {p.key for p in pods}
    if held := next((packing.left_out[k] for k in keys if k in packing.left_out), None):
        return Fit("undecided", "cannot say", [], [], {}, 0, len(pods), why=held)
    result = solve(packing.problem, order, budget, seed)
    problem = packing.problem
    placements = {
        pod: problem.nodes[node]
        for pod, node in zip(problem.pods, result.assign, strict=True)
        if pod in keys and node >= 0
    }
    gone = disturbed(problem, result.assign)
    victims = [problem.pods[i] for i in range(len(problem.pods)) if gone[i]]
    is_whole = len(placements) == len(pods)
    verdict = "optimal" if is_whole else result.verdict
    answer = "does not fit" if not is_whole else "fits after moves" if victims else "fits"
    out = Fit(
        verdict=verdict,
        answer=answer if is_whole or verdict == "optimal" else "no place found in time",
        nodes=sorted(set(placements.values())),
        victims=victims,
        nearest_shape={},
        placed=len(placements),
        total=len(pods),
        placements=placements,
        steps=order_steps(problem, result.assign),
    )
    if not is_whole:
        out.nearest_shape = _nearest_shape(snapshot, pods, order, budget, options, seed)
    return out


def _with(snapshot: Snapshot, pods: list[Pod]) -> Snapshot:
    waiting = alone(snapshot, set())
    return msgspec.structs.replace(waiting, pods=sorted([*waiting.pods, *pods], key=lambda p: p.key))


def _nearest_shape(
    snapshot: Snapshot, pods: list[Pod], order: Order, budget: Budget, options: PackOptions | None, seed: int
) -> dict[str, str]:
    """The requests of the first pod, scaled down in 64ths until all of them fit; empty if not even nothing fits."""
    first = pods[0]

    def scaled(share: int) -> dict[str, int]:
        return {r: v * share // 64 for r, v in first.requests.items()}

    def fits(share: int) -> bool:
        smaller = [
            msgspec.structs.replace(p, requests={r: v * share // 64 for r, v in p.requests.items()}) for p in pods
        ]
        packing = make_packing(_with(snapshot, smaller), options)
        result = solve(packing.problem, order, Budget(max(0.05, budget.limit / 8), budget.deterministic), seed)
        keys = {p.key for p in pods}
        return all(n >= 0 for p, n in zip(packing.problem.pods, result.assign, strict=True) if p in keys)

    if not fits(0):
        return {}
    low, high = 0, 64
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return {r: format_resource(r, v) for r, v in scaled(low).items()}
