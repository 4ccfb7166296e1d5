"""The optimiser of "Priority Matters" (arXiv 2511.08373) as published, kept for comparison.

A boolean per pod and per pod and node; from the most important priority down, first as many pods placed as possible,
then as little disturbed as possible, each fixed before the next. That order is interleaved: pods that run are frozen
before less important ones are packed.

Two of its habits cost it dearly and are kept: "at least one pending pod is placed" makes the hinted start infeasible,
and a stage that finds nothing ends the run without a plan. Time: the limit less 0.2 s, counted once the model is built;
a guaranteed part is split evenly over the tiers, the rest is a pool that the first tiers may burn.

Source: github.com/henrikdchristensen/scheduler-plugins, scripts/python_solver/main.py. The time shares in force for the
published runs are not known; ours are those that reproduce the published results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from ortools.sat.python import cp_model

from scheduler.core.packing.ledger import disturbed, harm, placed_per_tier, room_left
from scheduler.core.packing.problem import Bools, Budget, PackingResult, Problem, TierResult
from scheduler.core.packing.rules import RuleBook

PENDING = -1
RESERVE_S = 0.2  # the published solver keeps this for handing the plan over
GUARANTEED_SHARE = 0.4
MOVES_SHARE = 0.3
LEAST_BUDGET_S = 0.001

STATUS_NAMES = {
    cp_model.OPTIMAL: "OPTIMAL",
    cp_model.FEASIBLE: "FEASIBLE",
    cp_model.INFEASIBLE: "INFEASIBLE",
    cp_model.UNKNOWN: "UNKNOWN",
    cp_model.MODEL_INVALID: "MODEL_INVALID",
}


@dataclass(frozen=True, slots=True, eq=False)
class PaperProblem:
    """Pods and nodes as columns.

    demand: (P, R), capacity: (N, R), integers in the same units. priority: (P,).
    node_of: (P,) where each pod runs now, -1 for pending. allowed: (P, N), None where every pod may go everywhere.
    """

    demand: NDArray[np.int64]
    capacity: NDArray[np.int64]
    priority: NDArray[np.int64]
    node_of: NDArray[np.int64]
    allowed: Bools | None = None

    def __post_init__(self) -> None:
        pods, resources = self.demand.shape
        if self.capacity.shape[1] != resources:
            raise ValueError(f"demand has {resources} resources, capacity has {self.capacity.shape[1]}")
        if self.priority.shape != (pods,) or self.node_of.shape != (pods,):
            raise ValueError(f"priority and node_of must have one entry for each of the {pods} pods")


@dataclass(frozen=True, slots=True)
class Stage:
    """One solve: the tier's lowest priority, what it optimised, how it ended, its value and bound."""

    tier: int
    goal: str
    status: str
    seconds: float
    value: int | None
    bound: float | None


@dataclass(frozen=True, slots=True, eq=False)
class PaperResult:
    """status: OPTIMAL only if every stage was; node_of: (P,), or None when a stage found nothing."""

    status: str
    node_of: NDArray[np.int64] | None
    stages: tuple[Stage, ...]


def solve_model(
    problem: PaperProblem, limit_s: float, clock: Callable[[], float], *, workers: int = 0, seed: int | None = None
) -> PaperResult:
    """Pack as published. clock: seconds, monotonic; workers: 0 uses every core. Building the model is not counted."""
    search = _Search(problem, limit_s - RESERVE_S, clock, workers, seed)
    return search.run()


def solve_paper(problem: Problem, budget: Budget, seed: int = 0, workers: int = 0) -> PackingResult:
    """The published model on a problem of ours, for comparison. It knows capacities and where a pod may go, no more.

    A plan that breaks a rule between pods, or that no stage found, is not taken: the present placement is kept, and a
    note says so. A deterministic budget counts the solver's own deterministic time, on one thread.
    """
    paper = PaperProblem(
        problem.demand[problem.pod_class],
        problem.capacity,
        np.array(problem.priority, dtype=np.int64)[problem.pod_tier],
        problem.home.astype(np.int64),
        _allowed(problem),
    )
    began = budget.clock()
    search = _Search(paper, budget.limit - RESERVE_S, budget.clock, workers, seed, budget.deterministic)
    result = search.run()
    assign, notes = problem.home.copy(), []
    if result.node_of is None:
        notes.append(f"the published model found no plan ({result.status}); the present placement is kept")
    else:
        candidate = result.node_of.astype(np.int32)
        broken = problem.has_rules and RuleBook(problem).broken(candidate)
        if broken or (room_left(problem, candidate) < 0).any():
            notes.append("the published model's plan breaks a rule it does not know; the present placement is kept")
        else:
            assign = candidate
    tiers = _read_tiers(problem, assign, result)
    gone = disturbed(problem, assign)
    proven = all(tier.proven for tier in tiers)
    gained = any(tier.placed > tier.before for tier in tiers)
    return PackingResult(
        verdict="optimal" if proven else "feasible" if gained else "undecided",
        order="no-harm",
        assign=assign,
        tiers=tiers,
        moves=int((gone & (assign >= 0)).sum()),
        evictions=int((gone & (assign < 0)).sum()),
        disruption=harm(problem, assign),
        moves_bound=0,
        moves_verdict="optimal" if result.status == "OPTIMAL" and not notes else "feasible",
        seconds=search.elapsed() if budget.deterministic else budget.clock() - began,
        stages=[f"{s.goal}{s.tier} {s.status} value={s.value} seconds={s.seconds:.3f}" for s in result.stages],
        notes=notes,
    )


