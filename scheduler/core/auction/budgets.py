"""What tenants may spend: their bids are scaled down until no answer can charge them more than their budget.

Nobody is charged more than it bid for what it won, so it is enough that all it could win is within the budget. That
holds whatever the others bid. It is cautious: a tenant that bids for far more than it can win bids low for each. A
tenant that says so can spend up to the budget on what it wants most by bidding for less.

With budget 0 all bids are 0: it pays nothing, and at best gets what nobody else wants; the solvers leave such bids out,
for they add nothing.

Limits on spending end the truthfulness of Clarke charges for the tenants that they bind, in any mechanism that wastes
nothing (Dobzinski, Lavi and Nisan, "Multi-unit Auctions with Budget Limits", FOCS 2008); for the others it holds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scheduler.core.auction.charges import weigh
from scheduler.core.auction.fairness import per_tenant
from scheduler.core.auction.market import Floats, Market
from scheduler.core.errors import StowageInputError

UNLIMITED = float("inf")


def budgets_of(market: Market, budgets: Mapping[str, float], default: float = UNLIMITED) -> Floats:
    """(T,) budgets by tenant, `default` for who has none.

    Raises StowageInputError for a tenant the round does not know, or a budget that is negative or not a number.
    """
    unknown = sorted(set(budgets) - set(market.tenants))
    if unknown:
        raise StowageInputError(f"there is a budget for {', '.join(unknown)}, no tenant of this round")
    return _check(market, np.array([budgets.get(tenant, default) for tenant in market.tenants], np.float64))


def most_to_win(market: Market) -> Floats:
    """(T,) no answer gives a tenant's requests together more than this, by its own bids: the best of each, and where a
    node takes one request only as many of the largest as there are nodes."""
    best = market.unlisted.copy()
    fits = market.fits()
    np.maximum.at(best, market.offer_request()[fits], market.value[fits])
    if market.exclusive and len(best):
        order = np.lexsort((-best, market.tenant))
        owner = market.tenant[order]
        rank = np.arange(len(order)) - np.searchsorted(owner, owner)
        best[order[rank >= len(market.nodes)]] = 0.0
    return per_tenant(market, best)


def within_budgets(market: Market, budgets: Floats) -> Market:
    """The round with each tenant's bids scaled by min(1, budget / `most_to_win`), so no charge exceeds a budget.

    budgets: (T,), at least 0, UNLIMITED for none. Raises StowageInputError.
    """
    limits, most = _check(market, budgets), most_to_win(market)
    factor = np.ones(len(limits))
    np.divide(limits, most, out=factor, where=most > limits)
    return weigh(market, factor)


def _check(market: Market, budgets: Floats) -> Floats:
    if budgets.shape != (len(market.tenants),):
        raise StowageInputError(f"there are {budgets.size} budgets and {len(market.tenants)} tenants")
    for t in np.flatnonzero(~(budgets >= 0))[:1]:
        raise StowageInputError(f"the budget of tenant {market.tenants[t]} is {budgets[t]}; it is a number, at least 0")
    return budgets
