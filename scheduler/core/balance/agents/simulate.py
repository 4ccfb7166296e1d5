"""`simulate`: a world, new tasks, a window of time; and what the agents made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.core.balance.agents import desk as d
from scheduler.core.balance.agents.broker import make_views
from scheduler.core.balance.agents.desk import COUNTERS, Desk, pack, set_timer
from scheduler.core.balance.agents.node import watch
from scheduler.core.balance.agents.offload import MOST
from scheduler.core.balance.agents.protocol import advance
from scheduler.core.balance.agents.scores import INITIAL, REALLOCATION, get_score
from scheduler.core.balance.agents.settings import Rules, Settings, make_rules
from scheduler.core.balance.agents.world import FOREVER, Books, World, make_books, overload_of
from scheduler.core.balance.loops import draw, make_dice
from scheduler.core.balance.problem import WAITING
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled
from scheduler.core.errors import StowageInputError

Chosen = str | Callable[..., float]
MOVE_COLUMNS = 8
FIRST_ROWS = 1 << 12


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What happened in a window.

    home: (T,) node, WAITING or FINISHED. moves: (P, 8) task, source node (-1: it was new or waited), target, time and
    time of the request in us, messages, whether it was forced, forced placements before it in its chain; in order of
    their end. counters: by name, see `desk.COUNTERS`. waiting: (W,) tasks without a node; reasons: why, one for each.
    overloaded: nodes that are. facts: the log, empty unless asked for.
    """

    home: Codes
    moves: Ints
    counters: dict[str, int]
    waiting: Codes
    reasons: tuple[str, ...]
    overloaded: int
    facts: Ints


class Agents:
    """Agents that go on from window to window. The books are theirs; who knows better writes into them between two.

    Raises StowageInputError for scores that nobody has.
    """

    def __init__(
        self,
        books: Books,
        settings: Settings,
        seed: int,
        start_us: int = 0,
        initial: Chosen = INITIAL,
        reallocation: Chosen = REALLOCATION,
        log_rows: int = 0,
    ) -> None:
        self.books, self.rules = books, _scaled(make_rules(settings), books)
        self.initial, self.reallocation = get_score(initial), get_score(reallocation)
        self.views = make_views(books, self.rules.brokers)
        self.desk = _new_desk(books, self.rules, seed, start_us, log_rows)

    def watch_overloaded(self, rows: NDArray[np.int64], now_us: int) -> None:
        """Of these nodes those that are overloaded look at themselves, each at an instant drawn from an interval."""
        while self.desk.at[d.TIMERS] + len(rows) > len(self.desk.timer_keys):
            self.desk = _with_timers(self.desk, len(self.desk.timer_keys))
        _watch_overloaded(self.books, self.desk, self.rules, np.asarray(rows, np.int64), now_us)

    def advance(self, until_us: int, arrivals_us: Ints, arrivals: Codes) -> Ints:
        """Go on to that time and until nothing is under way; gives the moves (P, 8) of `Outcome`.

        arrivals_us, arrivals: (A,) tasks that are submitted and when, sorted by time.
        """
        self.desk.at[d.UNTIL_US] = until_us
        self.desk.at[d.MOVES] = self.desk.at[d.ARRIVAL] = 0
        while not advance(
            self.books, self.views, self.desk, self.rules, self.initial, self.reallocation, arrivals_us, arrivals
        ):
            self.desk = _with_more_room(self.desk)
        return self.desk.moves[: self.desk.at[d.MOVES]].copy()

    def counters(self) -> dict[str, int]:
        """Everything that was counted so far."""
        return dict(zip(COUNTERS, self.desk.counts.tolist(), strict=True))


