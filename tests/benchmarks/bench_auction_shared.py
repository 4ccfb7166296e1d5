"""Shared nodes with four resources, after MOHAF's law in thirds and in any sizes, beside CP-SAT and plain greedy.

STOWAGE_BENCH_SHARED says how far (a multiple of 3,553 requests; 10 by default). The market is made as a caller makes
one: each request lists its nearest machines, prices are found, the most profitable machines at these prices are listed
too, and the market is solved. The last step looks at every pair once more: the gap is over all machines.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scheduler.core.auction.market import UNPLACED, Market, Outcome, broken_rules
from scheduler.core.auction.shared import solve_shared
from scheduler.core.auction.shared_exact import Question, solve_exact
from scheduler.core.auction.shared_prices import Dual
from scheduler.core.auction.shared_round import make_round
from scheduler.core.auction.shared_search import Allocation
from tests.benchmarks.harness import Report
from tests.benchmarks.shared_cases import (
    FINE,
    THIRDS,
    FourResources,
    all_pairs_bound,
    draw_case,
    market_of_pairs,
    nearest_pairs,
    profitable_pairs,
)

PAPER_REQUESTS = 3_553
SCALES = (1, 3, 10, 30, 100)
LAWS = {"": THIRDS, ", fine": FINE}
TARGETS = {"": 0.01, ", fine": 0.05}  # gaps
NEAREST, PROFITABLE = 16, 8
SEED = 1
PEER_WORK = 20.0


@dataclass(frozen=True, slots=True)
class Run:
    """One size solved: the last market, its outcome, CPU seconds of listing and of solving, and the bound over all."""

    market: Market
    outcome: Outcome
    list_cpu_s: float
    solve_cpu_s: float
    bound: float


def run(case: FourResources) -> Run:
    """List, price, list again, solve, certify."""
    clock = time.process_time
    began = clock()
    pairs = nearest_pairs(case, NEAREST)
    market = market_of_pairs(case, pairs)
    listed = clock()
    first = solve_shared(market, seed=SEED, effort=0.4)
    priced = clock()
    more, _ = profitable_pairs(case, first.unit_price, PROFITABLE)
    market = market_of_pairs(case, np.union1d(pairs, more))
    again = clock()
    outcome = solve_shared(market, seed=SEED, start=first)
    solved = clock()
    _, profit = profitable_pairs(case, outcome.unit_price, 1)
    bound = all_pairs_bound(outcome.unit_price, make_round(market).room, profit)
    certified = clock()
    listing = (listed - began) + (again - priced) + (certified - solved)
    return Run(market, outcome, listing, (priced - listed) + (solved - again), max(bound, outcome.welfare))


def greedy(market: Market) -> float:
    """The welfare of taking offers by their bids, highest first, where there is room."""
    made = make_round(market)
    allocation = Allocation(made, np.zeros(made.room.shape))
    allocation.round_prices(Dual(made, np.zeros(made.room.shape)))
    return allocation.welfare


def cp_sat_alone(market: Market) -> tuple[float, float]:
    """Welfare and bound of the whole market as one model, PEER_WORK units of deterministic time."""
    made = make_round(market)
    everybody = np.arange(len(made.demand), dtype=np.int32)
    nobody = np.full(len(everybody), UNPLACED, np.int32)
    offers = np.arange(len(made.value))
    question = Question(made, everybody, offers, made.request(), made.room, nobody, np.zeros(len(everybody), np.int64))
    answer = solve_exact(question, PEER_WORK, SEED)
    request = made.request()
    return float(made.value[answer.at[request] == made.node].sum()), answer.bound


def bench(work: Path) -> Report:
    """One row per size, and the peers at the first."""
    report = Report("auction_shared", "shared nodes, four resources, MOHAF's law: all pairs certified, CPU seconds")
    furthest = float(os.environ.get("STOWAGE_BENCH_SHARED", "10"))
    report.notes.append(
        "gap is to the bound over all pairs of request and machine. list_cpu_s: looking at all pairs, twice to list "
        "and once to certify; solve_cpu_s: two calls of solve_shared. CP-SAT alone: one worker, the same offers."
    )
    run(draw_case(400, SEED))  # compiles
    sizes = [scale for scale in SCALES if scale <= furthest]
    for law, parts, scale in [(law, parts, scale) for law, parts in LAWS.items() for scale in sizes]:
        case = draw_case(scale * PAPER_REQUESTS, SEED, parts)
        found = run(case)
        name = f"{scale}x{law}"
        if broken_rules(found.market, found.outcome.at):
            raise RuntimeError(f"{name}: the allocation breaks a rule")
        report.add(
            name, **_size(found.market), list_cpu_s=found.list_cpu_s, solve_cpu_s=found.solve_cpu_s,
            cpu_s=found.list_cpu_s + found.solve_cpu_s, **_worth(found.outcome.welfare, found.bound),
            target=f"60 CPU s, gap {TARGETS[law]}" if scale == 10 else None,
        )  # fmt: skip
        began = time.process_time()
        welfare = greedy(found.market)
        report.add(
            f"{name}, greedy by bid", **_size(found.market), cpu_s=time.process_time() - began,
            **_worth(welfare, found.bound),
        )  # fmt: skip
        report.write()  # what is known, should a longer one be stopped
    case = draw_case(PAPER_REQUESTS, SEED)
    found = run(case)
    began = time.process_time()
    welfare, bound = cp_sat_alone(found.market)
    report.add(
        "1x, CP-SAT alone", **_size(found.market), cpu_s=time.process_time() - began,
        **_worth(welfare, found.bound), own_bound=bound,
    )  # fmt: skip
    return report


def _size(market: Market) -> dict[str, int]:
    return {"requests": len(market.requests), "machines": len(market.nodes), "offers": len(market.node)}


def _worth(welfare: float, bound: float) -> dict[str, float]:
    return {"welfare": welfare, "bound": bound, "gap": max(bound - welfare, 0.0) / bound}
