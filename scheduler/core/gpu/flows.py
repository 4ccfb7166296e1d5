"""Which spine each flow of a collective takes through a leaf-spine fabric, so that no link carries more than it must.

The flows of a collective start together and are equally large, and only the last to finish counts: what matters is the
most loaded link. Where all links are alike, a balanced edge colouring of the flows between leaves (a colour is a spine)
gives every link its share, to within one flow: no packet spraying is needed. A link carries the ideal load exactly if
the few flows of the remainder are split (after Ethereal, arXiv 2407.00550). Where links have failed or differ, a linear
programme says how much of every leaf pair's flows each spine should carry, and only what is left over is split.

Loads are in flows per capacity: 1.0 is one flow on one link of capacity 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import StowageInputError
from scheduler.core.gpu.colouring import balanced_colouring
from scheduler.core.taxonomy import Declared, Taxonomy

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
MOST_MOVES = 10_000
DECLARED: Final[Mapping[str, Declared]] = {
    "balanced": Declared("A spine for every flow so that no link carries more than it must.", Taxonomy(method="exact")),
    "greedy": Declared("Every flow in turn where the load stays least.", Taxonomy(method="greedy")),
    "ecmp": Declared("Each switch hashes each queue pair onto a path.", Taxonomy("cluster", "decentralised", "greedy")),
}


@dataclass(frozen=True, slots=True)
class Fabric:
    """capacity: (leaves, spines), of each link in either direction; 0: the link is down.

    plane: (leaves,), which half of bonded ports a leaf serves; flows stay in their plane.
    """

    capacity: Floats
    plane: Ints

    @classmethod
    def of(cls, capacity: Floats, plane: Ints | None = None) -> Fabric:
        """Checked; StowageInputError names the rule that the numbers break."""
        capacity = np.asarray(capacity, np.float64)
        if capacity.ndim != 2 or not capacity.size:
            raise StowageInputError(f"capacity of shape {capacity.shape}: one row per leaf, one column per spine")
        if not (np.isfinite(capacity) & (capacity >= 0)).all():
            raise StowageInputError("a link's capacity is a number that is not negative; 0 for a link that is down")
        plane = np.zeros(len(capacity), np.int64) if plane is None else np.asarray(plane, np.int64)
        if plane.shape != (len(capacity),):
            raise StowageInputError(f"{plane.size} planes for {len(capacity)} leaves: one per leaf")
        return cls(capacity, plane)

    @classmethod
    def uniform(cls, leaves: int, spines: int, lost: tuple[int, ...] = ()) -> Fabric:
        """All links alike, those of the `lost` spines down."""
        capacity = np.ones((leaves, spines))
        capacity[:, list(lost)] = 0.0
        return cls.of(capacity)


@dataclass(frozen=True, slots=True)
class Flows:
    """source, target: (F,), leaves. A flow within one leaf meets no spine."""

    source: Ints
    target: Ints

    @classmethod
    def of(cls, fabric: Fabric, source: Ints, target: Ints) -> Flows:
        """Checked against the fabric; StowageInputError names the first flow that cannot be."""
        source, target = np.asarray(source, np.int64), np.asarray(target, np.int64)
        if source.shape != target.shape or source.ndim != 1:
            raise StowageInputError(f"{source.size} sources and {target.size} targets: one of each per flow")
        leaves = len(fabric.plane)
        for name, ends in (("source", source), ("target", target)):
            wrong = np.flatnonzero((ends < 0) | (ends >= leaves))
            if wrong.size:
                raise StowageInputError(f"flow {wrong[0]}: its {name} is leaf {ends[wrong[0]]}, there are {leaves}")
        crossing = np.flatnonzero(fabric.plane[source] != fabric.plane[target])
        if crossing.size:
            raise StowageInputError(
                f"flow {crossing[0]}: leaves {source[crossing[0]]} and {target[crossing[0]]} are in different planes; "
                "the left port of a bonded NIC talks to left ports only, the right one to right ports"
            )
        return cls(source, target)

    @property
    def crossing(self) -> Ints:
        """The flows that go over a spine."""
        return np.flatnonzero(self.source != self.target)


@dataclass(frozen=True, slots=True)
class Placement:
    """Parts: flow, spine, share, each (P,). The shares of a flow add up to 1; flows within a leaf have none."""

    flow: Ints
    spine: Ints
    share: Floats

    @property
    def split(self) -> int:
        """How many flows take more than one path."""
        return int((np.bincount(self.flow) > 1).sum()) if self.flow.size else 0

    def load(self, fabric: Fabric, flows: Flows) -> tuple[Floats, Floats]:
        """(up, down), each (leaves, spines): load per capacity; infinite where a link that is down carries anything."""
        out = []
        for ends in (flows.source, flows.target):
            carried = np.zeros(fabric.capacity.shape)
            np.add.at(carried, (ends[self.flow], self.spine), self.share)
            with np.errstate(divide="ignore", invalid="ignore"):
                out.append(np.where(carried > 0, carried / fabric.capacity, 0.0))
        return out[0], out[1]

    def max_load(self, fabric: Fabric, flows: Flows) -> float:
        """Load of the most loaded link."""
        return float(max(one.max() for one in self.load(fabric, flows)))


def ideal_load(fabric: Fabric, flows: Flows) -> float:
    """The least maximum load that any placement reaches, flows split as finely as one likes."""
    chosen = flows.crossing
    if not chosen.size:
        return 0.0
    alive = _alike(fabric)
    if alive is not None:
        return _degree(flows, chosen) / (len(alive) * float(fabric.capacity[0, alive[0]]))
    return _repair(fabric, flows)[1]


def place(fabric: Fabric, flows: Flows, *, may_split: bool) -> Placement:
    """Every flow's spines. may_split: reach the ideal by splitting a few flows; else come near it with whole ones.

    Deterministic. Raises StowageInputError if two leaves have no path between them.
    """
    chosen = flows.crossing
    if not chosen.size:
        return Placement(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    alive = _alike(fabric)
    if alive is None:
        return _repair(fabric, flows)[0] if may_split else _place_whole(fabric, flows)
    source, target = flows.source[chosen], flows.target[chosen]
    if not may_split:
        spine = alive[balanced_colouring(source, target, len(alive))]
        return Placement(chosen, spine, np.ones(chosen.size))
    return _place_exactly(chosen, source, target, alive)


def _place_exactly(chosen: Ints, source: Ints, target: Ints, alive: Ints) -> Placement:
    """Whole flows as far as they go round, the remainder split evenly.

    Coloured with as many colours as the busiest leaf has flows, each colour is a matching. The smallest few matchings
    are the remainder; what is left divides evenly among the spines.
    """
    spines, degree = len(alive), int(max(np.bincount(source).max(), np.bincount(target).max()))
    over = degree % spines
    colour = balanced_colouring(source, target, degree)
    small = np.argsort(np.bincount(colour, minlength=degree), kind="stable")[:over]
    is_split = np.isin(colour, small)
    parts = spines // math.gcd(over, spines) if over else 1
    whole, rest = np.flatnonzero(~is_split), np.repeat(np.flatnonzero(is_split), parts)
    spine = np.concatenate([
        balanced_colouring(source[whole], target[whole], spines), balanced_colouring(source[rest], target[rest], spines)
    ])  # fmt: skip
    share = np.concatenate([np.ones(whole.size), np.full(rest.size, 1.0 / parts)])
    return _merged(chosen[np.concatenate([whole, rest])], alive[spine], share)


def _place_whole(fabric: Fabric, flows: Flows) -> Placement:
    """Whole flows on an uneven fabric: as if all links were alike, then moved off the most loaded links."""
    chosen = flows.crossing
    source, target = flows.source[chosen], flows.target[chosen]
    spine = _round_closed_links(fabric, source, target)
    has_path = (fabric.capacity[source, spine] > 0) & (fabric.capacity[target, spine] > 0)
    tally = _Tally(fabric, source, target, np.where(has_path, spine, -1))
    for i in np.flatnonzero(~has_path).tolist():
        tally.put(i, tally.best(i))
    tally.improve()
    return Placement(chosen, tally.spine, np.ones(chosen.size))


def _round_closed_links(fabric: Fabric, source: Ints, target: Ints) -> Ints:
    """A spine per flow as if all links were alike, but off those that are down where an exchange can do it."""
    alive = np.flatnonzero(fabric.capacity.any(axis=0))
    closed = fabric.capacity[:, alive] == 0
    return alive[balanced_colouring(source, target, len(alive), (closed, closed))]


def _merged(flow: Ints, spine: Ints, share: Floats) -> Placement:
    """Parts of one flow on one spine are one part; sorted by flow, then spine."""
    if not flow.size:
        return Placement(flow, spine, share)
    pairs, part = np.unique(np.stack([flow, spine]), axis=1, return_inverse=True)
    total: Floats = np.bincount(part.ravel(), share).astype(np.float64)
    return Placement(pairs[0], pairs[1], total)


def _alike(fabric: Fabric) -> Ints | None:
    """The spines that are up, if all links of all of them are alike; else None."""
    alive = np.flatnonzero(fabric.capacity.any(axis=0))
    links = fabric.capacity[:, alive]
    if not alive.size:
        raise StowageInputError("every link is down: no flow has a path")
    return alive if (links == links.flat[0]).all() else None


def _degree(flows: Flows, chosen: Ints) -> int:
    return int(max(np.bincount(flows.source[chosen]).max(), np.bincount(flows.target[chosen]).max()))


def _repair(fabric: Fabric, flows: Flows) -> tuple[Placement, float]:
    """A placement on an uneven fabric with the least maximum load, and that load; few flows are split.

    Begun as if all links were alike. Flows whose link is down are spread by a linear programme over what is left; while
    that is not the least possible, flows of the links that hold it up are taken in as well.
    """
    chosen = flows.crossing
    source, target = flows.source[chosen], flows.target[chosen]
    capacity, bound = fabric.capacity, _cut(fabric, source, target)
    spine = _round_closed_links(fabric, source, target)
    is_free = (capacity[source, spine] == 0) | (capacity[target, spine] == 0)
    while True:
        base = np.zeros((2, *capacity.shape))
        for side, ends in enumerate((source, target)):
            np.add.at(base[side], (ends[~is_free], spine[~is_free]), 1.0)
        fluid = _Fluid.solve(fabric, source[is_free], target[is_free], base)
        if fluid.load <= bound * (1 + 1e-7) or is_free.all():
            break
        tight: Any = np.greater(fluid.carried(), (fluid.load - 1e-7) * capacity)
        held = (tight[0, source, spine] | tight[1, target, spine]) & ~is_free
        is_free |= held if held.any() else True  # where only freed flows hold it up, the others have to make room
    parts = fluid.parts()
    free, kept = chosen[is_free], chosen[~is_free]
    flow = np.concatenate([kept, free[parts.flow]])
    share = np.concatenate([np.ones(kept.size), parts.share])
    return _merged(flow, np.concatenate([spine[~is_free], parts.spine]), share), max(fluid.load, bound)


def _cut(fabric: Fabric, source: Ints, target: Ints) -> float:
    """No placement does better: what a leaf sends or receives, over all its links."""
    width = fabric.capacity.sum(axis=1)
    worst = 0.0
    for ends in (source, target):
        degree = np.bincount(ends, minlength=len(width))
        cut_off = np.flatnonzero((degree > 0) & (width == 0))
        if cut_off.size:
            raise StowageInputError(f"every link of leaf {cut_off[0]} is down: its flows share no spine with any other")
        worst = max(worst, float((degree[width > 0] / width[width > 0]).max()))
    return worst


@dataclass(frozen=True, slots=True)
class _Fluid:
    """What a linear programme makes of some flows (F,) on links that carry `base` (2, leaves, spines) already.

    pairs: (2, K), the leaf pairs. pair: (F,), each flow's. amount: (K, spines), flows of each pair over each spine.
    """

    base: Floats
    pairs: Ints
    pair: Ints
    amount: Floats
    load: float

    @classmethod
    def solve(cls, fabric: Fabric, source: Ints, target: Ints, base: Floats) -> _Fluid:
        """Least maximum load; a vertex of the polytope, so most pairs use few spines."""
        from ortools.linear_solver import pywraplp

        ends = np.stack([source, target])
        pairs, pair, count = np.unique(ends, axis=1, return_inverse=True, return_counts=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            least = float(np.where(base > 0, base / fabric.capacity, 0.0).max())
        solver = pywraplp.Solver.CreateSolver("GLOP")
        load = solver.NumVar(least, solver.infinity(), "")
        rows: dict[tuple[int, int, int], Any] = {}
        variables: list[tuple[int, int, Any]] = []
        for p, (a, b) in enumerate(pairs.T.tolist()):
            total = solver.Constraint(float(count[p]), float(count[p]))
            open_spines = np.flatnonzero((fabric.capacity[a] > 0) & (fabric.capacity[b] > 0)).tolist()
            if not open_spines:
                raise StowageInputError(f"leaves {a} and {b} share no spine whose links are both up: no path")
            for k in open_spines:
                one = solver.NumVar(0.0, float(count[p]), "")
                variables.append((p, k, one))
                total.SetCoefficient(one, 1.0)
                for side, leaf in ((0, a), (1, b)):
                    row = rows.get((side, leaf, k))
                    if row is None:
                        row = rows[side, leaf, k] = solver.Constraint(-solver.infinity(), -float(base[side, leaf, k]))
                        row.SetCoefficient(load, -float(fabric.capacity[leaf, k]))
                    row.SetCoefficient(one, 1.0)
        solver.Objective().SetCoefficient(load, 1.0)
        solver.Objective().SetMinimization()
        if solver.Solve() != pywraplp.Solver.OPTIMAL:
            raise RuntimeError("the linear programme of the fabric was not solved")
        amount = np.zeros((pairs.shape[1], fabric.capacity.shape[1]))
        for p, k, one in variables:
            amount[p, k] = max(0.0, one.solution_value())
        return cls(base, pairs, pair.ravel(), amount, float(load.solution_value()))

    def carried(self) -> Floats:
        """(2, leaves, spines): what every link carries with these flows."""
        out = self.base.copy()
        for side in (0, 1):
            np.add.at(out[side], self.pairs[side], self.amount)
        return out

    def parts(self) -> Placement:
        """Whole flows as far as a pair's amounts go; what is left over of them split among its spines."""
        flow, spine, share = [], [], []
        order = np.argsort(self.pair, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(self.pair, minlength=len(self.amount)))[:-1])
        for p, own in enumerate(members[: len(self.amount)]):
            left = iter(own.tolist())
            whole = np.floor(self.amount[p] + 1e-9)
            for k in np.repeat(np.arange(whole.size), whole.astype(np.int64)).tolist():
                flow.append(next(left))
                spine.append(k)
                share.append(1.0)
            room = [(k, float(part)) for k, part in enumerate(self.amount[p] - whole) if part > 1e-9]
            for one in left:
                need = 1.0
                while need > 1e-9 and room:
                    k, part = room.pop()
                    used = min(need, part)
                    flow.append(one)
                    spine.append(k)
                    share.append(used)
                    need -= used
                    if part - used > 1e-9:
                        room.append((k, part - used))
        amount = np.array(share, np.float64)
        total = np.bincount(np.array(flow, np.int64), amount, minlength=self.pair.size)
        return Placement(np.array(flow, np.int64), np.array(spine, np.int64), amount / total[np.array(flow, np.int64)])


