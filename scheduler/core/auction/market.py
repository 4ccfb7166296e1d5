"""One round of bidding as columns, and what every mechanism answers.

A *request* is a pod, or a member of a gang; it wants one node and bids for each node it could use. An *offer* is one
such bid: the most that the request pays for running on that node, in the round's currency. A request is placed once or
not at all; a gang (`gang`) is placed whole or not at all. CPU and GPU of a pod are one demand, so a bundle bids as
one.

Offers are sparse, by request: the full matrix of a large cluster does not fit in memory and most of it never wins.
What a request would bid at most for nodes that it does not list is `unlisted`; bounds count it, so that a certified
gap is about all nodes and not only about those listed. Rows are sorted by name, and row order breaks ties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scheduler.core.columns import Codes, Ints, check_amounts, check_codes, check_column, check_names
from scheduler.core.errors import StowageInputError

Floats = NDArray[np.float64]
Verdict = Literal["optimal", "feasible", "undecided"]
UNPLACED = -1


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """A round: what nodes have, what requests need, what they bid.

    nodes: (N,) names, sorted. room: (N, R) what may still be used. requests: (J,) names, sorted. demand: (J, R).
    resources: R names; amounts are integers in any unit, the same in `room` and `demand`. tenants: T names, sorted.
    tenant: (J,) rows of `tenants`. first: (J + 1,) request j's offers are rows first[j] to first[j + 1] of `node` and
    `value`; its nodes ascend. node: (E,) rows of `nodes`. value: (E,) the bid, at least 0, finite. gang: (J,) number of
    the gang, -1 for a request of its own. unlisted: (J,) the most a request bids for any node it does not list; 0 where
    it lists all it could use. exclusive: a node takes one request, whatever there is room for.

    An offer where the demand exceeds the node's room is allowed and never wins. Raises StowageInputError.
    """

    nodes: NDArray[np.str_]
    room: Ints
    requests: NDArray[np.str_]
    demand: Ints
    resources: tuple[str, ...]
    tenants: tuple[str, ...]
    tenant: Codes
    first: Ints
    node: Codes
    value: Floats
    gang: Codes
    unlisted: Floats
    exclusive: bool = False

    def __post_init__(self) -> None:
        check_names("node", self.nodes)
        check_names("request", self.requests)
        if len(self.tenants):
            check_names("tenant", np.array(self.tenants))
        rows, columns = len(self.requests), len(self.resources)
        check_amounts("room", self.room, (len(self.nodes), columns))
        check_amounts("demand", self.demand, (rows, columns))
        check_codes("tenant", self.tenant, rows, len(self.tenants), lowest=0)
        check_codes("gang", self.gang, rows, rows, lowest=-1)
        check_column("first", self.first, (rows + 1,), np.int64)
        if self.first[0] != 0 or (np.diff(self.first) < 0).any() or self.first[-1] != len(self.node):
            raise StowageInputError(f"offers do not run from 0 to {len(self.node)} without falling")
        check_codes("node of an offer", self.node, len(self.value), len(self.nodes), lowest=0)
        within = np.ones(len(self.node), np.bool_)
        within[self.first[:-1][self.first[:-1] < len(self.node)]] = False
        if (within[1:] & (np.diff(self.node) <= 0)).any():
            raise StowageInputError("the nodes of a request's offers do not ascend; each is listed once, by name")
        self._check_bids("bid", self.value, self.offer_request())
        self._check_bids("bid for nodes not listed", self.unlisted, np.arange(rows))

    def _check_bids(self, what: str, bids: Floats, request: Ints) -> None:
        check_column(what, bids, (len(request),), np.float64)
        for row in np.flatnonzero(~(np.isfinite(bids) & (bids >= 0)))[:1]:
            name = self.requests[request[row]]
            raise StowageInputError(f"{what} of request {name} is {bids[row]}; a bid is a finite number, at least 0")

    def offer_request(self) -> Ints:
        """(E,) the request of every offer."""
        return np.repeat(np.arange(len(self.requests)), np.diff(self.first))

    def fits(self) -> NDArray[np.bool_]:
        """(E,) whether the request of an offer fits on the empty node."""
        request = self.offer_request()
        answer = np.ones(len(self.node), np.bool_)
        for r in range(len(self.resources)):
            answer &= self.demand[request, r] <= self.room[self.node, r]
        return answer


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Who won which node, how good that is, and the prices that say why.

    at: (J,) rows of the market's nodes, UNPLACED where a request lost. welfare: the sum of the winning bids. bound: no
    allocation has more. node_price: (N,), for the node itself (exclusive markets). unit_price: (N, R), for one unit of
    a resource. Prices are at least 0; request j meets node_price[n] + demand[j] @ unit_price[n]. verdict: `optimal`
    where the gap is closed to rounding, `undecided` where the budget ended without an answer. steps: work counted,
    machine-free.
    """

    at: Codes
    welfare: float
    bound: float
    node_price: Floats
    unit_price: Floats
    verdict: Verdict
    steps: int = 0

    @property
    def gap(self) -> float:
        """What may be missing, as a share of the bound."""
        return max(self.bound - self.welfare, 0.0) / self.bound if self.bound > 0 else 0.0


