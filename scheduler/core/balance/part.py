"""CP-SAT on a part of the problem: some tasks among others that are held. All of them is a part, too.

The parts of the objective are minimised one after the other, each held at what was reached. A part that meets its bound
is only held; where that is an overload of nothing, it is a room that no node exceeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scheduler.core.balance import loops
from scheduler.core.balance.loops import COST, OVERLOAD, UNPLACED
from scheduler.core.balance.problem import WAITING
from scheduler.core.balance.search import BUILT_PER_UNIT, LEAST_WORK, Search
from scheduler.core.columns import Codes, Ints

PARTS = ("overload", "unplaced", "cost")


def solve_part(search: Search, tasks: Codes, options: Sequence[Sequence[int]], work: float, *, is_whole: bool) -> bool:
    """Look for a better placement in which only these tasks move, each to its options, its home or where it is.

    is_whole: these are all that could move, so what is proven bounds the problem. Returns whether the best improved.
    """
    from ortools.sat.python import cp_model

    if not len(tasks) or work < LEAST_WORK:
        return False
    state = search.state()
    question = _Question(search, state, tasks, options)
    search.meter.spent += question.size / BUILT_PER_UNIT
    now = state.totals.copy()
    exact = is_whole
    for part, expression, held in question.parts():
        # `held` is what the tasks asked about count of the total; the rest of it is constant
        rest = int(state.totals[part]) - held
        if expression is None:
            continue
        if now[part] == getattr(search.bound, PARTS[part]):
            question.model.add(expression <= int(now[part]) - rest)
            continue
        solver = search.solver(min(work, search.left))
        question.model.minimize(expression)
        status = solver.solve(question.model)
        search.meter.spent += solver.response_proto.deterministic_time
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            break
        found = question.read(solver)
        reached = loops.make_state(search.columns, found)
        search.offer(reached)
        now = reached.totals
        question.model.add(expression <= int(now[part]) - rest)
        question.hint(found)
        if exact:
            least = rest + math.ceil(solver.best_objective_bound - 1e-6)
            if least > getattr(search.bound, PARTS[part]):
                # what was known of the later parts held for the less that this one turned out not to be
                later = dict.fromkeys(PARTS[part + 1 :], 0)
                search.bound = replace(search.bound, **{PARTS[part]: least}, **later)
        exact = exact and status == cp_model.OPTIMAL
    return loops.is_better(search.totals, state.totals)


class _Question:
    """The model of some tasks among others that are held. Each rule has its own function."""

    def __init__(self, search: Search, state: loops.State, tasks: Codes, options: Sequence[Sequence[int]]) -> None:
        from ortools.sat.python import cp_model

        self.columns, self.state, self.tasks = search.columns, state, tasks
        self.model = cp_model.CpModel()
        self.linear = cp_model.LinearExpr
        self.places: list[dict[int, Any]] = []
        self.by_node: dict[int, list[tuple[int, Any]]] = {}
        home = self.columns.home
        for t, nodes in zip(tasks.tolist(), options, strict=True):
            kept = dict.fromkeys([*nodes, int(home[t]), int(state.at[t])])
            row = {n: self.model.new_bool_var("") for n in kept}
            self.places.append(row)
            for n, var in row.items():
                if n != WAITING:
                    self.by_node.setdefault(n, []).append((t, var))
        self.size = sum(map(len, self.places))
        self.add_one_place_each()
        self.add_groups()
        self.excess, self.weights = self.add_rooms(may_exceed=bool(state.totals[OVERLOAD]))
        self.hint(state.at)

    def add_one_place_each(self) -> None:
        """A task is in one place; waiting is one for those that wait."""
        for row in self.places:
            self.model.add_exactly_one(row.values())

    def add_rooms(self, *, may_exceed: bool) -> tuple[list[Any], list[int]]:
        """What a node lacks is at least what its tasks use beyond its room; it lacks nothing where nothing may be."""
        excess, weights = [], []
        asked = np.zeros(len(self.columns.home), np.bool_)
        asked[self.tasks] = True
        for n, entries in sorted(self.by_node.items()):
            here = np.flatnonzero(asked & (self.state.at == n))
            room = self.state.free[n] + self.columns.use[here].sum(axis=0)
            for r in range(len(room)):
                used = [int(self.columns.use[t, r]) for t, _ in entries]
                most = sum(used) - int(room[r])
                if most <= 0:
                    continue
                load = self.linear.weighted_sum([var for _, var in entries], used)
                if not may_exceed:
                    self.model.add(load <= int(room[r]))
                    continue
                lack = self.model.new_int_var(max(-int(room[r]), 0), most, "")
                self.model.add(load - lack <= int(room[r]))
                excess.append(lack)
                weights.append(int(self.columns.weight[n, r]))
        return excess, weights

    def add_groups(self) -> None:
        """A task that arrives meets no other of its group."""
        asked = set(self.tasks.tolist())
        held: dict[tuple[int, int], list[bool]] = {}
        for t in np.flatnonzero((self.columns.group >= 0) & (self.state.at != WAITING)).tolist():
            if t not in asked:
                n = int(self.state.at[t])
                held.setdefault((int(self.columns.group[t]), n), []).append(n != self.columns.home[t])
        for n, entries in self.by_node.items():
            by_group: dict[int, list[tuple[int, Any]]] = {}
            for t, var in entries:
                if self.columns.group[t] >= 0:
                    by_group.setdefault(int(self.columns.group[t]), []).append((t, var))
            for g, members in by_group.items():
                arrivals = [var for t, var in members if self.columns.home[t] != n]
                stay = [var for t, var in members if self.columns.home[t] == n]
                others = held.get((g, n), [])
                if others:
                    self.model.add(sum(arrivals) == 0)
                if any(others):
                    self.model.add(sum(stay) == 0)
                for one in stay or [None]:
                    self.model.add_at_most_one([*arrivals, one] if one is not None else arrivals)

    def parts(self) -> list[tuple[int, Any, int]]:
        """(part, its expression over these tasks, its present value); no expression where nothing here changes it."""
        columns, at = self.columns, self.state.at
        waits = [(t, row[WAITING]) for t, row in zip(self.tasks.tolist(), self.places, strict=True) if WAITING in row]
        moved = [
            (t, var)
            for t, row in zip(self.tasks.tolist(), self.places, strict=True)
            for n, var in row.items()
            if n != columns.home[t] and columns.cost[t]
        ]
        lacks = {n: np.maximum(-self.state.free[n], 0) for n in self.by_node}
        overload = sum(int((lack * columns.weight[n]).sum()) for n, lack in lacks.items())
        unplaced = sum(int(columns.worth[t]) for t, _ in waits if at[t] == WAITING)
        cost = sum(int(columns.cost[t]) for t in self.tasks.tolist() if at[t] != columns.home[t])
        return [
            (OVERLOAD, self.linear.weighted_sum(self.excess, self.weights) if self.excess else None, overload),
            (UNPLACED, self._sum(waits, columns.worth) if waits else None, unplaced),
            (COST, self._sum(moved, columns.cost) if moved else None, cost),
        ]

    def hint(self, at: Codes) -> None:
        """Start the search from this placement."""
        self.model.clear_hints()
        for t, row in zip(self.tasks.tolist(), self.places, strict=True):
            for n, var in row.items():
                self.model.add_hint(var, bool(at[t] == n))

    def read(self, solver: Any) -> Codes:
        """(T,) the placement found."""
        at = self.state.at.copy()
        for t, row in zip(self.tasks.tolist(), self.places, strict=True):
            at[t] = next(n for n, var in row.items() if solver.boolean_value(var))
        return at

    def _sum(self, entries: list[tuple[int, Any]], amounts: Ints) -> Any:
        return self.linear.weighted_sum([var for _, var in entries], [int(amounts[t]) for t, _ in entries])