class _Tally:
    """Whole flows on spines, and the load of every link; links that are down count as infinitely loaded."""

    def __init__(self, fabric: Fabric, source: Ints, target: Ints, spine: Ints) -> None:
        with np.errstate(divide="ignore"):
            self.weight = 1.0 / fabric.capacity
        self.source, self.target, self.spine = source, target, spine
        self.count = np.zeros((2, *fabric.capacity.shape))
        for i in np.flatnonzero(spine >= 0).tolist():
            self._add(i, int(spine[i]), 1)

    def _add(self, i: int, k: int, by: int) -> None:
        self.count[0, self.source[i], k] += by
        self.count[1, self.target[i], k] += by

    def after(self, i: int) -> Floats:
        """(spines,): the higher load of the flow's two links were it put there."""
        a, b = self.source[i], self.target[i]
        up = (self.count[0, a] + 1) * self.weight[a]
        return np.maximum(up, (self.count[1, b] + 1) * self.weight[b])

    def best(self, i: int) -> int:
        """The spine that adds least; StowageInputError if none has both links up."""
        after = self.after(i)
        k = int(np.argmin(after))
        if np.isinf(after[k]):
            a, b = self.source[i], self.target[i]
            raise StowageInputError(f"leaves {a} and {b} share no spine whose links are both up: no path")
        return k

    def put(self, i: int, k: int) -> None:
        """Put a flow on a spine, off the one it was on."""
        if self.spine[i] >= 0:
            self._add(i, int(self.spine[i]), -1)
        self.spine[i] = k
        self._add(i, k, 1)

    def improve(self) -> None:
        """Move flows off the most loaded link while that makes it less loaded than it was."""
        for _ in range(MOST_MOVES):
            with np.errstate(invalid="ignore"):
                load = np.where(self.count > 0, self.count * self.weight, 0.0)
            side, leaf, k = (int(x) for x in np.unravel_index(int(load.argmax()), load.shape))
            ends = self.source if side == 0 else self.target
            movable = np.flatnonzero((ends == leaf) & (self.spine == k)).tolist()
            gains = [(float(self.after(i).min()), i) for i in movable]
            least, i = min(gains)
            if least >= load[side, leaf, k]:
                return
            self.put(i, self.best(i))