def bid_of(market: Market, at: Codes) -> Floats:
    """(J,) what every request bid for the node it got, 0 where it lost.

    Raises StowageInputError if a request stands on a node for which it made no offer, or for another round's requests.
    """
    if at.shape != market.tenant.shape:
        raise StowageInputError(f"an allocation of shape {at.shape} is not one of {len(market.requests)} requests")
    request = market.offer_request()
    won = at[request] == market.node
    bids = np.zeros(len(market.requests))
    bids[request[won]] = market.value[won]
    has_offer = np.zeros(len(market.requests), np.bool_)
    has_offer[request[won]] = True
    for j in np.flatnonzero((at >= 0) & ~has_offer)[:1]:
        name, node = market.requests[j], market.nodes[at[j]]
        raise StowageInputError(f"request {name} stands on {node}, for which it did not bid")
    return bids


def price_met(market: Market, outcome: Outcome, request: int) -> Floats:
    """(its offers,) the price the request met at each node it bid for."""
    nodes = market.node[market.first[request] : market.first[request + 1]]
    return np.asarray(outcome.node_price[nodes] + outcome.unit_price[nodes] @ market.demand[request])


def dual_bound(market: Market, node_price: Floats, unit_price: Floats) -> float:
    """The most any allocation can be worth, by these prices (weak duality); any prices of at least 0 give a bound.

    A gang's members bid for themselves here, which can only raise the bound. Raises ValueError for a price below 0, or
    one for the node itself where nodes are shared: no rule limits how many requests pay it, so it would bound nothing.
    """
    if min(node_price.min(initial=0), unit_price.min(initial=0)) < 0:
        raise ValueError("a price is below 0")
    if not market.exclusive and node_price.any():
        raise ValueError("a shared node has no price of its own, only its resources have")
    request = market.offer_request()
    met = node_price[market.node] + (market.demand[request] * unit_price[market.node]).sum(axis=1)
    profit = market.unlisted.copy()
    fits = market.fits()
    np.maximum.at(profit, request[fits], (market.value - met)[fits])
    room = float((market.room * unit_price).sum()) + float(node_price.sum())
    return float(np.maximum(profit, 0).sum()) + room


def broken_rules(market: Market, at: Codes) -> list[str]:
    """Every rule this allocation breaks, in words; empty when it is sound. Shares nothing with any mechanism."""
    broken = []
    used: dict[int, list[int]] = {}
    for j, n in enumerate(at.tolist()):
        if n == UNPLACED:
            continue
        if n not in market.node[market.first[j] : market.first[j + 1]]:
            broken.append(f"request {market.requests[j]} stands on {market.nodes[n]}, for which it did not bid")
        used.setdefault(n, []).append(j)
    for n, who in sorted(used.items()):
        if market.exclusive and len(who) > 1:
            broken.append(f"node {market.nodes[n]} takes one request and has {len(who)}")
        for r, resource in enumerate(market.resources):
            asked = sum(int(market.demand[j, r]) for j in who)
            if asked > market.room[n, r]:
                broken.append(f"node {market.nodes[n]} has {market.room[n, r]} of {resource}; {asked} are used")
    members: dict[int, set[bool]] = {}
    for gang, n in zip(market.gang.tolist(), at.tolist(), strict=True):
        if gang >= 0:
            members.setdefault(gang, set()).add(n != UNPLACED)
    broken += [f"gang {gang} is placed in part" for gang, found in sorted(members.items()) if len(found) > 1]
    return broken
