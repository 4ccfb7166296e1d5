"""Auction: who waits bids, and what nodes are freed goes to the highest bids, at prices that are carried over.

A bid is `scheduler.core.auction.worth`'s value: the tier's worth, times the tenant's weight, times the task's share of
the cluster; weights come from Karma credits. `planner` tells the driver to hold a round at fixed instants:
winners and prices by `scheduler.core.auction.solve`, then the rest in order of bids. Between rounds a task starts at
once where nobody who waits could have used the room.

Which node: a task's value is the same on all, so what decides is the price, and among equals best fit. The driver takes
the price of a node, as a share of what it could fetch at most, off best fit's score: `scheduler.core.auction.surplus`,
as the live extender does.
"""

from __future__ import annotations

from scheduler.core.policies import Policy
from scheduler.core.policies.best_fit import score
from scheduler.core.taxonomy import Taxonomy

POLICY = Policy(
    "auction",
    "Freed nodes go to the highest bids: tier, tenant's credits, size; prices are carried from round to round.",
    score,
    planner="auction",
    order="bid",
    taxonomy=Taxonomy(method="exact"),
)
