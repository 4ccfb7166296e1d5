"""All tasks that an answer near the covers' bound can move, in one CP-SAT model that counts instead of naming them.

Every overloaded node pays at least its cover. So a stable placement that costs at most the sum of the covers' bounds
and some slack takes a task off an overloaded node only if a cover with that task costs at most the slack more than the
node's bound, and off another node only if the task's cost alone is within the slack. Only these are asked about:
what is proven of them is proven of the whole.

Tasks of equal use, request, mask, group and teams are of one kind. The model counts how many of a kind leave each node
and how many arrive, which leaves out the many ways to exchange equals. Tasks that wait are placed afterwards.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np

from scheduler.core.balance import loops, repairs
from scheduler.core.balance.problem import WAITING
from scheduler.core.balance.search import BUILT_PER_UNIT, Search
from scheduler.core.columns import Codes, Ints


def solve_narrow(search: Search, slack: int, work: float) -> bool:
    """Look for a stable placement within this slack of the covers' bound, and better than the best.

    Returns whether the question was answered: the best one is found, or there is none. The bound rises with what is
    proven.
    """
    from ortools.sat.python import cp_model

    least = sum(cover.bound for cover in search.covers)
    most = least + slack
    if search.totals[loops.OVERLOAD] == 0:
        most = min(most, int(search.totals[loops.COST]) - 1)
    if most < max(least, search.bound.cost):
        return True
    question = _Question(search, most - least, most)
    search.meter.spent += question.size / BUILT_PER_UNIT
    solver = search.solver(min(work, search.left))
    status = solver.solve(question.model)
    search.meter.spent += solver.response_proto.deterministic_time
    proven = most + 1
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        state = loops.make_state(search.columns, question.read(solver))
        search.meter.count(int(repairs.place_waiting(search.columns, state)))
        search.offer(state)
    if status != cp_model.INFEASIBLE:
        proven = min(proven, math.ceil(solver.best_objective_bound - 1e-6))
    search.bound = replace(search.bound, cost=max(search.bound.cost, proven))
    return status in (cp_model.OPTIMAL, cp_model.INFEASIBLE)


class _Question:
    """The model. Each rule has its own function."""

    def __init__(self, search: Search, slack: int, most: int) -> None:
        from ortools.sat.python import cp_model

        self.columns, self.covers = search.columns, search.covers
        self.model = cp_model.CpModel()
        self.sum = cp_model.LinearExpr.weighted_sum
        self.free = loops.make_state(self.columns, self.columns.home).free
        asked = tasks_within(search, self.free, slack)
        self.kind = _kinds(search, asked)
        self.entries: dict[tuple[int, int, int], list[int]] = defaultdict(list)  # rows by home, kind, cost
        for t, k in zip(asked.tolist(), self.kind.tolist(), strict=True):
            self.entries[int(self.columns.home[t]), k, int(self.columns.cost[t])].append(t)
        self.example = {k: rows[0] for (_, k, _), rows in self.entries.items()}
        self.leaving = {key: self.model.new_int_var(0, len(rows), "") for key, rows in self.entries.items()}
        self.arriving = self.add_arrivals(asked)
        self.size = len(self.leaving) + len(self.arriving)
        self.leavers, self.comers = self.by_node()
        self.add_places()
        self.add_rooms()
        self.add_covers()
        self.add_groups()
        cost = self.sum(list(self.leaving.values()), [cost for _, _, cost in self.leaving])
        self.model.add(cost <= most)
        self.model.minimize(cost)
        chosen = {int(t) for cover in self.covers for t in cover.tasks}
        for key, var in self.leaving.items():
            self.model.add_hint(var, len(chosen.intersection(self.entries[key])))

    def add_arrivals(self, asked: Codes) -> dict[tuple[int, int], Any]:
        """By kind and node: how many come. Only where one fits if all that are asked about leave."""
        room = self.free.copy()
        np.add.at(room, self.columns.home[asked], self.columns.use[asked])
        members: dict[int, list[int]] = defaultdict(list)
        for (_, k, _), rows in self.entries.items():
            members[k] += rows
        arriving = {}
        for k, rows in members.items():
            fits = self.columns.reach[rows].any(axis=0) & (self.columns.use[rows[0]] <= room).all(axis=1)
            most = 1 if self.columns.group[rows[0]] >= 0 else len(rows)
            for n in np.flatnonzero(fits).tolist():
                arriving[k, n] = self.model.new_int_var(0, most, "")
        return arriving

    def by_node(self) -> tuple[dict[int, list[Any]], dict[int, list[Any]]]:
        """What leaves each node, as (entry, var), and what arrives, as (kind, var)."""
        leavers, comers = defaultdict(list), defaultdict(list)
        for key, var in self.leaving.items():
            leavers[key[0]].append((key, var))
        for (k, n), var in self.arriving.items():
            comers[n].append((k, var))
        return leavers, comers

    def add_places(self) -> None:
        """As many of a kind arrive as leave."""
        left, come = defaultdict(list), defaultdict(list)
        for (_, k, _), var in self.leaving.items():
            left[k].append(var)
        for (k, _), var in self.arriving.items():
            come[k].append(var)
        for k, some in left.items():
            self.model.add(sum(come[k]) == sum(some))

    def add_rooms(self) -> None:
        """No node has more than it has room for."""
        for n, free in enumerate(self.free.tolist()):
            comers, leavers = self.comers[n], self.leavers[n]
            for r, room in enumerate(free):
                amounts = [int(self.columns.use[self.example[k], r]) for k, _ in comers]
                amounts += [-int(self.columns.use[self.example[key[1]], r]) for key, _ in leavers]
                if room < 0 or any(amount > 0 for amount in amounts):
                    self.model.add(self.sum([var for _, var in [*comers, *leavers]], amounts) <= room)

    def add_covers(self) -> None:
        """Redundant: what leaves an overloaded node covers its excess, and costs no less than its cover."""
        for cover in self.covers:
            leavers = self.leavers[cover.node]
            found = [var for _, var in leavers]
            for r, room in enumerate(self.free[cover.node].tolist()):
                if room < 0:
                    amounts = [int(self.columns.use[self.example[key[1]], r]) for key, _ in leavers]
                    self.model.add(self.sum(found, amounts) >= -room)
            self.model.add(self.sum(found, [key[2] for key, _ in leavers]) >= cover.bound)

    def add_groups(self) -> None:
        """A task that arrives meets no other of its group."""
        members: dict[tuple[int, int], list[int]] = defaultdict(list)
        for t in np.flatnonzero((self.columns.group >= 0) & (self.columns.home != WAITING)).tolist():
            members[int(self.columns.group[t]), int(self.columns.home[t])].append(t)
        for n, comers in self.comers.items():
            by_group = defaultdict(list)
            for k, var in comers:
                by_group[int(self.columns.group[self.example[k]])].append(var)
            for g, some in by_group.items():
                if g < 0:
                    continue
                if len(some) > 1:
                    self.model.add(sum(some) <= 1)
                here = members[g, n]
                gone = [var for (_, k, _), var in self.leavers[n] if self.columns.group[self.example[k]] == g]
                if here:
                    self.model.add(len(here) * sum(some) <= sum(gone))

    def read(self, solver: Any) -> Codes:
        """(T,) the placement found. A kind that leaves a node and arrives there stays instead."""
        at = self.columns.home.copy()
        come = {key: int(solver.value(var)) for key, var in self.arriving.items()}
        away: dict[int, list[int]] = defaultdict(list)
        for (home, k, cost), rows in self.entries.items():
            count = int(solver.value(self.leaving[home, k, cost]))
            stay = min(count, come.get((k, home), 0))
            if stay:
                come[k, home] -= stay
            away[k] += rows[: count - stay]
        for (k, n), count in come.items():
            for _ in range(count):
                at[away[k].pop()] = n
        return at


def tasks_within(search: Search, free: Ints, slack: int) -> Codes:
    """Rows of the running tasks that an answer within this slack of the covers' bound can move, ascending."""
    columns = search.columns
    asked = columns.movable[columns.home[columns.movable] != WAITING]
    within = columns.cost[asked] <= slack
    for cover in search.covers:
        here = np.flatnonzero(columns.home[asked] == cover.node)
        least = cover_with(columns.cost[asked[here]], columns.use[asked[here]], -free[cover.node])
        within[here] = least <= cover.bound + slack
    return np.asarray(asked[within], np.int32)


