"""A balancer inside a replay: at fixed instants, nodes that are overloaded and nodes with room become one instance.

`scheduler.core.balance` solves it with counted work (so that the same replay balances the same), and the moves it asks
for become migrations. What it looks at is bounded: the most overloaded nodes, half of the instance at most, and those
with the most room. Only the tasks of the former move, and only to the latter: a live migration needs its room before
anything else has left, so an exchange would find none. What is on its way already counts where it is going. Tasks with
GPUs stay.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.replay.migrating import Transport, migration_counters, start_migrations
from analytics.replay.moving import TARGET
from analytics.replay.queues import MEMORY
from analytics.replay.running import Running, row_names
from scheduler.core.balance.bounds import Floor
from scheduler.core.balance.problem import Bound, Budget, Instance
from scheduler.core.balance.solve import balance
from scheduler.core.policies import Policy
from scheduler.core.policies.parameters import Settings

# That nothing is proven beforehand: covers of hundreds of nodes take seconds, and only `cover` starts from them.
NO_FLOOR = Floor(Bound(), (), ())


class Loads(NamedTuple):
    """What every node carries when all that is on its way has arrived.

    who: (M,) tasks that run and go nowhere. node: (M,) where. load, requested: (N, R). spare: (N, R) of the limit,
    negative where overloaded.
    """

    who: NDArray[np.int64]
    node: NDArray[np.int64]
    load: NDArray[np.int64]
    requested: NDArray[np.int64]
    spare: NDArray[np.int64]


class Rebalancer:
    """An `IntervalPlanner`."""

    def __init__(self, running: Running, policy: Policy, settings: Settings) -> None:
        self.every_us = int(settings["interval_s"]) * 1_000_000
        self.method = policy.method
        self.nodes, self.work = int(settings["nodes"]), float(settings["work"])
        self.transport = Transport(settings)
        self.progress = running.progress
        self.rounds = self.collisions = 0

    def counters(self) -> dict[str, int]:
        """Rounds in which something was overloaded, and what all policies that migrate count."""
        return {"rounds": self.rounds} | migration_counters(self.progress, collisions=self.collisions)

    def act(self, running: Running, now_us: int) -> None:
        """Ask for moves if a node is overloaded, unless the window ends."""
        if now_us >= running.given.window_us[1]:
            return
        loads = find_loads(running)
        rows, is_over = choose_nodes(running, loads, self.nodes)
        if not len(rows):
            return
        self.rounds += 1
        instance, who = build_instance(running, loads, rows, is_over, self.transport)
        floor = None if self.method == "cover" else NO_FLOOR
        result = balance(instance, self.method, Budget(self.work), running.seed, floor)
        moved = with_room(instance, result.at)
        started = start_migrations(running, who[moved], rows[result.at[moved]], now_us, self.transport)
        self.collisions += int((~started).sum())


def find_loads(running: Running) -> Loads:
    """The loads now, by what tasks request or use."""
    tasks, nodes, moving = running.given.tasks, running.given.nodes, running.progress.moving
    runs = np.flatnonzero(tasks.node >= 0)
    goes = moving.slot_of[runs] >= 0
    ends_up = np.where(goes, moving.slots[moving.slot_of[runs], TARGET], tasks.node[runs])
    demand = running.given.classes.demand[tasks.class_of_group[tasks.group[runs]]]
    requested = _sums(len(nodes.up), ends_up, demand)
    load = _sums(len(nodes.up), ends_up, running.loads(runs)) if len(running.samples.use) else requested
    who = runs[~goes]
    return Loads(who, tasks.node[who].astype(np.int64), load, requested, nodes.allocatable - load)


def with_room(instance: Instance, at: NDArray[np.int32]) -> NDArray[np.int64]:
    """Rows of the tasks that move in this placement and find all room they request, one after the other.

    To a balancer a little overload here may be worth more overload gone there; a migration needs its whole room.
    """
    room = instance.capacity.copy()
    stays = np.flatnonzero(at == instance.home)
    np.subtract.at(room, at[stays], instance.use[stays])
    moved = []
    for t in np.flatnonzero(at != instance.home).tolist():
        if (instance.use[t] <= room[at[t]]).all():
            room[at[t]] -= instance.use[t]
            moved.append(t)
    return np.array(moved, np.int64)


def _sums(nodes: int, at: NDArray[np.int64], amounts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, R) what is where. Whole numbers below 2^53, so that sums of floats are exact."""
    return np.stack([np.bincount(at, column, nodes) for column in amounts.T], axis=1).astype(np.int64)


