"""One request per node: who gets which node so that the winning bids are worth most, with a bound.

The auction of Bertsekas ("The auction algorithm", Annals of Operations Research 14, 1988) over sparse offers. A
request without a node bids for the one that leaves it most, and raises its price until the second best would do as
well, and by epsilon more. When nobody bids any longer, each request has the best it can within epsilon, so the
welfare is within (nodes taken) x epsilon of any other. Here both sides may stay alone: a request is worth 0 unplaced,
and weak duality is tight only when the price of every node left over is 0. Prices that start at 0 see to that, but
with a small epsilon they may rise in a great many steps (a price war); prices left by a larger epsilon end wars early
and leave nodes over that have a price. So each epsilon has two halves, as in Bertsekas, Castanon and Tsaknakis
("Reverse auction and the solution of inequality constrained assignment problems", SIAM J. Optimization 3, 1993):
first requests bid and prices rise, then the nodes that are left over with a price bid for requests, and prices fall,
to 0 where nobody is won. The second half leaves no request without a node that had one, hence one pass of each is
enough.

Prices are kept from one epsilon to the next, and from the last round where it is given: whoever still has the best it
can keeps its node, so a round in which little changed costs little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.auction.assignment_loops import (
    alike_in_order,
    bid_forward,
    bid_reverse,
    by_node,
    fingerprints,
    keep_slack,
    worth,
)
from scheduler.core.auction.market import UNPLACED, Floats, Market, Outcome, Verdict
from scheduler.core.columns import Codes, Ints
from scheduler.core.errors import StowageInputError

# A gap as large as the rounding of a sum of doubles is none.
ROUNDING = 1e-9
# Epsilon falls by this from pass to pass; between 5 and 30 the steps hardly differ.
FALL = 10.0
# Below this share of the largest bid a step of epsilon would be lost in rounding.
FINEST = 2.0**-45
# Looks at every offer after which prices were not about right; an auction from nothing takes 15 to 30.
PATIENCE = 10
ENDLESS = 2**62


@dataclass(slots=True)
class Auction:
    """A running auction: its offers, who holds what, and prices. Columns as in `assignment_loops`."""

    first: Ints
    node: Codes
    value: Floats
    outside: Floats
    unlisted: Floats
    price: Floats
    offer: Ints
    holder: Ints
    limit: int = ENDLESS
    steps: int = 0

    def hold(self, at: Codes) -> None:
        """Give requests the nodes of an earlier answer, as far as they still bid for them."""
        if len(at) != len(self.outside):
            return  # of other requests
        request = self.requests()
        rows = np.flatnonzero(at[request] == self.node)
        rows = rows[np.unique(self.node[rows], return_index=True)[1]]  # it may have been shared
        self.offer[request[rows]] = rows
        self.holder[self.node[rows]] = request[rows]

    def requests(self) -> Codes:
        """(E,) the request of every offer."""
        return np.repeat(np.arange(len(self.outside), dtype=np.int32), np.diff(self.first))

    def scale(self) -> float:
        """The largest difference a price can have to bridge."""
        return float(self.value.max(initial=0.0) - self.outside.min(initial=0.0))

    def at(self) -> Codes:
        """(J,) the node of every request."""
        placed = self.offer >= 0
        at = np.full(len(self.outside), UNPLACED, np.int32)
        at[placed] = self.node[self.offer[placed]]
        return at

    def worth(self) -> tuple[float, float]:
        """Welfare so far, and the bound by the present prices."""
        return worth(self.first, self.node, self.value, self.outside, self.unlisted, self.price, self.offer)

    def settle_ties(self) -> None:
        """Of requests that bid the same, the first by name win, whatever the order they bid in."""
        marks = fingerprints(self.first, self.node, self.value.view(np.int64))
        order = np.argsort(marks, kind="stable")
        alike_in_order(self.first, self.node, self.value, self.offer, self.holder, order)

    def pass_at(self, epsilon: float) -> bool:
        """Both halves at this epsilon; False when the budget of steps ended before they did."""
        self.steps += keep_slack(
            self.first, self.node, self.value, self.outside, self.price, self.offer, self.holder, epsilon
        )
        alone = np.flatnonzero(self.offer < 0)[::-1]
        waiting = np.empty(len(self.outside), np.int64)
        waiting[: len(alone)] = alone
        took, waits = bid_forward(
            self.first, self.node, self.value, self.outside, self.price, self.offer, self.holder, epsilon, waiting,
            len(alone), self.limit - self.steps,
        )  # fmt: skip
        self.steps += took
        if waits:
            return False
        if not ((self.holder < 0) & (self.price > 0)).any():
            return True
        start, rows = by_node(self.node, len(self.price))
        self.steps += len(self.node)
        took, done = bid_reverse(
            self.requests(), self.node, self.value, self.outside, self.price, self.offer, self.holder, epsilon, start,
            rows, self.limit - self.steps,
        )  # fmt: skip
        self.steps += took
        return done

    def run(self, tolerance: float, epsilon: float) -> tuple[float, float]:
        """Passes at ever smaller epsilons until the gap is at most `tolerance`; welfare and bound."""
        finest = self.scale() * FINEST
        welfare, bound = self.worth()
        while bound - welfare > tolerance * abs(bound) and self.steps < self.limit:
            done = self.pass_at(max(epsilon, finest))
            welfare, found = self.worth()
            bound = found if done else min(bound, found)
            if not done or epsilon <= finest:
                break
            epsilon /= FALL
        return welfare, bound

    def run_on(self, tolerance: float, epsilon: float) -> tuple[float, float]:
        """The same from prices that are about right, so that a small epsilon will do; if not, from a large one."""
        limit = self.limit
        self.limit = min(limit, self.steps + PATIENCE * len(self.node))
        welfare, bound = self.run(tolerance, epsilon)
        self.limit = limit
        if bound - welfare <= tolerance * abs(bound):
            return welfare, bound
        return self.run(tolerance, self.scale() / FALL)


def open_auction(market: Market) -> Auction:
    """An auction of the market's offers that fit, with no prices yet and nobody placed."""
    fits = market.fits()
    first, node, value = market.first, market.node, market.value
    if not fits.all():
        kept = np.concatenate([[0], np.cumsum(fits)])
        first, node, value = kept[first].astype(np.int64), node[fits], value[fits]
    requests, nodes = len(market.requests), len(market.nodes)
    return Auction(
        first, node, value, np.zeros(requests), market.unlisted, np.zeros(nodes), np.full(requests, -1, np.int64),
        np.full(nodes, -1, np.int64),
    )  # fmt: skip


