"""Column generation over node patterns: a bound that is mostly the optimum, and a placement that often reaches it.

A pattern says how many pods of each class one node holds. Choosing one pattern per node, with no class used more often
than it has pods, is Gilmore and Gomory's model; its linear relaxation wastes what no real node can use, which the
pooled bound cannot see. Patterns are priced node by node (branch and bound on a small knapsack, compiled), so nodes may
all differ: under no-harm the frozen pods leave every node another room, and little of it; there it is strongest.

The bound is Lagrangian and in integers: whatever the multipliers, and wherever a pricing was cut short, it holds. Rules
between pods are left out, which keeps the bound valid and makes the placement useless: callers take the bound alone.

A dive makes the placement: fix the patterns the relaxation uses most, price again for what is left, repeat.

Tried and dropped: CP-SAT over the generated columns (one to four pods short of the dive after 1 s at 32 nodes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scheduler.core.packing.pattern_master import SCALE, Column, Master, Multipliers, Question
from scheduler.core.packing.pattern_pricing import price_patterns
from scheduler.core.packing.problem import Bools, Ints
from scheduler.core.packing.stage import Stage

SMOOTHING = 0.6  # share of the newest multipliers; the rest is the best so far (Wentges)
QUICK_STEPS = 3_000  # of one pricing while patterns are cheap to find
EXACT_STEPS = 4_000_000  # of all groups' pricing together when only the bound is still open: about 0.1 s
COMPANIONS = 4  # patterns more per round, shared by the groups
CHEAPER = 16  # one part of so many is taken off the price of what a pattern used
DIVE_ROUNDS = 4
STEPS_PER_UNIT = 20_000_000  # of deterministic budgets: about a second
Stop = Callable[[int], bool]


@dataclass(frozen=True, slots=True, eq=False)
class PatternAnswer:
    """bound: no placement has a higher `stage.value`. counts: (K, F) or None where the dive kept no floor or limit.

    steps: work done, in steps of the pricing; the same question with the same limits takes the same steps.
    """

    bound: int
    counts: Ints | None
    steps: int
    rounds: int


def bound_by_patterns(
    stage: Stage,
    stop: Stop,
    *,
    goal: int | None = None,
    dive: bool = True,
    report: Callable[[int | None, Ints | None], None] = lambda bound, counts: None,
) -> PatternAnswer:
    """Bound the stage's value and try to reach the bound.

    stop: called with the steps so far, true when time is up. goal: a value known to be reached; a bound as low as that
    ends the search. report: called with every better bound, and with the placement.
    """
    search = _Search(Question(stage), stop, -(2**62) if goal is None else goal, report)
    search.converge()
    # Where the relaxation promises no more than is reached, only the bound is open.
    counts = search.dive() if dive and min(search.bound, search.promised()) > search.goal else None
    if counts is not None:
        report(None, counts)
    reached = max(search.goal, _value(stage, counts))
    if search.bound > reached:
        search.sharpen(reached)
    return PatternAnswer(search.bound, counts, search.steps, search.rounds)


def _value(stage: Stage, counts: Ints | None) -> int:
    return -(2**62) if counts is None else stage.value(counts)


@dataclass(slots=True)
class _Search:
    question: Question
    stop: Stop
    goal: int
    report: Callable[[int | None, Ints | None], None]
    steps: int = 0
    rounds: int = 0
    bound: int = 2**62
    columns: list[Column] = field(default_factory=list)
    known: set[tuple[int, bytes, bytes]] = field(default_factory=set)
    values: list[float] = field(default_factory=list)
    relaxed: float = 0.0
    best: Multipliers | None = None
    supply: Ints = field(init=False)
    size: Ints = field(init=False)
    floor_left: list[int] = field(init=False)
    need_left: list[int] = field(init=False)
    master: Master = field(init=False)

    def __post_init__(self) -> None:
        question = self.question
        self.supply, self.size = question.supply.copy(), question.size.copy()
        self.floor_left = [n for _, n in question.floors]
        self.need_left = list(question.need)
        self.master = Master(question)
        now = np.maximum(question.stage.now - question.kept, 0)
        fits: Bools = np.all(now.T @ question.stage.demand <= question.room, axis=1)
        for node, group in enumerate(question.group_of):
            if not fits[node]:  # the incumbent is only a hint
                continue
            stay = np.minimum(now[:, node], question.stay[:, node])
            self._add(int(group), np.minimum(now[:, node] - stay, question.new[:, node]), stay)

    def converge(self, quick: int = QUICK_STEPS, rounds: int | None = None) -> None:
        """Generate patterns until none improves the relaxation, the bound meets it, or time is up."""
        best_value: int | None = None
        best: Multipliers | None = None
        if self.rounds == 0 and self.question.stage.tier is not None:
            best = self.master.pool()
            best_value, _ = self._price(best, quick)
            self._lower(best_value)
        while True:
            newest = self._relax()
            if newest is None:
                return
            rounds = None if rounds is None else rounds - 1
            mixed = newest if best is None else newest.mix(best, SMOOTHING)
            while True:
                value, added = self._price(mixed, quick)
                if best_value is None or value < best_value:
                    best_value, best = value, mixed
                if added or mixed is newest:
                    break
                mixed = newest
            self._lower(best_value)
            if not added or rounds == 0 or self.stop(self.steps):
                break
            if best_value // SCALE <= np.floor(self.relaxed + 1e-6) or self.bound <= self.goal:
                break
        self.best = best
        if added:
            self._relax()

    def sharpen(self, reached: int) -> None:
        """Price at full length while the bound may still come down to what is reached."""
        self._restore()
        effort = QUICK_STEPS
        # No pricing brings the bound below the relaxation, which only grows with more patterns.
        while effort < EXACT_STEPS and self.bound > max(reached, self.promised()) and not self.stop(self.steps):
            effort *= 10
            self.converge(min(effort, EXACT_STEPS))

    def promised(self) -> int:
        """The value that the relaxation over the patterns so far allows."""
        return int(np.floor(self._offset() + self.relaxed + 1e-6))

    def _offset(self) -> int:
        question = self.question
        return question.constant if question.stage.tier is not None else -question.all_gain()

    def _lower(self, scaled: int) -> None:
        """Take a bound over, while nothing is fixed by a dive."""
        if (self.size == self.question.size).all() and (self.supply == self.question.supply).all():
            bound = scaled // SCALE + self._offset()
            if bound < self.bound:
                self.bound = bound
                self.report(bound, None)

    def _relax(self) -> Multipliers | None:
        self.rounds += 1
        self.steps += 100 * (len(self.columns) + len(self.supply) + len(self.size))  # about as long as so many steps
        solved = self.master.solve(self.columns)
        if solved is None:
            return None
        self.relaxed, self.values, multipliers = solved
        return multipliers

    def _price(self, at: Multipliers, limit: int) -> tuple[int, int]:
        """The Lagrangian bound at these multipliers, scaled, and how many patterns were new."""
        question = self.question
        pod, floor, price = (np.rint(np.maximum(m, 0) * SCALE).astype(np.int64) for m in (at.pod, at.floor, at.limit))
        bonus = question.stay_gain + price @ question.worth
        per_pod = question.gain - pod
        for (tier, _), value in zip(question.floors, floor, strict=True):
            per_pod = per_pod + np.where(question.stage.class_tier == tier, value, 0)
        total = int((np.maximum(per_pod, 0) * self.supply).sum())
        total -= sum(int(f) * n for f, n in zip(floor, self.floor_left, strict=True))
        total -= sum(int(p) * n for p, n in zip(price, self.need_left, strict=True))
        groups = np.flatnonzero(self.size)
        bounding = limit
        limit = min(limit, max(QUICK_STEPS, EXACT_STEPS // max(len(groups), 1)))  # so that a stop is heard soon
        new, stay, ceiling = self._find_patterns(groups, pod, bonus, limit)
        total += int((np.floor(ceiling + 1e-3).astype(np.int64) * self.size[groups]).sum())
        added = self._add_all(groups, new, stay)
        # Few groups mean few patterns a round: some more, each with what the last one used made a little cheaper.
        for _ in range(COMPANIONS // len(groups) if bounding <= QUICK_STEPS and added else 0):
            pod = np.where((new + stay).any(axis=0), pod - pod // CHEAPER, pod)
            new, stay, _ = self._find_patterns(groups, pod, bonus, limit)
            added += self._add_all(groups, new, stay)
        return total, added

    def _find_patterns(
        self, groups: NDArray[np.int64], pod: Ints, bonus: Ints, limit: int
    ) -> tuple[Ints, Ints, NDArray[np.float64]]:
        """The best pattern of every group at these prices (new and staying pods), and the bound of its value."""
        question = self.question
        new = np.zeros((len(groups), len(pod)), dtype=np.int64)
        stay = np.zeros_like(new)
        ceiling = np.zeros(len(groups))
        self.steps += price_patterns(
            pod,
            bonus,
            question.stage.demand,
            question.group_room[groups],
            np.minimum(question.group_new[groups], self.supply),
            np.minimum(question.group_stay[groups], self.supply),
            limit,
            new,
            stay,
            ceiling,
        )
        return new, stay, ceiling

    def _add_all(self, groups: NDArray[np.int64], new: Ints, stay: Ints) -> int:
        return sum(self._add(int(g), n, s) for g, n, s in zip(groups, new, stay, strict=True))

    def _add(self, group: int, new: Ints, stay: Ints) -> bool:
        key = (group, new.tobytes(), stay.tobytes())
        if key in self.known or not (new.any() or stay.any()):
            return False
        self.known.add(key)
        self.columns.append(Column(group, new.copy(), stay.copy(), self.master.add(group, new, stay)))
        return True

    def dive(self) -> Ints | None:
        """A placement from the relaxation, or None if it keeps not all floors and limits."""
        taken: list[tuple[int, Ints]] = []
        while self.size.any() and self.supply.any():
            if self.stop(self.steps):
                return None
            if not self._fix(taken):
                break
            self.master.shrink(self.supply, self.size, self.floor_left, self.need_left)
            if self.supply.any() and self.size.any():
                self.converge(rounds=DIVE_ROUNDS)
        counts = self._spread_out(taken)
        self._fill(counts)
        return counts if self._keeps_all(counts) else None

    def _fix(self, taken: list[tuple[int, Ints]]) -> bool:
        """Fix whole uses of columns, else the one used most. Returns whether any was fixed."""
        fixed = False
        order = sorted(range(len(self.columns)), key=lambda c: (-round(self.values[c], 6), c))
        for c in order:
            uses = int(self.values[c] + 1e-6)
            if self.values[c] < 1e-6 or (uses == 0 and fixed):
                break
            column = self.columns[c]
            for _ in range(max(uses, 1)):
                stay = np.minimum(column.stay, self.supply)
                new = np.minimum(column.new, self.supply - stay)
                whole = bool((stay == column.stay).all() and (new == column.new).all())
                if self.size[column.group] == 0 or (fixed and not whole):
                    break
                taken.append((column.group, stay + new))
                self.supply -= stay + new
                self.size[column.group] -= 1
                for position, (tier, _) in enumerate(self.question.floors):
                    mine = self.question.stage.class_tier == tier
                    self.floor_left[position] -= int((stay + new)[mine].sum())
                for position, worth in enumerate(self.question.worth):
                    self.need_left[position] -= int((worth * stay).sum())
                fixed = True
        return fixed

    def _spread_out(self, taken: list[tuple[int, Ints]]) -> Ints:
        """Give the patterns to the nodes of their groups, each to the node where most of its pods run already."""
        question = self.question
        counts = question.kept.copy()
        weight = question.stage.cost + 1
        for group in range(len(question.size)):
            nodes = np.flatnonzero(question.group_of == group)
            patterns = [pattern for g, pattern in taken if g == group]
            home = question.stage.home[:, nodes] - question.kept[:, nodes]
            overlap = [(np.minimum(home, p[:, None]) * weight[:, None]).sum(axis=0) for p in patterns]
            pairs = [(-int(o), p, n) for p, row in enumerate(overlap) for n, o in enumerate(row)]
            used_patterns: set[int] = set()
            used_nodes: set[int] = set()
            for _, p, n in sorted(pairs):
                if p not in used_patterns and n not in used_nodes:
                    used_patterns.add(p)
                    used_nodes.add(n)
                    counts[:, nodes[n]] += patterns[p]
        return counts

    def _fill(self, counts: Ints) -> None:
        """Put pods that no pattern took into what room is left, the largest first."""
        stage = self.question.stage
        left = stage.supply - counts.sum(axis=1)
        room = stage.room - counts.T @ stage.demand
        size = (stage.demand / np.maximum(stage.room.max(axis=0), 1)).sum(axis=1)
        for k in np.argsort(-size, kind="stable"):
            for node in np.flatnonzero(stage.most[k] > counts[k]):
                while left[k] > 0 and counts[k, node] < stage.most[k, node] and (stage.demand[k] <= room[node]).all():
                    counts[k, node] += 1
                    left[k] -= 1
                    room[node] -= stage.demand[k]

    def _keeps_all(self, counts: Ints) -> bool:
        stage = self.question.stage
        placed = counts.sum(axis=1)
        if any(int(placed[stage.class_tier == tier].sum()) < n for tier, n in stage.floors):
            return False
        gone = ((stage.home.sum(axis=1) - np.minimum(stage.home, counts).sum(axis=1)) * stage.cost).astype(np.int64)
        return all(int(gone[stage.class_level <= level].sum()) <= limit for level, limit in stage.harm_limits)

    def _restore(self) -> None:
        """Undo what the dive fixed."""
        question = self.question
        self.supply, self.size = question.supply.copy(), question.size.copy()
        self.floor_left = [n for _, n in question.floors]
        self.need_left = list(question.need)
        self.master.shrink(self.supply, self.size, self.floor_left, self.need_left)
        self._relax()