def simulate(
    world: World,
    arrivals_us: Ints,
    arrivals: Codes,
    window_s: float,
    settings: Settings | None = None,
    seed: int = 0,
    initial: Chosen = INITIAL,
    reallocation: Chosen = REALLOCATION,
    keeps_log: bool = False,
) -> Outcome:
    """What the agents do within the window, from time 0 on. The same seed gives the same bytes.

    arrivals_us, arrivals: (A,) when which waiting tasks are submitted, in any order; of one instant the more important
    asks first. Raises StowageInputError for times outside the window, tasks that run, or run twice.
    """
    settings = settings or Settings()
    if not 0 < window_s <= 1e9:
        raise StowageInputError(f"the window is {window_s:g} s; it is above 0 and at most 1e9")
    until_us = round(window_s * 1e6)
    _check_arrivals(world, arrivals_us, arrivals, until_us)
    order = np.lexsort((arrivals, -world.priority[arrivals], arrivals_us))
    agents = Agents(make_books(world), settings, seed, 0, initial, reallocation, FIRST_ROWS if keeps_log else 0)
    books = agents.books
    agents.desk = _with_timers(agents.desk, len(books.home) + 2 * len(books.up))
    _set_ends(books, agents.desk)
    _draw_failures(books, agents.desk, settings.node_failure, until_us)
    agents.watch_overloaded(np.arange(len(books.up)), 0)
    moves = agents.advance(until_us, np.ascontiguousarray(arrivals_us[order]), np.ascontiguousarray(arrivals[order]))
    waiting = np.flatnonzero(books.home == WAITING).astype(np.int32)
    return Outcome(
        home=books.home,
        moves=moves,
        counters=agents.counters(),
        waiting=waiting,
        reasons=explain_waiting(books, waiting),
        overloaded=sum(overload_of(books, n) > 0 for n in range(len(books.up)) if books.up[n]),
        facts=agents.desk.facts[: agents.desk.at[d.FACTS]],
    )


def explain_waiting(books: Books, tasks: Codes) -> tuple[str, ...]:
    """Why each of these tasks has no node, the first rule that leaves none."""
    known: dict[int, str] = {}
    for k in np.unique(books.kind[tasks]).tolist():
        known[k] = _why(books, k)
    return tuple(known[k] for k in books.kind[tasks].tolist())


def _why(books: Books, k: int) -> str:
    if not len(books.up):
        return "there are no nodes"
    is_large = (books.demand[k] <= books.capacity).all(axis=1)
    if not is_large.any():
        return "it asks for more than any node has"
    allowed = is_large & (books.eligible[books.mask[k]] if books.mask[k] >= 0 else True)
    if not allowed.any():
        return "the nodes it may use are too small, or there are none"
    if not (allowed & books.up).any():
        return "every node it may use is down"
    room = books.capacity - np.maximum(books.booked, books.load)
    takes = allowed & books.up & ((books.demand[k] <= room) | (books.demand[k] == 0)).all(axis=1)
    if not takes.any():
        return "no node has room"
    return "some node has room, and no broker named one that took it in time, or its group is there already"


def _check_arrivals(world: World, arrivals_us: Ints, arrivals: Codes, until_us: int) -> None:
    if arrivals.dtype != np.int32 or arrivals_us.dtype != np.int64 or arrivals.shape != arrivals_us.shape:
        raise StowageInputError("arrivals are a column of int32 with as many times of int64")
    if not len(arrivals):
        return
    if arrivals.min() < 0 or arrivals.max() >= len(world.kind):
        raise StowageInputError(f"arrivals name rows {arrivals.min()} to {arrivals.max()} of {len(world.kind)} tasks")
    if len(np.unique(arrivals)) != len(arrivals):
        raise StowageInputError("a task arrives twice")
    if (world.home[arrivals] != WAITING).any():
        raise StowageInputError("a task that arrives runs already")
    if arrivals_us.min() < 0 or arrivals_us.max() > until_us:
        raise StowageInputError(
            f"arrivals lie from {arrivals_us.min()} to {arrivals_us.max()} us, the window from 0 to {until_us}"
        )


def _scaled(rules: Rules, books: Books) -> Rules:
    """The weight of the cost, per unit of it: a move of mean cost counts the weight that was set."""
    mean = float(books.cost[books.movable].mean()) if books.movable.any() else 0.0
    return rules._replace(cost_weight=rules.cost_weight / max(mean, 1.0))


