"""Gangs on a fleet with faults, event by event.

A node that fails stops its gang. After detection and diagnosis the nodes that failed meanwhile are isolated together
and replaced in place; a gang that finds too few waits, and its own nodes are kept for it until it is whole. Then it
starts again from its last checkpoint. A fault during the restart begins a new detection, without more work lost. The
core decides where gangs and replacements go (`scheduler.core.gpu.gangs`); this loop only keeps time.

Work arrives in a closed loop: whenever a gang ends, another of its size begins, so that two placements are compared at
the same allocation. Idle nodes that are down are known to be down.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.faults.history import History
from analytics.faults.recovery import PARTS, Recovery
from scheduler.core.gpu.gangs import (
    NOBODY,
    Gang,
    GangNodes,
    Placed,
    lose_members,
    place_gang,
    release_reserved,
    replace_members,
    reserve_lost,
)
from scheduler.core.gpu.hazard import Hazard

Floats = NDArray[np.float64]
Phase = Literal["running", "detection", "diagnosis", "waiting", "restart", "over"]
WorkOf = Callable[[int], Iterator[float]]
GPUS = 8  # of a node; the published trace does not say, and nothing here depends on it
ENDLESS_HORIZON_H = 168.0  # how far a gang without an end looks ahead when it weighs risks


def ahead(work_h: float) -> float:
    """How far a gang with that much left to do looks ahead, in hours."""
    return min(max(work_h, 1e-3), ENDLESS_HORIZON_H)


class Placement:
    """Prices of nodes for a gang. hazard: what is believed of repaired nodes; None takes any node alike, at random.

    shun_h: nodes repaired within this time are taken only when there are no others.
    """

    def __init__(self, hazard: Hazard | None, seed: int, shun_h: float = 0.0) -> None:
        self.hazard, self.shun_h, self.random = hazard, shun_h, np.random.default_rng([seed, 1])

    def price(self, gang: Gang, age_h: Floats) -> Floats:
        """(N,) what each node costs the gang; nodes alike are told apart by chance, not by name."""
        chance = self.random.random(age_h.size)
        if self.hazard is None:
            return chance + 2.0 * (age_h < self.shun_h)
        return gang.price(self.hazard.expected_faults(age_h, gang.length_h)) + 1e-9 * chance


def endless(slot: int) -> Iterator[float]:
    """Hours of work of a gang that runs until the end."""
    return itertools.repeat(math.inf)


@dataclass(slots=True, eq=False)
class Account:
    """What became of one gang. hours: by part, of wall time; hits: faults of its nodes; stops: how often it stood."""

    gang: Gang
    placed: Placed
    slot: int
    work_h: float
    phase: Phase = "running"
    since_h: float = 0.0
    epoch: int = 0
    done_h: float = 0.0
    hours: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    hits: int = 0
    stops: int = 0
    failed: set[int] = field(default_factory=set)

    @property
    def left_h(self) -> float:
        """Hours of work still to do."""
        return self.work_h - self.done_h

    @property
    def wall_h(self) -> float:
        """Hours since it started, as far as they are booked."""
        return self.done_h + sum(self.hours.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    """A replay in figures. All shares are of the node hours that gangs held.

    ettr: productive. parts: the rest, by PARTS. hits: faults of nodes that a gang held. stops: times a gang stood.
    node_h: held by gangs, waiting ones included. started_late: gangs that found too few nodes when it was their turn.
    """

    ettr: float
    parts: dict[str, float]
    hits: int
    stops: int
    gangs: int
    finished: int
    node_h: float
    allocation: float
    started_late: int

    @property
    def hits_per_node_year(self) -> float:
        """Faults that hit a gang, per year of a node held."""
        return self.hits / self.node_h * 8766 if self.node_h else math.nan


def simulate(
    history: History, recovery: Recovery, placement: Placement, sizes: Sequence[int], work_h: WorkOf = endless
) -> Outcome:
    """Run one gang after another in each slot of `sizes` nodes.

    work_h: slot -> hours of work of its gangs, one after another. Raises InputError when the fleet has fewer nodes, or
    never as many at once that work.
    """
    if not sizes or min(sizes) < 1 or sum(sizes) > history.fleet:
        raise InputError(f"gangs of {', '.join(map(str, sizes)) or 'no'} nodes do not fit a fleet of {history.fleet}")
    return _Replay(history, recovery, placement, sizes, work_h).run()


class _Replay:
    """The state of the loop: what each node is doing, who holds it, and the events to come."""

    def __init__(
        self, history: History, recovery: Recovery, placement: Placement, sizes: Sequence[int], work_h: WorkOf
    ) -> None:
        self.history, self.recovery, self.placement, self.sizes = history, recovery, placement, sizes
        self.work = [work_h(slot) for slot in range(len(sizes))]
        self.to_start = list(range(len(sizes)))  # slots whose next gang has not begun
        self.names = np.array([f"{i:05}" for i in range(history.fleet)])
        self.down = np.zeros(history.fleet, bool)
        self.owner = np.full(history.fleet, NOBODY, np.int64)
        self.repaired_h = -history.age_h  # time of the last repair; -infinity: none known
        self.held_for = np.full(history.fleet, "", "U12")
        self.accounts: list[Account] = []
        self.live: list[int] = []
        self.waiting: list[int] = []
        self.pending: dict[int, float] = {}  # hours of work of gangs that found too few nodes
        self.started_late = 0
        self.now_h = 0.0
        self.order = itertools.count()
        # Repairs before faults before phases at the same instant.
        self.events: list[tuple[float, int, int, Callable[[], None]]] = []
        for node, start_h, end_h in zip(
            history.node.tolist(), history.start_h.tolist(), history.end_h.tolist(), strict=True
        ):
            self._at(start_h, 1, lambda node=node: self._fail(node))  # type: ignore[misc]
            rank = 0 if end_h > start_h else 1
            self._at(end_h, rank, lambda node=node: self._repair(node))  # type: ignore[misc]

    def run(self) -> Outcome:
        self._at(0.0, 2, lambda: None)  # let those that are down at the start be so before anybody is placed
        end_h = self.history.length_h
        while self.events and self.events[0][0] < end_h:
            self.now_h = self.events[0][0]
            while self.events and self.events[0][0] == self.now_h:
                heapq.heappop(self.events)[-1]()
            self._serve()
        self.now_h = end_h
        for number in self.live:
            self._book(self.accounts[number], is_cut_off=True)
        return self._outcome()

    def _at(self, time_h: float, rank: int, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time_h, rank, next(self.order), what))

    def _then(self, account: Account, phase: Phase, hours: float, what: Callable[[Account], None]) -> None:
        """The account enters a phase that ends in `what`, unless something else comes first."""
        account.phase, account.since_h = phase, self.now_h
        account.epoch += 1
        epoch = account.epoch

        def due() -> None:
            if account.epoch == epoch:
                what(account)

        if not math.isinf(hours):
            self._at(self.now_h + hours, 2, due)

    # Nodes.

    def _fail(self, node: int) -> None:
        self.down[node] = True
        if self.owner[node] == NOBODY:
            return
        account = self.accounts[self.owner[node]]
        account.hits += 1
        account.failed.add(node)
        if account.phase in ("running", "restart"):
            account.stops += account.phase == "running"
            self._book(account)
            self._then(account, "detection", self.recovery.detect_h, self._detected)

    def _repair(self, node: int) -> None:
        self.down[node] = False
        self.repaired_h[node] = self.now_h

    # Gangs.

    def _detected(self, account: Account) -> None:
        self._book(account)
        self._then(account, "diagnosis", self.recovery.diagnose_h, self._diagnosed)

    def _diagnosed(self, account: Account) -> None:
        self._book(account)
        self._then(account, "waiting", math.inf, self._restarted)
        self.waiting.append(int(account.gang.name))

    def _restarted(self, account: Account) -> None:
        self._book(account)
        self._run(account)

    def _run(self, account: Account) -> None:
        self._then(account, "running", self.recovery.hours_for(account.left_h), self._finished)

    def _finished(self, account: Account) -> None:
        self._book(account, is_cut_off=True)
        account.phase = "over"
        self.live.remove(int(account.gang.name))
        self.to_start.append(account.slot)
        self.owner[account.placed.rows.ravel()] = NOBODY

    def _book(self, account: Account, is_cut_off: bool = False) -> None:
        """Write down the phase that ends now. Work since the last checkpoint is lost, unless nothing went wrong."""
        hours = self.now_h - account.since_h
        account.since_h = self.now_h
        if account.phase != "running":
            account.hours[account.phase] += hours
            return
        saved, unsaved, saving = self.recovery.work_in(hours)
        account.done_h += saved + (unsaved if is_cut_off else 0.0)
        account.hours["lost_work"] += 0.0 if is_cut_off else unsaved
        account.hours["saving"] += saving

    # Placement.

    def _serve(self) -> None:
        """Isolate and replace for those that wait, the longest first; then start new gangs while there is room."""
        for number in list(self.waiting):
            account = self.accounts[number]
            self._isolate(account)
            left = replace(account.gang, length_h=ahead(account.left_h))
            account.placed = replace_members(left, account.placed, self._nodes(), self._price(left))
            self._own(account)
            if not account.placed.missing:
                self.waiting.remove(number)
                self.held_for = release_reserved(self.held_for, account.gang)
                self._book(account)
                self._then(account, "restart", self.recovery.restart_h, self._restarted)
        self.to_start = [slot for slot in self.to_start if not self._start_next(slot)]

    def _isolate(self, account: Account) -> None:
        """Give up the members that failed, even if they are up again: they are kept for this gang while it waits."""
        if not account.failed:
            return
        lost = np.zeros(self.history.fleet, bool)
        lost[list(account.failed)] = True
        account.failed.clear()
        account.placed = lose_members(account.placed, lost)
        self.owner[lost] = NOBODY
        self.held_for = reserve_lost(self.held_for, account.gang, lost)

    def _start_next(self, slot: int) -> bool:
        """Begin the slot's next gang, if enough nodes work; True too if there is none."""
        was_late = slot in self.pending
        work_h = self.pending.pop(slot) if was_late else next(self.work[slot], None)
        if work_h is None:
            return True
        gang = Gang(
            str(len(self.accounts)),
            1,
            self.sizes[slot],
            GPUS,
            ahead(work_h),
            self.recovery.loss_per_fault_h(),
            apart=(),
        )
        placed = place_gang(gang, self._nodes(), self._price(gang))
        if not isinstance(placed, Placed):
            self.started_late += not was_late
            self.pending[slot] = work_h
            return False
        account = Account(gang, placed, slot, work_h)
        self.live.append(len(self.accounts))
        self.accounts.append(account)
        self._own(account)
        self._run(account)
        return True

    def _own(self, account: Account) -> None:
        rows = account.placed.rows
        self.owner[rows[rows != NOBODY]] = int(account.gang.name)

    def _nodes(self) -> GangNodes:
        gpus = np.where(self.down | (self.owner != NOBODY), 0, GPUS)
        return GangNodes(self.names, gpus, {}, self.held_for)

    def _price(self, gang: Gang) -> Floats:
        return self.placement.price(gang, self.now_h - self.repaired_h)

    def _outcome(self) -> Outcome:
        weight = [account.gang.members for account in self.accounts]
        node_h = sum(w * account.wall_h for w, account in zip(weight, self.accounts, strict=True))
        if not node_h:
            raise InputError("no gang ever found as many nodes that work as it needs")
        parts = {
            part: sum(w * account.hours[part] for w, account in zip(weight, self.accounts, strict=True)) / node_h
            for part in PARTS
        }
        return Outcome(
            ettr=1 - sum(parts.values()), parts=parts, hits=sum(a.hits for a in self.accounts),
            stops=sum(a.stops for a in self.accounts), gangs=len(self.accounts),
            finished=sum(a.phase == "over" for a in self.accounts), node_h=node_h,
            allocation=node_h / (self.history.fleet * self.history.length_h), started_late=self.started_late,
        )  # fmt: skip
