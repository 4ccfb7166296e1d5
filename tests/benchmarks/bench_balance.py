"""Balancers on nodes cut from Google's first 19.65 h: every method's cost and gap with the same budget.

STOWAGE_BENCH_BALANCE: instances (20), STOWAGE_BENCH_BALANCE_BUDGET: counted seconds for each method (1). Instance s is
100 machines drawn with seed s at the hour s mod 19, so an instance is the same whatever the number of them. With
STOWAGE_BENCH_DIR solved instances of one budget are kept there and not solved again: a long bench can go in slices.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from analytics.balance.trace_cut import Cut, TraceInstant
from scheduler.core.balance.bounds import find_floor
from scheduler.core.balance.problem import Budget
from scheduler.core.balance.solve import METHODS, balance
from scheduler.core.balance.validator import broken_rules
from tests.benchmarks.harness import Report, slice_trace
from traces.schema import open_trace

HOURS = 19
TRIED = [name for name in METHODS if name != "full-scan"]
WITHIN = 0.01


def bench(work: Path) -> Report:
    """One row per method over all instances."""
    count = int(os.environ.get("STOWAGE_BENCH_BALANCE", "20"))
    budget = float(os.environ.get("STOWAGE_BENCH_BALANCE_BUDGET", "1"))
    what, folder = slice_trace(work)
    report = Report("balance", f"{count} instances of 100 machines, {budget:g} units of work for each method")
    report.notes.append(
        f"{what}; requests against 1.25 x CPU and 1.1 x memory installed. gap: of the cost, to the covers' bound, "
        "where stable. The bound's own work is in no method's."
    )
    kept = work / f"balance-{budget:g}.json"
    known: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    for seed in range(count):
        if str(seed) not in known:
            known[str(seed)] = _solve_all(folder, seed, budget)
            kept.write_text(json.dumps(known))
    found = [known[str(seed)] for seed in range(count)]
    for method in TRIED:
        report.add(method, **_summary([one[method] for one in found], [one["cover"] for one in found]))
    return report


def _solve_all(folder: Path, seed: int, budget: float) -> dict[str, Any]:
    at_us = seed % HOURS * 3_600_000_000
    instance, _ = TraceInstant(open_trace(folder), at_us).cut(Cut(at_us, seed=seed))
    floor = find_floor(instance, seed)
    answers: dict[str, Any] = {}
    for method in TRIED:
        began = time.process_time()
        result = balance(instance, method, Budget(budget), seed, floor)
        spent = time.process_time() - began
        if broken_rules(instance, result.at):
            raise RuntimeError(f"{method} on instance {seed} breaks a rule")
        overload = result.objective.overload_nodes
        gap = (result.objective.cost - floor.bound.cost) / max(result.objective.cost, 1)
        answers[method] = {"overload": overload, "cost": result.objective.cost, "gap": gap, "cpu_s": spent}
    return answers


def _summary(rows: list[dict[str, Any]], ours: list[dict[str, Any]]) -> dict[str, Any]:
    stable = [row for row in rows if row["overload"] == 0]
    both = [(a["cost"], b["cost"]) for a, b in zip(rows, ours, strict=True) if not a["overload"] and not b["overload"]]
    return {
        "instances": len(rows),
        "stable": len(stable),
        "within_1_percent": sum(row["gap"] <= WITHIN for row in stable),
        "median_gap": statistics.median(row["gap"] for row in stable) if stable else None,
        "largest_gap": max((row["gap"] for row in stable), default=None),
        "median_cost_to_ours": statistics.median(a / max(b, 1) for a, b in both) if both else None,
        "median_overload": statistics.median(row["overload"] for row in rows),
        "cpu_s": statistics.median(row["cpu_s"] for row in rows),
    }