def choose_nodes(running: Running, loads: Loads, most: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows, ascending, of the most overloaded nodes and of those with the most room, and which are the former.

    None if none is overloaded.
    """
    nodes = running.given.nodes
    share = loads.spare / np.maximum(nodes.allocatable, 1)
    excess = np.where(nodes.up, np.maximum(-share, 0).sum(axis=1), 0)
    over = np.flatnonzero(excess > 0)
    if not len(over):
        return over, np.zeros(0, np.bool_)
    over = over[np.argsort(-excess[over], kind="stable")][: max(most // 2, 1)]
    room = np.where(nodes.up & (excess == 0), share.min(axis=1), -np.inf)
    others = np.argsort(-room, kind="stable")[: most - len(over)]
    rows = np.sort(np.concatenate([over, others[np.isfinite(room[others])]]))
    return rows, excess[rows] > 0


def build_instance(
    running: Running,
    loads: Loads,
    rows: NDArray[np.int64],
    is_over: NDArray[np.bool_],
    transport: Transport,
) -> tuple[Instance, NDArray[np.int64]]:
    """These nodes and their tasks; gives the tasks' rows too. Where load is use, requests have to fit as well."""
    given = running.given
    classes, tasks = given.classes, given.tasks
    here = np.isin(loads.node, rows)
    who, home = loads.who[here], np.searchsorted(rows, loads.node[here])
    kind = tasks.class_of_group[tasks.group[who]]
    request = classes.demand[kind]
    room = given.nodes.allocatable[rows]
    # Of those that take tasks what is on the books counts, so that there is room for all that are sent.
    requested = np.where(is_over[:, None], loads.requested[rows], given.nodes.requested[rows])
    use, capacity = request, _without(room, requested, home, request)
    names = given.resources
    if len(running.samples.use):
        used = running.loads(who)
        use = np.concatenate([used, request], axis=1)
        request = np.concatenate([np.zeros_like(used), request], axis=1)
        capacity = np.concatenate([_without(room, loads.load[rows], home, used), capacity], axis=1)
        names = (*(f"used {name}" for name in names), *names)
    masks, mask = np.unique(classes.mask[kind], return_inverse=True)
    allowed = np.tile(~is_over, (len(masks), 1))
    for row, number in enumerate(masks.tolist()):
        if number >= 0:
            allowed[row] &= classes.eligible[number, rows]
    spread = classes.spread[kind]
    instance = Instance(
        nodes=row_names(len(rows)),
        resources=names,
        capacity=capacity,
        tasks=row_names(len(who)),
        request=request,
        use=use,
        home=home.astype(np.int32),
        cost=transport.costs(classes.demand[kind, MEMORY]),
        priority=np.zeros(len(who), np.int64),
        pinned=(classes.gpus[kind] > 0) | ~is_over[home],
        mask=mask.reshape(-1).astype(np.int32),
        allowed=allowed,
        group=np.where(spread >= 0, np.unique(spread, return_inverse=True)[1].reshape(-1), -1).astype(np.int32),
    )
    return instance, who


def _without(
    room: NDArray[np.int64], load: NDArray[np.int64], home: NDArray[np.int64], amounts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(n, R) room less what is on the nodes' books and not of these tasks."""
    rest = load.copy()
    np.subtract.at(rest, home, amounts)
    return np.maximum(room - rest, 0)
