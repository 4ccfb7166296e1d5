"""One run of `stowage auction`: read, run, compare with the optimum, trace the frontier, explain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analytics.auction.frontier import Point, trace_frontier
from analytics.auction.mechanisms import Asked, regret_of, run, solve
from analytics.auction.report import Answer
from analytics.auction.rounds import read_round
from analytics.errors import InputError
from scheduler.core.auction.explain import explain
from scheduler.core.auction.mohaf import MohafRules, Payment, Pricing
from scheduler.core.columns import row_of

PER_NODE = ("one", "many")


@dataclass(frozen=True, slots=True)
class AuctionOptions:
    """The command's options, by the same names."""

    paths: tuple[Path, ...]
    mechanism: str = "exact"
    per_node: str = "many"
    charge: str = "price"
    at: str | None = None
    listed: int = 32
    seed: int = 0
    effort: float = 1.0
    frontier: int = 0
    towards: str = "demand"
    explain: str | None = None
    utility: str = "paper"
    draw_seed: int = 42
    pricing: Pricing = "as-run"
    rounds: int = 1
    payment: Payment = "own"
    clusters: int = 0
    reach: int = 1


def hold_auction(options: AuctionOptions) -> Answer:
    """The answer to these options. Raises InputError or StowageInputError."""
    if options.per_node not in PER_NODE:
        raise InputError(f"--per-node {options.per_node}: choose one or many")
    asked = Asked(
        options.mechanism, options.seed, options.effort, options.charge,
        MohafRules(options.pricing, options.payment, options.rounds), options.clusters, options.reach,
    )  # fmt: skip
    made = read_round(
        options.paths, utility=options.utility, exclusive=options.per_node == "one", at=options.at,
        seed=options.draw_seed, listed=options.listed,
    )  # fmt: skip
    row = None if options.explain is None else row_of("request", made.market.requests, options.explain)
    if row is not None and options.mechanism != "exact":
        raise InputError(
            f"--explain {options.explain}: --mechanism {options.mechanism} has no prices that say which bid wins; "
            "leave it out, or use exact"
        )
    result = run(made, asked)
    reference = result if result.outcome is not None else run(made, Asked("exact", options.seed, options.effort))
    assert reference.outcome is not None
    points: list[Point] = []
    if options.frontier:
        points = trace_frontier(made, options.frontier, options.towards, options.seed, options.effort)
    explained = None
    if row is not None:
        explained = explain(made.market, reference.outcome, row, lambda one: solve(one, options.seed, options.effort))
    return Answer(made, result, regret_of(made, result, reference.outcome), points, options.towards, explained)
