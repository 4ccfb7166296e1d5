"""The balancing problem as columns: what runs where, what a node has, what it costs to move a task.

A node is overloaded where its tasks use more than it has. Overload is the sum over nodes and resources of
max(0, use - capacity) / capacity; a placement without any is *stable*. What counts, most important first:

1. overload; 2. the priority of tasks without a place; 3. the cost of the moves; 4. stranded room.

A task that runs is moved or left, never put off: a balancer that may switch work off would always be stable. So a
cluster can be too full for any stable placement; the answer is then the least overload that was found. A task that
waits may be left waiting, and is placed only where that adds no overload.

Everything is counted in whole numbers, so that equal placements are equal: overload in units of 1 / `OVERLOAD_UNIT`
of a node, with capacities' reciprocals rounded to that unit; stranded room in millionths of a node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.core.columns import Codes, Ints, Mask, check_amounts, check_codes, check_column, check_names
from scheduler.core.errors import StowageInputError

Verdict = Literal["optimal", "feasible", "undecided"]
WAITING = -1
OVERLOAD_UNIT = 10**12
STRANDED_UNIT = 10**6
MOST = 2**40  # of a resource in all, so that no sum of weighted amounts leaves 64 bits


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """What some nodes have in common, such as a kind of NIC or a rack, and the teams of tasks that share one of it.

    A team is what must not straddle values: the replicas of one pipeline stage that exchange gradients share a kind of
    NIC, while other stages may be elsewhere (Holmes, arXiv 2312.03549: data-parallel groups never straddle NIC types,
    only pipeline cuts may). Who is moved or placed comes to the value in which most of the team runs, the first by name
    of equals; a team of which nobody runs on a node with a value chooses one. Who runs elsewhere may stay there.

    values: names, sorted. node: (N,) the node's value, -1 for none: no member of a team comes there. team: (T,) members
    of one number are a team, -1 for none. is_hard: a rule; else a preference, kept where it costs no overload and no
    place.
    """

    name: str
    values: tuple[str, ...]
    node: Codes
    team: Codes
    is_hard: bool = True

    def check(self, nodes: int, tasks: int) -> None:
        """Raise StowageInputError for columns that are not those of so many nodes and tasks."""
        check_codes(f"{self.name} of nodes", self.node, nodes, len(self.values), lowest=-1)
        check_codes(f"{self.name} teams", self.team, tasks, max(tasks, 1), lowest=-1)
        if list(self.values) != sorted(set(self.values)):
            raise StowageInputError(f"values of {self.name} are not sorted and distinct: {', '.join(self.values)}")

    def value_of_teams(self, home: Codes) -> Codes:
        """(G,) the value each team runs in, -1 where nobody of it runs on a node with one. home: (T,)."""
        runs = (home != WAITING) & (self.team >= 0)
        value = np.full(len(home), -1, np.int32)
        value[runs] = self.node[home[runs]]
        count = np.zeros((int(self.team.max(initial=-1)) + 1, len(self.values) + 1), np.int64)
        np.add.at(count, (self.team[value >= 0], value[value >= 0]), 1)
        return np.where(count.any(axis=1), count.argmax(axis=1), -1).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """What runs where. Rows are sorted by name, and row order breaks ties.

    nodes: (N,) names. capacity: (N, R). tasks: (T,) names. use: (T, R) what loads a node, in the units of `capacity`.
    request: (T, R) what the task was promised: it never moves to a node that has less in all. home: (T,) row of the
    node it runs on, WAITING for none. cost: (T,) of moving it once, at least 0, 0 for those that wait. priority: (T,)
    at least 0; a task without a place counts priority + 1. pinned: (T,) never moved. allowed: (S, N), a task may move
    to node n where `allowed[mask[t], n]`. group: (T,) tasks of a group that ask for different nodes, -1 for none: one
    that is moved meets no other of its group. domains: what teams of tasks share. Raises StowageInputError.
    """

    nodes: NDArray[np.str_]
    resources: tuple[str, ...]
    capacity: Ints
    tasks: NDArray[np.str_]
    request: Ints
    use: Ints
    home: Codes
    cost: Ints
    priority: Ints
    pinned: Mask
    mask: Codes
    allowed: Mask
    group: Codes
    domains: tuple[Domain, ...] = ()

    def __post_init__(self) -> None:
        check_names("node", self.nodes)
        check_names("task", self.tasks)
        n, t, r = len(self.nodes), len(self.tasks), len(self.resources)
        check_amounts("capacity", self.capacity, (n, r))
        for what, amounts in (("use", self.use), ("request", self.request)):
            check_amounts(what, amounts, (t, r))
        for what, column in (("cost", self.cost), ("priority", self.priority)):
            check_amounts(what, column, (t,))
        check_column("pinned", self.pinned, (t,), np.bool_)
        check_codes("home", self.home, t, n, lowest=WAITING)
        check_column("allowed", self.allowed, (len(self.allowed), n), np.bool_)
        check_codes("mask", self.mask, t, len(self.allowed), lowest=0)
        check_codes("group", self.group, t, max(t, 1), lowest=-1)
        for domain in self.domains:
            domain.check(n, t)
        for what, amounts in (("use", self.use), ("capacity", self.capacity), ("cost", self.cost)):
            total = max(np.atleast_1d(amounts.sum(axis=0, dtype=object)).tolist(), default=0)
            if total > MOST:
                raise StowageInputError(f"{what} is {total} in all; at most 2^40 is counted: use a larger unit")
        for row in np.flatnonzero((self.home == WAITING) & (self.cost > 0))[:1]:
            raise StowageInputError(f"task {self.tasks[row]} waits and costs {self.cost[row]} to move; it costs 0")

    def can_arrive(self) -> Mask:
        """(T, N) whether the task may be moved there, whatever else is there; its own node is not counted.

        Of a team that has yet to choose a value every node with one counts, see `domains`.
        """
        answer = self.allowed[self.mask] & ~self.pinned[:, None]
        for r in range(len(self.resources)):
            answer &= self.request[:, r, None] <= self.capacity[None, :, r]
        for domain in self.domains:
            if domain.is_hard:
                value = np.append(domain.value_of_teams(self.home), np.int32(-1))[domain.team]
                is_value = (domain.node == value[:, None]) | (value == -1)[:, None]
                answer &= (domain.team < 0)[:, None] | (is_value & (domain.node >= 0))
        runs = np.flatnonzero(self.home != WAITING)
        answer[runs, self.home[runs]] = False
        return answer

    def overload_weight(self) -> Ints:
        """(N, R) what a unit of excess counts; a node with none of a resource counts its excess whole."""
        return np.asarray(np.rint(OVERLOAD_UNIT / np.maximum(self.capacity, 1)), np.int64)


class Objective(NamedTuple):
    """The four parts, compared in this order. Zero is the least of each."""

    overload: int
    unplaced: int
    cost: int
    stranded: int

    @property
    def overload_nodes(self) -> float:
        """Overload as a sum of shares of nodes."""
        return self.overload / OVERLOAD_UNIT


@dataclass(frozen=True, slots=True)
class Bound:
    """No placement has less overload than this; none with the least of it has less unplaced; and then less cost.

    Stranded room has no bound: it only breaks ties.
    """

    overload: int = 0
    unplaced: int = 0
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a search may do: units of counted work (about a second of one core each), and a clock's seconds if set.

    Counted work alone repeats itself exactly; a clock keeps a promise to whoever waits. clock: seconds, rising.
    """

    work: float
    seconds: float | None = None
    clock: Callable[[], float] | None = None

    def __post_init__(self) -> None:
        for what, amount in (("work", self.work), ("seconds", self.seconds)):
            if amount is not None and not 0 < amount < float("inf"):
                raise StowageInputError(f"a budget's {what} is {amount}; it is a positive number")
        if self.seconds is not None and self.clock is None:
            raise StowageInputError("a budget in seconds needs a clock")


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a method found and what is proven.

    at: (T,) row of the node, WAITING for none. verdict: `optimal` where overload, unplaced and cost meet the bound;
    `feasible` where some gap is open; `undecided` where the method gave no answer of its own (`reasons` says why) and
    `at` is the present placement. gap_of: the first part of the objective that is not proven, empty where all are;
    gap: what may be missing of it, as a share of it. work: units spent. steps: trials the method counted.
    reasons: what a reader must know, such as why nothing is stable.
    """

    method: str
    at: Codes
    objective: Objective
    before: Objective
    bound: Bound
    verdict: Verdict
    work: float
    steps: int
    reasons: tuple[str, ...] = field(default=())

    @property
    def gap_of(self) -> str:
        for part in ("overload", "unplaced", "cost"):
            if getattr(self.objective, part) > getattr(self.bound, part):
                return part
        return ""

    @property
    def gap(self) -> float:
        if not self.gap_of:
            return 0.0
        found, least = getattr(self.objective, self.gap_of), getattr(self.bound, self.gap_of)
        return float((found - least) / found)
