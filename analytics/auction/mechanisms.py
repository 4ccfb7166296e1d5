"""Every mechanism on the same round, scored alike: who wins, what is paid, and how far it is from the optimum."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from analytics.auction.rounds import Round
from analytics.errors import InputError
from scheduler.core.auction.alike import bound_by_summed_room, prices_by_summed_room
from scheduler.core.auction.baselines import drf, first_price, kube_default, priority_greedy, random_order
from scheduler.core.auction.charges import clarke
from scheduler.core.auction.fairness import per_tenant
from scheduler.core.auction.market import Floats, Market, Outcome, bid_of
from scheduler.core.auction.mohaf import MohafRules, mohaf
from scheduler.core.auction.scores import Scores, score
from scheduler.core.auction.solve import solve_market
from scheduler.core.auction.terms import Award, offer_won
from scheduler.core.auction.walk import take_in_order
from scheduler.core.columns import Codes

CHARGES = ("price", "clarke")
CLOSED = 1e-9  # of the bound: a gap as large as the rounding of a sum is none


@dataclass(frozen=True, slots=True)
class Asked:
    """What to run. clusters: of machines, for mohaf; 0 for none. charge: what winners of `exact` pay, the prices they
    meet (price) or their tenants' Clarke charges (clarke). effort: of the search where nodes are shared."""

    mechanism: str = "exact"
    seed: int = 0
    effort: float = 1.0
    charge: str = "price"
    rules: MohafRules = field(default_factory=MohafRules)
    clusters: int = 0
    reach: int = 1

    def __post_init__(self) -> None:
        if self.mechanism not in MECHANISMS:
            raise InputError(f"--mechanism {self.mechanism}: choose {', '.join(MECHANISMS)}")
        if self.charge not in CHARGES:
            raise InputError(f"--charge {self.charge}: choose {' or '.join(CHARGES)}")
        if self.charge == "clarke" and self.mechanism != "exact":
            raise InputError(f"--charge clarke goes with --mechanism exact; {self.mechanism} has its own payments")


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One mechanism's answer. paid: (J,) by requests; of Clarke charges a tenant's is split by its winning bids.

    price: (N,) for a node of size 1, or for the node itself. unit_price: (N, R). charge: (T,). outcome: of `exact`.
    """

    asked: Asked
    at: Codes
    paid: Floats
    charge: Floats
    price: Floats
    unit_price: Floats
    scores: Scores
    cpu_s: float
    outcome: Outcome | None = None


def solve(market: Market, seed: int, effort: float) -> Outcome:
    """The optimum of a round, or as near as the effort brings it.

    Where requests list some of the nodes, only those are sold: a bid for all the others would keep every price at
    nothing. The search starts from the prices of the summed room, whose bound is about all nodes.
    """
    if not market.unlisted.any():
        return solve_market(market, seed=seed, effort=effort)
    price, most = prices_by_summed_room(market)
    start = None if market.exclusive else _start_at(market, price)
    listed = replace(market, unlisted=np.zeros_like(market.unlisted))
    outcome = solve_market(listed, seed=seed, effort=effort, start=start)
    bound = max(most, outcome.welfare)
    is_closed = bound - outcome.welfare <= CLOSED * bound
    return replace(outcome, bound=bound, verdict="optimal" if is_closed else "feasible")


def _start_at(market: Market, price: Floats) -> Outcome:
    """An outcome to begin with: the offers that keep most of their bid at these prices (R,) are taken first."""
    kept = market.value - (market.demand @ price)[market.offer_request()]
    share = np.divide(kept, market.value, out=np.zeros_like(kept), where=market.value > 0)
    at = take_in_order(market, np.argsort(-share, kind="stable"))
    unit_price = np.tile(price, (len(market.nodes), 1))
    welfare = float(bid_of(market, at).sum())
    return Outcome(at, welfare, float(market.value.sum()), np.zeros(len(market.nodes)), unit_price, "feasible")


def run(made: Round, asked: Asked) -> Result:
    """Run one mechanism on a round; its CPU seconds leave out compiling."""
    _warm_up(made.market, asked)
    began = time.process_time()
    if asked.mechanism == "exact":
        outcome = solve(made.market, asked.seed, asked.effort)
        cpu_s = time.process_time() - began
        return _of_outcome(made, asked, outcome, cpu_s)
    award = RULES[asked.mechanism](made, asked)
    cpu_s = time.process_time() - began
    return Result(
        asked,
        award.at,
        award.payment,
        per_tenant(made.market, award.payment),
        award.price,
        np.zeros(made.market.room.shape),
        score(made.market, award.at, made.scale),
        cpu_s,
    )


def _of_outcome(made: Round, asked: Asked, outcome: Outcome, cpu_s: float) -> Result:
    market = made.market
    if asked.charge == "clarke":
        charge = clarke(market, outcome, lambda one: solve(one, asked.seed, asked.effort)).charge
        bids = bid_of(market, outcome.at)
        won = per_tenant(market, bids)
        paid = bids * np.divide(charge, won, out=np.zeros_like(charge), where=won > 0)[market.tenant]
    else:
        rows = offer_won(market, outcome.at)
        request, node = market.offer_request()[rows], market.node[rows]
        met = outcome.node_price[node] + (market.demand[request] * outcome.unit_price[node]).sum(axis=1)
        paid = np.zeros(len(market.requests))
        paid[request] = np.minimum(met, market.value[rows])  # the gap may leave a price a little above the bid
        charge = per_tenant(market, paid)
    scores = score(market, outcome.at, made.scale)
    return Result(asked, outcome.at, paid, charge, outcome.node_price, outcome.unit_price, scores, cpu_s, outcome)


def _mohaf(made: Round, asked: Asked) -> Award:
    bids = made.nearby(asked.clusters, asked.reach)
    return mohaf(made.market, made.terms, asked.rules, bids=bids, revalue=made.revalue)


RULES: Mapping[str, Callable[[Round, Asked], Award]] = {
    "mohaf": _mohaf,
    "greedy": lambda made, _: priority_greedy(made.market, made.terms),
    "first-price": lambda made, _: first_price(made.market, made.terms),
    "random": lambda made, asked: random_order(made.market, made.terms, asked.seed),
    "drf": lambda made, _: drf(made.market, made.terms),
    "kube-default": lambda made, _: kube_default(made.market, made.terms),
}
MECHANISMS = ("exact", *RULES)


def _warm_up(market: Market, asked: Asked) -> None:
    """Have compiled what the mechanism needs, on the round's first two requests."""
    few = min(len(market.requests), 2)
    offers = int(market.first[few])
    small = replace(
        market,
        requests=market.requests[:few],
        demand=market.demand[:few],
        tenant=market.tenant[:few],
        first=market.first[: few + 1],
        node=market.node[:offers],
        value=market.value[:offers],
        gang=np.full(few, -1, np.int32),
        unlisted=market.unlisted[:few],
    )
    if asked.mechanism == "exact":
        solve(small, asked.seed, asked.effort)
    else:
        take_in_order(small, np.arange(offers))


@dataclass(frozen=True, slots=True)
class Regret:
    """How far an answer is from the best. optimum: the best that is known. bound: no allocation has more.

    gap: share of the bound that may be missing. at_least, at_most: welfare given up, within what is proved. verdict:
    of the optimum.
    """

    optimum: float
    bound: float
    gap: float
    at_least: float
    at_most: float
    verdict: str


def regret_of(made: Round, result: Result, reference: Outcome) -> Regret:
    """Compare with the outcome of `exact` on the same round."""
    welfare = result.scores.welfare
    best = max(reference.welfare, welfare)
    bound = max(min(reference.bound, bound_by_summed_room(made.market)), best)
    gap = (bound - welfare) / bound if bound > 0 else 0.0
    return Regret(best, bound, gap, best - welfare, bound - welfare, reference.verdict)
