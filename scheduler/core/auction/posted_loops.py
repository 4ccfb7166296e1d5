"""Compiled loops of posted prices: who takes what at the prices on the door, and prices that rise until all fits."""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled

NOTHING, INDIFFERENT, WANTS = 0, 1, 2
NONE = -1


@compiled
def serve_groups(
    first: Ints, node: Codes, value: Floats, demand: Ints, room: Ints, exclusive: bool, node_price: Floats,
    unit_price: Floats, group_first: Ints, member: Ints, close: float, at: Codes, wanted: Ints,
) -> tuple[int, int]:  # fmt: skip
    """Serve groups in order, those that want room before those that do not mind; how many requests were, and were not.

    Fills `at`, and `wanted` with what everybody who wants room asks of the node it got, or likes best.
    """
    resources = demand.shape[1]
    margin = np.empty(len(node))
    best = np.full(len(at), -np.inf)
    favourite = np.full(len(at), -1, np.int64)
    for j in range(len(at)):
        for e in range(first[j], first[j + 1]):
            n = node[e]
            left = value[e] - node_price[n]
            for r in range(resources):
                left -= demand[j, r] * unit_price[n, r]
            margin[e] = left
            if left > best[j]:
                best[j], favourite[j] = left, e
    free = room.copy()
    taken = np.zeros(len(room), np.bool_)
    served, unserved = 0, 0
    for turn in (WANTS, INDIFFERENT):
        for g in range(len(group_first) - 1):
            total = 0.0
            for m in range(group_first[g], group_first[g + 1]):
                total += best[member[m]]
            kind = WANTS if total > close else INDIFFERENT if total >= -close else NOTHING
            if kind != turn:
                continue
            complete = True
            for m in range(group_first[g], group_first[g + 1]):
                j = member[m]
                for k in range(first[j] - 1, first[j + 1]):
                    e = favourite[j] if k < first[j] else k
                    if e < 0:
                        continue
                    n = node[e]
                    if margin[e] < best[j] - close or (exclusive and taken[n]):
                        continue
                    fits = True
                    for r in range(resources):
                        fits = fits and demand[j, r] <= free[n, r]
                    if fits:
                        at[j] = n
                        taken[n] = True
                        for r in range(resources):
                            free[n, r] -= demand[j, r]
                        break
                complete = complete and at[j] != UNPLACED
            for m in range(group_first[g], group_first[g + 1]):
                j = member[m]
                n = at[j] if at[j] != UNPLACED else node[favourite[j]]
                if complete or turn == WANTS:
                    wanted[n, resources] += 1
                    for r in range(resources):
                        wanted[n, r] += demand[j, r]
                if not complete and at[j] != UNPLACED:
                    taken[at[j]] = False  # it was free before this gang came, where nodes are exclusive
                    for r in range(resources):
                        free[at[j], r] += demand[j, r]
                    at[j] = UNPLACED
            size = group_first[g + 1] - group_first[g]
            if complete:
                served += size
            elif turn == WANTS:
                unserved += size
    return served, unserved


@compiled
def _choose(
    j: int, first: Ints, node: Codes, value: Floats, demand: Ints, node_price: Floats, unit_price: Floats
) -> tuple[int, float]:
    """The node that leaves a request most, NONE if none leaves anything, and by how much it beats the next."""
    best, at, second = 0.0, NONE, 0.0
    for e in range(first[j], first[j + 1]):
        n = node[e]
        left = value[e] - node_price[n]
        for r in range(demand.shape[1]):
            left -= demand[j, r] * unit_price[n, r]
        if left > best:
            best, at, second = left, n, best
        elif left > second:
            second = left
    return at, best - second


@compiled
def _most_wanted(asked: Ints, room: Ints, exclusive: bool, n: int) -> int:
    """The resource of which most too much is asked on a node, the node itself being the last; NONE if all fits."""
    last = room.shape[1]
    if exclusive:
        return last if asked[n, last] > 1 else NONE
    most, found = 1.0, NONE
    for r in range(last):
        if asked[n, r] > room[n, r] and asked[n, r] > most * room[n, r]:
            most, found = asked[n, r] / max(room[n, r], 1), r
    return found


@compiled
def raise_until_clear(
    first: Ints, node: Codes, value: Floats, demand: Ints, room: Ints, exclusive: bool, node_price: Floats,
    unit_price: Floats, least: float, limit: int,
) -> int:  # fmt: skip
    """Raise prices, node by node, by what makes enough of those who want too much there prefer something else.

    least: a raise for a whole node is larger by this, so that whoever is to leave does. limit: offers to look at.
    Changes the prices and gives the offers looked at. Members of gangs choose for themselves here.
    """
    last = room.shape[1]
    requests, nodes = len(first) - 1, len(room)
    following, head = np.full(requests, NONE, np.int64), np.full(nodes, NONE, np.int64)
    asked = np.zeros((nodes, last + 1), np.int64)
    queue, is_queued = np.empty(nodes, np.int64), np.zeros(nodes, np.bool_)
    who, step = np.empty(requests, np.int64), np.empty(requests)
    begin, count, looked = 0, 0, 0
    waiting = np.arange(requests)  # who is to choose
    waits = requests
    while True:
        for w in range(waits):
            j = waiting[w]
            looked += first[j + 1] - first[j]
            at, _ = _choose(j, first, node, value, demand, node_price, unit_price)
            if at == NONE:
                continue
            following[j], head[at] = head[at], j
            asked[at, last] += 1
            for r in range(last):
                asked[at, r] += demand[j, r]
            if not is_queued[at] and _most_wanted(asked, room, exclusive, at) != NONE:
                queue[(begin + count) % nodes] = at
                is_queued[at] = True
                count += 1
        if count == 0 or looked >= limit:
            return looked
        n = queue[begin]
        begin = (begin + 1) % nodes
        count -= 1
        is_queued[n] = False
        waits = 0
        j = head[n]
        while j != NONE:
            waiting[waits] = j
            waits += 1
            j = following[j]
        scarce = _most_wanted(asked, room, exclusive, n)
        askers = 0
        for w in range(waits):
            j = waiting[w]
            size = 1 if scarce == last else demand[j, scarce]
            if size > 0:
                looked += first[j + 1] - first[j]
                _, ahead = _choose(j, first, node, value, demand, node_price, unit_price)
                who[askers], step[askers] = j, ahead / size
                askers += 1
        order = np.argsort(step[:askers])
        left, rise, k = asked[n, scarce], 0.0, 0
        while left > (1 if scarce == last else room[n, scarce]):
            rise = step[order[k]]
            left -= 1 if scarce == last else demand[who[order[k]], scarce]
            k += 1
        if scarce == last:
            node_price[n] += rise + least
        else:
            unit_price[n, scarce] += rise + least / max(room[n, scarce], 1)
        head[n] = NONE
        asked[n] = 0
