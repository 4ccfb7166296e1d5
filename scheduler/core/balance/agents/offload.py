"""Which tasks an overloaded node wants to be rid of: nearly the cheapest whose removal cures it, in microseconds.

The exact answer is a knapsack cover, see `bounds`; a node has no time for CP-SAT. Most relief per cost first, then
whoever is not needed after all stays, the dearest first; one task that covers everything alone may be cheaper.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.balance.agents.world import Books
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled

MOST = 64  # tasks that are picked at once; a node that needs more looks again


@compiled
def pick_tasks(books: Books, n: int, excess: Ints, picked: Codes) -> int:
    """Fill `picked` (MOST,) with tasks to offload; gives how many. excess: (R,) scratch.

    Tasks that are under way already count as gone. Where all that may go does not cover the excess, all that help are
    picked.
    """
    resources = books.capacity.shape[1]
    is_over = False
    for r in range(resources):
        excess[r] = books.load[n, r] - books.leaving[n, r] - books.capacity[n, r]
    t = books.first_task[n]
    while t >= 0:
        if books.request[t] >= 0:
            _relieve(books, t, excess, 1)
        t = books.after[t]
    for r in range(resources):
        is_over |= excess[r] > 0
    if not is_over:
        return 0
    alone, alone_cost = _cheapest_alone(books, n, excess)
    count, cost = 0, 0
    while count < MOST and _is_open(excess):
        best, most = -1, 0.0
        t = books.first_task[n]
        while t >= 0:
            if may_leave(books, t) and not _is_in(picked, count, t):
                worth = _relief(books, t, n, excess) / (1.0 + books.cost[t])
                if worth > most or (worth == most and worth > 0 and t < best):
                    best, most = t, worth
            t = books.after[t]
        if best < 0:
            break
        picked[count] = best
        count += 1
        cost += books.cost[best]
        _relieve(books, best, excess, 1)
    if not _is_open(excess):
        count, cost = _drop_needless(books, excess, picked, count, cost)
    if alone >= 0 and (alone_cost < cost or (alone_cost == cost and count > 1)):
        picked[0] = alone
        count = 1
    return count


@compiled
def may_leave(books: Books, t: int) -> bool:
    """Whether the task may be offloaded now."""
    return books.movable[t] and books.request[t] < 0


@compiled
def _relieve(books: Books, t: int, excess: Ints, sign: int) -> None:
    for r in range(excess.shape[0]):
        excess[r] -= sign * books.demand[books.kind[t], r]


@compiled
def _is_open(excess: Ints) -> bool:
    for r in range(excess.shape[0]):  # noqa: SIM110 (numba compiles no generator)
        if excess[r] > 0:
            return True
    return False


@compiled
def _is_in(picked: Codes, count: int, t: int) -> bool:
    for i in range(count):  # noqa: SIM110
        if picked[i] == t:
            return True
    return False


@compiled
def _relief(books: Books, t: int, n: int, excess: Ints) -> float:
    relief = 0.0
    for r in range(excess.shape[0]):
        if excess[r] > 0:
            relief += min(excess[r], books.demand[books.kind[t], r]) / max(books.capacity[n, r], 1)
    return relief


@compiled
def _cheapest_alone(books: Books, n: int, excess: Ints) -> tuple[int, int]:
    """The cheapest task that covers everything, -1 for none; and its cost."""
    best, least = -1, 0
    t = books.first_task[n]
    while t >= 0:
        if may_leave(books, t):
            covers = True
            for r in range(excess.shape[0]):
                covers &= excess[r] <= 0 or books.demand[books.kind[t], r] >= excess[r]
            cost = books.cost[t]
            if covers and (best < 0 or cost < least or (cost == least and t < best)):
                best, least = t, cost
        t = books.after[t]
    return best, least


@compiled
def _drop_needless(books: Books, excess: Ints, picked: Codes, count: int, cost: int) -> tuple[int, int]:
    """Keep those that are not needed, the dearest first; gives the new count and cost."""
    costs = np.empty(count, np.int64)
    for i in range(count):
        costs[i] = -books.cost[picked[i]]
    stays = np.zeros(count, np.bool_)
    for i in np.argsort(costs, kind="mergesort"):
        needed = False
        for r in range(excess.shape[0]):
            needed |= excess[r] + books.demand[books.kind[picked[i]], r] > 0
        if not needed:
            _relieve(books, picked[i], excess, -1)
            stays[i] = True
            cost -= books.cost[picked[i]]
    left = 0
    for i in range(count):
        if not stays[i]:
            picked[left] = picked[i]
            left += 1
    return left, cost
