"""The search: tier by tier, repair, bound, local search, exact solver; then fewer moves. Anytime.

Each tier starts from the best placement so far, which is always complete and legal. The local search runs here; the
exact solver runs in its own process at the same time and is only listened to. With a deterministic budget they take
turns, and work is counted instead of time.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.packing import loops
from scheduler.core.packing.bounds import drop_bound, pooled_bound
from scheduler.core.packing.child import SolverProcess
from scheduler.core.packing.ledger import (
    disturbed,
    harm,
    let_replicas_stay,
    placed_per_tier,
    rank,
    room_left,
)
from scheduler.core.packing.local import STEPS_PER_UNIT, Attempt, Shuffle, make_shuffle, salvage
from scheduler.core.packing.problem import Budget, Ints, Order, Problem, Small
from scheduler.core.packing.progress import Meter, Proof
from scheduler.core.packing.questions import Asked, Questions
from scheduler.core.packing.repair import add_waiting
from scheduler.core.packing.rules import RuleBook

SLICE_S = 0.012  # between looks at the clock and the solver
PATIENCE = (8, 30)  # attempts at fewer moves without success before giving up, between levels and at the end


class Search(Questions):
    """One solve. `assign` is the best complete placement, `tiers` and `harms` what is proven."""

    def __init__(
        self, problem: Problem, order: Order, budget: Budget, seed: int, solver: SolverProcess | None, harm_budget: int
    ) -> None:
        self.problem = problem
        self.order = order
        self.meter = Meter(budget)
        self.is_timed = not budget.deterministic
        self.solver = solver
        self.seed = seed
        self.attempts = 0
        self.harm_budget = harm_budget
        self.book = RuleBook(problem) if problem.has_rules else None
        self.ruled = problem.ruled[problem.pod_class] if problem.has_rules else np.zeros(len(problem.home), dtype=bool)
        self.assign: Small = problem.home.copy()
        self.tier_of = problem.pod_tier
        self.level_of = np.array(problem.level, dtype=np.int32)[self.tier_of]
        self.tiers: list[Proof] = []
        self.harms: dict[int, Proof] = {}
        self.harm_limits: dict[int, int] = {}
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.asked: Asked | None = None
        self.silent_since: float | None = None

    # ---- the plan of a solve

    def run(self) -> None:
        """Use the budget."""
        last = len(self.problem.priority) - 1
        for tier in range(last + 1):
            share = 0.45 if tier < last else (0.8 if self.order == "no-harm" else 0.7)
            self.place_tier(tier, self.meter.elapsed() + self.meter.left() * share)
            level = self.problem.level[tier]
            if self.order == "no-harm" and (tier == last or self.problem.level[tier + 1] != level):
                share = 0.4 if tier < last else 1.0
                self.reduce_harm(level, tier, self.meter.elapsed() + self.meter.left() * share)
                self.harm_limits[level] = harm(self.problem, self.assign, level) + self.harm_budget
        if self.order == "max-pack" and last >= 0:
            self.reduce_harm(self.problem.level[last], last, self.meter.budget.limit)
        self.assign = let_replicas_stay(self.problem, self.assign)
        if rank(self.problem, self.assign, self.order) < rank(self.problem, self.problem.home, self.order):
            self.assign = self.problem.home.copy()
            self.notes.append("nothing better than the present placement was found")
        if (room_left(self.problem, self.assign) < 0).any() or (self.book and self.book.broken(self.assign)):
            self.assign = self.problem.home.copy()  # cannot happen; a wrong plan would be worse than none
            self.notes.append("the plan found broke a rule and was dropped: please report this")
        if self.solver is not None:
            self.solver.stop()

    # ---- one tier

    def place_tier(self, tier: int, deadline: float) -> None:
        """Place as many pods of the tier as can be found before the deadline, and bound how many there can be."""
        mine = self.tier_of == tier
        began = self.meter.elapsed()
        self.consider(add_waiting(self.problem, self.book, self.assign, tier), tier)
        proof = Proof(self.first_bound(tier))
        asked_already = False
        picker = _Targets()
        attempt: Attempt | None = None
        tries, rounds = 0, 0
        while self.placed(tier) < proof.bound and self.meter.elapsed() < deadline:
            if attempt is None or attempt.is_over:
                if attempt is not None:
                    self.close_attempt(attempt, tier, picker)
                attempt = self.next_attempt(tier, picker, proof.bound)
                tries += 1
            if not asked_already and (attempt is None or tries > 1 or attempt.done > 30_000):
                asked_already = self.ask_exact(tier, deadline)
            if attempt is not None:
                self.advance(attempt, deadline)
            self.listen(tier, proof, wait=0.0 if attempt is not None else 0.01)
            if self.asked is None and asked_already and self.is_too_large(tier):
                rounds += self.ask_subset(tier, rounds, deadline)
            if attempt is None and self.asked is None:
                if asked_already:
                    break
                self.await_solver()
        if attempt is not None and self.placed(tier) < proof.bound:
            self.close_attempt(attempt, tier, picker)
        self.listen(tier, proof, wait=0.0)
        self.forget_question()
        self.assign = let_replicas_stay(self.problem, self.assign)
        placed = self.placed(tier)
        proof.bound = max(proof.bound, placed)
        proof.proven = proof.bound == placed and all(p.proven for p in self.tiers)
        self.tiers.append(proof)
        self.stages.append(
            f"tier={tier} placed={placed}/{int(mine.sum())} bound={proof.bound} attempts={tries} "
            f"seconds={self.meter.elapsed() - began:.3f}"
        )

    def first_bound(self, tier: int) -> int:
        """The pooled bound, over the room that frozen pods leave."""
        problem = self.problem
        held = self.is_frozen(tier) if self.freezing_is_exact() else np.zeros(len(self.assign), dtype=bool)
        room = room_left(problem, self.assign, held)
        loose = (self.tier_of <= tier) & ~held
        demand, tiers = problem.demand[problem.pod_class[loose]], self.tier_of[loose].astype(np.int64)
        placed = placed_per_tier(problem, self.assign)
        held_in = np.bincount(self.tier_of[held], minlength=len(placed))
        floors = {t: placed[t] - int(held_in[t]) for t in range(tier)}
        misfits = self.misfits(tier, room)
        bound = pooled_bound(room, demand, tiers, floors, tier)
        bound = min(bound, int(((self.tier_of == tier) & ~held).sum()) - misfits)
        current = self.placed(tier)
        if bound > current and not problem.has_rules:
            bound = max(current, drop_bound(room, demand, tiers, floors, tier, bound))
        return max(bound, current)

    def misfits(self, tier: int, room: Ints) -> int:
        """Waiting pods of the tier that no node could hold even if every pod that may go went."""
        problem = self.problem
        waiting = (self.tier_of == tier) & (self.assign < 0) & (problem.home < 0)
        classes, counts = np.unique(problem.pod_class[waiting], return_counts=True)
        lost = 0
        for k, count in zip(classes, counts, strict=True):
            need = problem.demand[k] > 0
            fits = (room[:, need] >= problem.demand[k][need]).all(axis=1) & problem.allowed[problem.mask[k]]
            lost += 0 if fits.any() else int(count)
        return lost

    # ---- local search

    def next_attempt(self, tier: int, picker: _Targets, bound: int) -> Attempt | None:
        """A run that tries to hold more pods of the tier, or None if no pod out of place may be shuffled."""
        shuffle = self.shuffle(tier)
        outs = np.flatnonzero((shuffle.node < 0) & (shuffle.group == tier))
        if len(outs) == 0:
            return None
        want = min(len(outs), picker.next_step(self.placed(tier), bound))
        rng = np.random.default_rng([self.seed, self.attempts])
        self.attempts += 1
        size = (shuffle.demand[outs] * shuffle.scale[0]).sum(axis=1)
        if self.attempts % 2 == 0:
            size = size * rng.uniform(0.7, 1.3, len(size))
        outs = outs[np.argsort(size, kind="stable")][:want]
        node = shuffle.node.copy()
        free = shuffle.free(node)
        loops.squeeze_in(
            shuffle.demand,
            shuffle.mask,
            self.problem.allowed,
            free,
            shuffle.scale,
            node,
            outs.astype(np.int64),
            int(rng.integers(1 << 30)),
        )
        weight, hot, cold = TEMPERS[min(picker.failures, len(TEMPERS) - 1)]
        return Attempt(
            shuffle,
            self.problem.allowed,
            node,
            free,
            weight,
            hot,
            cold,
            picker.steps(len(shuffle.pods)),
            int(rng.integers(1 << 30)),
            True,
        )

    def shuffle(self, tier: int) -> Shuffle:
        """What the local search may shuffle at this tier."""
        free_to_move = (self.tier_of <= tier) & ~self.ruled & ~self.is_frozen(tier)
        return make_shuffle(self.problem, self.assign, free_to_move, self.present(tier))

    def advance(self, attempt: Attempt, deadline: float) -> None:
        """One slice of an attempt."""
        seconds = max(0.001, min(SLICE_S, deadline - self.meter.elapsed()))
        steps = attempt.run(int(seconds * STEPS_PER_UNIT))
        self.meter.spent += steps / STEPS_PER_UNIT

    def close_attempt(self, attempt: Attempt, tier: int, picker: _Targets) -> None:
        """Take over what an attempt found, or what can be saved of it."""
        before = self.placed(tier)
        node = attempt.found if attempt.found is not None else salvage(attempt, tier)
        if node is not None:
            candidate = self.assign.copy()
            candidate[attempt.shuffle.pods] = node
            self.consider(candidate, tier)
        picker.note(self.placed(tier) - before, attempt.found is not None)

    def consider(self, candidate: Small, tier: int) -> None:
        """Take the candidate over if it is better up to this tier; less important pods keep their place or lose it."""
        if self.value_of(candidate, tier) <= self.value_of(self.assign, tier):
            return
        settled = self.settle(candidate, tier)
        if settled is None:
            return
        for level, limit in self.harm_limits.items():
            if harm(self.problem, let_replicas_stay(self.problem, settled), level) > limit:
                return
        self.assign = settled

    def value_of(self, assign: Small, tier: int) -> list[int]:
        """Pods placed in each tier up to this one."""
        return placed_per_tier(self.problem, assign)[: tier + 1]

    def settle(self, candidate: Small, tier: int) -> Small | None:
        """The candidate with less important pods at home where they still fit; None if a rule is broken."""
        problem = self.problem
        present = self.present(tier)
        out = candidate.copy()
        rest = np.flatnonzero(~present).astype(np.int32)
        free = room_left(problem, candidate, present)
        if (free < 0).any():
            return None
        if len(rest):
            rest = rest[np.argsort(self.tier_of[rest], kind="stable")]
            node = problem.home[rest]
            loops.keep_what_fits(np.ascontiguousarray(problem.demand[problem.pod_class[rest]]), node, free)
            out[rest] = node
        if self.book is not None and self.book.broken(out, self.book.touched(out, self.assign)):
            return None
        return out

    # ---- fewer moves

    def reduce_harm(self, level: int, tier: int, deadline: float) -> None:
        """Disturb less, with the same pods placed per tier; `harms[level]` gets the bound."""
        began = self.meter.elapsed()
        proof = Proof(self.unavoidable(level))
        self.harms[level] = proof
        asked_already = False
        weight_at, useless = 0, 0
        patience = PATIENCE[tier == len(self.problem.priority) - 1]
        attempt: Attempt | None = None
        while harm(self.problem, self.assign, level) > proof.bound and self.meter.elapsed() < deadline:
            if not asked_already:
                asked_already = self.ask_harm(level, tier, deadline)
            if attempt is None or attempt.is_over:
                attempt = self.next_quieter(level, tier, weight_at)
                weight_at += 1
            if attempt is not None:
                self.advance(attempt, deadline)
                if attempt.is_over or self.meter.elapsed() >= deadline:
                    before = harm(self.problem, self.assign, level)
                    self.close_quieter(attempt, tier)
                    useless = 0 if harm(self.problem, self.assign, level) < before else useless + 1
            self.listen(None, proof, wait=0.0 if attempt is not None else 0.01)
            if self.asked is None and asked_already and useless >= patience:
                break
            if attempt is None and self.asked is None:
                if asked_already:
                    break
                self.await_solver()
        self.listen(None, proof, wait=0.0)
        self.forget_question()
        now = harm(self.problem, self.assign, level)
        proof.bound = min(proof.bound, now)
        proof.proven = proof.bound == now and all(p.proven for p in self.tiers)
        self.stages.append(
            f"disruption level={level} cost={now} bound={proof.bound} attempts={weight_at} "
            f"seconds={self.meter.elapsed() - began:.3f}"
        )

    def unavoidable(self, level: int) -> int:
        """Disruption already fixed by earlier levels."""
        earlier = [p.bound for at, p in self.harms.items() if at < level]
        return max(earlier, default=0)

    def next_quieter(self, level: int, tier: int, number: int) -> Attempt | None:
        """A run from the best placement, or from the present one with the others squeezed in, that dislikes moves."""
        free_to_move = (self.tier_of <= tier) & ~self.ruled & ~self.is_frozen(tier)
        shuffle = make_shuffle(self.problem, self.assign, free_to_move, self.present(tier))
        if len(shuffle.pods) == 0 or not (disturbed(self.problem, self.assign) & free_to_move).any():
            return None
        rng = np.random.default_rng([self.seed, 77, number])
        node = shuffle.node.copy()
        if number % 2 == 0:
            node = np.where((node >= 0) & (shuffle.home >= 0), shuffle.home, node)
        weight, hot, cold = QUIET[number % len(QUIET)]
        size = len(shuffle.pods)
        return Attempt(
            shuffle,
            self.problem.allowed,
            node,
            shuffle.free(node),
            weight,
            hot,
            cold,
            int(min(400_000, 40_000 + 800 * size) * (1.5 ** min(6, number // 8))),
            int(rng.integers(1 << 30)),
            False,
        )

    def close_quieter(self, attempt: Attempt, tier: int) -> None:
        """Take over a placement with less disruption."""
        if attempt.found is not None:
            candidate = self.assign.copy()
            candidate[attempt.shuffle.pods] = attempt.found
            self.consider_harm(candidate, tier)

    def consider_harm(self, candidate: Small, tier: int) -> None:
        """Take the candidate over if it disturbs less; tiers after `tier`, not packed yet, make room if they must."""
        settled = self.settle(let_replicas_stay(self.problem, candidate), tier)
        if settled is None or (room_left(self.problem, settled) < 0).any():
            return
        if rank(self.problem, settled, self.order) > rank(self.problem, self.assign, self.order):
            self.assign = settled


TEMPERS = (  # (weight of a move, hottest, coldest) in shares of a node, gentle first; tuned on seeds 11-13
    (0.03, 0.010, 0.0010),
    (0.01, 0.010, 0.0010),
    (0.004, 0.005, 0.0005),
)
QUIET = ((0.03, 0.012, 0.002), (0.05, 0.010, 0.002), (0.02, 0.008, 0.001), (0.1, 0.02, 0.003))


class _Targets:
    """How many more pods to ask of the next attempt: many while it goes well, one at a time near the limit."""

    def __init__(self) -> None:
        self.careful = False
        self.failures = 0
        self.effort = 1.0

    def next_step(self, placed: int, bound: int) -> int:
        gap = bound - placed
        return 1 if self.careful else max(1, (gap + 1) // 2) if self.failures else gap

    def steps(self, pods: int) -> int:
        return int(min(6_000_000, (30_000 + 1_200 * pods) * self.effort))

    def note(self, gained: int, reached: bool) -> None:
        if reached:
            return
        self.failures += 1
        if self.failures >= 2:
            self.careful = True
            self.effort = min(16.0, self.effort * 1.3)