def solve_assignment(
    market: Market, *, start: Outcome | None = None, tolerance: float = 1e-6, limit: int = ENDLESS
) -> Outcome:
    """The allocation worth most where a node takes one request, with node prices and a bound.

    start: the outcome of an earlier round with the same nodes; its prices are where this one begins, and its places
    where there are as many requests. tolerance: the gap, as a share of the bound, at which to stop; 0 asks for the
    optimum. limit: offers to look at; the answer by then is sound and has its bound. Equal bids win by name.
    Raises StowageInputError for a market whose nodes are shared, or with gangs (`solve.solve_market` takes those).
    """
    if not market.exclusive:
        raise StowageInputError("an assignment places one request per node; this market's nodes are shared")
    if (market.gang >= 0).any():
        raise StowageInputError("an assignment places each request for itself; this market has gangs")
    auction = open_auction(market)
    auction.limit = limit
    tolerance = max(tolerance, ROUNDING)
    if start is None:
        welfare, bound = auction.run(tolerance, auction.scale() / FALL)
    else:
        start_from(auction, start)
        auction.hold(start.at)
        welfare, bound = auction.run_on(tolerance, fine_epsilon(tolerance, start.welfare, len(market.nodes)))
    auction.settle_ties()
    return outcome_of(market, auction, welfare, bound)


def start_from(auction: Auction, start: Outcome) -> None:
    """Take over the prices of an earlier outcome. Raises StowageInputError where it is of other nodes."""
    if start.node_price.shape != auction.price.shape:
        had, has = len(start.node_price), len(auction.price)
        raise StowageInputError(f"the last round had {had} nodes, this one has {has}; prices are per node")
    auction.price[:] = start.node_price


def fine_epsilon(tolerance: float, welfare: float, nodes: int) -> float:
    """The epsilon at which one pass closes the gap to the tolerance, where the welfare is about this."""
    return max(tolerance, ROUNDING) * welfare / max(nodes, 1)


def outcome_of(market: Market, auction: Auction, welfare: float, bound: float) -> Outcome:
    """What the auction found, for that market."""
    verdict = verdict_of(welfare, bound, auction.steps >= auction.limit)
    unit_price = np.zeros(market.room.shape)
    return Outcome(auction.at(), welfare, max(bound, welfare), auction.price, unit_price, verdict, auction.steps)


def verdict_of(welfare: float, bound: float, stopped: bool) -> Verdict:
    """What may be said of an answer that is worth this; stopped: by its budget."""
    if bound - welfare <= ROUNDING * bound:
        return "optimal"
    return "undecided" if stopped and welfare == 0 else "feasible"
