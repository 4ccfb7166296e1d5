"""What candidates do: they answer with a score, hold room, and take the task. Asked twice, they do it once."""

from __future__ import annotations

from typing import Any

import numpy as np

from scheduler.core.balance.agents import desk as d
from scheduler.core.balance.agents.broker import Views, mark
from scheduler.core.balance.agents.desk import Desk, note, pack, post, send, set_timer
from scheduler.core.balance.agents.leases import find_lease, free_lease
from scheduler.core.balance.agents.node import offload
from scheduler.core.balance.agents.settings import Rules
from scheduler.core.balance.agents.world import (
    FOREVER,
    NOBODY,
    Books,
    added_overload,
    has_room,
    link,
    may_go,
    overload_of,
    take,
    unlink,
)
from scheduler.core.compiled import compiled


@compiled
def answer_query(books: Books, desk: Desk, rules: Rules, j: int, i: int, initial: Any, reallocation: Any) -> None:
    """A score, or that it cannot: less added overload, where the placement is to be forced."""
    n, t = int(desk.candidate[j, i]), desk.requests[j].task
    k = books.kind[t]
    score = -np.inf
    if may_go(books, k, n):
        if desk.requests[j].forces == 1:
            score = -added_overload(books, k, n)
        elif has_room(books, k, n):
            demand, capacity, booked = books.demand[k], books.capacity, books.booked
            if desk.requests[j].owner == NOBODY:
                score = initial(demand, capacity, booked, n, books.scarcity[n], 0.0)
            else:
                cost = rules.cost_weight * float(books.cost[t] + books.inbound[n])
                score = reallocation(demand, capacity, booked, n, books.scarcity[n], cost)
        else:
            desk.counts[d.OUTDATED] += 1
    desk.score[j, i] = score
    send(desk, rules, d.SCORED, i, j)


@compiled
def hold(books: Books, views: Views, desk: Desk, rules: Rules, j: int, i: int) -> None:
    """Hold the room for a lease; asked again under the same number, say so again."""
    n, t, number = desk.candidate[j, i], desk.requests[j].task, desk.requests[j].number
    if find_lease(desk, j, number, i) >= 0:
        send(desk, rules, d.HELD, i, j)
        return
    k, forces = books.kind[t], desk.requests[j].forces
    takes = added_overload(books, k, n) < desk.requests[j].limit if forces == 1 else has_room(books, k, n)
    if not takes or not may_go(books, k, n):
        note(desk, d.F_REJECTED, t, n, j, number, NOBODY, 0, forces)
        send(desk, rules, d.REJECTED, i, j)
        return
    take(books, k, n)
    mark(books, views, desk, rules, n)
    x = desk.at[d.FREE_LEASE]
    desk.at[d.FREE_LEASE] = desk.leases[x].next
    desk.at[d.LEASES] += 1
    desk.leases[x].request = j
    desk.leases[x].number = number
    desk.leases[x].chosen = i
    desk.leases[x].task = t
    desk.leases[x].node = n
    desk.leases[x].source = desk.requests[j].owner
    desk.leases[x].depth = desk.requests[j].depth
    desk.leases[x].forces = forces
    desk.leases[x].is_alive = 1
    desk.leases[x].use += 1
    desk.leases[x].next = desk.requests[j].lease
    desk.requests[j].lease = x
    post(desk, desk.at[d.NOW] + rules.lease_us, pack(d.LEASE_END, 0, desk.leases[x].use, x))
    note(desk, d.F_HELD, t, n, j, number, desk.requests[j].owner, desk.requests[j].depth, forces)
    send(desk, rules, d.HELD, i, j)


@compiled
def land(books: Books, views: Views, desk: Desk, rules: Rules, j: int, i: int) -> None:
    """Commit: the task starts here, or comes over from its source; asked again, say so again."""
    n, t, number = desk.candidate[j, i], desk.requests[j].task, desk.requests[j].number
    x = find_lease(desk, j, number, i)
    if x < 0:
        is_here = desk.requests[j].landed_us >= 0 and books.home[t] == n
        send(desk, rules, d.DONE if is_here else d.EXPIRED, i, j)
        return
    source, depth, forces = desk.requests[j].owner, desk.requests[j].depth, desk.leases[x].forces
    free_lease(desk, x)
    if source != NOBODY:
        unlink(books, t, source)
        for r in range(books.demand.shape[1]):
            books.leaving[source, r] += books.demand[books.kind[t], r]
        books.inbound[n] += books.cost[t]
        desk.counts[d.MIGRATED] += 1
    else:
        desk.counts[d.PLACED] += 1
        books.starts[t] += 1
        if books.lasts_us[t] < FOREVER:
            set_timer(desk, desk.at[d.NOW] + books.lasts_us[t], pack(d.ENDS, 0, books.starts[t], t))
    link(books, t, n)
    books.home[t] = n
    desk.requests[j].landed_us = desk.at[d.NOW]
    desk.requests[j].node = n
    note(desk, d.F_PLACED, t, n, j, number, source, depth, forces)
    send(desk, rules, d.DONE, i, j)
    if forces == 1:
        desk.counts[d.FORCED] += 1
        desk.counts[d.LONGEST_CHAIN] = max(desk.counts[d.LONGEST_CHAIN], depth + 1)
        if overload_of(books, n) > 0.0:
            books.chain[n] = max(books.chain[n], depth + 1)
            offload(books, views, desk, rules, n)
