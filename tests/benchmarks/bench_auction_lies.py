"""What a lie gains on MOHAF's published instance: under Clarke charges, and under the published rule.

Two sets of lies. *Of requests*: service is worth the declared budget wherever the pod fits, every request is a tenant
of its own, and 60 losers tell each of the four lies that the instance knows. *Of tenants*: the published utility is
the value, the users are the tenants, and 1,000 times one of them, drawn, tells lies about some of its pods.

A lie changes what is said and not what is true: a pod is worth its true value where it runs, and one that was given
less room than it needs does not run. Under the published rule it counts as served even then, as published.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from analytics.auction.paper_files import find_parts, read_paper_instance
from scheduler.core.auction.exchange import Exchange
from scheduler.core.auction.market import UNPLACED, Floats, Market, bid_of
from scheduler.core.auction.mohaf import AS_RUN_FACTOR, MohafRules, mohaf
from scheduler.core.auction.paper_instance import UTILITIES, PaperInstance, market_of, paper_terms, utility
from scheduler.core.auction.posted import post_prices, serve
from scheduler.core.auction.solve import solve_market
from scheduler.core.columns import Codes
from tests.benchmarks.harness import REAL, Report

LIES = 1000
LOSERS = 60
SEED = 6
KINDS = ("value", "priority", "demand", "location")
NOTHING_GAINED = 1e-6
PAPER = UTILITIES["paper"]


def bench(work: Path) -> Report:
    report = Report("auction_lies", "lies that gain, on MOHAF's instance of 3,553 requests and 888 machines")
    parts = find_parts(REAL)
    if not parts:
        report.notes.append(f"not measured: {REAL} is not there")
        return report
    instance = read_paper_instance(parts)
    budgets = budget_round(instance)
    lies_of_requests(report, instance, budgets)
    overbids(report, budgets)
    lies_of_tenants(report, instance)
    posted(report, instance, budgets)
    report.notes.append("gained: lies that left the liar more than the truth; mean gain in the currency of the bids")
    return report


def budget_round(instance: PaperInstance) -> Market:
    """One request per machine, every request its own tenant, service worth the budget on every machine that fits."""
    market = market_of(instance, PAPER, exclusive=True)
    rows = len(market.requests)
    return replace(
        market,
        value=instance.budget[market.offer_request()],
        tenants=tuple(market.requests.tolist()),
        tenant=np.arange(rows, dtype=np.int32),
    )


def tell(instance: PaperInstance, j: int, kind: str, rng: np.random.Generator) -> PaperInstance:
    """The instance as request j lies about it."""
    if kind == "priority":
        priority = instance.priority.copy()
        priority[j] = 10
        return replace(instance, priority=priority)
    if kind == "demand":
        demand = instance.demand.copy()
        demand[j] = 0
        return replace(instance, demand=demand)
    if kind == "location":
        position = instance.request_position.copy()
        position[j] = instance.machine_position[rng.integers(len(instance.machines))]
        return replace(instance, request_position=position)
    budget = instance.budget.copy()
    budget[j] *= 10
    return replace(instance, budget=budget)


def lies_of_requests(report: Report, instance: PaperInstance, budgets: Market) -> None:
    """60 losers, four lies each: first under the published rule, then under Clarke charges."""
    rng = np.random.default_rng(SEED)
    truth = market_of(instance, PAPER, exclusive=True)
    award = mohaf(truth, paper_terms(instance, truth), MohafRules())
    won = award.at != UNPLACED
    threshold = winning_bids(truth, award.at)
    out = np.flatnonzero(~won & (np.diff(truth.first) > 0))
    losers = rng.choice(out, LOSERS, replace=False).tolist()
    for kind in KINDS:
        gains = [published_gain(instance, threshold, j, tell(instance, j, kind, rng)) for j in losers]
        add(report, f"published rule, {kind}", LOSERS, [gain for gain in gains if gain is not None])
    exchange = Exchange(budgets)
    out = np.flatnonzero((exchange.at == UNPLACED) & (np.diff(budgets.first) > 0))
    losers = rng.choice(out, LOSERS, replace=False).tolist()
    for kind in ("value", "demand"):  # the only ones on which service worth the budget depends
        found = [gain_of_request(instance, budgets, exchange, j, kind) for j in losers]
        add(report, f"Clarke charges, {kind}", LOSERS, [gain for gain in found if gain > NOTHING_GAINED])


def winning_bids(market: Market, at: Codes) -> Floats:
    """(N,) the bid that won each node, -inf where nobody did."""
    threshold = np.full(len(market.nodes), -np.inf)
    threshold[at[at != UNPLACED]] = bid_of(market, at)[at != UNPLACED]
    return threshold


def published_gain(instance: PaperInstance, threshold: Floats, j: int, said: PaperInstance) -> float | None:
    """What the published rule leaves a loser after its lie, None if it loses again."""
    won = published_win(threshold, j, said)
    return None if won is None else float(instance.budget[j] - won[1])


def published_win(threshold: Floats, j: int, said: PaperInstance) -> tuple[int, float] | None:
    """Which machine a loser wins with a lie, and what it pays; None if it loses again. threshold: (N,) winning bids.

    The greedy takes bids in descending order, so up to the liar's first win all goes as without it: it wins the machine
    where its bid is highest among those where it exceeds the bid that won there.
    """
    alone = of_request(said, j)
    values = utility(alone, PAPER)[0]
    wins = (values > threshold) & (alone.demand[0] <= said.room)
    if not wins.any():
        return None
    n = int(np.where(wins, values, -np.inf).argmax())
    price = AS_RUN_FACTOR * said.cost[n] * float(alone.size[0]) * (0.8 + 0.4 * values[n])
    return n, float(min(price, alone.budget[0]))


def of_request(instance: PaperInstance, j: int) -> PaperInstance:
    """The instance with request j alone."""
    mine = slice(j, j + 1)
    return replace(
        instance,
        requests=instance.requests[mine], demand=instance.demand[mine], budget=instance.budget[mine],
        priority=instance.priority[mine], history=instance.history[mine], user=instance.user[mine],
        request_position=instance.request_position[mine],
    )  # fmt: skip


def gain_of_request(instance: PaperInstance, market: Market, exchange: Exchange, j: int, kind: str) -> float:
    """What a lie of one request leaves it, which lost when it told the truth."""
    offers = slice(market.first[j], market.first[j + 1])
    true = exchange.value[offers].copy()
    before = float(exchange.bids.sum())
    lied = exchange.copy()
    lied.remove([j])
    lied.bid(j, true * 10 if kind == "value" else np.full_like(true, instance.budget[j]))
    left = 0.0
    if lied.at[j] != UNPLACED:
        others = float(lied.bids.sum() - lied.bids[j])
        left = float(instance.budget[j]) - (before - others)
    lied.remove([j])
    lied.bid(j, true)
    return left


def overbids(report: Report, market: Market) -> None:
    """What the round costs its winners, and 120 losers who bid ten times and 1.2 times their value."""
    exchange = Exchange(market)
    began = time.process_time()
    charges = exchange.charges()
    took = time.process_time() - began
    rng = np.random.default_rng(SEED)
    out = np.flatnonzero((exchange.at == UNPLACED) & (np.diff(market.first) > 0))
    won, gains = 0, []
    for count, j in enumerate(rng.choice(out, 2 * LOSERS, replace=False).tolist()):
        offers = slice(market.first[j], market.first[j + 1])
        true = exchange.value[offers].copy()
        lied = exchange.copy()
        lied.remove([j])
        lied.bid(j, true * (10 if count % 2 else 1.2))
        won += int(lied.at[j] != UNPLACED)
        charge = float(lied.charges().charge[j])
        gains += [g] if (g := float(true.max()) - charge) > NOTHING_GAINED and lied.at[j] != UNPLACED else []
        lied.remove([j])
        lied.bid(j, true)
    add(report, f"Clarke charges, overbids of losers, {won} of which won", 2 * LOSERS, gains)
    report.notes.append(
        f"service worth the budget: charges {charges.charge.sum():,.0f} of {charges.won.sum():,.0f} bid, "
        f"{int((charges.won > 0).sum())} winners; all charges took {took:.3f} CPU s"
    )


def lies_of_tenants(report: Report, instance: PaperInstance) -> None:
    """1,000 lies of users, told about up to ten of their pods at once."""
    rng = np.random.default_rng(SEED)
    market = market_of(instance, PAPER, exclusive=True)
    # Every pod lists every machine, so that a lie can make any of them possible; -inf is a machine that cannot be used.
    every = replace(
        market,
        first=np.arange(len(market.requests) + 1, dtype=np.int64) * len(market.nodes),
        node=np.tile(np.arange(len(market.nodes), dtype=np.int32), len(market.requests)),
        value=utility(instance, PAPER).ravel(),
    )
    began = time.process_time()
    exchange = Exchange(every, solve_market(every))
    worth = np.where(every.fits(), every.value, 0.0).reshape(len(market.requests), -1)
    charges = exchange.charges()
    opening = time.process_time() - began
    bids = exchange.bids
    without = {t: float(bids[market.tenant != t].sum()) + float(charges.charge[t]) for t in range(len(market.tenants))}
    honest = charges.won - charges.charge
    began = time.process_time()
    gains: dict[str, list[float]] = {kind: [] for kind in KINDS}
    told = dict.fromkeys(KINDS, 0)
    changed = 0
    for _ in range(LIES):
        kind, t = str(rng.choice(KINDS)), int(rng.integers(len(market.tenants)))
        theirs = np.flatnonzero(market.tenant == t)
        liars = rng.choice(theirs, min(len(theirs), 10), replace=False).tolist()
        left, moved = one_lie(instance, exchange, worth, without[t], t, liars, kind, rng)
        told[kind] += 1
        changed += moved
        if left > honest[t] + NOTHING_GAINED:
            gains[kind].append(left - float(honest[t]))
    took = time.process_time() - began
    for kind in KINDS:
        add(report, f"Clarke charges, tenants' {kind}", told[kind], gains[kind])
    report.notes.append(
        f"{LIES} lies of {len(market.tenants)} tenants, {changed} of which changed who won; optimum and charges of all "
        f"tenants {opening:.2f} CPU s, the lies {took:.2f} CPU s"
    )


def one_lie(
    instance: PaperInstance, exchange: Exchange, worth: Floats, without: float, tenant: int, liars: list[int],
    kind: str, rng: np.random.Generator,
) -> tuple[float, bool]:  # fmt: skip
    """What a tenant is left after a lie about these pods, and whether it changed who won."""
    market = exchange.market
    lied = exchange.copy()
    lied.remove(liars)
    said = {j: lie_about(instance, market, j, kind, rng) for j in liars}
    true = {j: exchange.value[market.first[j] : market.first[j + 1]].copy() for j in liars}
    for j in liars:
        lied.bid(j, said[j][0])
    theirs = market.tenant == tenant
    held = np.flatnonzero(theirs & (lied.at != UNPLACED))
    runs = [j for j in held.tolist() if j not in said or said[j][1] >= instance.demand[j]]
    bids = lied.bids
    charge = max(without - float(bids[~theirs].sum()), 0.0)
    left = float(sum(worth[j, lied.at[j]] for j in runs)) - charge
    moved = bool((lied.at != exchange.at).any())
    lied.remove(liars)
    for j in liars:
        lied.bid(j, true[j])
    return left, moved


def lie_about(
    instance: PaperInstance, market: Market, j: int, kind: str, rng: np.random.Generator
) -> tuple[Floats, int]:
    """(N,) what request j bids when it lies, and the demand that it states."""
    demand = int(instance.demand[j])
    alone = of_request(instance, j)
    factor = 1.0
    if kind == "value":
        factor = float(rng.choice([0.0, 0.5, 0.9, 1.1, 2.0, 10.0]))
    elif kind == "priority":
        alone = replace(alone, priority=rng.integers(0, 11, 1))
    elif kind == "location":
        alone = replace(alone, request_position=rng.uniform(-100, 100, (1, 2)))
    else:
        demand = int(rng.choice([0, 1, 2])) * int(instance.demand[instance.demand > 0].min())
        alone = replace(alone, demand=np.array([demand]))
    values = utility(alone, PAPER)[0] * factor
    return np.where(demand <= instance.room, values, -np.inf), demand


def posted(report: Report, instance: PaperInstance, budgets: Market) -> None:
    """Over-demand at posted prices, of both kinds of round, and at the published prices."""
    award_price = np.full(len(budgets.nodes), 0.11)
    at_published = serve(budgets, award_price, np.zeros(budgets.room.shape))
    report.add("posted at 0.11, value the budget", share=at_published.over_demand, of=at_published.wanting)
    for name, market in (
        ("value the budget", budgets),
        ("utility, one per machine", market_of(instance, PAPER, exclusive=True)),
        ("utility, shared machines", market_of(instance, PAPER, exclusive=False)),
    ):
        outcome = solve_market(market, effort=0.2)
        began = time.process_time()
        found = post_prices(market, outcome, rounds=0)
        report.add(
            f"posted, {name}", share=found.over_demand, of=found.wanting, welfare=found.welfare / outcome.bound,
            cpu_s=time.process_time() - began,
        )  # fmt: skip


def add(report: Report, name: str, told: int, gains: list[float]) -> None:
    report.add(name, told=told, gained=len(gains), mean_gain=float(np.mean(gains)) if gains else 0.0)
