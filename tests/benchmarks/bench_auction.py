"""MOHAF's own experiment: every rule under one utility, one request per machine and several, and the frontier.

From the files the paper used, with its generator and seed. `paper` and `as-run` are the efficiencies by the utility of
the text and by that of the code; a rule decides by the one it is scored with. With STOWAGE_BENCH_DIR a row that is done
is not run again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analytics.auction.frontier import AIMS, solve_point
from analytics.auction.mechanisms import MECHANISMS, SOLVED, Asked, Result, regret_of, run, solve
from analytics.auction.rounds import Round, read_round
from scheduler.core.auction.charges import silence
from scheduler.core.auction.fairness import per_tenant
from scheduler.core.auction.market import Outcome, bid_of
from scheduler.core.auction.mohaf import MohafRules
from tests.benchmarks.harness import REAL, Report

PUBLISHED = {"mohaf": 0.263, "greedy": 0.185, "first-price": 0.138, "random": 0.101}
POINTS = 9
FEW = 8  # tenants that are charged where every one takes a solve
VARIANTS = {
    "mohaf, 10 clusters, own one": Asked("mohaf", clusters=10),
    "mohaf, 30 clusters, own one": Asked("mohaf", clusters=30),
    "mohaf, 30 clusters, nearest 3": Asked("mohaf", clusters=30, reach=3),
    "mohaf, dynamic prices, 5 rounds": Asked("mohaf", rules=MohafRules("dynamic", rounds=5)),
}


def bench(work: Path) -> Report:
    report = Report("auction", "MOHAF's instance: 3,553 requests, 888 machines")
    if not REAL.exists():
        report.notes.append(f"not measured: {REAL} is not there")
        return report
    for per_node in ("one", "many"):
        table = Table(per_node)
        for name, asked in {**{name: Asked(name) for name in MECHANISMS}, **VARIANTS}.items():
            row = f"{per_node}: {name}"
            report.add(row, **kept(work, row, lambda row=row, asked=asked, table=table: table.row(row, asked)))
        row = f"{per_node}: Clarke charges"
        report.add(row, **kept(work, row, table.charges))
    for towards in AIMS:
        for step in range(POINTS):
            row = f"towards {towards}, weight {step / (POINTS - 1):.3f}"
            report.add(row, **kept(work, row, lambda step=step, towards=towards: of_point(table, step, towards)))
    report.notes.append("published: Table 1 of the paper, where baselines have constants or random numbers for utility")
    report.notes.append("gap: to the bound of the round, and on the frontier of the weighted round; cpu_s: of the rule")
    return report


def kept(work: Path, row: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The row's figures, from the work folder where they are."""
    done = work / f"auction-{re.sub('[^a-z0-9]+', '-', row)}.json"
    if not done.exists():
        done.write_text(json.dumps(measure()))
    found: dict[str, Any] = json.loads(done.read_text())
    return found


class Table:
    """Both utilities' rounds, read when a row is measured, and the optimum that gaps refer to."""

    def __init__(self, per_node: str) -> None:
        self.per_node = per_node

    @cached_property
    def made(self) -> dict[str, Round]:
        exclusive = self.per_node == "one"
        return {name: read_round([REAL], utility=name, exclusive=exclusive) for name in ("paper", "as-run")}

    @cached_property
    def best(self) -> Outcome:
        return solve(self.made["paper"].market, 0, 1.0)

    def row(self, row: str, asked: Asked) -> dict[str, Any]:
        paper, as_run = (run(self.made[name], asked) for name in ("paper", "as-run"))
        return {
            "published": PUBLISHED.get(row.removeprefix("one: ")),
            "as_run": as_run.scores.efficiency,
            "paper": paper.scores.efficiency,
            "gap": regret_of(self.made["paper"], paper, self.best).gap,
            "satisfaction": paper.scores.satisfaction,
            "placed": paper.scores.placed["capacity"],
            "jain_requests": paper.scores.jain_requests,
            "jain_users": paper.scores.jain_tenants,
            "revenue_as_run": None if asked.mechanism in SOLVED else printed_revenue(self.made["as-run"], as_run),
            "cpu_s": paper.cpu_s,
            **({} if paper.over_demand is None else {"over_demand": paper.over_demand}),
        }

    def charges(self) -> dict[str, Any]:
        """What tenants pay for the harm they do, of all they bid for what they won; where machines are shared only what
        a few of them cost to charge."""
        market = self.made["paper"].market
        won = per_tenant(market, bid_of(market, self.best.at))
        winners = np.flatnonzero(won > 0)
        if market.exclusive:
            found = run(self.made["paper"], Asked("exact", charge="clarke"))
            paid, took = float(found.charge.sum()), found.charges_cpu_s
            return {"tenants": len(winners), "charged": paid, "of": float(won.sum()), "cpu_s": took}
        began = time.process_time()
        for t in winners[:: len(winners) // FEW][:FEW].tolist():
            solve(silence(market, t), 0, 1.0)
        return {"tenants": len(winners), "cpu_s_per_tenant": (time.process_time() - began) / FEW}


def printed_revenue(made: Round, result: Result) -> float:
    """As the published code counts it: what is paid, once more times the demand."""
    return float((result.paid * made.terms.size).sum())


def of_point(table: Table, step: int, towards: str) -> dict[str, Any]:
    point = solve_point(table.made["paper"], step / (POINTS - 1), towards, seed=0, effort=1.0)
    return {
        "paper": point.scores.efficiency, "gap": point.gap, "satisfaction": point.scores.satisfaction,
        "placed": point.placed, "jain_requests": point.scores.jain_requests, "jain_users": point.scores.jain_tenants,
        "cpu_s": point.cpu_s,
    }  # fmt: skip
