"""Compiled knapsacks: the best set of requests for every node, and all sets that are nearly as good.

A request is worth, at a node, its bid there less the request's own price. Sets are built in the order of worth per
weight; a request's weight is one sum over its resources, by multipliers of the node, so the fractional knapsack over
this weight bounds what a set may still gain.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.columns import Codes, Ints, Mask
from scheduler.core.compiled import compiled


class ByNode(NamedTuple):
    """Offers by node, and what the knapsacks read. first: (N + 1,); request, value: (E,). demand, share: (J, R); room,
    size, multiplier: (N, R), the last above 0 wherever there is room."""

    first: Ints
    request: Codes
    value: Floats
    demand: Ints
    share: Floats
    room: Ints
    size: Floats
    multiplier: Floats


class Items(NamedTuple):
    """The requests that one node chooses from, best worth per weight first. row: rows of offers; need: (items, R)."""

    worth: Floats
    weight: Floats
    ratio: Floats
    row: Ints
    need: Ints


@compiled
def make_items(longest: int, resources: int) -> Items:
    """Room for so many."""
    return Items(
        np.empty(longest),
        np.empty(longest),
        np.empty(longest),
        np.empty(longest, np.int64),
        np.empty((longest, resources), np.int64),
    )


@compiled
def list_items(b: ByNode, n: int, price: Floats, above: float, allowed: Mask, to: Items) -> int:
    """Fill in the allowed requests that are worth more than `above` at node n; gives how many."""
    resources = b.room.shape[1]
    items = 0
    for e in range(b.first[n], b.first[n + 1]):
        j = b.request[e]
        worth = b.value[e] - price[j]
        if worth <= above or not allowed[j]:
            continue
        weight = 0.0
        for r in range(resources):
            weight += b.multiplier[n, r] * b.share[j, r]
        ratio = worth / weight if weight > 0 else (np.inf if worth > 0 else -np.inf)
        i = items
        while i > 0 and to.ratio[i - 1] < ratio:
            to.ratio[i], to.worth[i], to.weight[i] = to.ratio[i - 1], to.worth[i - 1], to.weight[i - 1]
            to.row[i] = to.row[i - 1]
            i -= 1
        to.ratio[i], to.worth[i], to.weight[i], to.row[i] = ratio, worth, weight, e
        items += 1
    for i in range(items):
        for r in range(resources):
            to.need[i, r] = b.demand[b.request[to.row[i]], r]
    return items


@compiled
def look_ahead(items: Items, begin: int, end: int, free: Ints, left: float) -> tuple[float, int]:
    """What items from `begin` on may add at most, in `free` room of weight `left`; and the first that fits, or -1."""
    hope, first = 0.0, -1
    for k in range(begin, end):
        inside = True
        for r in range(len(free)):
            if items.need[k, r] > free[r]:
                inside = False
                break
        if not inside:
            continue
        if first < 0:
            first = k
        if items.worth[k] <= 0:
            break
        if items.weight[k] > left:
            hope += items.worth[k] * max(left, 0.0) / items.weight[k]
            break
        left -= items.weight[k]
        hope += items.worth[k]
    return hope, first


@compiled
def best_set(
    items: Items, count: int, free: Ints, weight: float, limit: int, chosen: Ints, kept: Ints
) -> tuple[float, float, int, int]:
    """The set of most worth: its worth, a bound on all sets' worth, its size, and the steps taken.

    After `limit` steps the search ends with the best set so far. kept: filled with the items of the set.
    """
    best, size, steps, root = 0.0, 0, 0, 0.0
    value, depth, i = 0.0, 0, 0
    while True:
        hope, first = look_ahead(items, i, count, free, weight)
        if steps == 0:
            root = hope
        steps += 1
        if value > best:
            best, size = value, depth
            kept[:depth] = chosen[:depth]
        if first >= 0 and value + hope > best * (1 + 1e-12) and steps < limit:
            chosen[depth] = first
            depth += 1
            value += items.worth[first]
            weight -= items.weight[first]
            for r in range(len(free)):
                free[r] -= items.need[first, r]
            i = first + 1
            continue
        if depth == 0 or steps >= limit:
            break
        depth -= 1
        k = chosen[depth]
        value -= items.worth[k]
        weight += items.weight[k]
        for r in range(len(free)):
            free[r] += items.need[k, r]
        i = k + 1
    return best, max(root, best) if steps >= limit else best, size, steps


@compiled
def open_node(b: ByNode, n: int, free: Ints) -> float:
    """Fill in the node's room; gives its weight."""
    weight = 0.0
    for r in range(len(free)):
        free[r] = b.room[n, r]
        weight += b.multiplier[n, r] * b.size[n, r]
    return weight


