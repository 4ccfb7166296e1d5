"""Fewest nodes that hold what runs now: which can be drained, in which order, and a bound.

Nodes are emptied one after the other, lightest first, by the same local search that packs; a node is given up only
when everything on it has found a place elsewhere. The bound pools the room of the largest nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from scheduler.core.packing import loops
from scheduler.core.packing.from_snapshot import Packing
from scheduler.core.packing.ledger import let_replicas_stay, room_left
from scheduler.core.packing.local import STEPS_PER_UNIT, Attempt, make_shuffle
from scheduler.core.packing.problem import Bools, Budget, Problem, Small
from scheduler.core.packing.progress import Meter
from scheduler.core.packing.repair import RuledRepair
from scheduler.core.packing.rules import RuleBook


@dataclass(slots=True)
class Consolidation:
    """Nodes that can go, in order, the placement without them, and the fewest nodes any placement could need."""

    drained: list[str]
    assign: Small
    nodes_before: int
    nodes_after: int
    bound: int
    moves: int
    kept: dict[str, str] = field(default_factory=dict)


def minimise_nodes(packing: Packing, budget: Budget, seed: int = 0) -> Consolidation:
    """Drain as many nodes as the budget finds; waiting pods are left out of it."""
    problem = packing.problem
    kept = _anchored(packing)
    meter = Meter(budget)
    book = RuleBook(problem) if problem.has_rules else None
    assign = problem.home.copy()
    open_nodes = np.ones(len(problem.nodes), dtype=bool)
    drained: list[int] = []
    failed: dict[int, int] = {}
    while meter.left() > 0:
        node = _next_candidate(problem, packing, assign, open_nodes, failed, kept)
        if node is None:
            break
        trial = _empty_node(problem, book, assign, open_nodes, node, meter, seed, 1 + failed.get(node, 0))
        if trial is None:
            failed[node] = failed.get(node, 0) + 1
            continue
        assign = trial
        open_nodes[node] = False
        drained.append(node)
    assign = let_replicas_stay(problem, assign)
    bound = _fewest_nodes(packing, kept)
    return Consolidation(
        drained=[problem.nodes[n] for n in drained],
        assign=assign,
        nodes_before=len(problem.nodes),
        nodes_after=len(problem.nodes) - len(drained),
        bound=min(bound, len(problem.nodes) - len(drained)),
        moves=int(((problem.home >= 0) & (assign != problem.home)).sum()),
        kept={problem.nodes[n]: why for n, why in kept.items()},
    )


def _anchored(packing: Packing) -> dict[int, str]:
    """Nodes that cannot be emptied, and the pod that holds them; DaemonSet pods go with their node."""
    row = {name: n for n, name in enumerate(packing.problem.nodes)}
    kept: dict[int, str] = {}
    for pod in packing.snapshot.pods:
        reason = packing.pinned.get(pod.key)
        if pod.node is not None and reason and "DaemonSet" not in reason:
            kept.setdefault(row[pod.node], f"{pod.key} stays: {reason}")
    return kept


def _next_candidate(
    problem: Problem, packing: Packing, assign: Small, open_nodes: Bools, failed: dict[int, int], kept: dict[int, str]
) -> int | None:
    """The open node that is least used, fewest failures first."""
    load = (problem.capacity - room_left(problem, assign)) / np.maximum(problem.capacity, 1)
    share = load.max(axis=1, initial=0.0)
    nodes = [n for n in np.flatnonzero(open_nodes) if int(n) not in kept and failed.get(int(n), 0) < 3]
    return int(min(nodes, key=lambda n: (failed.get(int(n), 0), share[n], n))) if nodes else None


def _empty_node(
    problem: Problem,
    book: RuleBook | None,
    assign: Small,
    open_nodes: Bools,
    node: int,
    meter: Meter,
    seed: int,
    effort: int,
) -> Small | None:
    """A placement without the closed nodes and this one, or None."""
    usable = open_nodes.copy()
    usable[node] = False
    closed = replace(problem, allowed=problem.allowed & usable)
    leaving = np.flatnonzero(assign == node)
    if book is not None:
        ruled = problem.ruled[problem.pod_class]
        out = assign.copy()
        going = leaving[ruled[leaving]]
        out[going] = -1
        repair = RuledRepair(closed, book, out, len(problem.priority))
        if not all(repair.add(int(pod)) for pod in going):
            return None
        free_to_move = ~ruled & (assign >= 0)
    else:
        out, free_to_move = assign.copy(), assign >= 0
    shuffle = make_shuffle(problem, out, free_to_move, assign >= 0)
    # nobody returns to a closed node, so homes there do not count as homes
    at_home = (shuffle.home >= 0) & usable[shuffle.home]
    shuffle.home = np.where(at_home, shuffle.home, -1).astype(np.int32)
    must = np.flatnonzero(shuffle.node == node)
    placed = shuffle.node.copy()
    placed[must] = -1
    free = shuffle.free(placed)
    lost = loops.squeeze_in(
        shuffle.demand, shuffle.mask, closed.allowed, free, shuffle.scale, placed, must.astype(np.int64), seed + node
    )
    if lost or (free[usable].sum(axis=0) < 0).any():
        return None
    steps = 40_000 * effort + 300 * len(shuffle.pods)
    attempt = Attempt(shuffle, closed.allowed, placed, free, 0.02, 0.01, 0.001, steps, seed + 31 * effort, True)
    while not attempt.is_over and meter.left() > 0:
        meter.spent += attempt.run(60_000) / STEPS_PER_UNIT
    if attempt.found is None:
        return None
    out[shuffle.pods] = attempt.found
    if book is not None and book.broken(out):
        return None
    return out


def _fewest_nodes(packing: Packing, kept: dict[int, str]) -> int:
    """Nodes needed at least: those that cannot be emptied, and as many of the largest as the pooled requests fill."""
    problem = packing.problem
    running = problem.home >= 0
    need = problem.demand[problem.pod_class[running]].sum(axis=0)
    held = np.array(sorted(kept), dtype=np.int64)
    others = np.setdiff1d(np.arange(len(problem.nodes)), held)
    fewest = len(held)
    for r in range(problem.capacity.shape[1]):
        left = int(need[r]) - int(problem.capacity[held, r].sum())
        rooms = np.cumsum(np.sort(problem.capacity[others, r])[::-1])
        fewest = max(fewest, len(held) + (int(np.searchsorted(rooms, left)) + 1 if left > 0 else 0))
    return min(fewest, len(problem.nodes))
