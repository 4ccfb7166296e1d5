"""Allocations of a shared market: rounded from prices, then improved move by move."""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats
from scheduler.core.auction.shared_loops import top_offers
from scheduler.core.auction.shared_moves import ANYWHERE, Board, anneal, seat, seat_in_order, undo
from scheduler.core.auction.shared_prices import Dual
from scheduler.core.auction.shared_round import SharedRound
from scheduler.core.columns import Codes

OFFERS_KEPT = 24  # of each request, by profit; of 610 on MOHAF's instance none further down was ever taken
EJECTION_TRIES = 8
MOVES_PER_REQUEST = 5  # of one request in the log, at most: itself and EJECTED_AT_MOST others, and a fill
HOT, COLD = 0.02, 0.0002  # heat as a share of the mean best bid


class Allocation:
    """An allocation with its board, and what the moves need to look up."""

    def __init__(self, made: SharedRound, price: Floats) -> None:
        """Empty, with the most profitable offers at these prices."""
        requests, nodes = len(made.demand), len(made.room)
        kept_first = np.zeros(requests + 1, np.int64)
        kept = np.empty(int(np.minimum(np.diff(made.first), OFFERS_KEPT).sum()), np.int64)
        top_offers(made.first, made.node, made.value, made.share, price, OFFERS_KEPT, kept_first, kept)
        node, value = made.node[kept], made.value[kept]
        request = np.repeat(np.arange(requests, dtype=np.int32), np.diff(kept_first))
        by_node = np.lexsort((-value, node))
        self.node_first = np.searchsorted(node[by_node], np.arange(nodes + 1)).astype(np.int64)
        self.node_request, self.node_offer = request[by_node], by_node.astype(np.int64)
        self.made, self.kept = made, kept
        log = (MOVES_PER_REQUEST + 1) * requests + 64
        self.board = Board(
            first=kept_first,
            node=node,
            value=value,
            demand=made.demand,
            gang=made.gang,
            free=made.room.copy(),
            at=np.full(requests, UNPLACED, np.int32),
            worth=np.zeros(requests),
            head=np.full(nodes, -1, np.int32),
            after=np.full(requests, -1, np.int32),
            before=np.full(requests, -1, np.int32),
            log=np.empty((log, 2), np.int32),
            log_worth=np.empty(log),
            logged=np.zeros(1, np.int64),
            held=np.zeros(requests, np.int32),
        )
        self.scale = float(value.mean()) if len(value) else 1.0

    @property
    def welfare(self) -> float:
        return float(self.board.worth.sum())

    def round_prices(self, dual: Dual) -> None:
        """Seat who has no node by the profit they make at the prices; a gang counts as its members' mean."""
        made = self.made
        profit = dual.profit.copy()
        if len(made.member):
            of = made.gang[made.member]
            mean = np.bincount(of, profit[made.member]) / np.bincount(of)
            profit[made.member] = mean[of]
        order = np.argsort(-profit, kind="stable").astype(np.int32)
        wish = np.full(len(order), ANYWHERE, np.int32)
        seat_in_order(self.board, order, wish, made.gang_first, made.member)

    def adopt(self, at: Codes) -> None:
        """Seat requests as in an earlier outcome, as far as they bid for those nodes and fit. at: (J,)."""
        order = np.flatnonzero(at >= 0).astype(np.int32)
        seat_in_order(self.board, order, at, self.made.gang_first, self.made.member)

    def improve(self, steps: int, seed: int, hot: float = HOT, cold: float = COLD) -> None:
        """Anneal, if any bid is above 0; what comes out may be worth less than what went in."""
        if not self.scale:
            return
        anneal(
            self.board,
            self.made.gang_first,
            self.made.member,
            self.node_first,
            self.node_request,
            self.node_offer,
            steps,
            hot * self.scale,
            cold * self.scale,
            EJECTION_TRIES,
            seed,
        )

    def reseat(self, requests: Codes, at: Codes) -> bool:
        """Move these requests to these nodes if that gains and fits together; whether it was done."""
        board, made = self.board, self.made
        board.logged[0] = 0
        before = float(board.worth[requests].sum())
        for j, n in zip(requests.tolist(), at.tolist(), strict=True):
            offers = slice(made.first[j], made.first[j + 1])
            seat(board, j, n, float(made.value[offers][made.node[offers] == n].sum()))
        if float(board.worth[requests].sum()) > before + 1e-9 * self.scale and (board.free >= 0).all():
            return True
        undo(board, 0)
        return False

    def rows(self) -> Codes:
        """(J,) the node of every request."""
        return self.board.at.copy()
