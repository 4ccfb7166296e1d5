"""The rules that an auction is compared with, in the frame of `Market` and `Terms`: who wins, and what each pays.

`priority_greedy`, `first_price` and `random_order` are the baselines of MOHAF's code, whose "utilities" there are
constants or random numbers; here every rule is scored by the bids. `drf` is progressive filling (Ghodsi et al.,
"Dominant Resource Fairness", NSDI 2011), `kube_default` what kube-scheduler does pod by pod. These two know no money:
nobody pays.
"""

from __future__ import annotations

import heapq

import numpy as np

from scheduler.core.auction.market import UNPLACED, Market
from scheduler.core.auction.terms import Award, Terms, pay
from scheduler.core.auction.walk import Bools, take_in_order, whole_gangs
from scheduler.core.columns import Codes, Ints


def priority_greedy(market: Market, terms: Terms) -> Award:
    """Requests by priority, then budget, then name; each takes the cheapest node with room and pays what it asks."""
    request = market.offer_request()
    budget = np.zeros(len(market.requests))
    np.maximum.at(budget, request, terms.budget)
    price = terms.cost[market.node] * terms.size[request]
    order = np.lexsort((market.node, price, request, -budget[request], -terms.priority[request]))
    return _award(market, terms, take_in_order(market, order))


def first_price(market: Market, terms: Terms) -> Award:
    """The highest price goes first, and who wins pays it."""
    return _award(market, terms, take_in_order(market, np.argsort(-terms.asked, kind="stable")))


def random_order(market: Market, terms: Terms, seed: int) -> Award:
    """Requests in any order, each on any node that has room for it. Same seed, same answer."""
    rng = np.random.default_rng(seed)
    turn = rng.permutation(len(market.requests))
    order = np.lexsort((rng.random(len(market.value)), turn[market.offer_request()]))
    return _award(market, terms, take_in_order(market, order))


def drf(market: Market, terms: Terms) -> Award:
    """The tenant with the least dominant share places its next request, priority first, on the node it bids most for.

    Where nodes are exclusive, nodes are a resource too. A request that finds no room is passed over for good.
    """
    at = whole_gangs(market, lambda allowed: _fill_progressively(market, terms, allowed))
    return Award(at, np.zeros(len(at)), terms.cost)


def kube_default(market: Market, terms: Terms) -> Award:
    """Requests by priority, then name; each on the node that LeastAllocated plus BalancedAllocation likes most.

    Over all resources of the market, of what it offers: what ran there before is not in it. Ties go by name.
    """
    at = whole_gangs(market, lambda allowed: _schedule_each(market, terms, allowed))
    return Award(at, np.zeros(len(at)), terms.cost)


def _award(market: Market, terms: Terms, at: Codes) -> Award:
    return Award(at, pay(market, at, terms.asked), terms.cost)


class _Room:
    """What is still free, while requests are placed one by one."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.free = market.room.copy()
        self.open = np.ones(len(market.nodes), np.bool_)
        self.at = np.full(len(market.requests), UNPLACED, np.int32)

    def offers(self, request: int) -> Ints:
        """Rows of the request's offers that can still be taken."""
        rows = np.arange(self.market.first[request], self.market.first[request + 1])
        node = self.market.node[rows]
        fits = self.open[node] & (self.market.demand[request] <= self.free[node]).all(axis=1)
        return rows[fits]

    def take(self, request: int, node: int) -> None:
        self.at[request] = node
        self.free[node] -= self.market.demand[request]
        self.open[node] = not self.market.exclusive


def _fill_progressively(market: Market, terms: Terms, allowed: Bools) -> Codes:
    room = _Room(market)
    total = np.maximum(market.room.sum(axis=0), 1)
    by_priority = np.lexsort((np.arange(len(market.requests)), -terms.priority))
    waiting: list[list[int]] = [[] for _ in market.tenants]
    for j in by_priority[::-1].tolist():
        if allowed[j]:
            waiting[market.tenant[j]].append(j)
    held = np.zeros((len(market.tenants), len(total)))
    nodes = np.zeros(len(market.tenants))
    queue = [(0.0, t) for t, requests in enumerate(waiting) if requests]
    while queue:
        share, t = heapq.heappop(queue)
        request = waiting[t].pop()
        offers = room.offers(request)
        if len(offers):
            room.take(request, int(market.node[offers[market.value[offers].argmax()]]))
            held[t] += market.demand[request]
            nodes[t] += market.exclusive
            share = max(float((held[t] / total).max(initial=0.0)), float(nodes[t]) / len(market.nodes))
        if waiting[t]:
            heapq.heappush(queue, (share, t))
    return room.at


def _schedule_each(market: Market, terms: Terms, allowed: Bools) -> Codes:
    room = _Room(market)
    for j in np.lexsort((np.arange(len(market.requests)), -terms.priority)).tolist():
        offers = room.offers(j) if allowed[j] else np.zeros(0, np.int64)
        if len(offers):
            node = market.node[offers]
            room.take(j, int(node[kube_score(market.room[node], room.free[node], market.demand[j]).argmax()]))
    return room.at


def kube_score(size: Ints, free: Ints, demand: Ints) -> Ints:
    """(nodes,) LeastAllocated plus BalancedAllocation, whole points in [0, 200], over resources a node has at all.

    As `scheduler.core.policies.kube_default` states the rules, for any number of resources: the imbalance is the
    standard deviation of the used shares.
    """
    has, after = size > 0, free - demand
    count = np.maximum(has.sum(axis=1), 1)
    points = np.where(has, 100 * np.maximum(after, 0) // np.maximum(size, 1), 0)
    least = points.sum(axis=1) // count
    balanced = 50 + (50 + _balance(size, size - after) - _balance(size, size - free)) // 2
    return np.asarray(least + balanced)


def _balance(size: Ints, used: Ints) -> Ints:
    has = size > 0
    count = np.maximum(has.sum(axis=1), 1)
    share = np.where(has, np.minimum(used / np.maximum(size, 1), 1.0), 0.0)
    mean = share.sum(axis=1) / count
    spread = np.where(has, (share - mean[:, None]) ** 2, 0.0).sum(axis=1) / count
    return np.asarray(((1.0 - np.sqrt(spread)) * 100.0).astype(np.int64))
