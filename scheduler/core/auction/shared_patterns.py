"""A bound of what whole nodes can do: requests have prices, and every node picks the set of requests worth most.

The LP lets a request be split over nodes; here each node's choice is a real one (a knapsack in all resources), so the
bound is the LP's over all patterns of nodes, which is tighter the more a request takes of a node: on 200 requests with
bids at random for 40 nodes of 4 to 5 requests each, 123.4 after 0.2 CPU s, where the LP's is 131.9 and CP-SAT proves
128.4 in 200 CPU s. Prices descend by subgradients, averaged over steps, of Polyak's length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.auction.shared_pattern_loops import ByNode, price_sets
from scheduler.core.auction.shared_prices import Dual
from scheduler.core.auction.shared_round import SharedRound
from scheduler.core.columns import Ints

STEPS_PER_NODE = 2_000  # of one knapsack; beyond, its fractional bound is taken
LEAST_MULTIPLIER = 0.2  # of the mean bid, for a whole node: resources without a price still weigh something
MEMORY = 0.3  # of the step before in a step
PATIENCE = 8
SHORTENED = 0.6
SHORTEST = 0.01


@dataclass(slots=True)
class Patterns:
    """The best prices of requests so far, and their bound. price: (J,), below 0 only for gangs' members.

    work: steps of the knapsacks and offers looked at, counted.
    """

    made: SharedRound
    dual: Dual
    bound: float = np.inf
    work: int = 0
    offers: ByNode = field(init=False)
    row: Ints = field(init=False)
    price: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Begin where the dual stands: a request's price is its profit there, and the bound not above the dual's
        (except for gangs)."""
        made, request = self.made, self.made.request()
        self.row = np.lexsort((request, made.node))
        least = LEAST_MULTIPLIER * float(made.value.mean()) if len(made.value) else 1.0
        even = least / np.maximum(made.size, 1e-9) / made.size.shape[1]
        self.offers = ByNode(
            np.searchsorted(made.node[self.row], np.arange(len(made.room) + 1)).astype(np.int64),
            request[self.row].astype(np.int32),
            made.value[self.row],
            made.demand,
            made.share,
            made.room,
            made.size,
            self.dual.price + np.where(made.size > 0, even, 0.0),
        )
        self.price = np.maximum(np.where(np.isfinite(self.dual.profit), self.dual.profit, 0.0), 0.0)

    def look(self, price: Floats) -> tuple[float, Floats]:
        """The bound at these prices, kept if it is the best, and a subgradient of it: (J,)."""
        made = self.made
        times, best = np.zeros(len(price), np.int64), np.zeros(len(made.room))
        total, steps = price_sets(self.offers, price, STEPS_PER_NODE, times, best)
        self.work += steps + len(self.offers.value)
        grouped = made.gang >= 0
        asked = np.bincount(made.gang[grouped], price[grouped], minlength=len(made.gang_first) - 1)
        outside = (made.unlisted > 0) & (made.unlisted > price)
        bound = float(
            total + price[~grouped].sum() + np.maximum(asked, 0).sum() + (made.unlisted - price)[outside].sum()
        )
        wanted = np.ones(len(price))
        wanted[grouped] = asked[made.gang[grouped]] > 0
        if bound < self.bound:
            self.bound, self.price = bound, price.copy()
        return bound, wanted - times - outside

    def descend(self, passes: int, target: float, work: int, length: float = 1.0) -> None:
        """So many passes towards `target`, the welfare of some allocation, and no more than this much work."""
        alone = self.made.gang < 0
        price, step = self.price.copy(), np.zeros(len(self.price))
        stale, last = 0, self.work + work
        for turn in range(passes):
            before = self.bound
            bound, slope = self.look(price)
            stale = 0 if self.bound < before * (1 - 1e-6) else stale + 1
            if self.work >= last or bound <= target or length < SHORTEST:
                return
            if stale >= PATIENCE:
                length, stale = length * SHORTENED, 0
                price, step = self.price.copy(), np.zeros(len(price))
                continue
            slope[alone & (price <= 0) & (slope > 0)] = 0.0
            step = slope if turn == 0 else (1 - MEMORY) * slope + MEMORY * step
            squared = float((step**2).sum())
            if squared == 0:
                return
            price = price - length * (bound - target) / squared * step
            price[alone] = np.maximum(price[alone], 0.0)
