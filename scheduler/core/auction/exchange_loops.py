"""Shortest chains of exchanges in an assignment: what it costs to seat a request, or what a freed node is worth.

Both are Dijkstra's search over reduced costs profit + price - bid, which are at least 0 while the prices are those of
an optimal assignment, and stop as soon as the best end is nearer than anything left. After a chain is carried out,
prices and profits move by what is missing to its length, which keeps every reduced cost at least 0 and those of held
nodes at 0 (successive shortest paths; Ahuja, Magnanti and Orlin, "Network Flows", 1993, chapter 9.7).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.core.auction.market import Floats
from scheduler.core.columns import Codes, Ints, Mask
from scheduler.core.compiled import compiled

NOBODY = -1


@compiled
def _lower(heap: Codes, place: Codes, distance: Floats, size: int, item: int) -> int:
    """Put the item into the heap, or move it up after its distance fell; returns the size."""
    at = place[item]
    if at < 0:
        at = size
        size += 1
    while at > 0:
        above = (at - 1) // 2
        if distance[heap[above]] <= distance[item]:
            break
        heap[at] = heap[above]
        place[heap[at]] = at
        at = above
    heap[at] = item
    place[item] = at
    return size


@compiled
def _remove_first(heap: Codes, place: Codes, distance: Floats, size: int) -> int:
    """Take the nearest item, which is heap[0], out of the heap; returns the size."""
    size -= 1
    item = heap[size]
    at = 0
    while 2 * at + 1 < size:
        below = 2 * at + 1
        if below + 1 < size and distance[heap[below + 1]] < distance[heap[below]]:
            below += 1
        if distance[item] <= distance[heap[below]]:
            break
        heap[at] = heap[below]
        place[heap[at]] = at
        at = below
    heap[at] = item
    place[item] = at
    return size


@compiled
def find_seat(
    request: int, may_stay_out: bool, first: Ints, node: Codes, value: Floats, at: Codes, holder: Codes, price: Floats,
    profit: Floats, distance: Floats, through: Codes, heap: Codes, place: Codes,
) -> tuple[float, int, int]:  # fmt: skip
    """The cheapest chain that seats a request: it takes a node, whose holder takes another, ... until one takes a free
    node or goes without. Returns its length, the last request, and the node that takes it, NOBODY if it goes without.

    distance, through, heap, place: (J,) working space; through[i] is who takes the node that i holds.
    """
    distance[:] = np.inf
    place[:] = NOBODY
    distance[request] = 0.0
    through[request] = NOBODY
    size = _lower(heap, place, distance, 0, request)
    best, last, end = np.inf, NOBODY, NOBODY
    while size > 0:
        i = heap[0]
        size = _remove_first(heap, place, distance, size)
        if distance[i] >= best:
            break
        if (i != request or may_stay_out) and distance[i] + profit[i] < best:
            best, last, end = distance[i] + profit[i], i, NOBODY
        for e in range(first[i], first[i + 1]):
            n = node[e]
            if n == at[i]:
                continue
            length = distance[i] + max(profit[i] + price[n] - value[e], 0.0)
            if length >= best:
                continue
            other = holder[n]
            if other == NOBODY:
                best, last, end = length, i, n
            elif length < distance[other]:
                distance[other] = length
                through[other] = i
                size = _lower(heap, place, distance, size, other)
    return best, last, end


@compiled
def take_seat(
    request: int, length: float, last: int, end: int, at: Codes, holder: Codes, price: Floats, profit: Floats,
    distance: Floats, through: Codes,
) -> None:  # fmt: skip
    """Carry out what `find_seat` found, and move prices and profits with it."""
    for i in range(len(at)):
        if distance[i] < length:
            profit[i] = max(profit[i] - (length - distance[i]), 0.0)  # rounding may leave less than nothing
            if at[i] != NOBODY:
                price[at[i]] += length - distance[i]
    taker, target = last, end
    if end == NOBODY:
        target = at[last]
        at[last] = NOBODY
        if last == request:
            return
        taker = through[last]
    while True:
        left = at[taker]
        at[taker] = target
        holder[target] = taker
        if taker == request:
            return
        taker, target = through[taker], left


@compiled
def find_heir(
    freed: int, by_node: Ints, bidder: Codes, bid: Floats, live: Mask, at: Codes, price: Floats, profit: Floats,
    distance: Floats, through: Codes, heap: Codes, place: Codes,
) -> tuple[float, int, int]:  # fmt: skip
    """The best chain for a freed node: a request takes it, whose node another takes, ... until a request that had none
    takes one, or a node stays free. Returns what its price falls by, the request that had none (NOBODY if a node stays
    free), and the node that it takes or that stays free.

    distance, through, heap, place: (N,) working space; through[n] is the node that n's holder moves to.
    """
    distance[:] = np.inf
    place[:] = NOBODY
    distance[freed] = 0.0
    through[freed] = NOBODY
    size = _lower(heap, place, distance, 0, freed)
    best, heir, end = price[freed], NOBODY, freed
    while size > 0:
        n = heap[0]
        size = _remove_first(heap, place, distance, size)
        if distance[n] >= best:
            break
        for e in range(by_node[n], by_node[n + 1]):
            i = bidder[e]
            if not live[i] or at[i] == n:
                continue
            length = distance[n] + max(profit[i] + price[n] - bid[e], 0.0)
            if length >= best:
                continue
            other = at[i]
            if other == NOBODY:
                best, heir, end = length, i, n
            elif length < distance[other]:
                distance[other] = length
                through[other] = n
                size = _lower(heap, place, distance, size, other)
                if length + price[other] < best:
                    best, heir, end = length + price[other], NOBODY, other
    return best, heir, end


@compiled
def hand_on(
    freed: int, length: float, heir: int, end: int, at: Codes, holder: Codes, price: Floats, profit: Floats,
    distance: Floats, through: Codes,
) -> None:  # fmt: skip
    """Carry out what `find_heir` found, and move prices and profits with it."""
    for n in range(len(holder)):
        if distance[n] < length:
            price[n] = max(price[n] - (length - distance[n]), 0.0)
            if holder[n] != NOBODY:
                profit[holder[n]] += length - distance[n]
    taker, target = heir, end
    if heir == NOBODY:
        if end == freed:
            return
        taker, target = holder[end], through[end]
        holder[end] = NOBODY
    while True:
        moved = holder[target]
        holder[target] = taker
        at[taker] = target
        if target == freed:
            return
        taker, target = moved, through[target]


@compiled
def best_margins(first: Ints, node: Codes, value: Floats, price: Floats) -> Floats:
    """(J,) the most that a request has left of its bid at any node after its price; -inf without offers."""
    most = np.full(len(first) - 1, -np.inf)
    for j in range(len(most)):
        for e in range(first[j], first[j + 1]):
            most[j] = max(most[j], value[e] - price[node[e]])
    return most


@compiled
def held_bids(first: Ints, node: Codes, value: Floats, at: Codes) -> Floats:
    """(J,) what every request bid for the node that it holds, 0 without one. Its nodes ascend."""
    bids = np.zeros(len(at))
    for j in range(len(at)):
        if at[j] != NOBODY:
            bids[j] = value[first[j] + np.searchsorted(node[first[j] : first[j + 1]], at[j])]
    return bids


Working = tuple[NDArray[np.float64], Codes, Codes, Codes]


def working_space(rows: int) -> Working:
    """distance, through, heap and place for a search over that many rows."""
    return np.empty(rows), np.empty(rows, np.int32), np.empty(rows, np.int32), np.empty(rows, np.int32)
