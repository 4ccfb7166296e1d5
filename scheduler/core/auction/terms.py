"""What the published rules know of a round beside its bids, and what a rule answers: winners and what each pays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats, Market
from scheduler.core.columns import Codes, Ints, check_column
from scheduler.core.errors import StowageInputError


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Money and size of a round, beside its `Market`.

    size: (J,) d_i, the demand as a share of the largest node. budget: (E,) the most the request pays at that node.
    asked: (E,) what the offer names as its price where the rule is "pay what you bid". cost: (N,) the price of a node
    per unit of size before any update. score: (E,) U_ij of the payment rule, in [0, 1] where it is normalised.
    priority: (J,), higher comes first. All at least 0. Raises StowageInputError.
    """

    size: Floats
    budget: Floats
    asked: Floats
    cost: Floats
    score: Floats
    priority: Ints

    def __post_init__(self) -> None:
        offers = self.budget.shape
        for what, values, shape in (
            ("size", self.size, self.priority.shape), ("budget", self.budget, offers),
            ("price asked", self.asked, offers), ("cost", self.cost, self.cost.shape), ("score", self.score, offers),
        ):  # fmt: skip
            check_column(what, values, shape, np.float64)
            for row in np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[:1]:
                raise StowageInputError(f"{what} is {values[row]} in row {row}; it is a finite number, at least 0")
        check_column("priority", self.priority, self.size.shape, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Award:
    """What a rule decided.

    at: (J,) as in `Outcome`. payment: (J,). price: (N,) of a node per unit of size, in the last round.
    """

    at: Codes
    payment: Floats
    price: Floats


def terms_of(market: Market, priority: Ints | None = None) -> Terms:
    """Terms of a round that states bids only: the bid is the budget, the price asked and, over the highest, the score.

    A node costs 1 per unit of size; sizes are dominant shares of the largest node. priority: (J,); equal if left out.
    """
    largest = np.maximum(market.room.max(axis=0, initial=0), 1)
    highest = float(market.value.max(initial=0.0)) or 1.0
    return Terms(
        size=(market.demand / largest).max(axis=1, initial=0.0),
        budget=market.value,
        asked=market.value,
        cost=np.ones(len(market.nodes)),
        score=market.value / highest,
        priority=np.zeros(len(market.requests), np.int64) if priority is None else priority,
    )


def offer_won(market: Market, at: Codes) -> Ints:
    """(winners,) rows of the offers that won, by request."""
    return np.flatnonzero((at[market.offer_request()] == market.node) & (market.node != UNPLACED))


def pay(market: Market, at: Codes, price: Floats) -> Floats:
    """(J,) what every request pays when an offer that wins pays `price` (E,), and the others nothing."""
    payment = np.zeros(len(market.requests))
    won = offer_won(market, at)
    payment[market.offer_request()[won]] = price[won]
    return payment
