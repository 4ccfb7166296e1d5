"""What every method is given: the instance as columns, a meter for the budget, and where to leave what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scheduler.core.balance import loops
from scheduler.core.balance.bounds import Cover, Floor
from scheduler.core.balance.problem import OVERLOAD_UNIT, Bound, Budget, Instance
from scheduler.core.columns import Codes, Ints

TRIALS_PER_UNIT = 8_000_000  # trials of the compiled walks in one second of one core (2.5 GHz)
BUILT_PER_UNIT = 15_000  # places that a model is built of, given to CP-SAT and presolved, in one second
LEAST_WORK = 0.02  # of a CP-SAT question: with less none is asked


@dataclass(slots=True)
class Meter:
    """Counts the work of a search against its budget."""

    budget: Budget
    began: float = 0.0
    spent: float = 0.0
    trials: int = 0

    def __post_init__(self) -> None:
        if self.budget.clock is not None:
            self.began = self.budget.clock()

    def count(self, trials: int) -> None:
        """Book trials of the compiled walks."""
        self.trials += trials
        self.spent += trials / TRIALS_PER_UNIT

    @property
    def left(self) -> float:
        """Units of work still to be had, 0 where the clock has run out."""
        budget = self.budget
        left = budget.work - self.spent
        if budget.seconds is not None and budget.clock is not None:
            left = min(left, budget.seconds - (budget.clock() - self.began))
        return max(left, 0.0)


@dataclass(slots=True)
class Search:
    """One search. best: (T,) the best placement left so far, by overload, unplaced, cost; totals: (3,) of it.

    covers: of the overloaded nodes, where some placement may be stable. reserve: units of work left at which a method
    ends (for methods that share a budget). answered: whether the method claims the answer for its own. reasons: as in
    Result.
    """

    instance: Instance
    columns: loops.Columns
    meter: Meter
    seed: int
    best: Codes
    totals: Ints
    bound: Bound
    covers: tuple[Cover, ...] = ()
    reserve: float = 0.0
    answered: bool = True
    reasons: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Units of work for this method."""
        return max(self.meter.left - self.reserve, 0.0)

    @property
    def is_closed(self) -> bool:
        """Whether nothing better can be found."""
        return tuple(self.totals.tolist()) == (self.bound.overload, self.bound.unplaced, self.bound.cost)

    def offer(self, state: loops.State) -> bool:
        """Keep this placement if it is better than the best."""
        if not loops.is_better(state.totals, self.totals):
            return False
        self.best, self.totals = state.at.copy(), state.totals.copy()
        return True

    def state(self) -> loops.State:
        """The best placement, to go on from."""
        return loops.make_state(self.columns, self.best)

    def solver(self, work: float) -> Any:
        """A CP-SAT solver that repeats itself, for this much work and no longer than the clock allows."""
        from ortools.sat.python import cp_model

        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = self.seed % 2**31
        solver.parameters.linearization_level = 2
        solver.parameters.max_deterministic_time = max(work, LEAST_WORK)
        if self.meter.budget.seconds is not None:
            solver.parameters.max_time_in_seconds = max(self.left, LEAST_WORK)
        return solver

    def rate(self) -> loops.Floats:
        """(3,) what a unit of overload, of unplaced priority and of cost weigh in a single sum; a typical move is 1.

        Overload weighs three times what the dearest usual task (of twenty, the second dearest) costs per share of a
        node, so that curing is worth its cost; a place weighs more than the dearest move.
        """
        columns = self.columns
        rows = columns.movable[columns.home[columns.movable] >= 0]
        if not len(rows):
            return np.array([1e3 / OVERLOAD_UNIT, 1.0, 0.0])
        cost = columns.cost[rows].astype(np.float64)
        usual = max(float(np.median(cost)), 1.0)
        share = (columns.use[rows] / np.maximum(columns.capacity[columns.home[rows]], 1)).max(axis=1)
        dear = float(np.quantile(cost / usual / np.maximum(share, 1e-4), 0.95))
        return np.array([3 * max(dear, 1.0) / OVERLOAD_UNIT, 1 + float(cost.max()) / usual, 1 / usual])


def begin(instance: Instance, budget: Budget, seed: int, floor: Floor) -> Search:
    """A search whose best is the present placement."""
    columns = loops.make_columns(instance)
    now = loops.make_state(columns, instance.home)
    return Search(instance, columns, Meter(budget), seed, now.at, now.totals, floor.bound, floor.covers)
