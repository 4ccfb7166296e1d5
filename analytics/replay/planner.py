"""The packing planner inside a replay: at fixed instants, and only when tasks are refused, make room by moving others.

As the live planner does, it takes a snapshot, asks `scheduler.core.packing` for a plan under a counted budget (so that
the same replay plans the same), and applies it when it places more. A moved or evicted task starts again from nothing:
that is the price of a move, and it is in the delays, the run and the counters. What the plan looks at is bounded: the
nodes with the most free room and the tasks that wait longest, most important first. GPU tasks stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.load import ReplayInput
from analytics.replay.engine import Progress, begin, current, displace, stop
from analytics.replay.queues import Queues, leave_queue
from analytics.replay.ranking import Ranking
from analytics.replay.state import FOREVER, NOWHERE, WAITING
from scheduler.core.packing.problem import AntiAffinity, Budget, Problem, problem_from_arrays
from scheduler.core.packing.solve import solve

EVERY_US = 300_000_000
NODES = 250
WAITING_TASKS = 250
BUDGET = 1.0  # units of counted work, about a second of one core each


@dataclass(slots=True)
class Planned:
    """What the planner did over a replay."""

    plans: int = 0
    applied: int = 0
    moves: int = 0
    evictions: int = 0
    placed: int = 0

    def counters(self) -> dict[str, int]:
        """Under the names a run keeps them."""
        return {
            "plans": self.plans,
            "plans_applied": self.applied,
            "plan_moves": self.moves,
            "plan_evictions": self.evictions,
            "plan_placed": self.placed,
        }


def plan_and_move(
    given: ReplayInput, queues: Queues, ranking: Ranking, progress: Progress, now_us: int, seed: int, done: Planned
) -> NDArray[np.int64]:
    """Make a plan for what waits and apply it; gives (n, 2) the tasks started and the times at which they end."""
    waiting = _waiting(given, queues)
    if not len(waiting):
        return np.zeros((0, 2), np.int64)
    rows = _roomiest(given)
    running = np.flatnonzero(np.isin(given.tasks.node, rows) & ~_has_gpus(given))
    who = np.concatenate([running, waiting])
    home = np.concatenate([np.searchsorted(rows, given.tasks.node[running]), np.full(len(waiting), -1)])
    problem = _problem(given, rows, running, who, home)
    result = solve(problem, "no-harm", Budget(BUDGET, deterministic=True), seed, workers=1)
    done.plans += 1
    if sum(tier.placed for tier in result.tiers) <= sum(tier.before for tier in result.tiers):
        return np.zeros((0, 2), np.int64)
    changed = result.assign != home
    targets = np.where(result.assign[changed] >= 0, rows[result.assign[changed]], NOWHERE)
    who, was_running = who[changed], home[changed] >= 0
    done.applied += 1
    done.moves += int((was_running & (targets >= 0)).sum())
    done.evictions += int((was_running & (targets < 0)).sum())
    done.placed += int((~was_running & (targets >= 0)).sum())
    ends = np.full((len(who), 2), -1, np.int64)
    apply_moves(
        given.nodes, given.classes, given.tasks, given.attempts, queues, ranking, progress, who, targets, now_us, ends
    )
    return ends[ends[:, 1] >= 0]


def _has_gpus(given: ReplayInput) -> NDArray[np.bool_]:
    return np.asarray(given.classes.gpus[given.tasks.class_of_group[given.tasks.group]] > 0)


def _waiting(given: ReplayInput, queues: Queues) -> NDArray[np.int64]:
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
def apply_moves(nodes, classes, tasks, attempts, queues, ranking, progress, who, targets, now, ends):  # type: ignore[no-untyped-def]
    """Everything that leaves leaves first; then each task starts where the plan says. ends: (n, 2) task, time or -1."""
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
            ends[i, 0] = t
            ends[i, 1] = now + attempts.until_us[a]
