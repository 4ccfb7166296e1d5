"""Posted prices: nobody bids, everybody takes its best offer at the prices on the door, and few find no room there.

A request wants room if its value exceeds the price by more than rounding. It takes one of its best offers, among equals
one that has room; where none of them has, it is unserved. *Over-demand* is the share of the requests that want room and
are unserved. A request whose value equals the price does not mind either way: it is served where room is left, and is
not counted when not. A gang wants room if its members together do, and is served whole.

Prices find themselves by tatonnement: up where more is wanted than there is, down where less, in ever smaller steps;
then up only, one node at a time and by just enough (a clock, which ends because everybody leaves in the end). Begun
from the duals of a solved round the clock has little to do; from 0 it sells less well. Where a node takes one request
there are prices without over-demand (`Exchange.price_range` bounds them); where nodes are shared there need be none,
because pods do not come in parts, and the clock leaves some room unsold instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats, Market, Outcome, bid_of
from scheduler.core.auction.posted_loops import raise_until_clear, serve_groups
from scheduler.core.columns import Codes, Ints

ROUNDING = 1e-9  # of the highest bid: a value this near to the price is the price
TARGET = 0.01
FIRST_STEP = 0.1  # of the highest bid
FALL = 0.93  # of the step, from round to round
ROUNDS = 100
LEAST_RAISES = (3e-2, 1e-3, 1e-4, 1e-6)  # of the highest bid: small ones leave less unsold, large ones end price wars
MOST_LOOKS = 100  # at every offer, in one run of the clock


@dataclass(frozen=True, slots=True, eq=False)
class Posted:
    """What happens at posted prices.

    node_price: (N,). unit_price: (N, R). at: (J,) where requests are served, else UNPLACED. wanting: requests that want
    room, or were served without minding. over_demand: the share of them that is unserved. welfare: value served.
    converged: over-demand is at most the target.
    """

    node_price: Floats
    unit_price: Floats
    at: Codes
    wanting: int
    over_demand: float
    welfare: float
    converged: bool = True


def serve(market: Market, node_price: Floats, unit_price: Floats) -> Posted:
    """What happens at these prices, requests coming by name."""
    return _Door(market).open(node_price, unit_price)[0]


def post_prices(
    market: Market, start: Outcome | None = None, *, target: float = TARGET, rounds: int = ROUNDS
) -> Posted:
    """Prices at which at most `target` of those who want room are unserved; of those met, the most valuable.

    start: an outcome whose prices are begun with, best those of a solved round; 0 without. rounds: of moves both ways
    before the clock; with prices of a solved round of this very market 0 will do.
    """
    door = _Door(market)
    node_price = np.zeros(len(market.nodes)) if start is None else np.minimum(start.node_price, door.scale)
    unit_price = np.zeros(market.room.shape) if start is None else np.minimum(start.unit_price, door.scale)
    found, wanted = door.open(node_price, unit_price)
    seen, nearest = [found], found
    for number in range(rounds):
        door.move(node_price, unit_price, wanted, FIRST_STEP * FALL**number)
        found, wanted = door.open(node_price, unit_price)
        seen.append(found)
        if found.over_demand < nearest.over_demand:
            nearest = found
    for least in LEAST_RAISES:
        seen += [door.clock(begin, least) for begin in ((seen[0], nearest) if rounds else (seen[0],))]
    reached = [posted for posted in seen if posted.over_demand <= target]
    chosen = max(reached, key=lambda p: p.welfare) if reached else min(seen, key=lambda p: p.over_demand)
    return replace(chosen, converged=bool(reached))


class _Door:
    """A market prepared for being served again and again."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.value = np.where(market.fits(), market.value, -np.inf)
        self.scale = float(market.value.max(initial=0.0)) or 1.0
        # A gang comes when its first member would; a request of its own is a group of one.
        rows = np.arange(len(market.requests))
        alone = market.gang < 0
        group = np.where(alone, len(rows) + rows, market.gang)
        _, arrival, number = np.unique(group, return_index=True, return_inverse=True)
        self.member = np.lexsort((rows, arrival[number]))
        self.group_first = np.append(np.flatnonzero(np.diff(arrival[number][self.member], prepend=-1)), len(rows))

    def open(self, node_price: Floats, unit_price: Floats) -> tuple[Posted, Ints]:
        """What happens, and (N, R + 1) what is wanted of every node: its resources, and itself."""
        market = self.market
        at = np.full(len(market.requests), UNPLACED, np.int32)
        wanted = np.zeros((len(market.nodes), len(market.resources) + 1), np.int64)
        served, unserved = serve_groups(
            market.first, market.node, self.value, market.demand, market.room, market.exclusive, node_price, unit_price,
            self.group_first, self.member, ROUNDING * self.scale, at, wanted,
        )  # fmt: skip
        wanting = served + unserved
        welfare = float(bid_of(market, at).sum())
        return Posted(
            node_price.copy(), unit_price.copy(), at, wanting, unserved / wanting if wanting else 0.0, welfare
        ), wanted

    def move(self, node_price: Floats, unit_price: Floats, wanted: Ints, step: float) -> None:
        """Move prices by up to `step` of the highest bid per whole node, by how much too much or little is wanted."""
        if self.market.exclusive:
            node_price += step * self.scale * np.clip(wanted[:, -1] - 1, -1, 1)
            np.maximum(node_price, 0, out=node_price)
            return
        room = np.maximum(self.market.room, 1)
        unit_price += step * self.scale / room * np.clip((wanted[:, :-1] - self.market.room) / room, -1, 1)
        np.maximum(unit_price, 0, out=unit_price)

    def clock(self, begin: Posted, least: float) -> Posted:
        """What happens after prices rose from those until all that is wanted fits."""
        market = self.market
        node_price, unit_price = begin.node_price.copy(), begin.unit_price.copy()
        raise_until_clear(
            market.first, market.node, self.value, market.demand, market.room, market.exclusive, node_price, unit_price,
            least * self.scale, MOST_LOOKS * max(len(market.node), 1),
        )  # fmt: skip
        return self.open(node_price, unit_price)[0]
