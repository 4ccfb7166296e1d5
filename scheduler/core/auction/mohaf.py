"""MOHAF as published (arXiv 2508.14830): greedy winners by utility, a price that moves, a payment below the budget.

What its text says and what its code did differ, and both can be chosen:

* Price. Text, eq 4: rho_j moves by step x (use_j / capacity_j - target), clipped, round after round; a round decides
  with the prices of the one before. Code: the counter behind it is never filled, so every price is 0.992 of what was
  asked.
* Payment. Text, eq 5: min(rho_j d_i (0.8 + 0.4 U_ij), budget): a better fit pays more. The code has a second rule,
  switched off: the price of the same request's second-best machine, which no rival has any part in.
* Clusters. Text: requests bid among the machines of their cluster. Code: none. See `clusters`.

Step, target and limits of eq 4 are not published; the defaults are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats, Market
from scheduler.core.auction.terms import Award, Terms, pay
from scheduler.core.auction.walk import Bools, take_in_order
from scheduler.core.columns import Codes, Ints
from scheduler.core.errors import StowageInputError

AS_RUN_FACTOR = 0.992
Pricing = Literal["as-run", "dynamic"]
Payment = Literal["own", "second-machine"]


@dataclass(frozen=True, slots=True)
class MohafRules:
    """Which of the published rules apply. step, target, lowest, highest: eta, tau, rho_min, rho_max of eq 4."""

    pricing: Pricing = "as-run"
    payment: Payment = "own"
    rounds: int = 1
    step: float = 0.1
    target: float = 0.8
    lowest: float = 0.1
    highest: float = 2.0

    def __post_init__(self) -> None:
        if self.pricing not in get_args(Pricing) or self.payment not in get_args(Payment):
            raise StowageInputError(
                f"pricing {self.pricing}, payment {self.payment}: "
                "pricing is as-run or dynamic, payment own or second-machine"
            )
        if self.rounds < 1:
            raise StowageInputError(f"{self.rounds} rounds: there is at least one")
        if not (self.step >= 0 and 0 <= self.target <= 1 and 0 <= self.lowest <= self.highest < np.inf):
            raise StowageInputError(
                f"step {self.step}, target {self.target}, prices {self.lowest} to {self.highest}: "
                "a step is at least 0, a target within 0 and 1, and the limits ascend from 0 or more"
            )


def mohaf(
    market: Market,
    terms: Terms,
    rules: MohafRules,
    *,
    bids: Bools | None = None,
    revalue: Callable[[Floats], Floats] | None = None,
) -> Award:
    """Run the published mechanism.

    bids: (E,) the offers that are made (see `clusters.bids_nearby`); all if left out. revalue: the offers' values (E,)
    at machine prices (N,), for rounds after the first; without it prices change what is paid and not who wins.
    """
    made = np.arange(len(market.value)) if bids is None else np.flatnonzero(bids)
    price, value, at = terms.cost, market.value, np.full(len(market.requests), UNPLACED, np.int32)
    for number in range(rules.rounds):
        if number:
            price = move_price(price, used_share(market, at), rules)
            value = market.value if revalue is None else revalue(price)
        at = take_in_order(market, made[np.argsort(-value[made], kind="stable")])
    named = offer_price(market, terms, price, rules.pricing)
    if rules.payment == "second-machine":
        named = np.minimum(second_machine_price(market, value, named, made), terms.budget)
    return Award(at, pay(market, at, named), price)


def used_share(market: Market, at: Codes) -> Floats:
    """(N,) the share of a node that its winners use, of the resource that they use most; 0 of a node without room."""
    used = np.zeros_like(market.room)
    placed = at != UNPLACED
    np.add.at(used, at[placed], market.demand[placed])
    return np.asarray((used / np.maximum(market.room, 1)).max(axis=1, initial=0.0))


def move_price(price: Floats, used: Floats, rules: MohafRules) -> Floats:
    """Eq 4: the prices (N,) after a round that used this share (N,) of every machine."""
    return np.asarray(np.clip(price + rules.step * (used - rules.target), rules.lowest, rules.highest))


def offer_price(market: Market, terms: Terms, price: Floats, pricing: Pricing) -> Floats:
    """(E,) eq 5: what each offer would pay if it won, at machine prices (N,)."""
    asked = AS_RUN_FACTOR * terms.asked
    if pricing == "dynamic":
        asked = price[market.node] * terms.size[market.offer_request()]
    return np.minimum(asked * (0.8 + 0.4 * terms.score), terms.budget)


def second_machine_price(market: Market, value: Floats, price: Floats, made: Ints) -> Floats:
    """(E,) the price of the request's second-best machine among the offers made; its own where it has no second."""
    request = market.offer_request()[made]
    ranked = made[np.lexsort((made, -value[made], request))]
    owner = market.offer_request()[ranked]
    begins = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]]) if len(ranked) else np.zeros(0, np.int64)
    alone = np.diff(np.r_[begins, len(ranked)]) == 1
    second = price.copy()
    of_request = np.zeros(len(market.requests))
    of_request[owner[begins]] = price[ranked[begins + np.where(alone, 0, 1)]]
    second[made] = of_request[request]
    return second
