"""What tenants pay: the harm that their winning does to the others (Clarke), per tenant and not per pod.

A tenant's charge is what the others could have had without it, less what they have. It never exceeds what the tenant
bid for what it won, is never negative, and with exact answers no lie about value, demand or location gains anything.
Per pod it would not hold: a tenant's own pods outbid each other, so it would pay for itself.

A solver that leaves a gap breaks the proof by no more than that gap. The truth is worth W - H to the tenant: W the
welfare of the answer, H that of the answer without the tenant. A lie is worth at most the optimum less H, provided that
H does not depend on what the tenant says: `solve` must not start from an answer that heard it. So a lie gains at most
bound - welfare, plus what clipping a charge to the bids gives back, which is at most the gap of the round with the lie.
`Charges.slack` says how much higher a charge may have to be. A gap can be had without losing truthfulness: an exact
search among fewer allocations, chosen without looking at bids (maximal in range; Nisan and Ronen, "Computationally
Feasible VCG Mechanisms", JAIR 2007), such as candidates by feasibility and not by score.

A gang must be one tenant's. If tenants needed each other, the exact charge of one could be negative (the others would
have less without it), and not paying it out breaks the proof.

What is left of Clarke's weaknesses: tenants who agree on their bids can pay less, and revenue may be little or nothing.
Weights (`weigh`) keep it truthful when the charge is divided by the weight (an affine maximiser).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from scheduler.core.auction.fairness import per_tenant
from scheduler.core.auction.market import Floats, Market, Outcome, bid_of
from scheduler.core.errors import StowageInputError

Solve = Callable[[Market], Outcome]


@dataclass(frozen=True, slots=True, eq=False)
class Charges:
    """charge: (T,), at least 0 and at most `won`, the sum of the tenant's winning bids. slack: (T,) by how much the
    exact charge may be higher; 0 where the round without the tenant was solved to optimality. steps: work counted."""

    charge: Floats
    won: Floats
    slack: Floats
    steps: int = 0


def clarke(market: Market, outcome: Outcome, solve: Solve) -> Charges:
    """Clarke charges of an outcome; `solve` is asked once for every tenant that won for more than nothing.

    It gets a market with the same rows, in which that tenant bids nothing. Raises StowageInputError for a gang with
    members of two tenants.
    """
    check_gangs(market)
    bids = bid_of(market, outcome.at)
    won = per_tenant(market, bids)
    charge, slack = np.zeros_like(won), np.zeros_like(won)
    steps = 0
    for t in np.flatnonzero(won > 0).tolist():
        others = float(bids[market.tenant != t].sum())
        without = solve(silence(market, t))
        charge[t] = min(max(without.welfare - others, 0.0), won[t])
        slack[t] = 0.0 if without.verdict == "optimal" else min(max(without.bound - others, 0.0), won[t]) - charge[t]
        steps += without.steps
    return Charges(charge, won, np.maximum(slack, 0), steps)


def check_gangs(market: Market) -> None:
    """Refuse a gang that is not one tenant's."""
    owner: dict[int, int] = {}
    for j in np.flatnonzero(market.gang >= 0).tolist():
        tenant = int(market.tenant[j])
        other = owner.setdefault(int(market.gang[j]), tenant)
        if other != tenant:
            who, gang = f"request {market.requests[j]} of tenant {market.tenants[tenant]}", market.gang[j]
            raise StowageInputError(
                f"{who} is in gang {gang} of tenant {market.tenants[other]}; a gang has one tenant, who pays for it"
            )


def silence(market: Market, tenant: int) -> Market:
    """The round in which this tenant bids nothing. Its rows stay, without offers, so rows keep their meaning."""
    request = market.offer_request()
    theirs = market.tenant == tenant
    keep = ~theirs[request]
    count = np.where(theirs, 0, np.diff(market.first))
    return replace(
        market,
        first=np.concatenate([[0], np.cumsum(count)]).astype(np.int64),
        node=market.node[keep],
        value=market.value[keep],
        unlisted=np.where(theirs, 0.0, market.unlisted),
    )


def weigh(market: Market, weights: Floats) -> Market:
    """The round with every tenant's bids multiplied. weights: (T,), at least 0, finite.

    A charge in it is divided by the tenant's weight to be in the currency of its bids. Raises StowageInputError.
    """
    if weights.shape != (len(market.tenants),):
        raise StowageInputError(f"there are {weights.size} weights and {len(market.tenants)} tenants")
    for t in np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))[:1]:
        raise StowageInputError(f"the weight of tenant {market.tenants[t]} is {weights[t]}; it is finite, at least 0")
    factor = weights[market.tenant]
    return replace(market, value=market.value * factor[market.offer_request()], unlisted=market.unlisted * factor)
