"""What brokers know and whom they name.

A node reports to its own broker (row modulo brokers) at fixed instants, where its free room changed since its last
report that was acknowledged; brokers then tell each other what they know, in one message each. A message that is lost
leaves a view as old as it was. A node that is down reports nothing, which its broker notices at the same instants.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scheduler.core.balance.agents.desk import CANDIDATES as ANSWER
from scheduler.core.balance.agents.desk import DIRTY, DROPPED, GOSSIP_US, REPORTS, Desk, send
from scheduler.core.balance.agents.settings import Rules
from scheduler.core.balance.agents.world import Books
from scheduler.core.balance.loops import chance, draw
from scheduler.core.columns import Codes, Ints, Mask
from scheduler.core.compiled import compiled

DRAWS = 4  # nodes looked at by chance for each candidate that is wanted, before the broker goes through all


class Views(NamedTuple):
    """What each of B brokers knows of N nodes."""

    room: Ints  # (B, N, R)
    is_up: Mask  # (B, N)
    is_dirty: Mask  # (N,) has something to report
    dirty: Codes  # (N,) those that have, `Desk.at[DIRTY]` of them


def make_views(books: Books, brokers: int) -> Views:
    """Everybody knows everything at the start."""
    room = books.capacity - np.maximum(books.booked, books.load)
    nodes = len(books.up)
    return Views(
        room=np.ascontiguousarray(np.repeat(room[None], brokers, axis=0)),
        is_up=np.repeat(books.up[None], brokers, axis=0),
        is_dirty=np.zeros(nodes, np.bool_),
        dirty=np.zeros(nodes, np.int32),
    )


@compiled
def mark(books: Books, views: Views, desk: Desk, rules: Rules, n: int) -> None:
    """The node has something to report; where brokers see all at once, they see it now."""
    if rules.staleness_us == 0:
        for b in range(views.is_up.shape[0]):
            _read(books, views, b, n)
    elif not views.is_dirty[n]:
        views.is_dirty[n] = True
        views.dirty[desk.at[DIRTY]] = n
        desk.at[DIRTY] += 1


@compiled
def _read(books: Books, views: Views, b: int, n: int) -> None:
    for r in range(books.capacity.shape[1]):
        views.room[b, n, r] = books.capacity[n, r] - max(books.booked[n, r], books.load[n, r])
    views.is_up[b, n] = books.up[n]


@compiled
def gossip(books: Books, views: Views, desk: Desk, rules: Rules, until_us: int) -> None:
    """All reports that are due up to that time, as one: nothing changed between them."""
    if rules.staleness_us == 0 or desk.at[GOSSIP_US] > until_us:
        return
    desk.at[GOSSIP_US] += ((until_us - desk.at[GOSSIP_US]) // rules.staleness_us + 1) * rules.staleness_us
    if desk.at[DIRTY] == 0:
        return
    brokers = views.is_up.shape[0]
    left = 0
    for i in range(desk.at[DIRTY]):
        n = views.dirty[i]
        heard = not books.up[n]
        acknowledged = heard
        if books.up[n]:
            heard = _arrives(desk, rules)
            acknowledged = heard and _arrives(desk, rules)
        if heard:
            _read(books, views, n % brokers, n)
        if acknowledged:
            views.is_dirty[n] = False
        else:
            views.dirty[left] = n
            left += 1
    desk.at[DIRTY] = left
    for a in range(brokers):
        for b in range(brokers):
            if a != b and _arrives(desk, rules):
                for n in range(a, views.is_up.shape[1], brokers):
                    views.is_up[b, n] = views.is_up[a, n]
                    for r in range(views.room.shape[2]):
                        views.room[b, n, r] = views.room[a, n, r]


@compiled
def _arrives(desk: Desk, rules: Rules) -> bool:
    desk.counts[REPORTS] += 1
    if rules.loss > 0.0 and chance(desk.dice) < rules.loss:
        desk.counts[DROPPED] += 1
        return False
    return True


@compiled
def name_candidates(books: Books, views: Views, desk: Desk, rules: Rules, j: int) -> None:
    """Answer a question for candidates: drawn from those that fit by the broker's view.

    A few draws find them where room is common; then the broker goes through its whole view, from a drawn node on.
    Where the placement is to be forced, room does not count: any node will do that is large enough when empty.
    """
    request = desk.requests[j]
    b, k, source = request.broker, books.kind[request.task], request.owner
    nodes = views.is_up.shape[1]
    wanted = min(rules.candidates, nodes)
    count = 0
    forces = request.forces == 1
    for _ in range(DRAWS * wanted):
        if count == wanted:
            break
        n = draw(desk.dice, nodes)
        if _knows_place(books, views, b, k, n, source, forces) and not _is_named(desk.candidate, j, count, n):
            desk.candidate[j, count] = n
            count += 1
    if count < wanted:
        first = draw(desk.dice, nodes)
        for i in range(nodes):
            n = first + i if first + i < nodes else first + i - nodes
            if _knows_place(books, views, b, k, n, source, forces) and not _is_named(desk.candidate, j, count, n):
                desk.candidate[j, count] = n
                count += 1
                if count == wanted:
                    break
    desk.requests[j].count = count
    send(desk, rules, ANSWER, 0, j)


@compiled
def _knows_place(books: Books, views: Views, b: int, k: int, n: int, source: int, forces: bool) -> bool:
    """Whether the broker thinks that the node may take it. Who is there of its group the broker does not know."""
    if n == source or not views.is_up[b, n]:
        return False
    if books.mask[k] >= 0 and not books.eligible[books.mask[k], n]:
        return False
    for r in range(books.demand.shape[1]):
        wanted = books.demand[k, r]
        if wanted > (books.capacity[n, r] if forces else views.room[b, n, r]) and wanted > 0:
            return False
    return True


@compiled
def _is_named(candidate: Codes, j: int, count: int, n: int) -> bool:
    for i in range(count):  # noqa: SIM110 (numba compiles no generator)
        if candidate[j, i] == n:
            return True
    return False
