"""Bids that are a score of the node plus nearness in the plane: found by search, never written out as a matrix.

Nodes are kept in a tree of boxes. The most a box can offer is its highest score plus the nearness of its nearest
edge, so whole boxes are passed over (branch and bound), and what is found is exact.

Which nodes should a request list? Those of the highest bid are a bad choice where nodes are contended: requests of a
whole region list the same few good nodes and no others, though most of them will pay for a place elsewhere. What
counts is the bid less the price. `solve_plane` lists by prices that it guesses (`clearing_guess`), holds the auction
over those lists, and then searches the tree once more with the true prices: whoever finds a node that leaves it more
than what it has lists it, and the auction goes on (column generation). What that search finds is also the bound over
*all* pairs: by weak duality the sum of prices and of what each request has at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.auction.assignment import (
    ENDLESS,
    FALL,
    ROUNDING,
    Auction,
    fine_epsilon,
    start_from,
    verdict_of,
)
from scheduler.core.auction.candidates_loops import best_nodes, best_of_cells, grow, list_more, profits
from scheduler.core.auction.market import Floats, Outcome
from scheduler.core.columns import Codes, Ints, check_codes, check_column
from scheduler.core.errors import StowageInputError

# Nodes that a request lists at first, that it adds at a time, and far ones each time. Fewer make a faster auction and
# more rounds.
LISTED = 16
ADDED = 8
SPREAD = 2
# Multiples of the golden ratio's fraction fill [0, 1) evenly, however many there are.
GOLDEN = (5**0.5 - 1) / 2
# Rounds of listing more; the paper's instance at any size takes one or two.
ROUNDS = 20
# Nodes in a leaf of the tree; between 4 and 16 the search takes the same.
LEAF = 6
# A profit that differs by less, as a share of the largest bid, is the same profit rounded another way.
ALIKE = 1e-13


@dataclass(frozen=True, slots=True, eq=False)
class PlaneBids:
    """What every request bids for every node: score[shape[j], n] + near * max(0, 1 - distance / reach).

    node_xy: (N, 2), request_xy: (J, 2), finite. shape: (J,) rows of `score`, requests of the same shape differ in place
    only. score: (S, N) at least 0, or -inf where the shape may not use the node. near: the bid for nearness, at least
    0. reach: the distance from which a node is not near at all, above 0. Raises StowageInputError.
    """

    node_xy: Floats
    request_xy: Floats
    shape: Codes
    score: Floats
    near: float
    reach: float

    def __post_init__(self) -> None:
        nodes, requests = len(self.node_xy), len(self.request_xy)
        check_column("places of nodes", self.node_xy, (nodes, 2), np.float64)
        check_column("places of requests", self.request_xy, (requests, 2), np.float64)
        check_column("score", self.score, (len(self.score), nodes), np.float64)
        check_codes("shape", self.shape, requests, len(self.score), lowest=0)
        for what, places in (("node", self.node_xy), ("request", self.request_xy)):
            for row in np.flatnonzero(~np.isfinite(places).all(axis=1))[:1]:
                raise StowageInputError(f"{what} {row} is at {places[row].tolist()}; a place is two finite numbers")
        for s, n in np.argwhere(~((self.score >= 0) & np.isfinite(self.score) | (self.score == -np.inf)))[:1]:
            raise StowageInputError(
                f"the score of shape {s} for node {n} is {self.score[s, n]}; it is finite and at least 0, or -inf"
            )
        if not (0 <= self.near < np.inf and 0 < self.reach < np.inf):
            raise StowageInputError(f"near is {self.near}, reach {self.reach}; they are at least 0, and above 0")

    def of(self, request: Ints, node: Ints) -> Floats:
        """The bids of these pairs; -inf where the request may not use the node."""
        apart = self.request_xy[request] - self.node_xy[node]
        near = np.maximum(1.0 - np.sqrt((apart**2).sum(axis=1)) / self.reach, 0.0)
        return np.asarray(self.score[self.shape[request], node] + self.near * near)


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Some offers of every request, as a `Market` has them; unlisted: (J,) the most it bids for any other node."""

    first: Ints
    node: Codes
    value: Floats
    unlisted: Floats


class NodeSearch:
    """A tree over the nodes, to look up the best of them for every request at any prices; `steps` counts the work."""

    def __init__(self, bids: PlaneBids) -> None:
        self.bids = bids
        self.steps = 0
        self.turn = _neighbours_in_turn(bids.request_xy)
        if len(bids.node_xy):
            depth = max(int(np.log2(len(bids.node_xy) / LEAF)), 0)
            self.order, self.begin, self.end, self.box = grow(bids.node_xy, depth)

    def best(self, price: Floats, wanted: int, above: Floats) -> tuple[Codes, Floats]:
        """(J, wanted) the nodes whose bid less the price is highest and above `above` (J,), and what it is.

        -1, and `above` itself, where there are fewer. Of nodes that leave the same, any may be found, always the same.
        """
        bids, requests = self.bids, len(self.bids.request_xy)
        best = np.full((requests, wanted), -1, np.int32)
        gain = np.repeat(above[:, None], wanted, axis=1)
        if len(bids.node_xy):
            net = bids.score - price
            top = best_of_cells(net, self.order, self.begin, self.end)
            self.steps += best_nodes(
                bids.node_xy, net, bids.near, bids.reach, self.order, self.begin, self.end, self.box, top,
                bids.request_xy, bids.shape, self.turn, above, best, gain,
            )  # fmt: skip
        return best, gain


