"""Why a request won or lost: its bid, the price it met, who outbid it, and which bid would have won.

What a request needs is measured by raising or lowering all its bids alike. Where a node takes one request that is the
length of one chain of exchanges, exact. Where nodes are shared it takes one more solve per request: with a bonus on its
bids so large that it must win, the optimum is less by what its winning costs the others; without its bids, the optimum
is less by what its winning is worth. Both are proved if both solves are optimal. Without a solver there are only the
prices: a bid that does not beat them cannot win where they are those of an optimum, but one that does may still lose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from scheduler.core.auction.charges import Solve
from scheduler.core.auction.exchange import Exchange
from scheduler.core.auction.market import UNPLACED, Floats, Market, Outcome, bid_of, price_met
from scheduler.core.columns import Mask

Answer = Literal["won", "outbid", "no-offer", "too-large", "never"]
CLOSE = 1e-9  # of the welfare: two outcomes nearer than this are worth the same


@dataclass(frozen=True, slots=True)
class Rival:
    """Who holds room on the node in question, and what it bid for it."""

    request: str
    tenant: str
    bid: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """One request's story.

    answer: `won`; `outbid`; `no-offer`, it bid for no node; `too-large`, it exceeds every node it bid for; `never`, no
    bid of its own wins, as when its gang has no place. node: where it runs, or came nearest to winning. bid, price: its
    bid there and the price it met. rivals: who runs there, highest bid first. change: by how much it must raise all its
    bids (outbid) or could lower them (won), from `change` to `change_at_most`; equal where verdict is `proved`.
    winning_bid: what it must bid on `node` or more, at those changes.
    """

    request: str
    tenant: str
    answer: Answer
    verdict: Literal["proved", "estimate"]
    node: str | None = None
    bid: float = 0.0
    price: float = 0.0
    rivals: tuple[Rival, ...] = ()
    change: float = 0.0
    change_at_most: float = 0.0
    winning_bid: float = 0.0
    smallest_change: str = ""

    @property
    def text(self) -> str:
        """The story in a sentence or two, for people."""
        who = f"{self.request} of {self.tenant}"
        if self.answer == "won":
            return f"{who} won {self.node}: it bid {self.bid:.6g}, the price was {self.price:.6g}. {self._bids()}"
        if self.answer == "outbid":
            holders = ", ".join(f"{r.request} of {r.tenant} (bid {r.bid:.6g})" for r in self.rivals)
            taken = f", which went to {holders}" if holders else ""
            met = f"{who} bid {self.bid:.6g} for {self.node}{taken}; it met a price of {self.price:.6g}."
            return f"{met} {self._bids()}"
        reason = {
            "no-offer": "bid for no node",
            "too-large": "fits on no node that it bid for",
            "never": "cannot win with any bid of its own",
        }[self.answer]
        return f"{who} {reason}. To change that: {self.smallest_change}."

    def _bids(self) -> str:
        does = "would have done" if self.answer == "won" else "wins"
        if self.verdict == "proved":
            return f"Any bid above {self.winning_bid:.6g} {does} (proved)."
        return f"A bid above {self.winning_bid:.6g} probably {does} (estimate)."


@dataclass(frozen=True, slots=True)
class _Change:
    low: float
    high: float
    node: int


def explain(market: Market, outcome: Outcome, request: int, solve: Solve | None = None) -> Explanation:
    """Explain one request of a round, see `explain_all`."""
    return explain_all(market, outcome, np.array([request]), solve)[0]


def explain_all(
    market: Market, outcome: Outcome, requests: np.ndarray | None = None, solve: Solve | None = None
) -> list[Explanation]:
    """Explain requests of a round, all unless named; every one takes a solve where nodes are shared and one is given.

    Raises StowageInputError if the outcome is not one of this market.
    """
    return _Explainer(market, outcome, solve).explain(
        range(len(market.requests)) if requests is None else requests.tolist()
    )


class _Explainer:
    def __init__(self, market: Market, outcome: Outcome, solve: Solve | None) -> None:
        self.market, self.outcome, self.solve = market, outcome, solve
        self.bids = bid_of(market, outcome.at)
        self.fits = market.fits()
        self.exchange = Exchange(market, outcome) if market.exclusive and not (market.gang >= 0).any() else None
        self.doubt = 0.0  # what the outcome may be short of the best that the exchange, or an unlisted offer, allows
        if self.exchange is not None:
            best = self.exchange.outcome()
            gap = best.bound - outcome.welfare
            self.doubt = gap if gap > CLOSE * max(best.bound, 1.0) else 0.0

    def explain(self, requests: range | list[int]) -> list[Explanation]:
        return [self.one(j) for j in requests]

    def one(self, j: int) -> Explanation:
        offers = slice(self.market.first[j], self.market.first[j + 1])
        if self.outcome.at[j] != UNPLACED:
            return self.story(j, "won", self.room_to_fall(j))
        if offers.start == offers.stop:
            return self.without_price(j, "no-offer", "bid for a node")
        if not self.fits[offers].any():
            return self.without_price(j, "too-large", self.shortage(j, offers))
        change = self.raise_needed(j, offers)
        if change.low == np.inf:
            what = "find room for every member of its gang" if self.market.gang[j] >= 0 else "make room for it"
            return self.without_price(j, "never", what)
        return self.story(j, "outbid", change)

    def without_price(self, j: int, answer: Answer, change: str) -> Explanation:
        market = self.market
        proved: Literal["proved", "estimate"] = "proved" if answer != "never" or self.is_optimal() else "estimate"
        tenant = market.tenants[market.tenant[j]]
        return Explanation(str(market.requests[j]), tenant, answer, proved, smallest_change=change)

    def story(self, j: int, answer: Answer, change: _Change) -> Explanation:
        market, n = self.market, change.node
        nodes = market.node[market.first[j] : market.first[j + 1]]
        at = int(np.searchsorted(nodes, n))
        bid = float(market.value[market.first[j] + at])
        proved = change.high - change.low <= CLOSE * max(self.outcome.bound, 1.0)
        if answer == "won":
            winning = max(bid - (change.low if proved else change.high), 0.0)
            what = f"it could bid {change.low:.6g} less"
        else:
            winning = bid + change.low
            what = f"raise its bids by {'more than' if proved else 'at least'} {change.low:.6g}"
        return Explanation(
            request=str(market.requests[j]),
            tenant=market.tenants[market.tenant[j]],
            answer=answer,
            verdict="proved" if proved else "estimate",
            node=str(market.nodes[n]),
            bid=bid,
            price=float(price_met(market, self.outcome, j)[at]),
            rivals=self.rivals(j, n),
            change=change.low,
            change_at_most=change.high,
            winning_bid=winning,
            smallest_change=what,
        )

    def rivals(self, j: int, n: int) -> tuple[Rival, ...]:
        market = self.market
        there = [i for i in np.flatnonzero(self.outcome.at == n).tolist() if i != j]
        there.sort(key=lambda i: (-self.bids[i], i))
        return tuple(
            Rival(str(market.requests[i]), market.tenants[market.tenant[i]], float(self.bids[i])) for i in there
        )

    def shortage(self, j: int, offers: slice) -> str:
        """What it would have to ask for less, on the node where the largest share that is missing is smallest."""
        market = self.market
        missing = np.maximum(market.demand[j] - market.room[market.node[offers]], 0)
        nearest = int((missing / np.maximum(market.demand[j], 1)).max(axis=1).argmin())
        less = ", ".join(
            f"{missing[nearest, r]} less of {market.resources[r]}" for r in np.flatnonzero(missing[nearest])
        )
        return f"ask for {less}, then {market.nodes[market.node[offers][nearest]]} has room"

    def is_optimal(self) -> bool:
        return self.outcome.verdict == "optimal"

    def best_by_prices(self, j: int, offers: slice) -> tuple[float, int]:
        """How far its best bid is below the price it met there, and that node."""
        short = price_met(self.market, self.outcome, j) - self.market.value[offers]
        best = int(np.where(self.fits[offers], short, np.inf).argmin())
        return max(float(short[best]), 0.0), int(self.market.node[offers][best])

    def raise_needed(self, j: int, offers: slice) -> _Change:
        if self.exchange is not None:
            return self.by_exchange(self.exchange, j)
        short, node = self.best_by_prices(j, offers)
        if self.solve is None:
            return _Change(short, np.inf, node)
        bonus = 2 * self.outcome.bound + 1
        forced = self.solve(self.market_with(j, bonus))
        if forced.at[j] == UNPLACED:
            return _Change(np.inf, np.inf, node)
        high = max(self.outcome.bound - (forced.welfare - bonus), 0.0)
        low = min(max(self.outcome.welfare - (forced.bound - bonus), 0.0), high)
        return _Change(low, high, int(forced.at[j]))

    def by_exchange(self, exchange: Exchange, j: int) -> _Change:
        if exchange.at[j] != UNPLACED:  # another optimum than the outcome's places it
            needed, node = 0.0, int(exchange.at[j])
        else:
            needed, node = exchange.raise_needed(j)
        return _Change(max(needed - self.doubt, 0.0), needed + self.doubt, node)

    def room_to_fall(self, j: int) -> _Change:
        node = int(self.outcome.at[j])
        if self.exchange is not None:
            room = self.exchange.room_to_fall(j) if self.exchange.at[j] != UNPLACED else 0.0
            return _Change(max(room - self.doubt, 0.0), room + self.doubt, node)
        if self.solve is None:
            return _Change(0.0, max(float(self.bids[j] - self.price_at_home(j)), 0.0), node)
        rest = self.solve(self.market_with(j, None))
        low = max(self.outcome.welfare - rest.bound, 0.0)
        return _Change(low, max(self.outcome.bound - rest.welfare, low), node)

    def price_at_home(self, j: int) -> float:
        nodes = self.market.node[self.market.first[j] : self.market.first[j + 1]]
        return float(price_met(self.market, self.outcome, j)[np.searchsorted(nodes, self.outcome.at[j])])

    def market_with(self, j: int, bonus: float | None) -> Market:
        """The round with a bonus on all bids of one request, or without its bids."""
        market = self.market
        mine: Mask = market.offer_request() == j
        if bonus is not None:
            value: Floats = market.value + np.where(mine, bonus, 0.0)
            return replace(market, value=value)
        count = np.diff(market.first)
        count[j] = 0
        unlisted = market.unlisted.copy()
        unlisted[j] = 0.0
        first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        return replace(market, first=first, node=market.node[~mine], value=market.value[~mine], unlisted=unlisted)