@compiled
def price_sets(b: ByNode, price: Floats, limit: int, times: Ints, best: Floats) -> tuple[float, int]:
    """The sum over nodes of what their best sets are worth at most, and the steps taken.

    Fills in (J,) times: in how many nodes' best sets a request is; (N,) best: what they are worth.
    """
    longest = int((b.first[1:] - b.first[:-1]).max()) if len(b.room) else 0
    items = make_items(longest, b.room.shape[1])
    chosen, kept = np.empty(longest, np.int64), np.empty(longest, np.int64)
    free = np.empty(b.room.shape[1], np.int64)
    allowed = np.ones(len(price), np.bool_)
    times[:] = 0
    total, steps = 0.0, 0
    for n in range(len(b.room)):
        count = list_items(b, n, price, 0.0, allowed, items)
        best[n], bound, size, took = best_set(items, count, free, open_node(b, n, free), limit, chosen, kept)
        total += bound
        steps += took
        for i in range(size):
            times[b.request[items.row[kept[i]]]] += 1
    return total, steps


@compiled
def near_sets(
    b: ByNode,
    nodes: Ints,
    price: Floats,
    allowed: Mask,
    within: float,
    limit: int,
    first: Ints,
    row: Ints,
    short: Floats,
) -> int:
    """All sets of allowed requests worth at most `within` less than their node's best; gives how many.

    Fills in, set by set, row: rows of offers; first: (sets + 1,); short: (sets,) how much less; until one is full.
    `limit` steps at each node at most. The empty set is not listed.
    """
    longest = 0
    for n in nodes:
        longest = max(longest, b.first[n + 1] - b.first[n])
    items = make_items(longest, b.room.shape[1])
    chosen, kept = np.empty(longest, np.int64), np.empty(longest, np.int64)
    free = np.empty(b.room.shape[1], np.int64)
    sets = 0
    first[0] = 0
    for n in nodes:
        count = list_items(b, n, price, -within, allowed, items)
        weight = open_node(b, n, free)
        best, _, _, _ = best_set(items, count, free, weight, limit, chosen, kept)
        weight = open_node(b, n, free)
        value, depth, i = 0.0, 0, 0
        for _ in range(limit):
            hope, k = look_ahead(items, i, count, free, weight)
            if k >= 0 and value + hope + min(items.worth[k], 0.0) >= best - within:
                chosen[depth] = k
                depth += 1
                value += items.worth[k]
                weight -= items.weight[k]
                for r in range(len(free)):
                    free[r] -= items.need[k, r]
                i = k + 1
                if value >= best - within:
                    if sets + 1 == len(first) or first[sets] + depth > len(row):
                        return sets
                    for d in range(depth):
                        row[first[sets] + d] = items.row[chosen[d]]
                    short[sets] = best - value
                    sets += 1
                    first[sets] = first[sets - 1] + depth
                continue
            if k >= 0 and value + hope >= best - within:
                i = k + 1  # this one alone is worth too little; those behind it may be worth more
                continue
            if depth == 0:
                break
            depth -= 1
            k = chosen[depth]
            value -= items.worth[k]
            weight += items.weight[k]
            for r in range(len(free)):
                free[r] += items.need[k, r]
            i = k + 1
    return sets
