"""Migrations in plain Python, as the engine must make them: a reference that keeps whole objects and true ends.

At the instants of a script, after everything else, tasks are sent on their way. Unlike the engine this one forgets the
timer of a task that stands still, and sets a new one when it runs again.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from naive_simulator import END, Life, NaiveReplay, Node

STOP, ARRIVE = 3, 4  # kinds of timer, after those of the simulator


@dataclass(slots=True)
class Move:
    """A task on its way. again_us: work that is done again after it."""

    life: Life
    source: Node
    target: Node
    stops_us: int
    arrives_us: int
    again_us: int
    stands: bool = False

    @property
    def lost_us(self) -> int:
        return self.arrives_us - self.stops_us + self.again_us


@dataclass(slots=True)
class NaiveMigrations(NaiveReplay):
    """script: instant -> (number of the life, row of the node by machine id); emptied. A copy takes memory / rate."""

    script: dict[int, Sequence[tuple[int, int]]] = field(default_factory=dict)
    mib_per_s: int = 64
    resume_us: int = 0
    checkpoint_age_us: int | None = None  # None: live
    moves: dict[int, Move] = field(default_factory=dict)  # by number
    asked: int = 0
    free_us: dict[int, int] = field(default_factory=dict)  # by machine, when its link is
    ends_us: dict[int, int] = field(default_factory=dict)  # by row of the life, where its end is known
    counts: dict[str, int] = field(default_factory=lambda: {"arrived": 0, "failed": 0, "overtaken": 0})

    def _serve(self) -> None:
        NaiveReplay._serve(self)
        if self.timers and self.timers[0][0] == self.clock:
            return  # somebody ran no time at all: the instant comes again
        for number, row in self.script.pop(self.clock, ()):
            if not self._send(self.lives[number], self.nodes[sorted(self.nodes)[row]]):
                self.counts["failed"] += 1

    def _send(self, life: Life, target: Node) -> bool:
        if life.node in (None, target.machine) or life.task.gpus:
            return False
        if self._number_of(life) or not self.fits(life, target):
            return False
        source = self.nodes[life.node]
        begins = max(self.clock, self.free_us.get(source.machine, 0), self.free_us.get(target.machine, 0))
        copied = begins + 1_000_000 * life.demand.get("memory_mib", 0) // self.mib_per_s
        arrives = copied + self.resume_us
        self.free_us[source.machine] = self.free_us[target.machine] = arrives
        stops = copied if self.checkpoint_age_us is None else begins
        self.asked += 1
        self.moves[self.asked] = Move(life, source, target, stops, arrives, self.checkpoint_age_us or 0)
        target.arriving.append(life)
        heapq.heappush(self.timers, (stops, STOP, self.asked, 0))
        heapq.heappush(self.timers, (arrives, ARRIVE, self.asked, 0))
        return True

    def _number_of(self, life: Life) -> int:
        return next((number for number, move in self.moves.items() if move.life is life), 0)

    def further_timer(self, kind: int, number: int) -> None:
        move = self.moves.get(number)
        if move is not None and kind == STOP:
            move.stands = True
            move.life.token += 1
        elif move is not None:
            life = self._drop(number, "arrived").life
            move.source.running.remove(life)
            move.target.running.insert(0, life)
            life.node = life.work.last_node = move.target.machine
            self._end_later(life, move.lost_us)

    def _drop(self, number: int, why: str) -> Move:
        move = self.moves.pop(number)
        move.target.arriving.remove(move.life)
        self.counts[why] += 1
        return move

    def _fail(self, number: int) -> None:
        move = self._drop(number, "failed")
        if move.stands:
            was_due = self.ends_us.get(move.life.row, self.clock) <= self.clock
            self._end_later(move.life, move.lost_us if was_due else self.clock - move.stops_us + move.again_us)

    def _end_later(self, life: Life, later_us: int) -> None:
        if life.row in self.ends_us:
            self.ends_us[life.row] += later_us
            self._timer(self.ends_us[life.row], END, life)

    def _start(self, life: Life, node: Node) -> None:
        NaiveReplay._start(self, life, node)
        self.ends_us.pop(life.row, None)
        if life.work.run_us is not None:
            self.ends_us[life.row] = self.clock + life.work.run_us

    def _take_off(self, life: Life) -> None:
        if number := self._number_of(life):
            self._drop(number, "overtaken")
        NaiveReplay._take_off(self, life)

    def _machine(self, row: dict) -> None:
        node = self.nodes[row["machine"]]
        if row["event"] == "REMOVE" or (row["event"] == "UPDATE" and not node.up):
            for number, move in list(self.moves.items()):
                if node in (move.source, move.target):
                    self._fail(number)
        NaiveReplay._machine(self, row)
