"""A balancing answer as moves that a cluster would really make: in order, each with why, and what they gain.

A method knows nodes' limits as amounts to keep low, not as walls, and could send a pod where kube-scheduler finds no
room for it by requests. Such moves are taken back here; what is left is measured again, against the same bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from scheduler.core.balance.from_snapshot import Balancing, Load
from scheduler.core.balance.problem import WAITING, Result
from scheduler.core.balance.validator import measure
from scheduler.core.columns import Codes
from scheduler.core.packing.ledger import room_left
from scheduler.core.packing.plan import Step, order_steps
from scheduler.core.packing.rules import RuleBook


@dataclass(frozen=True, slots=True)
class LoadChange:
    """What moves do to nodes' load. basis: what is counted. Shares of what a node offers, of the limited resources.

    nodes: overloaded ones. overload: sum over nodes and resources of the share beyond the limit, as a share of the
    limit. highest: the fullest node. Each before and after.
    """

    basis: Load
    nodes: tuple[int, int]
    overload: tuple[float, float]
    highest: tuple[float, float]


def executable(balancing: Balancing, at: Codes) -> Codes:
    """This placement without the moves for which a node has no room by requests, or which break a rule between pods.

    at: (T,). Of those that a node has no room for, the last by name goes back first, until the rest fits.
    """
    problem, row = balancing.packing.problem, balancing.row
    known = row >= 0
    assign = problem.home.copy()
    assign[row[known]] = at[known]
    if problem.has_rules:
        book = RuleBook(problem)
        for rule in book.touched(assign, problem.home):
            if not book.keeps(rule, assign):
                moved = np.isin(problem.pod_class, [k for k, rules in enumerate(book.of_class) if rule in rules])
                assign[moved] = problem.home[moved]
    while True:
        short = np.asarray((room_left(problem, assign) < 0).any(axis=1))
        arrivals = np.flatnonzero((assign >= 0) & (assign != problem.home) & short[assign])
        if not len(arrivals):
            break
        _, last = np.unique(assign[arrivals][::-1], return_index=True)
        back = arrivals[::-1][last]
        assign[back] = problem.home[back]
    kept = at.copy()
    kept[known] = assign[row[known]]
    return kept


@dataclass(frozen=True, slots=True)
class MostMoves:
    """How many pods may be moved: in all, and in one namespace, with exceptions by name."""

    total: int
    per_namespace: int
    namespaces: Mapping[str, int] = field(default_factory=dict)


def within(balancing: Balancing, at: Codes, most: MostMoves) -> Codes:
    """This placement with so many moves at most: those from the most overloaded nodes, the cheapest of each first."""
    instance, left = balancing.instance, most.total
    by_namespace: dict[str, int] = {}
    moved = np.flatnonzero((at != instance.home) & (instance.home != WAITING)).tolist()
    sickness = np.maximum(balancing.shares(balancing.limit.load, instance.home) - balancing.limit.target, 0).sum(axis=1)
    kept = at.copy()
    for t in sorted(moved, key=lambda t: (-sickness[instance.home[t]], int(instance.cost[t]), t)):
        namespace = str(instance.tasks[t]).partition("/")[0]
        quota = by_namespace.setdefault(namespace, most.namespaces.get(namespace, most.per_namespace))
        if left > 0 and quota > 0:
            left, by_namespace[namespace] = left - 1, quota - 1
        else:
            kept[t] = instance.home[t]
    return kept


def measured(balancing: Balancing, result: Result, kept: Codes) -> Result:
    """The result of the method with the moves that are kept."""
    if np.array_equal(kept, result.at):
        return result
    found = replace(result, at=kept, objective=measure(balancing.instance, kept))
    lost = int((kept != result.at).sum())
    reason = f"{lost} moves are left out: more than may be disturbed, or impossible by requests or rules between pods"
    return replace(found, verdict="feasible" if found.gap_of else "optimal", reasons=(*result.reasons, reason))


def ordered_moves(balancing: Balancing, at: Codes) -> list[Step]:
    """The moves of a placement that is `executable`, in an order in which each finds its room, with why."""
    problem, row = balancing.packing.problem, balancing.row
    known = row >= 0
    assign = problem.home.copy()
    assign[row[known]] = at[known]
    why = _why(balancing)
    return [replace(step, why=why.get(step.source or "", step.why)) for step in order_steps(problem, assign)]


def _why(balancing: Balancing) -> dict[str, str]:
    """Of each overloaded node, what is too much there."""
    limit, instance = balancing.limit, balancing.instance
    shares = balancing.shares(limit.load, instance.home)
    word = "requested" if limit.load == "requests" else "used"
    found = {}
    for n, node in enumerate(instance.nodes.tolist()):
        over = [
            f"{100 * shares[n, k]:.1f} % of its {name} is {word}"
            for k, name in enumerate(limit.resources)
            if shares[n, k] > limit.target
        ]
        if over:
            found[node] = f"{node} is overloaded: {', '.join(over)}, {100 * limit.target:g} % at most"
    return found


def load_changes(balancing: Balancing, at: Codes) -> list[LoadChange]:
    """What this placement changes, on every basis that is known; that of the limit first."""
    limit, changes = balancing.limit, []
    for basis in sorted(balancing.loads, key=lambda one: one != limit.load):
        before, after = (balancing.shares(basis, one) for one in (balancing.instance.home, at))
        over = [np.maximum(shares / limit.target - 1, 0) for shares in (before, after)]
        changes.append(
            LoadChange(
                basis,
                (int((over[0] > 0).any(axis=1).sum()), int((over[1] > 0).any(axis=1).sum())),
                (float(over[0].sum()), float(over[1].sum())),
                (float(before.max(initial=0)), float(after.max(initial=0))),
            )
        )
    return changes


def is_above(balancing: Balancing, threshold: float) -> bool:
    """Whether any node is loaded above this share of what it offers."""
    return bool((balancing.shares(balancing.limit.load, balancing.instance.home) > threshold).any())
