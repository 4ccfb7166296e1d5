"""Freeness inside a replay: at fixed instants one round of migrations, room for those that wait, nodes drained.

What freeness says is `scheduler.core.balance.freeness`'s business; here its virtual usage is found and its answers are
carried out. What is on its way already counts where it is going. The node that is made free for a waiting task takes
nobody else until that task has started; so does a node that drains. A drained node that is empty counts as switched
off, until the mean freeness falls or a task waits that would fit there: then it takes tasks at once (booting is not
modelled). Tasks with GPUs neither move nor have nodes made free for them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analytics.replay.migrating import Transport, migration_counters, start_migrations
from analytics.replay.planner import first_waiting, move_at_once
from analytics.replay.queues import MEMORY
from analytics.replay.ranking import bar
from analytics.replay.rebalance import Loads, find_loads
from analytics.replay.running import Running
from analytics.replay.state import WAITING, Classes, fits
from analytics.replay.steps import unbar
from scheduler.core.balance.freeness import (
    NOWHERE,
    Limits,
    Usage,
    Work,
    headroom_for,
    migrate,
    node_to_free,
    nodes_to_drain,
    nodes_to_fill,
    typical_demand,
)
from scheduler.core.policies import Policy
from scheduler.core.policies.parameters import Settings

Rows = NDArray[np.int64]


class FreenessPlanner:
    """An `IntervalPlanner`. draining: (N,). kept_for: the node that is made free for a task, by task.

    was_off: (N,) drained and empty at `looked_us`, the round before.
    """

    def __init__(self, running: Running, policy: Policy, settings: Settings) -> None:
        number = {name: float(value) for name, value in settings.items() if not isinstance(value, str)}
        self.every_us = int(number["interval_s"]) * 1_000_000
        self.limits = Limits(number["low"], number["high"], number["drain"] or None, number["fill"])
        self.headroom, self.heads = number["headroom"], int(number["heads"])
        self.important = running.given.priorities >= number["important"]
        self.transport = Transport(settings)
        self.progress = running.progress
        self.draining = np.zeros(len(running.given.machines), np.bool_)
        self.was_off, self.looked_us = self.draining.copy(), running.given.window_us[0]
        self.kept_for: dict[int, int] = {}
        self.counted = dict.fromkeys(("rounds", "nodes_freed", "drained", "taken_back", "off_node_seconds"), 0)
        self.collisions = 0

    def counters(self) -> dict[str, int]:
        """nodes_freed: tasks started on a node made free for them. off_node_seconds: nodes drained and empty at
        two rounds in a row, times the seconds between them. And what all policies that migrate count."""
        return self.counted | migration_counters(self.progress, collisions=self.collisions)

    def act(self, running: Running, now_us: int) -> None:
        """One round, unless the window ends."""
        self._count_off(running, now_us)
        if now_us >= running.given.window_us[1]:
            return
        self.counted["rounds"] += 1
        self._start_heads(running, now_us)
        loads = find_loads(running)
        usage = self._usage(running, loads)
        waiting = first_waiting(running.given, running.queues)
        if self.limits.drain_above is not None:
            usage, waiting = self._scale(running, loads, usage, waiting)
        usage = self._keep_nodes(running, usage, waiting)
        is_open = self._bar(running)
        moves = migrate(usage, self._work(running, loads), self.limits)
        who = loads.who[moves.who]
        started = start_migrations(running, who, moves.to.astype(np.int64), now_us, self.transport)
        self.collisions += int((~started).sum())
        if is_open:
            running.advance(now_us, now_us)

    def _count_off(self, running: Running, now_us: int) -> None:
        nodes = running.given.nodes
        is_off = self.draining & nodes.up & (nodes.first_task < 0) & (self.progress.moving.first_arriving < 0)
        self.counted["off_node_seconds"] += int((is_off & self.was_off).sum()) * (now_us - self.looked_us) // 1_000_000
        self.was_off, self.looked_us = is_off, now_us

    def _usage(self, running: Running, loads: Loads) -> Usage:
        nodes, tasks = running.given.nodes, running.given.tasks
        important = self.important[tasks.level_of_group[tasks.group[loads.who]]]
        self.draining &= nodes.up
        return Usage(
            capacity=nodes.allocatable.copy(),
            load=loads.load,
            typical=typical_demand(running.loads(loads.who)),
            queued=np.zeros_like(loads.load),
            headroom=headroom_for(nodes.allocatable, loads.node.astype(np.int32), important, self.headroom),
            draining=self.draining | ~nodes.up,
        )

    def _work(self, running: Running, loads: Loads) -> Work:
        classes, tasks = running.given.classes, running.given.tasks
        group = tasks.group[loads.who]
        kind = tasks.class_of_group[group]
        spread = classes.spread[kind]
        everywhere = np.ones((1, len(self.draining)), np.bool_)
        return Work(
            at=loads.node.astype(np.int32),
            use=running.loads(loads.who),
            cost=self.transport.costs(classes.demand[kind, MEMORY]),
            priority=tasks.level_of_group[group].astype(np.int64),
            keeps=classes.gpus[kind] > 0,
            important=self.important[tasks.level_of_group[group]],
            mask=(classes.mask[kind] + 1).astype(np.int32),
            allowed=np.concatenate([everywhere, classes.eligible]),
            group=np.where(spread >= 0, np.unique(spread, return_inverse=True)[1].reshape(-1), -1).astype(np.int32),
        )

    def _scale(self, running: Running, loads: Loads, usage: Usage, waiting: Rows) -> tuple[Usage, Rows]:
        """Drain nodes, or take some back: for those that wait, and where the mean freeness is too low.

        Gives also those for whom there is no draining node.
        """
        tasks = np.bincount(loads.node, minlength=len(self.draining)).astype(np.int64)
        back, left = self._for_waiting(running, usage, waiting)
        up = np.flatnonzero(running.given.nodes.up)
        back = np.union1d(back, up[nodes_to_fill(usage.part(up), tasks[up], self.limits)])
        self.draining[back] = False
        self.counted["taken_back"] += len(back)
        if not len(back) and not len(waiting):
            drained = nodes_to_drain(usage, tasks, self.limits)
            self.draining[drained] = True
            self.counted["drained"] += len(drained)
        return replace(usage, draining=self.draining | ~running.given.nodes.up), left

    def _for_waiting(self, running: Running, usage: Usage, waiting: Rows) -> tuple[Rows, Rows]:
        """Draining nodes on which all those that wait fit, as few as go; and who of `waiting` fits on none."""
        tasks, classes = running.given.tasks, running.given.classes
        room = usage.capacity - usage.load - usage.headroom
        back = np.zeros(len(self.draining), np.bool_)
        wait = np.bincount(tasks.group[tasks.node == WAITING], minlength=len(tasks.class_of_group))
        groups = np.flatnonzero(running.queues.is_blocked & (wait > 0) & (classes.gpus[tasks.class_of_group] == 0))
        is_left = np.ones(len(wait), np.bool_)
        for g in groups[np.argsort(-tasks.level_of_group[groups], kind="stable")].tolist():
            c = tasks.class_of_group[g]
            rows = np.flatnonzero(self.draining & _eligible(classes, c, len(back)))
            copies = _copies(room[rows], classes.demand[c])
            if classes.spread[c] >= 0:
                copies = np.minimum(copies, 1)
            order = np.lexsort((-copies, ~back[rows]))
            before = np.cumsum(copies[order]) - copies[order]
            used = np.clip(wait[g] - before, 0, copies[order])
            room[rows[order]] -= used[:, None] * classes.demand[c]
            back[rows[order][used > 0]] = True
            is_left[g] = used.sum() < wait[g]
        return np.flatnonzero(back), waiting[is_left[tasks.group[waiting]]]

    def _start_heads(self, running: Running, now_us: int) -> None:
        """Start those whose node is free enough now; forget those that wait no more, or whose node is away."""
        given = running.given
        started = []
        for t, n in list(self.kept_for.items()):
            waits = given.tasks.node[t] == WAITING
            if waits and fits(given.nodes, given.classes, given.tasks.class_of_group[given.tasks.group[t]], n):
                started.append((t, n))
            if not waits or not given.nodes.up[n] or (t, n) in started[-1:]:
                del self.kept_for[t]
        self.counted["nodes_freed"] += len(started)
        if started:
            who, to = np.array(started, np.int64).T
            running.set_timers(move_at_once(running, who, to, now_us))

    def _keep_nodes(self, running: Running, usage: Usage, waiting: Rows) -> Usage:
        """Count the first of the waiting tasks where least must leave for them, one of each group."""
        given = running.given
        group = given.tasks.group[waiting]
        firsts = waiting[np.sort(np.unique(group, return_index=True)[1])]
        taken = np.zeros(len(self.draining), np.bool_)
        for t, n in self.kept_for.items():
            usage.queued[n] += given.classes.demand[given.tasks.class_of_group[given.tasks.group[t]]]
            taken[n] = True
        for t in firsts.tolist():
            if len(self.kept_for) >= self.heads:
                break
            c = given.tasks.class_of_group[given.tasks.group[t]]
            if t in self.kept_for:
                continue
            n = node_to_free(usage, given.classes.demand[c], _eligible(given.classes, c, len(taken)) & ~taken)
            if n != NOWHERE:
                self.kept_for[t] = n
                usage.queued[n] += given.classes.demand[c]
                taken[n] = True
        return usage

    def _bar(self, running: Running) -> bool:
        """Nobody comes to draining nodes, and nobody else to those made free. Gives whether a node is open again."""
        wanted = self.draining.copy()
        wanted[list(self.kept_for.values())] = True
        barred = running.ranking.barred
        for n in np.flatnonzero(wanted & ~barred):
            bar(running.ranking, n)
        opened = np.flatnonzero(barred & ~wanted)
        for n in opened:
            unbar(self.progress, running.ranking, n)
        return bool(len(opened))


def _copies(room: Rows, demand: Rows) -> Rows:
    """(n,) how many tasks of that demand fit in each row of room."""
    asked = demand > 0
    copies = (np.maximum(room[:, asked], 0) // demand[asked]).min(axis=1, initial=np.iinfo(np.int32).max)
    return np.asarray(copies, np.int64)


def _eligible(classes: Classes, c: int, nodes: int) -> NDArray[np.bool_]:
    """(N,) where the class may go, whatever room there is."""
    answer = np.ones(nodes, np.bool_)
    if classes.mask[c] >= 0:
        answer &= classes.eligible[classes.mask[c]]
    if classes.spread[c] >= 0:
        answer &= np.unpackbits(classes.occupied[classes.spread[c]], count=nodes, bitorder="little") == 0
    return answer