# ---- what others do


def ecmp(fabric: Fabric, flows: Flows, queue_pairs: int, rng: np.random.Generator) -> Placement:
    """Every queue pair of a flow hashed onto one of the paths that are up, each with an equal share of the flow."""
    flow = np.repeat(flows.crossing, queue_pairs)
    is_up = (fabric.capacity[flows.source[flow]] > 0) & (fabric.capacity[flows.target[flow]] > 0)
    ways = is_up.sum(axis=1)
    if flow.size and not ways.all():
        raise StowageInputError("two leaves share no spine whose links are both up: no path")
    nth = (rng.random(flow.size) * ways).astype(np.int64)
    spine = (np.cumsum(is_up, axis=1) > nth[:, None]).argmax(axis=1)
    return _merged(flow, spine.astype(np.int64), np.full(flow.size, 1.0 / queue_pairs))


def greedy(fabric: Fabric, flows: Flows) -> Placement:
    """Every flow in turn where the higher load of its two links stays least, the first such spine."""
    chosen = flows.crossing
    tally = _Tally(fabric, flows.source[chosen], flows.target[chosen], np.full(chosen.size, -1, np.int64))
    for i in range(chosen.size):
        tally.put(i, tally.best(i))
    return Placement(chosen, tally.spine, np.ones(chosen.size))