def _neighbours_in_turn(xy: Floats) -> Ints:
    """(rows,) an order in which neighbours mostly follow each other (Morton's), so that they find the same cells."""
    low, high = xy.min(axis=0, initial=np.inf), xy.max(axis=0, initial=-np.inf)
    grid = ((xy - low) / np.maximum(high - low, np.finfo(np.float64).tiny) * 1023).astype(np.int64)
    for shift, mask in ((8, 0xFF00FF), (4, 0xF0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        grid = (grid | grid << shift) & mask
    return np.argsort(grid[:, 0] | grid[:, 1] << 1, kind="stable")


def list_best(bids: PlaneBids, listed: int) -> Lists:
    """The highest bids of every request, at most `listed`, and exactly what it bids for the best node not listed.

    Bids of 0 are left out: they win nothing.
    """
    best, gain = NodeSearch(bids).best(np.zeros(len(bids.node_xy)), listed + 1, np.zeros(len(bids.request_xy)))
    auction = _no_offers(bids)
    _widen(auction, bids, best[:, :listed])
    return Lists(auction.first, auction.node, auction.value, gain[:, listed].copy())


def clearing_guess(bids: PlaneBids) -> Floats:
    """(N,) prices that would clear if all stood in one place.

    The best nodes, one per request, cost what they are better than the last; a node's score is the highest of any
    shape. There is at least one node and one request.
    """
    score = np.maximum(bids.score.max(axis=0, initial=0.0), 0.0)
    marginal = np.sort(score)[max(len(score) - len(bids.shape), 0)]
    return np.maximum(score - marginal, 0.0)


def solve_plane(
    bids: PlaneBids,
    *,
    start: Outcome | None = None,
    tolerance: float = 1e-4,
    listed: int = LISTED,
    limit: int = ENDLESS,
) -> Outcome:
    """One request per node at the most welfare, with a bound over all pairs of request and node.

    start: as in `solve_assignment`. tolerance: the gap, as a share of the bound, at which to stop; where thousands of
    requests stand in one place it may not be reached, and is reported as it is. listed: nodes that a request bids for
    at first. limit: offers, nodes and cells after which no search begins. There are no resources in the outcome.
    Raises StowageInputError for a `start` of other nodes.
    """
    auction = _no_offers(bids)
    if not len(auction.price) or not len(auction.offer):
        return _outcome(auction, 0.0, 0.0, 0)
    search = NodeSearch(bids)
    tolerance = max(tolerance, ROUNDING)
    auction.limit = limit
    price = clearing_guess(bids)
    if start is not None:
        start_from(auction, start)
        price = start.node_price
    more, _ = search.best(price, listed, np.full(len(bids.shape), -price.max() - 1))
    _widen(auction, bids, np.hstack([more, _spread(bids, 0)]))
    if start is None:
        welfare, _ = auction.run(tolerance / 3, auction.scale() / FALL)
    else:
        auction.hold(start.at)
        welfare, _ = auction.run_on(tolerance / 3, fine_epsilon(tolerance, start.welfare, len(price)))
    for again in range(1, ROUNDS + 1):
        most = profits(auction.first, auction.node, auction.value, auction.price) + ALIKE * auction.scale()
        more, gain = search.best(auction.price, ADDED, most)
        bound = float(gain[:, 0].sum() + auction.price.sum())
        if bound - welfare <= tolerance * bound or auction.steps + search.steps >= limit:
            break
        spread = _spread(bids, again)
        spread[more[:, 0] < 0] = -1
        _widen(auction, bids, np.hstack([more, spread]))
        welfare, _ = auction.run_on(tolerance / 3, fine_epsilon(tolerance, welfare, len(price)))
    return _outcome(auction, welfare, bound, search.steps)


def _outcome(auction: Auction, welfare: float, bound: float, searched: int) -> Outcome:
    steps = auction.steps + searched
    no_units = np.zeros((len(auction.price), 0))
    verdict = verdict_of(welfare, bound, steps >= auction.limit)
    return Outcome(auction.at(), welfare, max(bound, welfare), auction.price, no_units, verdict, steps)


def _spread(bids: PlaneBids, turn: int) -> Codes:
    """(J, SPREAD) nodes anywhere, other ones each turn, every node about as often as any other; -1 where it is refused.

    Without them, requests that stand together list the same few nodes, and the auction cannot place or price the rest.
    """
    count = len(bids.shape) * SPREAD
    numbers = np.arange(turn * count, (turn + 1) * count)
    node = (numbers * GOLDEN % 1 * len(bids.node_xy)).astype(np.int32).reshape(-1, SPREAD)
    node[bids.score[bids.shape[:, None], node] == -np.inf] = -1
    return node


def _no_offers(bids: PlaneBids) -> Auction:
    requests, nodes = len(bids.request_xy), len(bids.node_xy)
    return Auction(
        np.zeros(requests + 1, np.int64), np.zeros(0, np.int32), np.zeros(0), np.zeros(requests), np.zeros(requests),
        np.zeros(nodes), np.full(requests, -1, np.int64), np.full(nodes, -1, np.int64),
    )  # fmt: skip


def _widen(auction: Auction, bids: PlaneBids, more: Codes) -> None:
    """Add these nodes (J, k), -1 for none, to what the requests bid for."""
    auction.first, auction.node, auction.value = list_more(
        auction.first, auction.node, auction.value, auction.offer, more, bids.node_xy, bids.score, bids.near,
        bids.reach, bids.request_xy, bids.shape,
    )  # fmt: skip
