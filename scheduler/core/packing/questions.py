"""What a search asks of the exact solver in the other process, and what it makes of the answers.

A question is a stage: all nodes where that is small enough, a few of them around a waiting pod where it is not. The
search never waits for an answer unless its budget counts work instead of time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from scheduler.core.packing.child import SolverProcess
from scheduler.core.packing.ledger import harm, placed_per_tier, room_left
from scheduler.core.packing.problem import Bools, Ints, Order, Problem, Small
from scheduler.core.packing.progress import Meter, Proof
from scheduler.core.packing.stage import Stage, make_stage

SILENCE_S = 0.4  # the solver process confirms a question at once; one silent for longer hangs
SUBSET_NODES = 8  # nodes and shortest time of one question where the whole is too large
SUBSET_S = 0.15
EXACT_CELLS = 60_000  # class x node pairs the full exact model is worth trying for


@dataclass(slots=True)
class Asked:
    """A stage the solver process works on, and how its news are read."""

    stage: Stage
    numbers: list[int]
    offset: int
    tier: int
    waiting: set[int] = field(default_factory=set)
    is_whole: bool = True


class Questions(ABC):
    """The side of a search that talks to the solver process; the search keeps the state."""

    problem: Problem
    order: Order
    meter: Meter
    is_timed: bool
    solver: SolverProcess | None
    seed: int
    ruled: Bools
    assign: Small
    tier_of: Small
    level_of: Small
    harm_limits: dict[int, int]
    stages: list[str]
    notes: list[str]
    asked: Asked | None
    silent_since: float | None  # when the first question was asked that the solver process has not confirmed

    @abstractmethod
    def consider(self, candidate: Small, tier: int) -> None:
        """Take the candidate over if it places more up to this tier."""

    @abstractmethod
    def consider_harm(self, candidate: Small, tier: int) -> None:
        """Take the candidate over if it disturbs less."""

    # ---- what counts at a tier

    def placed(self, tier: int) -> int:
        """Pods of the tier that the best placement holds."""
        return int(((self.tier_of == tier) & (self.assign >= 0)).sum())

    def is_frozen(self, tier: int) -> Bools:
        """(M,) running pods that an earlier level of no-harm leaves alone, where that is exact (nothing disturbed)."""
        level = self.problem.level[tier]
        earlier = (self.problem.home >= 0) & (self.level_of < level) & (self.assign == self.problem.home)
        return earlier if self.harm_limits else np.zeros(len(earlier), dtype=bool)

    def freezing_is_exact(self) -> bool:
        """Whether holding the frozen pods loses nothing: no earlier level has been disturbed or may be."""
        return all(limit == 0 for limit in self.harm_limits.values())

    def present(self, tier: int) -> Bools:
        """(M,) pods that count at this tier: as important or more, and all that rules bind."""
        return (self.tier_of <= tier) | self.ruled

    # ---- asking

    def ask_exact(self, tier: int, deadline: float) -> bool:
        """Ask for the bound by patterns and then for the whole stage; False if the solver is not ready yet."""
        if self.solver is None:
            return True
        problem = self.problem
        if self.is_too_large(tier):
            return True
        asked = self.questionable(tier)
        floors = {t: n for t, n in enumerate(placed_per_tier(problem, self.assign)) if t < tier}
        stage = make_stage(
            problem,
            self.assign,
            asked=asked,
            absent=~self.present(tier),
            nodes=np.arange(len(problem.nodes), dtype=np.int32),
            tier=tier,
            floors=floors,
            harm_limits={} if self.order == "max-pack" else self.harm_limits,
            harm_level=problem.level[tier],
        )
        offset = self.placed(tier) - stage.value(stage.now)
        return self.send(stage, offset, tier, deadline, ["columns", "exact"])

    def questionable(self, tier: int) -> Bools:
        """(M,) pods the whole stage asks about: all that count and are not frozen, in whole classes."""
        asked = (self.tier_of <= tier) | self.ruled
        if self.freezing_is_exact():
            asked &= ~self.is_frozen(tier) | self.ruled
        return _whole_classes(self.problem, asked)

    def is_too_large(self, tier: int) -> bool:
        """Whether the whole stage is more than the exact solver is worth trying on."""
        classes = np.unique(self.problem.pod_class[self.questionable(tier)])
        return len(classes) * len(self.problem.nodes) > EXACT_CELLS

    def ask_subset(self, tier: int, number: int, deadline: float) -> int:
        """Ask about a few nodes around a waiting pod that rules bind (the local search leaves those alone).

        Returns 1 if asked, 0 if there is no such pod or no node for it.
        """
        problem = self.problem
        waiting = np.flatnonzero((self.tier_of == tier) & (self.assign < 0) & self.ruled)
        if self.solver is None or len(waiting) == 0 or number > 20 * len(waiting):
            return 0
        rng = np.random.default_rng([self.seed, 5, tier, number])
        k = int(problem.pod_class[rng.choice(waiting)])
        usable = np.flatnonzero(problem.allowed[problem.mask[k]])
        if len(usable) == 0:
            return 0
        room = room_left(problem, self.assign, self.present(tier))[usable] / np.maximum(1, problem.demand[k])
        score = room[:, problem.demand[k] > 0].min(axis=1, initial=1e9) + rng.uniform(0, 0.5, len(usable))
        best = usable[np.argsort(-score, kind="stable")[: SUBSET_NODES // 2]]
        nodes = np.union1d(best, rng.choice(usable, min(len(usable), SUBSET_NODES // 2), replace=False))
        inside = np.zeros(len(problem.nodes) + 1, dtype=bool)
        inside[nodes] = True
        asked = inside[self.assign] & self.present(tier) & (~self.is_frozen(tier) | self.ruled)
        asked[waiting[problem.pod_class[waiting] == k]] = True
        stage = make_stage(
            problem,
            self.assign,
            asked=_whole_classes(problem, asked),
            absent=~self.present(tier),
            nodes=nodes.astype(np.int32),
            tier=tier,
            floors={t: n for t, n in enumerate(placed_per_tier(problem, self.assign)) if t < tier},
            harm_limits={} if self.order == "max-pack" else self.harm_limits,
            harm_level=problem.level[tier],
        )
        seconds = max(SUBSET_S, min(1.0, 0.05 * self.meter.left()))
        until = min(deadline, self.meter.elapsed() + seconds)
        self.send(stage, 0, tier, until, ["exact"])
        if self.asked is not None:
            self.asked.is_whole = False
        self.meter.spent += seconds / 2
        return 1

    def send(self, stage: Stage, offset: int, tier: int, deadline: float, kinds: list[str]) -> bool:
        """Start the solver on a stage; False if it is not ready yet."""
        if self.is_timed and self.solver is not None and not self.solver.ready:
            self.solver.poll(0)
            if not self.solver.is_alive():
                self.go_on_alone()
        if self.solver is None:
            return True
        if self.is_timed and not self.solver.ready:
            return False
        left = max(0.005, deadline - self.meter.elapsed())
        numbers = []
        for kind in kinds:
            seconds = left * (0.5 if kind == "columns" and len(kinds) > 1 else 1.0)
            number = self.solver.ask(kind, stage, seconds, deterministic=not self.is_timed, seed=self.seed)
            if number >= 0:
                numbers.append(number)
        if not numbers:
            self.go_on_alone()
            return True
        if self.silent_since is None:
            self.silent_since = self.meter.elapsed()
        self.asked = Asked(stage, numbers, offset, tier, set(numbers)) if numbers else None
        return True

    def await_solver(self) -> None:
        """Nothing else to do until the solver process is ready."""
        if self.solver is not None:
            self.solver.poll(0.01)

    def listen(self, tier: int | None, proof: Proof, wait: float) -> None:
        """Take in what the solver has to say: better placements, better bounds, its death."""
        solver, asked = self.solver, self.asked
        if solver is None or asked is None:
            return
        while True:
            if not self.is_timed:
                wait = 60.0 + 60.0 * self.meter.budget.limit  # counted work is not hurried; a hung solver still ends
            reports = solver.poll(wait)
            if reports:
                self.silent_since = None
            for report in reports:
                if report.number not in asked.numbers:
                    continue
                if report.counts is not None and tier is not None:
                    self.consider(self.from_counts(asked.stage, report.counts), tier)
                elif report.counts is not None:
                    self.consider_harm(self.from_counts(asked.stage, report.counts), asked.tier)
                if report.bound is not None and asked.is_whole:
                    value = report.bound + asked.offset if tier is not None else -report.bound + asked.offset
                    proof.bound = min(proof.bound, value) if tier is not None else max(proof.bound, value)
                if report.finished:
                    asked.waiting.discard(report.number)
                    if asked.is_whole:
                        self.stages.append(f"solver {report.status}")
                    if report.status == "OUT OF MEMORY":
                        self.notes.append("solver process ran out of memory; the best so far is kept")
            if not solver.is_alive():
                self.go_on_alone()
                return
            if not asked.waiting:
                self.asked = None
                return
            if self.is_timed:
                return
            if not reports:
                solver.kill("did not answer")
                self.go_on_alone()
                return

    def forget_question(self) -> None:
        """Stop the solver's present work."""
        asked, solver = self.asked, self.solver
        if asked is None or solver is None:
            return
        if self.silent_since is not None and self.meter.elapsed() - self.silent_since > SILENCE_S:
            solver.kill("did not answer")
            self.go_on_alone()
        else:
            solver.stop()
        self.asked = None

    def go_on_alone(self) -> None:
        """The solver process has failed: say so, and finish without it."""
        if self.solver is not None:
            why = self.solver.deaths[-1] if self.solver.deaths else "solver process died"
            self.notes.append(f"{why}; the best so far is kept")
        self.solver = None
        self.asked = None

    def from_counts(self, stage: Stage, counts: Ints) -> Small:
        """A placement with these counts on the asked nodes: pods stay where they can, then fill what is left."""
        problem = self.problem
        out = self.assign.copy()
        column = np.full(len(problem.nodes) + 1, -1, dtype=np.int32)
        column[stage.nodes] = np.arange(len(stage.nodes), dtype=np.int32)
        for row, k in enumerate(stage.classes):
            pods = np.flatnonzero(problem.pod_class == k)
            pods = pods[(out[pods] < 0) | (column[out[pods]] >= 0)]
            want = counts[row].copy()
            rest = []
            for pod in pods:
                f = column[problem.home[pod]]
                if f >= 0 and want[f] > 0:
                    want[f] -= 1
                    out[pod] = problem.home[pod]
                else:
                    rest.append(pod)
            rest.sort(key=lambda pod: problem.home[pod] < 0)
            spots = np.repeat(stage.nodes, want)
            out[rest] = -1
            out[rest[: len(spots)]] = spots[: len(rest)]
        return out

    def ask_harm(self, level: int, tier: int, deadline: float) -> bool:
        """Ask for the least disruption with the same pods placed; False if the solver is not ready yet."""
        problem = self.problem
        if self.solver is None:
            return True
        if self.is_too_large(tier):
            return True
        asked = self.questionable(tier)
        stage = make_stage(
            problem,
            self.assign,
            asked=asked,
            absent=~self.present(tier),
            nodes=np.arange(len(problem.nodes), dtype=np.int32),
            tier=None,
            floors={t: n for t, n in enumerate(placed_per_tier(problem, self.assign)) if t <= tier},
            harm_limits={} if self.order == "max-pack" else self.harm_limits,
            harm_level=level,
        )
        offset = harm(problem, self.assign, level) + stage.value(stage.now)
        return self.send(stage, offset, tier, deadline, ["columns", "exact"])


def _whole_classes(problem: Problem, pods: Bools) -> Bools:
    """Every pod of every class that has one marked."""
    marked = np.zeros(len(problem.tier), dtype=bool)
    marked[problem.pod_class[pods]] = True
    return marked[problem.pod_class]
