"""The packing planner inside a replay: at fixed instants, and only when tasks are refused, make room by moving others.

As the live planner does, it takes a snapshot, asks `scheduler.core.packing` for a plan under a counted budget (so that
the same replay plans the same), and applies it when it places more. A moved or evicted task starts again from nothing:
that is the price of a move, and it is in the delays, the run and the counters. What the plan looks at is bounded: the
nodes with the most free room and the tasks that wait longest, most important first. GPU tasks stay where they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.load import ReplayInput
from analytics.replay.progress import END, EPOCH_SHIFT, KIND_SHIFT
from analytics.replay.queues import Queues, leave_queue
from analytics.replay.running import Running, Timers
from analytics.replay.state import FOREVER, NOWHERE, WAITING
from analytics.replay.steps import begin, current, displace, stop
from scheduler.core.packing.problem import AntiAffinity, Budget, Problem, problem_from_arrays
from scheduler.core.packing.solve import solve
from scheduler.core.policies import Policy
from scheduler.core.policies.parameters import Settings

EVERY_US = 300_000_000
NODES = 250
WAITING_TASKS = 250
BUDGET = 1.0  # units of counted work, about a second of one core each


class PackingPlanner:
    """An `IntervalPlanner`."""

    def __init__(self, running: Running, policy: Policy, settings: Settings) -> None:
        self.every_us = EVERY_US
        names = ("plans", "plans_applied", "plan_moves", "plan_evictions", "plan_placed")
        self.counted = dict.fromkeys(names, 0)

    def counters(self) -> dict[str, int]:
        """Plans, those that were worth applying, and what these did."""
        return self.counted

    def act(self, running: Running, now_us: int) -> None:
        """Make a plan for what waits and apply it, unless the window ends."""
        given = running.given
        waiting = first_waiting(given, running.queues)
        if now_us >= given.window_us[1] or not len(waiting):
            return
        rows = _roomiest(given)
        moving = np.flatnonzero(np.isin(given.tasks.node, rows) & ~_has_gpus(given))
        who = np.concatenate([moving, waiting])
        home = np.concatenate([np.searchsorted(rows, given.tasks.node[moving]), np.full(len(waiting), -1)])
        problem = _problem(given, rows, moving, who, home)
        result = solve(problem, "no-harm", Budget(BUDGET, deterministic=True), running.seed, workers=1)
        self.counted["plans"] += 1
        if sum(tier.placed for tier in result.tiers) <= sum(tier.before for tier in result.tiers):
            return
        changed = result.assign != home
        targets = np.where(result.assign[changed] >= 0, rows[result.assign[changed]], NOWHERE)
        who, was_running = who[changed], home[changed] >= 0
        self.counted["plans_applied"] += 1
        self.counted["plan_moves"] += int((was_running & (targets >= 0)).sum())
        self.counted["plan_evictions"] += int((was_running & (targets < 0)).sum())
        self.counted["plan_placed"] += int((~was_running & (targets >= 0)).sum())
        running.set_timers(move_at_once(running, who, targets, now_us))


def move_at_once(running: Running, who: NDArray[np.int64], targets: NDArray[np.int64], now_us: int) -> Timers:
    """Start tasks that wait, and start tasks that run anew elsewhere, or let them wait (target NOWHERE); gives the
    timers of their ends."""
    given = running.given
    ends = np.full((len(who), 2), -1, np.int64)
    _apply_moves(
        given.nodes, given.classes, given.tasks, given.attempts, running.queues, running.ranking, running.progress,
        who, targets, now_us, ends,
    )  # fmt: skip
    return ends[ends[:, 1] >= 0]


def _has_gpus(given: ReplayInput) -> NDArray[np.bool_]:
    return np.asarray(given.classes.gpus[given.tasks.class_of_group[given.tasks.group]] > 0)


def first_waiting(given: ReplayInput, queues: Queues) -> NDArray[np.int64]:
    """The first of the blocked tasks, by level and arrival."""
    tasks = given.tasks
    who = np.flatnonzero((tasks.node == WAITING) & queues.is_blocked[tasks.group] & ~_has_gpus(given))
    level = tasks.level_of_group[tasks.group[who]].astype(np.int64)
    order = np.lexsort((tasks.arrival[who], -level))
    return who[order[:WAITING_TASKS]]


def _roomiest(given: ReplayInput) -> NDArray[np.int64]:
    """Rows of the nodes with the largest share free, ascending."""
    nodes = given.nodes
    size = np.maximum(nodes.allocatable, 1)
    share = ((nodes.allocatable - nodes.requested) / size).sum(axis=1)
    share[~nodes.up] = -np.inf
    order = np.lexsort((np.arange(len(share)), -share))[:NODES]
    return np.sort(order[np.isfinite(share[order])])


def _problem(
    given: ReplayInput,
    rows: NDArray[np.int64],
    running: NDArray[np.int64],
    who: NDArray[np.int64],
    home: NDArray[np.int64],
) -> Problem:
    """The chosen nodes and tasks as a packing problem; everything else on those nodes is taken off their room."""
    tasks, classes = given.tasks, given.classes
    kind = tasks.class_of_group[tasks.group[who]]
    demand = classes.demand[kind]
    held = np.zeros((len(rows), demand.shape[1]), np.int64)
    np.add.at(held, home[: len(running)], demand[: len(running)])
    # An over-committed node (what ran when the window opened) has no room, and what it has too much must not leave.
    room = np.maximum(given.nodes.allocatable[rows] - given.nodes.requested[rows] + held, held)
    level = tasks.level_of_group[tasks.group[who]]
    problem = problem_from_arrays(
        room, demand, level, kind, home, resources=[str(r) for r in range(demand.shape[1])], keep_equal=True
    )
    first = np.unique(problem.pod_class, return_index=True)[1]
    owner = kind[first]
    masks, mask = np.unique(classes.mask[owner], return_inverse=True)
    allowed = np.ones((len(masks), len(rows)), np.bool_)
    for row, number in enumerate(masks):
        if number >= 0:
            allowed[row] = classes.eligible[number, rows]
    return replace(
        problem, mask=mask.astype(np.int32), allowed=allowed, antis=_apart(given, rows, running, classes.spread[owner])
    )


def _apart(
    given: ReplayInput, rows: NDArray[np.int64], running: NDArray[np.int64], spread: NDArray[np.int32]
) -> tuple[AntiAffinity, ...]:
    """Jobs whose tasks keep off each other's machines, one rule each."""
    domain = np.arange(len(rows), dtype=np.int32)
    nothing = np.zeros(len(rows), np.int64)
    return tuple(
        AntiAffinity(f"job-{job}", members, members, domain, nothing, nothing)
        for job in np.unique(spread[spread >= 0])
        if len(members := np.flatnonzero(spread == job).astype(np.int32))
    )


@njit(cache=True)
def _apply_moves(nodes, classes, tasks, attempts, queues, ranking, progress, who, targets, now, ends):  # type: ignore[no-untyped-def]
    """Everything that leaves leaves first; then each task starts where the plan says. ends: (n, 2) timers, or -1."""
    for i in range(who.shape[0]):
        t = who[i]
        if tasks.node[t] == WAITING:
            leave_queue(queues, tasks, t)
        else:
            if targets[i] < 0:
                if attempts.preemptions[current(tasks, t)] < 255:
                    attempts.preemptions[current(tasks, t)] += np.uint8(1)
                displace(nodes, classes, tasks, attempts, queues, ranking, progress, t, now)
            else:
                stop(nodes, classes, tasks, queues, ranking, progress, t, now)
    for i in range(who.shape[0]):
        if targets[i] < 0:
            continue
        t = who[i]
        begin(nodes, classes, tasks, attempts, queues, ranking, progress, t, targets[i], now)
        a = current(tasks, t)
        if 0 <= attempts.until_us[a] < FOREVER:
            ends[i, 0] = (END << KIND_SHIFT) | (np.int64(tasks.epoch[t]) << EPOCH_SHIFT) | t
            ends[i, 1] = now + attempts.until_us[a]
