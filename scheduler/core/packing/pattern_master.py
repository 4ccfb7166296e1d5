"""A stage in terms of node patterns, and the relaxation over the patterns found so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ortools.linear_solver import pywraplp

from scheduler.core.packing.problem import Bools, Ints
from scheduler.core.packing.stage import Stage

SCALE = 1_000_000  # multipliers are integers in this unit of one pod (or, where moves are made fewer, one unit of cost)
PENALTY = 60.0  # per pod missing from a floor: more than one pod can ever displace on a node
STAY_DILUTION = 16  # one pod placed outweighs this many times all that could stay


class Question:
    """The stage in the terms of patterns: what is held, what may come, what staying is worth.

    Pods that a limit of zero keeps where they run are held: taken off room, supply and floors. `kept` are they. Nodes
    alike in every respect are one group. Rows of `limits` are the other harm limits: worth[l] @ stays >= need[l].
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        frozen = np.zeros(len(stage.classes), dtype=bool)
        for level, limit in stage.harm_limits:
            if limit <= 0:
                frozen |= stage.class_level <= level
        self.kept = np.where(frozen[:, None], stage.home, 0)
        self.room = stage.room - self.kept.T @ stage.demand
        self.supply = np.maximum(stage.supply - self.kept.sum(axis=1), 0)
        self.gain = np.zeros(len(frozen), dtype=np.int64)
        self.stay_gain = np.where(~frozen, stage.cost, 0)
        if stage.tier is not None:
            # Stays are worth a little, so that the placement disturbs little; all together far less than one pod, so
            # that they hardly bend the bound (they can only raise it).
            all_stays = int((self.stay_gain * stage.home.sum(axis=1)).sum())
            self.stay_gain = self.stay_gain * SCALE // max(STAY_DILUTION * all_stays, 1)
            self.gain[stage.class_tier == stage.tier] = SCALE
        else:
            self.stay_gain = np.where(stage.class_level <= stage.harm_level, self.stay_gain * SCALE, 0)
        self.constant = int((self.gain * self.kept.sum(axis=1)).sum()) // SCALE
        self.floors = [(tier, n - self._held(tier)) for tier, n in stage.floors]
        self.floors = [(tier, n) for tier, n in self.floors if n > 0]
        self.worth, self.need = self._limits(frozen)
        self.most = np.minimum(np.maximum(stage.most - self.kept, 0), self.supply[:, None])
        if stage.tier is not None and self._group((self.worth != 0).any(axis=0)) < len(stage.nodes) / 2:
            self.stay_gain[:] = 0  # nodes alike are worth more than stays: one pricing serves them all
        self._group((self.stay_gain > 0) | (self.worth != 0).any(axis=0))

    def _group(self, counted: Bools) -> int:
        """Sort nodes into groups of the same room and pods, where stays of the `counted` classes matter."""
        self.stay = np.where(counted[:, None], np.minimum(self.stage.home, self.most), 0)
        self.new = self.most - self.stay
        rows = np.hstack([self.room, self.new.T, self.stay.T])
        _, first, group_of, self.size = np.unique(
            rows, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        self.group_of = group_of.reshape(-1)
        self.group_room = np.ascontiguousarray(np.maximum(self.room[first], 0))
        self.group_new = np.ascontiguousarray(self.new.T[first])
        self.group_stay = np.ascontiguousarray(self.stay.T[first])
        return len(first)

    def _held(self, tier: int) -> int:
        return int(self.kept[self.stage.class_tier == tier].sum())

    def _limits(self, frozen: Bools) -> tuple[Ints, list[int]]:
        worth, need = [], []
        for level, limit in self.stage.harm_limits:
            if limit > 0:
                weight = np.where(~frozen & (self.stage.class_level <= level), self.stage.cost, 0)
                worth.append(weight)
                need.append(int((weight * self.stage.home.sum(axis=1)).sum()) - limit)
        return np.array(worth, dtype=np.int64).reshape(len(worth), len(frozen)), need

    def all_gain(self) -> int:
        """What the stage's value is when every stay is kept: its value is minus what is lost of this."""
        counted = self.stage.class_level <= self.stage.harm_level
        total = int((np.where(counted, self.stage.cost, 0) * self.stage.home.sum(axis=1)).sum())
        held = int((np.where(counted, self.stage.cost, 0) * self.kept.sum(axis=1)).sum())
        return total - held


@dataclass(slots=True)
class Multipliers:
    """Prices of a pod of each class, of a pod missing from each floor, of each harm limit."""

    pod: NDArray[np.float64]
    floor: NDArray[np.float64]
    limit: NDArray[np.float64]

    def mix(self, other: Multipliers, share: float) -> Multipliers:
        return Multipliers(
            share * self.pod + (1 - share) * other.pod,
            share * self.floor + (1 - share) * other.floor,
            share * self.limit + (1 - share) * other.limit,
        )


@dataclass(slots=True)
class Column:
    group: int
    new: Ints
    stay: Ints
    variable: pywraplp.Variable


class Master:
    """The relaxation over the patterns so far, never infeasible: floors and limits may be missed, at a penalty."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        self.objective = self.solver.Objective()
        self.objective.SetMaximization()
        infinity = self.solver.infinity()
        self.pods = [self.solver.NumVar(0.0, float(n), "") for n in question.supply]
        self.cover = [self.solver.Constraint(-infinity, 0.0) for _ in question.supply]
        for k, (pod, row) in enumerate(zip(self.pods, self.cover, strict=True)):
            row.SetCoefficient(pod, 1.0)
            self.objective.SetCoefficient(pod, question.gain[k] / SCALE)
        self.use = [self.solver.Constraint(-infinity, float(n)) for n in question.size]
        penalty = PENALTY * max(1.0, question.stay_gain.max(initial=0) / SCALE)
        self.floors = []
        for tier, n in question.floors:
            row = self._add_soft_row(float(n), penalty)
            for index in np.flatnonzero(question.stage.class_tier == tier):
                row.SetCoefficient(self.pods[index], 1.0)
            self.floors.append(row)
        self.limits = [self._add_soft_row(float(n), penalty) for n in question.need]

    def _add_soft_row(self, least: float, penalty: float) -> pywraplp.Constraint:
        row = self.solver.Constraint(least, self.solver.infinity())
        missing = self.solver.NumVar(0.0, self.solver.infinity(), "")
        row.SetCoefficient(missing, 1.0)
        self.objective.SetCoefficient(missing, -penalty)
        return row

    def add(self, group: int, new: Ints, stay: Ints) -> pywraplp.Variable:
        variable = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.use[group].SetCoefficient(variable, 1.0)
        for k in np.flatnonzero(new + stay):
            self.cover[k].SetCoefficient(variable, -float(new[k] + stay[k]))
        gain = float((self.question.stay_gain * stay).sum()) / SCALE
        if gain:
            self.objective.SetCoefficient(variable, gain)
        for row, worth in zip(self.limits, self.question.worth, strict=True):
            value = float((worth * stay).sum())
            if value:
                row.SetCoefficient(variable, value)
        return variable

    def shrink(self, supply: Ints, size: Ints, floors: list[int], needs: list[int]) -> None:
        for pod, n in zip(self.pods, supply, strict=True):
            pod.SetUb(float(n))
        for row, n in zip(self.use, size, strict=True):
            row.SetUb(float(n))
        for row, n in zip([*self.floors, *self.limits], [*floors, *needs], strict=True):
            row.SetLb(float(n))

    def pool(self) -> Multipliers:
        """The prices when all nodes are one: where the search for better ones starts."""
        question = self.question
        solver = pywraplp.Solver.CreateSolver("GLOP")
        objective = solver.Objective()
        objective.SetMaximization()
        pods = [solver.NumVar(0.0, float(n), "") for n in question.supply]
        for pod, gain in zip(pods, question.gain, strict=True):
            objective.SetCoefficient(pod, gain / SCALE)
        total = (question.group_room * question.size[:, None]).sum(axis=0)
        room = []
        for r in range(len(total)):
            row = solver.Constraint(-solver.infinity(), 1.0)
            for pod, demand in zip(pods, question.stage.demand[:, r], strict=True):
                row.SetCoefficient(pod, float(demand) / max(float(total[r]), 1.0))
            room.append(row)
        floors = []
        for tier, n in question.floors:
            row = solver.Constraint(float(n), solver.infinity())
            for k in np.flatnonzero(question.stage.class_tier == tier):
                row.SetCoefficient(pods[k], 1.0)
            floors.append(row)
        solved = solver.Solve() == pywraplp.Solver.OPTIMAL
        price = np.array([row.dual_value() if solved else 0.0 for row in room]) / np.maximum(total, 1)
        return Multipliers(
            question.stage.demand @ price,
            np.array([-row.dual_value() if solved else 0.0 for row in floors]),
            np.zeros(len(question.need)),
        )

    def solve(self, columns: list[Column]) -> tuple[float, list[float], Multipliers] | None:
        """The optimum, how often each pattern is used, and the prices; None if the LP solver gives up."""
        if self.solver.Solve() != pywraplp.Solver.OPTIMAL:
            self.solver.Reset()  # numerical trouble of a warm start
            if self.solver.Solve() != pywraplp.Solver.OPTIMAL:
                return None
        prices = Multipliers(
            np.array([row.dual_value() for row in self.cover]),
            np.array([-row.dual_value() for row in self.floors]),
            np.array([-row.dual_value() for row in self.limits]),
        )
        return self.objective.Value(), [column.variable.solution_value() for column in columns], prices
