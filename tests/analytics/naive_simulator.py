"""What a replay must decide, in plain Python and as slowly as you like: the engine's reference.

Every question is answered by looking at everything: nodes are scanned, requests are summed over the running tasks, the
queue is sorted anew for every decision. It shares no code with the engine, reads the builder's rows and not the files.

The rules. Within one instant: runs end, machines change, tasks are cancelled or come back, new tasks arrive (both by
task row), and then, as long as any waiting task can be helped, the most important one (priority, then arrival) starts
on the feasible node that scores best, or clears a node of less important tasks. Under `drf` the first is of the tenant
with the least dominant share, and of it the most important. A displaced task joins the end of the
queue and starts again from nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from small_traces import SmallTrace, Task

from traces.schema import AFTER_END_US

RESOURCES = ("cpu_milli", "memory_mib", "disk_mib", "gpu_milli")
END, CANCEL, RESUBMIT = range(3)


@dataclass(slots=True)
class Work:
    """One demanded attempt: runs for `run_us` (None: for ever), or leaves at `leaves_us`, run or not."""

    gap_us: int  # after the end of the attempt before it; of the first one its time
    run_us: int | None
    leaves_us: int | None
    end: str | None
    node: int | None
    submitted_us: int
    submit_us: int | None = None
    start_us: int | None = None
    ended_us: int | None = None
    last_node: int | None = None
    evictions: int = 0
    preemptions: int = 0


@dataclass(slots=True)
class Life:
    """A task and what it demands."""

    row: int
    task: Task
    demand: dict[str, int]
    works: list[Work]
    level: int = 0
    at: int = 0
    node: int | None = None
    devices: list[int] = field(default_factory=list)
    arrival: int | None = None
    token: int = 0

    @property
    def work(self) -> Work:
        return self.works[self.at]


@dataclass(slots=True)
class Node:
    machine: int
    model: str | None
    devices: int
    up: bool = False
    room: dict[str, int] = field(default_factory=dict)
    running: list[Life] = field(default_factory=list)  # last started first
    arriving: list[Life] = field(default_factory=list)  # room is held for them

    def requested(self, resource: str, without: list[Life] | None = None) -> int:
        books = [*self.running, *self.arriving]
        return sum(life.demand[resource] for life in books if life not in (without or []))

    def free_milli(self, device: int, without: list[Life] | None = None) -> int:
        held = (life for life in self.running if device in life.devices and life not in (without or []))
        return 1000 - sum(life.task.gpu_milli for life in held)

    def nonzero(self, resource: str) -> int:
        default = {"cpu_milli": 100, "memory_mib": 200}[resource]
        return sum((_asked(life.task, resource) or default) for life in [*self.running, *self.arriving])


def _asked(task: Task, resource: str) -> int:
    stated = {
        "cpu_milli": task.cpu,
        "memory_mib": task.memory,
        "disk_mib": task.disk,
        "gpu_milli": task.gpus * task.gpu_milli,
    }
    return stated[resource] or 0


Score = Callable[[Node, Life, tuple[str, ...]], float]


def first_fit(node: Node, life: Life, resources: tuple[str, ...]) -> float:
    return 0.0


def best_fit(node: Node, life: Life, resources: tuple[str, ...]) -> float:
    left = 0.0
    for name in resources:
        if node.room[name] > 0:
            left += (node.room[name] - node.requested(name) - life.demand[name]) / node.room[name]
    return -left


def kube_default(node: Node, life: Life, resources: tuple[str, ...]) -> float:
    cpu, memory = "cpu_milli", "memory_mib"
    parts = []
    for name, default in ((cpu, 100), (memory, 200)):
        size, used = node.room.get(name, 0), node.nonzero(name) + (_asked(life.task, name) or default)
        if size:
            parts.append(0 if used > size else (size - used) * 100 // size)
    least = sum(parts) // len(parts) if parts else 0
    if not life.demand[cpu] and not life.demand.get(memory, 0):
        return least
    if memory not in resources:  # nothing to be balanced with
        return least + 75
    held = {name: node.requested(name) for name in (cpu, memory)}
    before = _balance(node, held)
    after = _balance(node, {name: held[name] + life.demand[name] for name in held})
    return least + 50 + (50 + after - before) // 2


def _balance(node: Node, used: dict[str, int]) -> int:
    if any(node.room[name] == 0 for name in used):
        return 100
    one, other = (min(used[name] / node.room[name], 1.0) for name in used)
    return int((1.0 - abs((one - other) / 2.0)) * 100.0)


SCORES: dict[str, Score] = {
    "first-fit": first_fit, "best-fit": best_fit, "kube-default": kube_default, "drf": kube_default,
}  # fmt: skip


@dataclass(slots=True)
class NaiveReplay:
    """One replay; `outcomes` after `run()`."""

    trace: SmallTrace
    window: tuple[int, int]
    policy: str
    preempts: bool = False
    initial: str = "recorded"
    overcommit: dict[str, float] = field(default_factory=dict)
    resources: tuple[str, ...] = ()
    nodes: dict[int, Node] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    timers: list[tuple[int, int, int, int]] = field(default_factory=list)
    clock: int = 0
    stops: tuple[int, ...] = ()  # further instants to stop at
    arrivals: int = 0
    levels: int = 0
    watch: Callable[[NaiveReplay], None] = lambda replay: None

    def run(self) -> NaiveReplay:
        self.resources = tuple(name for name in RESOURCES if any(_capacity(row, name) for row in self.trace.machines))
        for row in sorted(self.trace.machines, key=lambda row: (row["machine"], row["time_us"])):
            node = self.nodes.setdefault(row["machine"], Node(row["machine"], row["gpu_model"], 0))
            node.devices = max(node.devices, row["gpus"])
        for row, task in enumerate(self.trace.sorted_tasks()):
            works = list(demanded(task, self.window, self.initial))
            if works:
                demand = {name: _asked(task, name) for name in self.resources}
                self.lives.append(Life(row, task, demand, works))
        levels = sorted({life.task.priority for life in self.lives})
        self.levels = len(levels)
        for life in self.lives:
            life.level = levels.index(life.task.priority)
        machine_events = sorted(self.trace.machines, key=lambda row: row["time_us"])
        first = sorted(self.lives, key=lambda life: max(life.work.submitted_us, self.window[0]))
        by_time: dict[int, list[dict]] = {}
        for row in machine_events:
            by_time.setdefault(max(row["time_us"], self.window[0]), []).append(row)
        new: dict[int, list[Life]] = {}
        for life in first:
            new.setdefault(max(life.work.submitted_us, self.window[0]), []).append(life)
        while True:
            further = [stop for stop in self.stops if stop > self.clock]
            self.clock = min(
                [*by_time, *new, *further[:1], *(timer[0] for timer in self.timers[:1])], default=self.window[1] + 1
            )
            if self.clock > self.window[1]:
                return self
            self._ends()
            for row in by_time.pop(self.clock, []):
                self._machine(row)
            self._cancels_and_returns()
            for life in sorted(new.pop(self.clock, []), key=lambda life: (life.work.submitted_us, life.row)):
                self._arrive(life)
            self._serve()
            self.watch(self)

    def _timer(self, time_us: int, kind: int, life: Life) -> None:
        life_number = self.lives.index(life)
        heapq.heappush(self.timers, (time_us, kind, life_number, life.token if kind == END else -1))

    def _ends(self) -> None:
        while self.timers and self.timers[0][:2] == (self.clock, END):
            _, _, number, token = heapq.heappop(self.timers)
            if self.lives[number].token == token:
                self._leave(self.lives[number])

    def _cancels_and_returns(self) -> None:
        while self.timers and self.timers[0][0] == self.clock:
            _, kind, number, _ = heapq.heappop(self.timers)
            if kind > RESUBMIT:
                self.further_timer(kind, number)
                continue
            life = self.lives[number]
            if kind == CANCEL:
                self._leave(life)
            else:
                self._wait(life)
                life.work.submit_us = self.clock
                if life.work.leaves_us is not None:
                    self._timer(max(self.clock, life.work.leaves_us), CANCEL, life)

    def further_timer(self, kind: int, number: int) -> None:
        """For replays that know more kinds."""

    def _leave(self, life: Life) -> None:
        life.work.ended_us = self.clock
        if life.node is not None:
            self._take_off(life)
        life.arrival = None
        if life.at + 1 < len(life.works):
            life.at += 1
            self._timer(self.clock + life.work.gap_us, RESUBMIT, life)

    def _take_off(self, life: Life) -> None:
        assert life.node is not None
        self.nodes[life.node].running.remove(life)
        life.node, life.devices = None, []
        life.token += 1

    def _machine(self, row: dict) -> None:
        node = self.nodes[row["machine"]]
        node.up = row["event"] == "ADD" or (row["event"] == "UPDATE" and node.up)
        node.room = {
            name: int(_capacity(row, name) * self.overcommit.get(name, 1.0)) if node.up else 0
            for name in self.resources
        }
        if not node.up:
            for life in list(node.running):
                life.work.evictions += 1
                self._take_off(life)
                self._wait(life)

    def _wait(self, life: Life) -> None:
        self.arrivals += 1
        life.arrival = self.arrivals

    def _arrive(self, life: Life) -> None:
        work = life.work
        work.submit_us = self.clock
        if work.node is not None and work.node in self.nodes and self.nodes[work.node].up:
            self._start(life, self.nodes[work.node])
        else:
            self._wait(life)
        if work.leaves_us is not None:
            self._timer(max(self.clock, work.leaves_us), CANCEL, life)

    def _start(self, life: Life, node: Node) -> None:
        for _ in range(life.task.gpus):  # the fullest devices that still fit
            fitting = [
                device
                for device in range(node.devices)
                if device not in life.devices and node.free_milli(device) >= life.task.gpu_milli
            ]
            if fitting:
                life.devices.append(min(fitting, key=lambda device: (node.free_milli(device), device)))
        node.running.insert(0, life)
        life.node, life.arrival = node.machine, None
        life.token += 1
        work = life.work
        work.last_node = node.machine
        if work.start_us is None:
            work.start_us = self.clock
        if work.run_us is not None:
            self._timer(self.clock + work.run_us, END, life)

    def fits(self, life: Life, node: Node, without: list[Life] | None = None) -> bool:
        if not node.up or not self._is_allowed(life, node):
            return False
        for name in self.resources:
            if life.demand[name] and node.requested(name, without) + life.demand[name] > node.room[name]:
                return False
        usable = [d for d in range(node.devices) if node.free_milli(d, without) >= life.task.gpu_milli]
        return life.task.gpus == 0 or len(usable) >= life.task.gpus

    def _is_allowed(self, life: Life, node: Node) -> bool:
        task = life.task
        if task.models is not None and node.model not in task.models.split("|"):
            return False
        return not task.different_machines or not any(
            other.task.job == task.job and other.task.different_machines for other in [*node.running, *node.arriving]
        )

    def waiting(self) -> list[Life]:
        found = [life for life in self.lives if life.arrival is not None]
        stands = self._standings() if self.policy == "drf" else {}
        return sorted(found, key=lambda life: (stands.get(life.task.tenant, 0), -life.task.priority, life.arrival))

    def _standings(self) -> dict[str, int]:
        """Dominant shares of what is up, in the steps that the engine counts; at most two clusters."""
        held = {life.task.tenant: dict.fromkeys(self.resources, 0) for life in self.lives}
        for node in self.nodes.values():
            for life in node.running:
                for name in self.resources:
                    held[life.task.tenant][name] += life.demand[name]
        offered = {name: sum(node.room.get(name, 0) for node in self.nodes.values()) for name in self.resources}
        steps = 2 ** (30 - self.levels.bit_length())
        shares = {
            tenant: max((amount / offered[name] for name, amount in has.items() if offered[name]), default=0.0)
            for tenant, has in held.items()
        }
        return {tenant: min(int(share * steps), 2 * steps - 1) for tenant, share in shares.items()}

    def _serve(self) -> None:
        """In order, and from the start again when that changed or somebody was displaced: else room only shrinks."""
        changed = True
        while changed:
            changed = False
            for life in self.waiting():
                if self._place(life):
                    changed = self.policy == "drf"
                elif self.preempts and self._preempt(life):
                    changed = True
                if changed:
                    break

    def _place(self, life: Life) -> bool:
        score = SCORES[self.policy]
        scored = [
            (-score(node, life, self.resources), machine)
            for machine, node in self.nodes.items()
            if self.fits(life, node)
        ]
        if not scored:
            return False
        self._start(life, self.nodes[min(scored)[1]])
        return True

    def _preempt(self, life: Life) -> bool:
        found = self.victims(life)
        if found is None:
            return False
        machine, victims = found
        for victim in victims:
            victim.work.preemptions += 1
            self._take_off(victim)
            self._wait(victim)
        self._start(life, self.nodes[machine])
        return True

    def victims(self, life: Life) -> tuple[int, list[Life]] | None:
        """The node to clear: lowest top level, then fewest victims, then lowest machine."""
        best = None
        for machine, node in self.nodes.items():
            needed = self._level_to_clear(life, node)
            if needed is None:
                continue
            chosen = self._fewest(life, node)
            if chosen is not None and (best is None or (needed, len(chosen)) < best[:2]):
                best = (needed, len(chosen), machine, chosen)
        return None if best is None else (best[2], best[3])

    def _level_to_clear(self, life: Life, node: Node) -> int | None:
        """The lowest level up to which all would have to go for the totals; the highest below where these fit."""
        if not node.up or not self._is_allowed(life, node):
            return None
        for level in range(-1, life.level):
            gone = [other for other in node.running if other.level <= level]
            if all(
                not life.demand[name] or node.requested(name, gone) + life.demand[name] <= node.room[name]
                for name in self.resources
            ):
                return level if level >= 0 else life.level - 1
        return None

    def _fewest(self, life: Life, node: Node) -> list[Life] | None:
        gone = [other for other in node.running if other.level < life.level]
        gone.sort(key=lambda other: (-other.level, self.lives.index(other)))
        if not gone or not self.fits(life, node, gone):
            return None
        for other in list(gone):
            back = [one for one in gone if one is not other]
            if self.fits(life, node, back):
                gone = back
        return gone


def _capacity(row: dict, resource: str) -> int:
    if resource == "gpu_milli":
        return 1000 * row["gpus"]
    return row[resource] or 0


def demanded(task: Task, window: tuple[int, int], initial: str) -> Iterator[Work]:
    """Recorded attempts as demanded ones: evicted pieces belong to the one that follows."""
    opens, closes = window
    submitted: int | None = None
    node: int | None = None
    previous_end: int | None = None
    pending = False
    for attempt in task.attempts:
        end_us = None if attempt.end_us == AFTER_END_US else attempt.end_us
        if attempt.submit_us > closes or (end_us is not None and end_us <= opens):
            continue
        if not pending:
            pending, submitted, node = True, attempt.submit_us, None
        began = attempt.schedule_us
        if began is not None and began <= opens:
            began = opens
            node = attempt.machine if initial == "recorded" else None
        if attempt.end == "EVICT":
            continue
        assert submitted is not None
        yield Work(
            gap_us=0 if previous_end is None else submitted - previous_end,
            run_us=end_us - began if end_us is not None and began is not None else None,
            leaves_us=end_us if began is None else None,
            end=attempt.end,
            node=node,
            submitted_us=submitted,
        )
        pending, previous_end = False, end_us
    if pending:
        assert submitted is not None
        yield Work(0 if previous_end is None else submitted - previous_end, None, None, None, node, submitted)
