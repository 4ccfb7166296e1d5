"""Greedy winner determination: offers in an order, each taken where its request and its node are still free."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scheduler.core.auction.market import UNPLACED, Market
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled

Bools = NDArray[np.bool_]


def take_in_order(market: Market, order: Ints) -> Codes:
    """(J,) where every request stands when offers (rows of `market.value`) are taken in this order.

    An offer is taken when its request has none yet and the node has room (and, where nodes are exclusive, nobody).
    """
    request = market.offer_request()
    return whole_gangs(
        market,
        lambda allowed: _take(
            order, request, market.node, market.demand, market.room.copy(), market.exclusive, allowed
        ),
    )


def whole_gangs(market: Market, decide: Callable[[Bools], Codes]) -> Codes:
    """What `decide` gives with gangs that it would place in part left out.

    decide: from (J,) who may take part to (J,) places. A gang left out stays out, so this ends.
    """
    allowed = np.ones(len(market.requests), np.bool_)
    while True:
        at = decide(allowed)
        partial = partial_gangs(market, at)
        if not len(partial):
            return at
        allowed &= ~np.isin(market.gang, partial)


def partial_gangs(market: Market, at: Codes) -> Ints:
    """Numbers of the gangs of which some members are placed and some are not."""
    member = market.gang >= 0
    size = np.bincount(market.gang[member])
    placed = np.bincount(market.gang[member & (at != UNPLACED)], minlength=len(size))
    return np.flatnonzero((placed > 0) & (placed < size))


@compiled
def _take(order: Ints, request: Ints, node: Codes, demand: Ints, free: Ints, exclusive: bool, allowed: Bools) -> Codes:
    at = np.full(demand.shape[0], UNPLACED, np.int32)
    taken = np.zeros(free.shape[0], np.bool_)
    for e in order:
        j, n = request[e], node[e]
        if at[j] != UNPLACED or not allowed[j] or (exclusive and taken[n]):
            continue
        fits = True
        for r in range(demand.shape[1]):
            fits = fits and demand[j, r] <= free[n, r]
        if fits:
            at[j] = n
            taken[n] = True
            for r in range(demand.shape[1]):
                free[n, r] -= demand[j, r]
    return at
