"""What no placement can undercut, cheap enough to stand beside every method.

Overload: tasks that cannot leave a node, and what all running tasks use beyond what all nodes have.
Cost of a stable placement: every overloaded node must lose tasks whose use covers its excess in each resource, whatever
comes instead. The cheapest such set is a knapsack cover; nodes have no task in common, so the covers' costs add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.balance.problem import WAITING, Bound, Instance
from scheduler.core.columns import Codes, Ints, Mask

COVER_WORK = 0.05  # deterministic seconds of CP-SAT for one node; a few tens of tasks take a thousandth


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """The cheapest tasks to take off one overloaded node. tasks: rows; bound: no cover costs less."""

    node: int
    tasks: Codes
    bound: int


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """The bound, the covers it was made of, and why nothing is stable where that is proven."""

    bound: Bound
    covers: tuple[Cover, ...]
    reasons: tuple[str, ...]


def find_floor(instance: Instance, seed: int) -> Floor:
    """The bounds of the module's text. The cost has none where no placement is stable: any may be least overloaded."""
    reach = instance.can_arrive()
    movable = np.asarray(reach.any(axis=1), np.bool_)
    runs = instance.home != WAITING
    overload, reasons = _least_overload(instance, movable, runs)
    stuck = ~runs & ~movable
    for t in np.flatnonzero(stuck)[:1]:
        others = f", and {int(stuck.sum()) - 1} more" if stuck.sum() > 1 else ""
        reasons.append(f"task {instance.tasks[t]} waits and no node may take it: {_why_not(instance, t)}{others}")
    unplaced = int((instance.priority[stuck] + 1).sum())
    covers = [] if overload else _covers(instance, movable & runs, seed)
    bound = Bound(overload, unplaced, sum(cover.bound for cover in covers))
    return Floor(bound, tuple(covers), tuple(reasons))


def loads(instance: Instance, tasks: Mask) -> Ints:
    """(N, R) what those of these tasks that run use on their nodes."""
    load = np.zeros_like(instance.capacity)
    rows = np.flatnonzero(tasks & (instance.home != WAITING))
    np.add.at(load, instance.home[rows], instance.use[rows])
    return load


def _least_overload(instance: Instance, movable: Mask, runs: Mask) -> tuple[int, list[str]]:
    weight = instance.overload_weight()
    held = np.maximum(loads(instance, ~movable) - instance.capacity, 0)
    total = instance.use[runs].sum(axis=0) - instance.capacity.sum(axis=0)
    overload, reasons = 0, []
    for r, resource in enumerate(instance.resources):
        by_node = int((held[:, r] * weight[:, r]).sum())
        in_all = int(max(total[r], 0)) * int(weight[:, r].min(initial=2**62)) if total[r] > 0 else 0
        overload += max(by_node, in_all)
        for n in np.flatnonzero(held[:, r])[:1]:
            reasons.append(
                f"no placement is stable: tasks that cannot leave {instance.nodes[n]} use {int(held[n, r])} {resource} "
                "more than it has"
            )
        if total[r] > 0:
            reasons.append(
                f"no placement is stable: running tasks use {int(total[r])} {resource} more than all nodes have"
            )
    return overload, reasons


def _why_not(instance: Instance, t: int) -> str:
    if instance.pinned[t]:
        return "it is pinned"
    if not len(instance.nodes):
        return "there are no nodes"
    larger = (instance.request[t] > instance.capacity).any(axis=1)
    if larger.all():
        return "it asks for more than any node has"
    return "those it is allowed are too small" if instance.allowed[instance.mask[t]].any() else "it is allowed none"


def _covers(instance: Instance, movable: Mask, seed: int) -> list[Cover]:
    excess = loads(instance, np.ones(len(instance.tasks), np.bool_)) - instance.capacity
    found = []
    for n in np.flatnonzero((excess > 0).any(axis=1)).tolist():
        tasks = np.flatnonzero(movable & (instance.home == n)).astype(np.int32)
        found.append(_cheapest_cover(instance, n, tasks, excess[n], seed))
    return found


def _cheapest_cover(instance: Instance, node: int, tasks: Codes, excess: Ints, seed: int) -> Cover:
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    leaves = [model.new_bool_var("") for _ in tasks]
    for r in np.flatnonzero(excess > 0).tolist():
        model.add(cp_model.LinearExpr.weighted_sum(leaves, instance.use[tasks, r].tolist()) >= int(excess[r]))
    model.minimize(cp_model.LinearExpr.weighted_sum(leaves, instance.cost[tasks].tolist()))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed % 2**31
    solver.parameters.max_deterministic_time = COVER_WORK
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Cover(node, tasks, 0)
    chosen = [solver.boolean_value(one) for one in leaves]
    return Cover(node, tasks[np.array(chosen, np.bool_)], max(int(np.ceil(solver.best_objective_bound - 1e-6)), 0))