def cover_with(cost: Ints, use: Ints, excess: Ints) -> loops.Floats:
    """(T,) for each of a node's tasks: no cover that has it costs less.

    The largest, over resources, of a cover of which the last task is taken in part. cost: (T,). use: (T, R). excess:
    (R,), above 0 where the node has too little.
    """
    least = cost.astype(np.float64)
    for r in np.flatnonzero(excess > 0).tolist():
        order = np.argsort(cost / np.maximum(use[:, r], 1e-9), kind="stable")
        for t in range(len(cost)):
            others = order[order != t]
            need = float(excess[r] - use[t, r])
            if need <= 0:
                continue
            taken = np.concatenate([[0.0], np.cumsum(use[others, r], dtype=np.float64)])
            paid = np.concatenate([[0.0], np.cumsum(cost[others], dtype=np.float64)])
            whole = float(np.interp(need, taken, paid)) if need <= taken[-1] else math.inf
            least[t] = max(least[t], float(cost[t]) + whole - 1e-6)
    return least


def _kinds(search: Search, asked: Codes) -> Codes:
    """(asked,) a number per kind."""
    instance = search.instance
    teams = [domain.team[asked] for domain in instance.domains]
    labels = [instance.mask[asked], instance.group[asked], *teams]
    rows = np.column_stack([instance.use[asked], instance.request[asked], *labels])
    _, kind = np.unique(rows, axis=0, return_inverse=True)
    return np.asarray(kind.reshape(-1), np.int32)
