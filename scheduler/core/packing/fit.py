"""Whether pods that do not exist yet would fit: where, at whose cost, and if not which shape would."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from scheduler.core.packing.explain import alone
from scheduler.core.packing.from_snapshot import Packing, make_packing
from scheduler.core.packing.ledger import disturbed
from scheduler.core.packing.pins import PackOptions
from scheduler.core.packing.plan import Step, order_steps
from scheduler.core.packing.problem import Budget, Order, Problem, has_no_node, with_demand
from scheduler.core.packing.solve import solve
from scheduler.core.quantity import format_resource
from scheduler.core.snapshot import Pod, Snapshot


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
        out.nearest_shape = _nearest_shape(packing, pods, order, budget, options, seed)
    return out


def _with(snapshot: Snapshot, pods: list[Pod]) -> Snapshot:
    waiting = alone(snapshot, set())
    return msgspec.structs.replace(waiting, pods=sorted([*waiting.pods, *pods], key=lambda p: p.key))


def _nearest_shape(
    packing: Packing, pods: list[Pod], order: Order, budget: Budget, options: PackOptions | None, seed: int
) -> dict[str, str]:
    """The requests of the first pod, scaled down in 64ths until all of them fit; empty if no share is found that does.

    Takes about as long again as the search did: the share may then be smaller than the largest that would fit.
    """
    keys = {pod.key for pod in pods}
    ends = budget.clock() + budget.limit
    each = Budget(max(0.05, budget.limit / 4), budget.deterministic, budget.clock)

    def is_late() -> bool:
        return not budget.deterministic and budget.clock() > ends

    def fits(share: int) -> bool:
        problem = _scaled(packing, pods, share, options)
        rows = [row for row, pod in enumerate(problem.pods) if pod in keys]
        if any(has_no_node(problem, row) for row in _one_of_each_class(problem, rows)):
            return False
        return bool((solve(problem, order, each, seed).assign[rows] >= 0).all())

    low, high = 0, 64
    while high - low > 1 and not is_late():
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return {r: format_resource(r, v * low // 64) for r, v in pods[0].requests.items()} if low else {}


def _scaled(packing: Packing, pods: list[Pod], share: int, options: PackOptions | None) -> Problem:
    """The problem with the new pods' requests at so many 64ths."""
    keys = {pod.key for pod in pods}
    problem = packing.problem
    is_slot = np.array([resource == "pods" or resource.startswith("port ") for resource in problem.resources])
    rows = [row for row, pod in enumerate(problem.pods) if pod in keys]
    changed = with_demand(problem, rows, lambda demand: np.where(is_slot, demand, demand * share // 64))
    if changed is not None:
        return changed
    smaller = [msgspec.structs.replace(p, requests={r: v * share // 64 for r, v in p.requests.items()}) for p in pods]
    others = [pod for pod in packing.snapshot.pods if pod.key not in keys]
    return make_packing(_with(msgspec.structs.replace(packing.snapshot, pods=others), smaller), options).problem


def _one_of_each_class(problem: Problem, rows: list[int]) -> list[int]:
    return list({int(problem.pod_class[row]): row for row in rows}.values())