def _new_desk(books: Books, rules: Rules, seed: int, start_us: int, log_rows: int) -> Desk:
    nodes, resources = books.capacity.shape
    at = np.zeros(13, np.int64)
    at[d.NOW] = start_us
    at[d.GOSSIP_US] = start_us + rules.staleness_us
    empty = Desk(
        requests=np.zeros(0, d.REQUEST),
        leases=np.zeros(0, d.LEASE),
        candidate=np.zeros((0, rules.candidates), np.int32),
        score=np.zeros((0, rules.candidates)),
        has_answered=np.zeros((0, rules.candidates), np.bool_),
        mail_keys=np.zeros(FIRST_ROWS, np.int64),
        mail_values=np.zeros(FIRST_ROWS, np.int64),
        timer_keys=np.zeros(FIRST_ROWS, np.int64),
        timer_values=np.zeros(FIRST_ROWS, np.int64),
        moves=np.zeros((FIRST_ROWS, MOVE_COLUMNS), np.int64),
        facts=np.zeros((log_rows, d.LOG_COLUMNS), np.int64),
        at=at,
        counts=np.zeros(len(COUNTERS), np.int64),
        dice=make_dice(seed),
        excess=np.zeros(resources, np.int64),
        picked=np.zeros(MOST, np.int32),
        is_watched=np.zeros(nodes, np.bool_),
        patience=np.ones(nodes, np.int64),
        has_failed=np.zeros(nodes, np.bool_),
    )
    empty.at[d.FREE_REQUEST] = empty.at[d.FREE_LEASE] = 0
    return _with_requests(_with_leases(empty, FIRST_ROWS), FIRST_ROWS)


def _with_more_room(desk: Desk) -> Desk:
    """Whatever is nearly full, twice as large."""
    at = desk.at
    if at[d.MAIL] + d.SLACK > len(desk.mail_keys):
        desk = desk._replace(mail_keys=_longer(desk.mail_keys), mail_values=_longer(desk.mail_values))
    if at[d.TIMERS] + d.SLACK > len(desk.timer_keys):
        desk = _with_timers(desk, len(desk.timer_keys))
    if at[d.MOVES] + d.SLACK > len(desk.moves):
        desk = desk._replace(moves=_longer(desk.moves))
    if len(desk.facts) and at[d.FACTS] + d.SLACK > len(desk.facts):
        desk = desk._replace(facts=_longer(desk.facts))
    if at[d.LEASES] + d.SLACK > len(desk.leases):
        desk = _with_leases(desk, len(desk.leases))
    if at[d.LIVE] + d.SLACK > len(desk.requests):
        desk = _with_requests(desk, len(desk.requests))
    return desk


def _longer(column: NDArray[Any], rows: int | None = None) -> NDArray[Any]:
    more = np.zeros((len(column) if rows is None else rows, *column.shape[1:]), column.dtype)
    return np.concatenate([column, more])


def _with_timers(desk: Desk, rows: int) -> Desk:
    return desk._replace(timer_keys=_longer(desk.timer_keys, rows), timer_values=_longer(desk.timer_values, rows))


def _with_leases(desk: Desk, rows: int) -> Desk:
    """So many more rows of leases, at the head of the list of free ones."""
    old = len(desk.leases)
    more = np.zeros(rows, d.LEASE)
    more["next"] = np.arange(old + 1, old + rows + 1)
    more["next"][-1] = desk.at[d.FREE_LEASE]
    desk.at[d.FREE_LEASE] = old
    return desk._replace(leases=np.concatenate([desk.leases, more]))


def _with_requests(desk: Desk, rows: int) -> Desk:
    old = len(desk.requests)
    more = np.zeros(rows, d.REQUEST)
    more["lease"] = -1
    more["next"] = np.arange(old + 1, old + rows + 1)
    more["next"][-1] = desk.at[d.FREE_REQUEST]
    desk.at[d.FREE_REQUEST] = old
    return desk._replace(
        requests=np.concatenate([desk.requests, more]),
        candidate=_longer(desk.candidate, rows),
        score=_longer(desk.score, rows),
        has_answered=_longer(desk.has_answered, rows),
    )


@compiled
def _watch_overloaded(books: Books, desk: Desk, rules: Rules, rows: Ints, now_us: int) -> None:
    for n in rows:
        if not desk.is_watched[n] and books.up[n] and overload_of(books, n) > 0.0:
            watch(books, desk, n, now_us + draw(desk.dice, rules.check_us))


@compiled
def _set_ends(books: Books, desk: Desk) -> None:
    for t in range(len(books.home)):
        if books.home[t] >= 0 and books.lasts_us[t] < FOREVER:
            set_timer(desk, books.lasts_us[t], pack(d.ENDS, 0, 0, t))


@compiled
def _draw_failures(books: Books, desk: Desk, share: float, until_us: int) -> None:
    for n in range(len(books.up)):
        if not books.up[n]:
            set_timer(desk, 0, pack(d.FAILS, 0, 0, n))  # what is said to run there does not
        elif share > 0.0 and draw(desk.dice, 1 << 30) < share * (1 << 30):
            set_timer(desk, draw(desk.dice, until_us), pack(d.FAILS, 0, 0, n))
