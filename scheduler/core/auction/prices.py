"""Node prices to publish: duals of a round, never below a reserve, and smoothed over rounds.

The dual of a round says what one more unit of a resource on a node would be worth. It is 0 wherever room is left, so
alone it invites everybody to a node that is full but for a little; a reserve that rises with utilisation does not.
That reserves follow utilisation is the idea of Google's internal market (Stokely, Winget, Keyes, Grimes and Yolken,
"Using a Market Economy to Provision Compute Resources Across Planet-wide Clusters", IPDPS 2009); the curve is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats, Market, Outcome
from scheduler.core.columns import Codes, check_names
from scheduler.core.errors import StowageInputError

TARGET = 0.7  # utilisation at which a unit's reserve is its cost
STEEPNESS = 2.0  # e^0.6 = 1.8 times the cost on a full node, e^-1.4 = a quarter on an empty one


def reserve_price(used: Floats, cost: Floats, target: float = TARGET, steepness: float = STEEPNESS) -> Floats:
    """(N, R) the least a unit is sold for: cost x e^(steepness x (used - target)).

    used: (N, R) utilisation in [0, 1]. cost: (R,) or (N, R) of a unit, at least 0. At the target a unit costs its
    cost, above it more, below it less; steepness 0 leaves the cost. Raises StowageInputError.
    """
    for n, r in np.argwhere(~((used >= 0) & (used <= 1)))[:1]:
        raise StowageInputError(f"utilisation of resource {r} on node {n} is {used[n, r]}; it lies between 0 and 1")
    _check("a cost", np.atleast_1d(cost))
    if not (0 <= target <= 1 and 0 <= steepness < np.inf):
        raise StowageInputError(f"target {target}, steepness {steepness}: between 0 and 1, and at least 0")
    return np.asarray(cost * np.exp(steepness * (used - target)))


def utilisation(allocatable: Floats, free: Floats) -> Floats:
    """(N, R) the share in use; 1 of what a node does not have."""
    return np.asarray(1 - np.divide(free, allocatable, out=np.zeros(free.shape), where=allocatable > 0))


def above_reserve(market: Market, reserve: Floats) -> Market:
    """The round in which bids count only by what they exceed the reserve of what they ask for; lower ones are dropped.

    reserve: (N, R) per unit. Charges of its outcome are what tenants pay on top of `reserve_paid`, together never above
    their bids; Clarke charges stay truthful, the reserve is but a cost. Raises StowageInputError.
    """
    if reserve.shape != market.room.shape:
        raise StowageInputError(f"the reserve has shape {reserve.shape}; the round needs {market.room.shape}")
    _check("a reserve", reserve)
    request = market.offer_request()
    left = market.value - (market.demand[request] * reserve[market.node]).sum(axis=1)
    keep = left >= 0
    count = np.bincount(request[keep], minlength=len(market.requests))
    first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return replace(market, first=first, node=market.node[keep], value=left[keep])


def reserve_paid(market: Market, at: Codes, reserve: Floats) -> Floats:
    """(J,) the reserve of what every request won, 0 where it lost."""
    won = at != UNPLACED
    paid = np.zeros(len(market.requests))
    paid[won] = (market.demand[won] * reserve[at[won]]).sum(axis=1)
    return paid


@dataclass(frozen=True, slots=True, eq=False)
class NodePrices:
    """Prices to publish. nodes: (N,) names, sorted. node: (N,) for the node itself. unit: (N, R) for one unit."""

    nodes: np.ndarray
    resources: tuple[str, ...]
    node: Floats
    unit: Floats

    def __post_init__(self) -> None:
        check_names("node", self.nodes)
        shape = (len(self.nodes), len(self.resources))
        if self.node.shape != shape[:1] or self.unit.shape != shape:
            raise StowageInputError(f"prices have shapes {self.node.shape} and {self.unit.shape}; {shape} is needed")
        _check("a price", self.node)
        _check("a price", self.unit)

    def of(self, demand: Sequence[int]) -> Floats:
        """(N,) what a pod of this demand meets at every node. demand: (R,)."""
        return np.asarray(self.node + self.unit @ np.asarray(demand, np.float64))


def prices_of(market: Market, outcome: Outcome, reserve: Floats | None = None) -> NodePrices:
    """The duals of an outcome, per unit of each resource raised to the reserve (N, R) where that is higher."""
    unit = outcome.unit_price if reserve is None else np.maximum(outcome.unit_price, reserve)
    return NodePrices(market.nodes, market.resources, outcome.node_price, unit)


def carry_over(earlier: Floats, latest: Floats, kept: float) -> Floats:
    """The history of prices, in one step: so much is kept of what they were. kept: in [0, 1]."""
    return np.asarray(kept * earlier + (1 - kept) * latest)


def smooth(earlier: NodePrices, latest: NodePrices, elapsed_s: float, half_life_s: float) -> NodePrices:
    """Prices carried over from earlier rounds: what a round said counts half after `half_life_s`, a quarter after two.

    The nodes are those of `latest`; one that is new has its latest price. With half-life 0 nothing is carried over.
    Raises StowageInputError for other resources, or a time below 0.
    """
    if earlier.resources != latest.resources:
        raise StowageInputError(f"prices of {earlier.resources} do not go on as prices of {latest.resources}")
    if not (elapsed_s >= 0 and half_life_s >= 0):
        raise StowageInputError(f"{elapsed_s} s elapsed, half-life {half_life_s} s: times are at least 0")
    keep = 0.5 ** (elapsed_s / half_life_s) if half_life_s > 0 else 0.0
    at = np.minimum(np.searchsorted(earlier.nodes, latest.nodes), max(len(earlier.nodes) - 1, 0))
    known = earlier.nodes[at] == latest.nodes if len(earlier.nodes) else np.zeros(len(latest.nodes), np.bool_)
    node, unit = latest.node.copy(), latest.unit.copy()
    node[known] = carry_over(earlier.node[at[known]], node[known], keep)
    unit[known] = carry_over(earlier.unit[at[known]], unit[known], keep)
    return NodePrices(latest.nodes, latest.resources, node, unit)


def _check(what: str, amounts: Floats) -> None:
    for value in amounts[~(np.isfinite(amounts) & (amounts >= 0))][:1]:
        raise StowageInputError(f"{what} is {value}; it is a finite number, at least 0")
