"""How good an allocation is, whichever rule made it: one set of figures for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.auction.fairness import dominant_share, jain, minimum_share, per_tenant
from scheduler.core.auction.market import UNPLACED, Floats, Market, bid_of
from scheduler.core.columns import Codes


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of one allocation.

    efficiency: value won over the number of requests (eq 16 of MOHAF), in units of `scale`. satisfaction: share of the
    requests placed. welfare: value won. placed: by resource, the share of all that is asked for. jain_requests: Jain's
    index of the value won, over all requests. jain_tenants: of the value won per request of a tenant, over tenants.
    least_tenant: the smallest share of a tenant's requests that is placed.
    """

    efficiency: float
    satisfaction: float
    welfare: float
    placed: dict[str, float]
    jain_requests: float
    jain_tenants: float
    least_tenant: float


def score(market: Market, at: Codes, scale: float = 1.0) -> Scores:
    """The figures of an allocation of this round; efficiency and satisfaction are 0 in a round without requests.

    scale: what a value is divided by in the efficiency, as the highest bid where bids are money.
    Raises StowageInputError if a request stands on a node for which it made no offer.
    """
    won, is_placed = bid_of(market, at), at != UNPLACED
    count = max(len(won), 1)
    asked, given = market.demand.sum(axis=0), market.demand[is_placed].sum(axis=0)
    requests = np.bincount(market.tenant, minlength=len(market.tenants))
    bidders = requests > 0
    return Scores(
        efficiency=float(won.sum()) / scale / count,
        satisfaction=int(is_placed.sum()) / count,
        welfare=float(won.sum()),
        placed={name: float(given[r] / asked[r]) for r, name in enumerate(market.resources) if asked[r]},
        jain_requests=jain(won),
        jain_tenants=jain(per_tenant(market, won)[bidders] / requests[bidders]),
        least_tenant=minimum_share(per_tenant(market, is_placed.astype(np.int64)), requests),
    )


def dominant_shares(market: Market, at: Codes) -> Floats:
    """(T,) the share of the room for sale that each tenant won, of the resource of which it won most."""
    used = np.zeros((len(market.tenants), len(market.resources)), np.int64)
    placed = at != UNPLACED
    np.add.at(used, market.tenant[placed], market.demand[placed])
    return dominant_share(used, market.room.sum(axis=0))
