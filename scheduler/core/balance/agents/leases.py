"""Room that is held for a time: found again by request, attempt and candidate, so that nothing is held twice."""

from __future__ import annotations

from scheduler.core.balance.agents import desk as d
from scheduler.core.balance.agents.broker import Views, mark
from scheduler.core.balance.agents.desk import Desk, note
from scheduler.core.balance.agents.settings import Rules
from scheduler.core.balance.agents.world import NOBODY, Books, give_back, overload_of
from scheduler.core.compiled import compiled


@compiled
def find_lease(desk: Desk, j: int, number: int, i: int) -> int:
    """The lease for this attempt at this candidate, -1 for none."""
    x = desk.requests[j].lease
    while x >= 0:
        if desk.leases[x].is_alive == 1 and desk.leases[x].number == number and desk.leases[x].chosen == i:
            return x
        x = desk.leases[x].next
    return -1


@compiled
def free_lease(desk: Desk, x: int) -> None:
    """Take the lease out of its request's list and give its row back."""
    j = desk.leases[x].request
    y = desk.requests[j].lease
    if y == x:
        desk.requests[j].lease = desk.leases[x].next
    else:
        while desk.leases[y].next != x:
            y = desk.leases[y].next
        desk.leases[y].next = desk.leases[x].next
    desk.leases[x].is_alive = 0
    desk.leases[x].next = desk.at[d.FREE_LEASE]
    desk.at[d.FREE_LEASE] = x
    desk.at[d.LEASES] -= 1


@compiled
def end_lease(books: Books, views: Views, desk: Desk, rules: Rules, x: int) -> None:
    """Nobody came: the room is free again."""
    n, t = desk.leases[x].node, desk.leases[x].task
    give_back(books, books.kind[t], n)
    mark(books, views, desk, rules, n)
    if overload_of(books, n) == 0.0:
        books.chain[n] = 0
    desk.counts[d.LEASES_EXPIRED] += 1
    note(desk, d.F_EXPIRED, t, n, desk.leases[x].request, desk.leases[x].number, NOBODY, 0, desk.leases[x].forces)
    free_lease(desk, x)


@compiled
def drop_leases(books: Books, views: Views, desk: Desk, rules: Rules, n: int) -> None:
    for x in range(desk.leases.shape[0]):
        if desk.leases[x].is_alive == 1 and desk.leases[x].node == n:
            t = desk.leases[x].task
            give_back(books, books.kind[t], n)
            note(desk, d.F_EXPIRED, t, n, desk.leases[x].request, desk.leases[x].number, NOBODY, 1, 0)
            free_lease(desk, x)
