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
from scheduler.core.auction.charges import Charges
from scheduler.core.auction.exchange import charge_tenants
from scheduler.core.auction.fairness import per_tenant
from scheduler.core.auction.market import Floats, Market, Outcome, bid_of
from scheduler.core.auction.mohaf import MohafRules, mohaf
from scheduler.core.auction.posted import Posted, post_prices
from scheduler.core.auction.scores import Scores, score
from scheduler.core.auction.solve import solve_market
from scheduler.core.auction.terms import Award, offer_won
from scheduler.core.auction.walk import take_in_order
from scheduler.core.columns import Codes
from scheduler.core.taxonomy import Declared, Taxonomy

CHARGES = ("price", "clarke")
LITTLE_EFFORT = 0.05  # as much as reaches every part of the search
CLOSED = 1e-9  # of the bound: a gap as large as the rounding of a sum is none


@dataclass(frozen=True, slots=True)
class Asked:
    """What to run. clusters: of machines, for mohaf; 0 for none. charge: what winners of `exact` pay, the prices they
    meet (price) or their tenants' Clarke charges (clarke). effort: of the search where nodes are shared. `posted` sells
    to whoever comes, at prices that `exact` found and that rose until hardly anybody who wants room is turned away."""

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

    price: (N,) for a node of size 1, or for the node itself. unit_price: (N, R). charge: (T,). outcome: of the round as
    `exact` solves it, where the mechanism does. clarke, charges_cpu_s: where tenants are charged so, and what that took
    beside `cpu_s`. over_demand: of posted prices, the share of those who want room that finds none.
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
    clarke: Charges | None = None
    charges_cpu_s: float = 0.0
    over_demand: float | None = None


def solve(market: Market, seed: int, effort: float) -> Outcome:
    """The optimum of a round, or as near as the effort brings it.

    Where requests list some of the nodes, only those are sold: a bid for all the others would keep every price at
    nothing. The search starts from the prices of the summed room, whose bound is about all nodes.
    """
    if not market.unlisted.any():
        return solve_market(market, seed=seed, effort=effort)
    price, most = prices_by_summed_room(market)
    start = None if market.exclusive else _start_at(market, price)
    outcome = solve_market(listed_only(market), seed=seed, effort=effort, start=start)
    bound = max(most, outcome.welfare)
    is_closed = bound - outcome.welfare <= CLOSED * bound
    return replace(outcome, bound=bound, verdict="optimal" if is_closed else "feasible")


def listed_only(market: Market) -> Market:
    """The round in which nobody would bid for a node that it does not list."""
    return replace(market, unlisted=np.zeros_like(market.unlisted))


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
    _warm_up(asked, exclusive=made.market.exclusive)
    began = time.process_time()
    if asked.mechanism in SOLVED:
        outcome = solve(made.market, asked.seed, asked.effort)
        sold = post_prices(listed_only(made.market), outcome, rounds=0) if asked.mechanism == "posted" else outcome
        cpu_s = time.process_time() - began
        return _at_prices(made, asked, sold, outcome, cpu_s)
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


def _at_prices(made: Round, asked: Asked, sold: Outcome | Posted, outcome: Outcome, cpu_s: float) -> Result:
    """Winners pay the price they meet, or their tenants the harm they do."""
    market, began = made.market, time.process_time()
    charges = _charge(market, outcome, asked) if asked.charge == "clarke" else None
    paid = _met(market, sold) if charges is None else _shared_out(market, outcome.at, charges)
    return Result(
        asked,
        sold.at,
        paid,
        per_tenant(market, paid),
        sold.node_price,
        sold.unit_price,
        score(market, sold.at, made.scale),
        cpu_s,
        outcome,
        charges,
        time.process_time() - began,
        sold.over_demand if isinstance(sold, Posted) else None,
    )


def _charge(market: Market, outcome: Outcome, asked: Asked) -> Charges:
    """Clarke charges for the nodes that requests list."""
    return charge_tenants(listed_only(market), outcome, lambda one: solve(one, asked.seed, asked.effort))


def _shared_out(market: Market, at: Codes, charges: Charges) -> Floats:
    """(J,) each tenant's charge, split by the bids that won."""
    share = np.divide(charges.charge, charges.won, out=np.zeros_like(charges.won), where=charges.won > 0)
    return np.asarray(bid_of(market, at) * share[market.tenant])


def _met(market: Market, sold: Outcome | Posted) -> Floats:
    """(J,) the price that every winner met; a gap may leave one a little above its bid, which it pays then."""
    rows = offer_won(market, sold.at)
    request, node = market.offer_request()[rows], market.node[rows]
    met = sold.node_price[node] + (market.demand[request] * sold.unit_price[node]).sum(axis=1)
    paid = np.zeros(len(market.requests))
    paid[request] = np.minimum(met, market.value[rows])
    return paid


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
_GREEDY, _EXACT = Taxonomy(method="greedy"), Taxonomy(method="exact")
DECLARED: Mapping[str, Declared] = {
    "exact": Declared("The most worth that can be had, with its bound; tenants pay what others lose by them.", _EXACT),
    "posted": Declared("Nobody bids: everybody takes its best offer at the prices that are posted.", _EXACT),
    "mohaf": Declared("MOHAF as published: scores of several aims, bids in order of them.", _GREEDY),
    "greedy": Declared("The most important request first, where it fits.", _GREEDY),
    "first-price": Declared("The highest bid first; winners pay their bids.", _GREEDY),
    "random": Declared("Requests in random order, seeded.", _GREEDY),
    "drf": Declared("The tenant with the least dominant share first.", Taxonomy(level="big-data", method="greedy")),
    "kube-default": Declared("By priority, nodes as kube-scheduler scores them; nobody bids.", _GREEDY),
}
SOLVED = ("exact", "posted")
MECHANISMS = (*SOLVED, *RULES)


def _warm_up(asked: Asked, *, exclusive: bool) -> None:
    """Have compiled what the mechanism needs, on a round that is too large and too crowded for a short way."""
    market = _crowded_round(exclusive)
    if asked.mechanism not in SOLVED:
        take_in_order(market, np.arange(len(market.value)))
        return
    outcome = solve(market, asked.seed, min(asked.effort, LITTLE_EFFORT))
    if asked.mechanism == "posted":
        post_prices(market, outcome, rounds=0)
    if asked.charge == "clarke" and exclusive:
        _charge(market, outcome, asked)


def _crowded_round(exclusive: bool) -> Market:
    """Requests of three shapes, each bidding for every node, three times as many as find room."""
    requests, nodes = 192, 32
    kind = np.arange(requests) % 3
    bid = 1 + (np.arange(requests)[:, None] * 7 + np.arange(nodes)[None, :] * 5) % 11 / 11
    return Market(
        nodes=np.array([f"{n:03d}" for n in range(nodes)]),
        room=np.full((nodes, 2), 9, np.int64),
        requests=np.array([f"{j:03d}" for j in range(requests)]),
        demand=np.array([[3, 5], [5, 3], [4, 4]], np.int64)[kind],
        resources=("one", "two"),
        tenants=("a", "b", "c"),
        tenant=kind.astype(np.int32),
        first=np.arange(0, requests * nodes + 1, nodes, dtype=np.int64),
        node=np.tile(np.arange(nodes, dtype=np.int32), requests),
        value=bid.ravel(),
        gang=np.full(requests, -1, np.int32),
        unlisted=np.zeros(requests),
        exclusive=exclusive,
    )


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
