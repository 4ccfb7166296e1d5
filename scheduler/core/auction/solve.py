"""One door to both solvers: nodes that take one request each, and nodes that are shared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scheduler.core.auction.assignment import solve_assignment
from scheduler.core.auction.market import Market, Outcome
from scheduler.core.auction.shared import solve_shared

SLOT = "slot of the node"


def solve_market(market: Market, *, seed: int = 0, effort: float = 1.0, start: Outcome | None = None) -> Outcome:
    """Winners, prices and bound of any market.

    An exclusive market without gangs is an assignment, solved exactly; anything else is searched, with `seed` and
    `effort` as in `solve_shared`. start: the outcome of a market of the same nodes, whose prices are begun with.
    """
    if not market.exclusive:
        return solve_shared(market, seed=seed, effort=effort, start=start)
    if not (market.gang >= 0).any():
        return solve_assignment(market, start=start)
    begin = None if start is None else _with_slot_price(start)
    outcome = solve_shared(_with_slots(market), seed=seed, effort=effort, start=begin)
    return replace(
        outcome,
        node_price=np.ascontiguousarray(outcome.unit_price[:, -1]),
        unit_price=np.ascontiguousarray(outcome.unit_price[:, :-1]),
    )


def _with_slots(market: Market) -> Market:
    """The same market as a shared one: every node has one slot and every request takes one."""
    return replace(
        market,
        room=np.column_stack([market.room, np.ones(len(market.nodes), np.int64)]),
        demand=np.column_stack([market.demand, np.ones(len(market.requests), np.int64)]),
        resources=(*market.resources, SLOT),
        exclusive=False,
    )


def _with_slot_price(outcome: Outcome) -> Outcome:
    price = np.column_stack([outcome.unit_price, outcome.node_price])
    return replace(outcome, node_price=np.zeros_like(outcome.node_price), unit_price=price)
