"""A bound where a request bids the same for every node: one price per unit of a resource, the same everywhere.

Such a request may list a few of very many nodes; bounds by node then count what it would bid for the others in full.
All nodes together have the summed room, and an allocation in single nodes is one in the sum: so for any prices at least
0, the sum's dual value bounds it. The prices are found resource by resource, each time exactly, which ends near the
best ones.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.market import Floats, Market
from scheduler.core.columns import Ints

SWEEPS = 20


def bound_by_summed_room(market: Market) -> float:
    """The most any allocation is worth if every node takes whatever fits in all of them together.

    A request is taken at its highest bid for a node that could hold it, or for those that it does not list.
    """
    return prices_by_summed_room(market)[1]


def prices_by_summed_room(market: Market) -> tuple[Floats, float]:
    """(prices of a unit of each resource, the bound they give); where nodes are exclusive, of a place on a node too."""
    request, fits = market.offer_request(), market.fits()
    bid = market.unlisted.copy()
    np.maximum.at(bid, request[fits], market.value[fits])
    room = market.room.sum(axis=0).astype(np.float64)
    demand = market.demand
    if market.exclusive:
        room, demand = np.append(room, len(market.nodes)), np.column_stack([demand, np.ones(len(bid), np.int64)])
    price = np.zeros(len(room))
    best, best_price = _dual(bid, demand, room, price), price.copy()
    for _ in range(SWEEPS):
        for r in range(len(room)):
            price[r] = _best_price(bid, demand, room, price, r)
        value = _dual(bid, demand, room, price)
        if value >= best:
            break
        best, best_price = value, price.copy()
    return best_price, best


def _dual(bid: Floats, demand: Ints, room: Floats, price: Floats) -> float:
    return float(np.maximum(bid - demand @ price, 0.0).sum() + room @ price)


def _best_price(bid: Floats, demand: Ints, room: Floats, price: Floats, r: int) -> float:
    """The lowest price of resource r at which what is still asked for is no more than there is, the others as given."""
    others = price.copy()
    others[r] = 0.0
    asks = demand[:, r] > 0
    pays = (bid[asks] - demand[asks] @ others) / demand[asks, r]
    order = np.argsort(-pays, kind="stable")
    over = np.cumsum(demand[asks, r][order]) > room[r]
    return max(float(pays[order][over.argmax()]), 0.0) if over.any() else 0.0
