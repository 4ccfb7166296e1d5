"""An optimal assignment that stays optimal while single requests come, go and change their bids.

Where a node takes one request, taking a tenant out needs no new round: each node that it held is handed on along the
best chain of exchanges, with all prices kept. All Clarke charges together need one such chain per winner, and what a
request must bid to win is the length of one chain.

Prices of an auction are right up to its epsilon; `Exchange` starts from them and closes what is left, so its answers
are exact up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scheduler.core.auction.assignment_loops import by_node
from scheduler.core.auction.charges import Charges, Solve, clarke
from scheduler.core.auction.exchange_loops import (
    NOBODY,
    best_margins,
    find_heir,
    find_seat,
    hand_on,
    held_bids,
    take_seat,
    working_space,
)
from scheduler.core.auction.fairness import per_tenant
from scheduler.core.auction.market import UNPLACED, Floats, Market, Outcome, Verdict, bid_of
from scheduler.core.errors import StowageInputError

ROUNDING = 1e-12  # of the largest bid: a held node this near to the best one is the best one


class Exchange:
    """A round in which a node takes one request, with its optimal assignment, prices and profits.

    at: (J,) node held or UNPLACED. price: (N,). profit: (J,) what a request's bid exceeds its price by. live: (J,)
    whether it takes part. Raises StowageInputError for a market that is not exclusive or has gangs.
    """

    def __init__(self, market: Market, outcome: Outcome | None = None) -> None:
        """start: an outcome of this market with prices, as near to optimal as may be; from nothing without it."""
        if not market.exclusive or (market.gang >= 0).any():
            raise StowageInputError("exchanges are for rounds in which a node takes one request and there are no gangs")
        self.market = market
        rows, nodes = len(market.requests), len(market.nodes)
        self.value = np.where(market.fits(), market.value, -np.inf)
        self._by_node, offer = by_node(market.node, nodes)
        self._bidder = np.repeat(np.arange(rows, dtype=np.int32), np.diff(market.first))[offer]
        self._bid = self.value[offer]
        self._row = np.empty_like(offer)
        self._row[offer] = np.arange(len(offer))
        self.live = np.ones(rows, np.bool_)
        self.at = np.full(rows, UNPLACED, np.int32)
        self.holder = np.full(nodes, NOBODY, np.int32)
        self.price = np.zeros(nodes)
        self.profit = np.zeros(rows)
        self._seat_space = working_space(rows)
        self._heir_space = working_space(nodes)
        self._settle(outcome)

    def _settle(self, outcome: Outcome | None) -> None:
        """Keep of an outcome what its prices prove best, and mend the rest."""
        market = self.market
        if outcome is not None:
            self.price = outcome.node_price.copy()
            bids = bid_of(market, outcome.at)
            margin = best_margins(market.first, market.node, self.value, self.price)
            self.profit = np.maximum(margin, 0.0)
            won = outcome.at != UNPLACED
            left = np.where(won, bids - self.price[outcome.at], -np.inf)
            kept = left >= self.profit - ROUNDING * market.value.max(initial=0.0)
            self.at[kept] = outcome.at[kept]
            self.holder[self.at[kept]] = np.flatnonzero(kept)
            self.profit[kept] = left[kept]
        for j in np.flatnonzero(self.at == UNPLACED).tolist():
            self._seat(j)
        for n in np.flatnonzero((self.holder == NOBODY) & (self.price > 0)).tolist():
            self._hand_on(n)

    def copy(self) -> Exchange:
        """The same state, changed apart, with the same offers: `bid` changes them for both."""
        other = object.__new__(Exchange)
        other.__dict__.update(self.__dict__)
        for name in ("live", "at", "holder", "price", "profit"):
            setattr(other, name, getattr(self, name).copy())
        return other

    @property
    def bids(self) -> Floats:
        """(J,) what every request bid for the node that it holds."""
        return held_bids(self.market.first, self.market.node, self.value, self.at)

    def outcome(self) -> Outcome:
        """What it says as an outcome, with those who take part."""
        welfare = float(self.bids.sum())
        missing = self._unlisted_profit()
        zero = np.zeros((len(self.market.nodes), len(self.market.resources)))
        verdict: Verdict = "feasible" if missing > 0 else "optimal"
        return Outcome(self.at.copy(), welfare, welfare + missing, self.price.copy(), zero, verdict)

    def remove(self, requests: Iterable[int]) -> int:
        """Take requests out; their nodes are handed on. Returns how many nodes that were."""
        freed = []
        for j in requests:
            self.live[j] = False
            if self.at[j] != UNPLACED:
                freed.append(int(self.at[j]))
                self.holder[self.at[j]] = NOBODY
                self.at[j] = UNPLACED
            self.profit[j] = 0.0
        for n in freed:
            self._hand_on(n)
        return len(freed)

    def bid(self, request: int, values: Floats) -> None:
        """Let a request that was removed take part again. values: a bid per offer, -inf for a node it cannot use."""
        if self.live[request]:
            raise StowageInputError(
                f"request {self.market.requests[request]} takes part; remove it before it bids anew"
            )
        offers = slice(self.market.first[request], self.market.first[request + 1])
        if values.shape != self.value[offers].shape:
            raise StowageInputError(f"{values.size} bids for {self.value[offers].size} offers")
        self.value[offers] = values
        self._bid[self._row[offers]] = values
        self.live[request] = True
        self._seat(request)

    def raise_needed(self, request: int) -> tuple[float, int]:
        """By how much a request without a node must raise all its bids to win one at best, and which it then gets.

        A raise above it wins, one below does not. inf and UNPLACED for a request that fits on no node it bids for.
        """
        market = self.market
        offers = slice(market.first[request], market.first[request + 1])
        margin = float((self.value[offers] - self.price[market.node[offers]]).max(initial=-np.inf))
        if margin == -np.inf:
            return np.inf, UNPLACED
        before, self.profit[request] = self.profit[request], margin
        length, last, end = self._find_seat(request, may_stay_out=False)
        self.profit[request] = before
        through, node = self._seat_space[1], end
        if end == NOBODY:
            last, node = through[last], self.at[last]
        while last != request:
            last, node = through[last], self.at[last]
        return max(length - margin, 0.0), int(node)

    def room_to_fall(self, request: int) -> float:
        """By how much a request that holds a node may lower all its bids and still hold one."""
        n = int(self.at[request])
        self.live[request], self.holder[n] = False, NOBODY
        length, _, _ = self._find_heir(n)
        self.live[request], self.holder[n] = True, request
        return float(self.profit[request] + length)

    def price_range(self) -> tuple[Floats, Floats]:
        """(N,) the lowest and the highest prices that clear the round: nobody wants what another holds.

        All that clear it lie between, and so does whatever lies evenly between the two; in the middle hardly anybody is
        in doubt between two nodes. A node that is left over is free in both.
        """
        low, high = self.price.copy(), self.price.copy()
        for n in np.flatnonzero(self.holder != NOBODY).tolist():
            holder = int(self.holder[n])
            self.live[holder], self.holder[n] = False, NOBODY
            low[n] -= self._find_heir(n)[0]
            self.live[holder], self.holder[n] = True, holder
            high[n] += self._find_seat(holder, may_stay_out=True)[0]
        return np.maximum(low, 0.0), high

    def charges(self) -> Charges:
        """Clarke charges of everybody who takes part, exact for the nodes that requests list."""
        market = self.market
        bids = self.bids
        won = per_tenant(market, bids)
        charge, slack = np.zeros_like(won), np.zeros_like(won)
        steps = 0
        for t in np.flatnonzero(won > 0).tolist():
            without = self.copy()
            steps += without.remove(np.flatnonzero((market.tenant == t) & self.live).tolist())
            others = float(bids[market.tenant != t].sum())
            charge[t] = min(max(float(without.bids.sum()) - others, 0.0), won[t])
            slack[t] = min(charge[t] + without._unlisted_profit(), won[t]) - charge[t]
        return Charges(charge, won, slack, steps)

    def _unlisted_profit(self) -> float:
        return float(np.maximum(self.market.unlisted - self.profit, 0.0)[self.live].sum())

    def _find_seat(self, request: int, may_stay_out: bool) -> tuple[float, int, int]:
        market = self.market
        return find_seat(
            request, may_stay_out, market.first, market.node, self.value, self.at, self.holder, self.price, self.profit,
            *self._seat_space,
        )  # fmt: skip

    def _find_heir(self, freed: int) -> tuple[float, int, int]:
        return find_heir(
            freed, self._by_node, self._bidder, self._bid, self.live, self.at, self.price, self.profit,
            *self._heir_space,
        )  # fmt: skip

    def _seat(self, request: int) -> None:
        offers = slice(self.market.first[request], self.market.first[request + 1])
        margin = self.value[offers] - self.price[self.market.node[offers]]
        self.profit[request] = margin.max(initial=0.0)
        if self.profit[request] > 0:
            found = self._find_seat(request, may_stay_out=True)
            take_seat(request, *found, self.at, self.holder, self.price, self.profit, *self._seat_space[:2])

    def _hand_on(self, freed: int) -> None:
        if self.price[freed] > 0:
            found = self._find_heir(freed)
            hand_on(freed, *found, self.at, self.holder, self.price, self.profit, *self._heir_space[:2])


def charge_tenants(market: Market, outcome: Outcome, solve: Solve) -> Charges:
    """Clarke charges of any round: by exchanges where a node takes one request, else by `solve` without each tenant.

    `won` is what the tenants bid for what `outcome` gives them. An exchange charges for an optimal assignment: where
    the outcome is not one, a charge may exceed what the tenant won there, and is cut to it.
    Raises StowageInputError for a gang of two tenants.
    """
    if not market.exclusive or (market.gang >= 0).any():
        return clarke(market, outcome, solve)
    found = Exchange(market, outcome).charges()
    won = per_tenant(market, bid_of(market, outcome.at))
    charge = np.minimum(found.charge, won)
    return Charges(charge, won, np.minimum(found.slack, won - charge), found.steps)