def _allowed(problem: Problem) -> Bools:
    """(M, N): where a pod may be placed anew, and where it runs."""
    allowed: Bools = problem.allowed[problem.mask[problem.pod_class]].copy()
    running = np.flatnonzero(problem.home >= 0)
    allowed[running, problem.home[running]] = True
    return allowed


def _read_tiers(problem: Problem, assign: NDArray[np.int32], result: PaperResult) -> list[TierResult]:
    """Placed and bound per tier; the model bounds a priority together with all above it."""
    before, placed = placed_per_tier(problem, problem.home), placed_per_tier(problem, assign)
    totals = np.bincount(problem.pod_tier, minlength=len(placed))
    optimal = {s.tier: s.value for s in result.stages if s.goal == "place" and s.status == "OPTIMAL"}
    tiers, proven, above = [], True, 0
    for tier, priority in enumerate(problem.priority):
        above += placed[tier]
        last_of_priority = problem.priority[tier + 1 : tier + 2] != (priority,)
        proven = proven and (optimal.get(priority) == above or not last_of_priority)
        bound = placed[tier] if proven else int(totals[tier])
        tiers.append(TierResult(priority, int(totals[tier]), before[tier], placed[tier], bound, proven))
    return tiers


@dataclass(slots=True)
class _Search:
    problem: PaperProblem
    usable_s: float
    clock: Callable[[], float]
    workers: int
    seed: int | None
    deterministic: bool = False
    began: float = 0.0
    counted: float = 0.0
    stages: list[Stage] = field(default_factory=list)
    model: cp_model.CpModel = field(init=False)
    solver: cp_model.CpSolver = field(init=False)
    placed: list[cp_model.IntVar] = field(init=False)
    assign: list[dict[int, cp_model.IntVar]] = field(init=False)

    def run(self) -> PaperResult:
        if len(self.problem.demand) == 0 or len(self.problem.capacity) == 0:
            return PaperResult("OPTIMAL", self.problem.node_of.copy(), ())
        self._build()
        self._hint_present_placement()
        self._solve_tiers()
        status = _overall({stage.status for stage in self.stages})
        plan = self._read_plan() if status in ("OPTIMAL", "FEASIBLE") else None
        return PaperResult(status, plan, tuple(self.stages))

    def _build(self) -> None:
        self.model = cp_model.CpModel()
        self.solver = cp_model.CpSolver()
        self.solver.parameters.num_workers = 1 if self.deterministic else self.workers
        if self.seed is not None:
            self.solver.parameters.random_seed = self.seed
        pods, nodes = len(self.problem.demand), len(self.problem.capacity)
        self.placed = [self.model.new_bool_var("") for _ in range(pods)]
        fits: Bools = np.all(self.problem.demand[:, None, :] <= self.problem.capacity[None, :, :], axis=2)
        if self.problem.allowed is not None:
            fits = fits & self.problem.allowed
        self.assign = [
            {node: self.model.new_bool_var("") for node in range(nodes) if fits[pod, node]} for pod in range(pods)
        ]
        self._place_on_one_node()
        self._respect_capacity()
        self._place_one_pending_pod()

    def _place_on_one_node(self) -> None:
        for pod, choices in enumerate(self.assign):
            self.model.add(cp_model.LinearExpr.sum(list(choices.values())) == self.placed[pod])

    def _respect_capacity(self) -> None:
        demand, capacity = self.problem.demand, self.problem.capacity
        for node in range(len(capacity)):
            here = [pod for pod, choices in enumerate(self.assign) if node in choices]
            if not here:
                continue
            variables = [self.assign[pod][node] for pod in here]
            for resource in range(capacity.shape[1]):
                weights = [int(demand[pod, resource]) for pod in here]
                load = cp_model.LinearExpr.weighted_sum(variables, weights)
                self.model.add(load <= int(capacity[node, resource]))

    def _place_one_pending_pod(self) -> None:
        pending = np.flatnonzero(self.problem.node_of == PENDING)
        if len(pending):
            self.model.add(cp_model.LinearExpr.sum([self.placed[pod] for pod in pending]) >= 1)

    def _hint_present_placement(self) -> None:
        for pod, node in enumerate(self.problem.node_of.tolist()):
            if node in self.assign[pod]:
                self.model.add_hint(self.placed[pod], True)
                self.model.add_hint(self.assign[pod][node], True)

    def _hint_last_solution(self) -> None:
        self.model.clear_hints()
        for choices in self.assign:
            for variable in choices.values():
                self.model.add_hint(variable, self.solver.value(variable))

    def _solve_tiers(self) -> None:
        """Tier by tier, placement then disruption, until a stage finds nothing or the time is up."""
        self.began = self.clock()
        guaranteed, pool = self.usable_s * GUARANTEED_SHARE, self.usable_s * (1 - GUARANTEED_SHARE)
        tiers = np.unique(self.problem.priority)[::-1].tolist()
        for position, tier in enumerate(tiers):
            left = self.usable_s - self.elapsed()
            if left <= 0:
                return
            cap = min(left, guaranteed / (len(tiers) - position) + pool)
            if cap <= LEAST_BUDGET_S:
                continue
            spent = 0.0
            for goal in ("place", "disturb"):
                share = cap * (1 - MOVES_SHARE) if goal == "place" else cap - spent
                left = self.usable_s - self.elapsed()
                if goal == "disturb" and (left <= LEAST_BUDGET_S or share <= LEAST_BUDGET_S):
                    continue
                used = self._solve_stage(tier, goal, min(share, left))
                if used is None:
                    return
                from_pool = min(pool, used)
                pool, guaranteed = pool - from_pool, max(0.0, guaranteed - (used - from_pool))
                spent += used

    def elapsed(self) -> float:
        """Seconds since the model was built, or deterministic time spent."""
        return self.counted if self.deterministic else self.clock() - self.began

    def _solve_stage(self, tier: int, goal: str, budget_s: float) -> float | None:
        """Solve one stage, fix its result and hint its solution. Returns the time it took, None if it found nothing."""
        terms = self._count_placed(tier) if goal == "place" else self._count_disturbed(tier)
        if terms is None:
            return 0.0
        if budget_s <= LEAST_BUDGET_S:
            self.stages.append(Stage(tier, goal, "UNKNOWN", 0.0, None, None))
            return None
        if goal == "place":
            self.model.maximize(terms)
        else:
            self.model.minimize(terms)
        if self.deterministic:
            self.solver.parameters.max_deterministic_time = budget_s
        else:
            self.solver.parameters.max_time_in_seconds = budget_s
        begun = self.elapsed()
        status = self.solver.solve(self.model)
        self.counted += self.solver.response_proto.deterministic_time
        used = min(budget_s, self.elapsed() - begun)
        found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
        value = round(self.solver.objective_value) if found else None
        bound = self.solver.best_objective_bound if found else None
        self.stages.append(Stage(tier, goal, STATUS_NAMES[status], used, value, bound))
        if value is None:
            return None
        if status == cp_model.OPTIMAL:
            self.model.add(terms == value)
        else:
            self.model.add(terms >= value if goal == "place" else terms <= value)
        self._hint_last_solution()
        return used

    def _count_placed(self, tier: int) -> cp_model.LinearExpr:
        return cp_model.LinearExpr.sum([self.placed[pod] for pod in np.flatnonzero(self.problem.priority >= tier)])

    def _count_disturbed(self, tier: int) -> cp_model.LinearExpr | None:
        """Stay 0, evict 1, move 2, less the constant 1 per running pod. None where nothing runs."""
        node_of = self.problem.node_of
        running = np.flatnonzero((node_of != PENDING) & (self.problem.priority >= tier))
        if len(running) == 0:
            return None
        stays = [self.assign[pod].get(int(node_of[pod]), 0) for pod in running]
        placed = [self.placed[pod] for pod in running]
        return cp_model.LinearExpr.weighted_sum(placed + stays, [1] * len(placed) + [-2] * len(stays))

    def _read_plan(self) -> NDArray[np.int64]:
        plan = np.full(len(self.problem.demand), PENDING, dtype=np.int64)
        for pod, choices in enumerate(self.assign):
            for node, variable in choices.items():
                if self.solver.boolean_value(variable):
                    plan[pod] = node
        return plan


def _overall(seen: set[str]) -> str:
    """The worst status among the stages, as the published solver ranks them."""
    for status in ("MODEL_INVALID", "UNKNOWN", "INFEASIBLE", "FEASIBLE", "OPTIMAL"):
        if status in seen:
            return status
    return "UNKNOWN"
