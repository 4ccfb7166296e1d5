"""Agents inside a replay: nobody places anything but by message, in a round for each second of the trace.

Nodes are kept from the compiled loop, so that it only takes tasks into its queue. A round tells the agents' books what
became of the nodes since the last one, submits what arrived, and lets a second of messages pass
(`scheduler.core.balance.agents`); what landed starts at the round's instant, and what shall leave a node becomes a
migration, which takes its time. Brokers' views are as old as their reports, and wait for them over many rounds; at the
start brokers know nobody. Messages over 10,000 tasks that wait are the price to be held down: of a group as many ask as
found a place the last time, twice as many if all did, and if none did its first after 1, 2, 4, ... RETRY_S seconds.

The replay's own rules are asked again before anything starts: a placement that was forced on a node that has promised
all its room cannot start there, so forced placements are tried only where the load is what tasks use. Tasks with GPUs
are placed by sums, and started where the devices allow it; they never migrate. With preemption on, which this policy
does not ask for, the compiled loop clears nodes as ever.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.migrating import Transport, migration_counters, start_migrations
from analytics.replay.moving import ARRIVED_MOVES, FAILED_MOVES, NEXT, OVERTAKEN_MOVES, TASK
from analytics.replay.progress import END, EPOCH_SHIFT, FREED, KIND_SHIFT, PLACEMENTS, Progress
from analytics.replay.queues import MEMORY, leave_queue
from analytics.replay.running import Running
from analytics.replay.state import FOREVER, WAITING, fits
from analytics.replay.steps import begin, current
from scheduler.core.balance.agents import desk as d
from scheduler.core.balance.agents.broker import gossip, mark
from scheduler.core.balance.agents.settings import Settings as AgentSettings
from scheduler.core.balance.agents.simulate import Agents
from scheduler.core.balance.agents.world import NOBODY, Books, find_scarcity, link
from scheduler.core.balance.problem import WAITING as WAITS
from scheduler.core.policies import Policy
from scheduler.core.policies.agents import SETTABLE
from scheduler.core.policies.parameters import Settings

ROUND_US = 1_000_000
TURN_US = 20_000  # by which a priority level asks after the next higher one: two placements take less
TURNS_US = ROUND_US // 2  # within which all have asked
RETRY_S = 64  # between two tries of a group that is refused, at most
MANY = 1 << 40  # more than there are tasks
ON_ITS_WAY = 0  # of Books.request: any request; the agents leave such a task alone
# rows of AgentRounds.state
SYNCED, ROUNDS, REFUSED, OVER = range(4)


class AgentRounds:
    """An `IntervalPlanner`.

    next_us, wait_us, allowed: (Q,) when a group asks again, how long it waits for that, and how many of it ask at once.
    """

    every_us = ROUND_US

    def __init__(self, running: Running, policy: Policy, settings: Settings) -> None:
        given = running.given
        self.transport = Transport(settings)
        self.kind_cost = self.transport.costs(given.classes.demand[:, MEMORY])
        self.books = _make_books(running, self.kind_cost)
        numbers: dict[str, Any] = {name: float(settings[name]) for name in SETTABLE}
        if not len(running.samples.use):
            numbers["depth"] = 0  # what is overloaded by requests has no room for a task that is forced on it
        chosen = AgentSettings(**numbers)
        self.agents = Agents(self.books, chosen, running.seed, given.window_us[0])
        self.progress = running.progress
        self.top = int(given.tasks.level_of_group.max(initial=0))
        groups = len(given.tasks.class_of_group)
        self.next_us, self.wait_us = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
        self.allowed, self.placed = np.full(groups, MANY, np.int64), np.zeros(groups, np.int64)
        self.state = np.zeros(4, np.int64)
        self.state[SYNCED] = -len(running.ranking.log) - 1  # everything is to be read
        self.listed = np.zeros(1 << 14, np.int32)
        self.rows = np.zeros(len(given.machines), np.int64)
        self.is_listed = np.zeros(len(given.machines), np.bool_)
        running.ranking.withholds[0] = True
        running.ranking.withheld[:] = True

    def counters(self) -> dict[str, int]:
        """What the agents counted, and what all policies that migrate do.

        reports: messages from nodes to brokers and between these, which are not among `messages`.
        """
        counted = self.agents.counters()
        names = ("messages_lost", "reports", "outdated", "leases_expired", "longest_chain", "retries", "stayed")
        own = {"rounds": int(self.state[ROUNDS]), "refused_by_rules": int(self.state[REFUSED])}
        return (
            own
            | {name: counted[name] for name in names}
            | migration_counters(self.progress, counted["forced"], counted["messages"], counted["collisions"])
        )

    def act(self, running: Running, now_us: int) -> None:
        """A round, unless the window ends."""
        given, agents = running.given, self.agents
        if now_us >= given.window_us[1]:
            return
        changed = _hear(
            self.books, agents.views, agents.desk, agents.rules, given.nodes, given.classes, given.tasks,
            running.progress.moving, running.ranking.log, running.ranking.position, running.samples.use,
            self.state, self.rows, self.is_listed, now_us,
        )  # fmt: skip
        if changed:
            agents.watch_overloaded(self.rows[:changed], now_us)
        waiting = self._list_waiting(running, now_us)
        if not len(waiting) and not _is_due(agents.desk, now_us + ROUND_US):
            _empty_freed(running.progress)
            return
        self.state[ROUNDS] += 1
        moves = agents.advance(now_us + ROUND_US - 1, now_us + self._turns(running, waiting), waiting)
        self._carry_out(running, moves, waiting, now_us)
        _empty_freed(running.progress)

    def _list_waiting(self, running: Running, now_us: int) -> NDArray[np.int32]:
        """Tasks to submit in this round, by priority and then as they came."""
        while True:
            count = _list_groups(
                running.queues, running.given.tasks, self.books, self.next_us, self.allowed, self.listed, now_us
            )
            if count <= len(self.listed):
                listed = self.listed[:count]
                level = running.given.tasks.level_of_group[running.given.tasks.group[listed]]
                return listed[np.argsort(-level, kind="stable")]
            self.listed = np.zeros(2 * count, np.int32)

    def _turns(self, running: Running, waiting: NDArray[np.int32]) -> NDArray[np.int64]:
        """When each asks, counted from the round's start: the more important have been answered before."""
        tasks = running.given.tasks
        level = tasks.level_of_group[tasks.group[waiting]].astype(np.int64)
        return min(TURN_US, TURNS_US // max(self.top, 1)) * (self.top - level)

    def _carry_out(self, running: Running, moves: NDArray[np.int64], waiting: NDArray[np.int32], now_us: int) -> None:
        """Start what landed and ask for what shall migrate."""
        given = running.given
        if len(moves):
            starts = moves[:, d.M_SOURCE] == NOBODY
            new, old = moves[starts], moves[~starts]
            _undo(self.books, moves)
            ends = np.full((len(new), 2), -1, np.int64)
            self.state[REFUSED] += _start(
                given.nodes, given.classes, given.tasks, given.attempts, running.queues, running.ranking,
                running.progress, new[:, d.M_TASK].copy(), new[:, d.M_TARGET].copy(), now_us, ends,
            )  # fmt: skip
            running.set_timers(ends[ends[:, 1] >= 0])
            if len(old):
                start_migrations(running, old[:, d.M_TASK], old[:, d.M_TARGET], now_us, self.transport)
            _read_ends(
                self.books, given.nodes, given.classes, given.tasks, running.progress.moving, running.samples.use, moves
            )
        if len(waiting):
            _wait_on(given.tasks, waiting, self.next_us, self.wait_us, self.allowed, self.placed, now_us)


def _make_books(running: Running, kind_cost: NDArray[np.int64]) -> Books:
    """Empty books over the replay's own columns; `_read_node` fills them. `eligible` and `occupied` are shared."""
    given = running.given
    nodes, classes, tasks = given.nodes, given.classes, given.tasks
    n, t = len(nodes.up), len(tasks.node)
    kind = tasks.class_of_group[tasks.group].astype(np.int32)
    return Books(
        capacity=nodes.allocatable.copy(),
        booked=np.zeros_like(nodes.allocatable),
        load=np.zeros_like(nodes.allocatable),
        leaving=np.zeros_like(nodes.allocatable),
        up=nodes.up.copy(),
        first_task=np.full(n, NOBODY, np.int32),
        inbound=np.zeros(n, np.int64),
        scarcity=find_scarcity(classes.eligible, n),
        chain=np.zeros(n, np.int32),
        demand=classes.demand,
        mask=classes.mask,
        group=classes.spread,
        eligible=classes.eligible,
        occupied=classes.occupied,
        kind=kind,
        home=np.full(t, WAITS, np.int32),
        cost=kind_cost[kind],
        movable=(classes.gpus == 0)[kind],
        lasts_us=np.broadcast_to(np.int64(FOREVER), (t,)).copy(),
        after=np.full(t, NOBODY, np.int32),
        before=np.full(t, NOBODY, np.int32),
        request=np.full(t, NOBODY, np.int32),
        starts=np.zeros(t, np.int32),
    )


@njit(cache=True)
def _hear(  # type: ignore[no-untyped-def]
    books, views, desk, rules, nodes, classes, tasks, moving, log, position, use, state, rows, is_listed, now_us
):
    """Reports that were due, of what was known then; then read the nodes that changed: so many, first in `rows`."""
    gossip(books, views, desk, rules, now_us)
    count = 0
    over = moving.counts[ARRIVED_MOVES] + moving.counts[FAILED_MOVES] + moving.counts[OVERTAKEN_MOVES]
    if position[0] - state[SYNCED] > log.shape[0]:
        for n in range(nodes.up.shape[0]):
            rows[n] = n
        count = nodes.up.shape[0]
    else:
        for i in range(state[SYNCED], position[0]):
            n = log[i & (log.shape[0] - 1)]
            if not is_listed[n]:
                is_listed[n] = True
                rows[count] = n
                count += 1
        if over != state[OVER]:  # of a migration that is over the log may name one end only
            for n in range(nodes.up.shape[0]):
                if (desk.is_watched[n] or books.inbound[n] > 0) and not is_listed[n]:
                    is_listed[n] = True
                    rows[count] = n
                    count += 1
    state[SYNCED], state[OVER] = position[0], over
    for i in range(count):
        n = rows[i]
        is_listed[n] = False
        _read_node(books, nodes, classes, tasks, moving, use, n)
        mark(books, views, desk, rules, n)
    return count


@njit(cache=True)
def _read_node(books, nodes, classes, tasks, moving, use, n):  # type: ignore[no-untyped-def]
    """The node's books as the replay's are. What is on its way counts on both ends, and nobody asks for it twice."""
    books.up[n] = nodes.up[n]
    books.first_task[n] = NOBODY
    books.inbound[n] = 0
    has_use = use.shape[0] > 0
    for r in range(nodes.requested.shape[1]):
        books.capacity[n, r] = nodes.allocatable[n, r]
        books.booked[n, r] = nodes.requested[n, r]
        books.load[n, r] = 0 if has_use else nodes.requested[n, r]
    t = nodes.first_task[n]
    while t >= 0:
        link(books, t, n)
        books.home[t] = n
        books.request[t] = ON_ITS_WAY if moving.slot_of[t] >= 0 else NOBODY
        if has_use:
            for r in range(use.shape[1]):
                books.load[n, r] += use[t, r]
        t = tasks.after[t]
    m = moving.first_arriving[n]
    while m >= 0:
        t = moving.slots[m, TASK]
        books.inbound[n] += books.cost[t]
        if has_use:
            for r in range(use.shape[1]):
                books.load[n, r] += use[t, r]
        m = moving.slots[m, NEXT]


@njit(cache=True)
def _read_ends(books, nodes, classes, tasks, moving, use, moves):  # type: ignore[no-untyped-def]
    """Read both ends of all moves: what the replay made of them is the truth."""
    for i in range(moves.shape[0]):
        _read_node(books, nodes, classes, tasks, moving, use, moves[i, d.M_TARGET])
        if moves[i, d.M_SOURCE] >= 0:
            _read_node(books, nodes, classes, tasks, moving, use, moves[i, d.M_SOURCE])


@njit(cache=True)
def _list_groups(queues, tasks, books, next_us, allowed, listed, now_us):  # type: ignore[no-untyped-def]
    """Who asks now, as many of each group as may, into `listed` as far as there is room; gives how many they are."""
    count = 0
    head, is_blocked, after = queues.head, queues.is_blocked, tasks.after
    for g in range(head.shape[0]):
        if head[g] < 0 or not is_blocked[g] or next_us[g] > now_us:
            continue
        t = head[g]
        for _ in range(allowed[g]):
            if t < 0:
                break
            if count < listed.shape[0]:
                listed[count] = t
                books.home[t] = WAITS
                books.request[t] = NOBODY
            count += 1
            t = after[t]
    return count


@njit(cache=True)
def _is_due(desk, until_us):  # type: ignore[no-untyped-def]
    """Whether some node looks at itself before that time."""
    return desk.at[d.TIMERS] > 0 and desk.timer_keys[0] < until_us


@njit(cache=True)
def _undo(books, moves):  # type: ignore[no-untyped-def]
    """Take back, last first, what the agents wrote into columns that are the replay's too: it writes it again."""
    for i in range(moves.shape[0] - 1, -1, -1):
        t, source, target = moves[i, d.M_TASK], moves[i, d.M_SOURCE], moves[i, d.M_TARGET]
        books.home[t] = WAITS
        g = books.group[books.kind[t]]
        if g >= 0:
            books.occupied[g, target >> 3] &= np.uint8(0xFF ^ (1 << (target & 7)))
            if source >= 0:
                books.occupied[g, source >> 3] |= np.uint8(1 << (source & 7))


@njit(cache=True)
def _start(nodes, classes, tasks, attempts, queues, ranking, progress, who, targets, now, ends):  # type: ignore[no-untyped-def]
    """Each starts where it landed, if the rules agree; gives how many they refuse. ends: (n, 2) timers, or -1."""
    refused = 0
    for i in range(who.shape[0]):
        t, n = who[i], targets[i]
        if not fits(nodes, classes, tasks.class_of_group[tasks.group[t]], n):
            refused += 1
            continue
        leave_queue(queues, tasks, t)
        begin(nodes, classes, tasks, attempts, queues, ranking, progress, t, n, now)
        progress.counts[PLACEMENTS] += 1
        a = current(tasks, t)
        if 0 <= attempts.until_us[a] < FOREVER:
            ends[i, 0] = (END << KIND_SHIFT) | (np.int64(tasks.epoch[t]) << EPOCH_SHIFT) | t
            ends[i, 1] = now + attempts.until_us[a]
    return refused


@njit(cache=True)
def _wait_on(tasks, waiting, next_us, wait_us, allowed, placed, now_us):  # type: ignore[no-untyped-def]
    """Of a group of whom all found a place twice as many ask next time; else as many as did, and if none did, later."""
    for t in waiting:
        g = tasks.group[t]
        placed[g] = 0
        next_us[g] = now_us
    for t in waiting:
        g = tasks.group[t]
        if tasks.node[t] == WAITING:
            next_us[g] = now_us + ROUND_US
        else:
            placed[g] += 1
    for t in waiting:
        g = tasks.group[t]
        if placed[g] < 0:
            continue  # seen to
        if next_us[g] == now_us:
            wait_us[g] = 0
            allowed[g] = min(2 * allowed[g], MANY)
        elif placed[g] > 0:
            wait_us[g] = 0
            allowed[g] = placed[g]
        else:
            wait_us[g] = min(max(2 * wait_us[g], ROUND_US), RETRY_S * ROUND_US)
            next_us[g] = now_us + wait_us[g]
            allowed[g] = 1
        placed[g] = -1


def _empty_freed(progress: Progress) -> None:
    """Nobody asks for freed nodes here: the books have read them."""
    progress.is_freed[progress.freed[: progress.at[FREED]]] = False
    progress.at[FREED] = 0
