"""Balancers on nodes cut from Google's first 19.65 h: every method's cost and gap with the same budget.

STOWAGE_BENCH_BALANCE: instances (20), or a slice of them such as 40-59. STOWAGE_BENCH_BALANCE_METHODS: those to run, by
comma (all). STOWAGE_BENCH_BALANCE_BUDGET: counted seconds for each method (1). Instance s is 100 machines drawn with
seed s at the hour s mod 19, so it is the same whatever else is run. With STOWAGE_BENCH_DIR the answers of a method and
budget are kept there in a file of their own, which is to be removed when the method changes: a long bench can go in
slices. A method's row is over those of the instances that it was run on.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from analytics.balance.trace_cut import Cut, TraceInstant
from scheduler.core.balance.bounds import find_floor
from scheduler.core.balance.problem import Budget, Instance
from scheduler.core.balance.solve import DEFAULT, METHODS, balance
from scheduler.core.balance.validator import broken_rules
from tests.benchmarks.harness import Report, slice_trace
from traces.schema import open_trace

HOURS = 19
TRIED = [name for name in METHODS if name != "full-scan"]
WITHIN = 0.01


def bench(work: Path) -> Report:
    """One row per method over all instances."""
    seeds = _seeds(os.environ.get("STOWAGE_BENCH_BALANCE", "20"))
    methods = os.environ.get("STOWAGE_BENCH_BALANCE_METHODS", ",".join(TRIED)).split(",")
    budget = float(os.environ.get("STOWAGE_BENCH_BALANCE_BUDGET", "1"))
    what, folder = slice_trace(work)
    for method in methods:
        _run(work, folder, method, budget, seeds)
    bounds = _run(work, folder, "bound", 0, seeds)
    known = {method: _kept(work, method, budget) for method in TRIED}
    report = Report("balance", f"{len(seeds)} instances of 100 machines, {budget:g} units of work for each method")
    report.notes.append(
        f"{what}; requests against 1.25 x CPU and 1.1 x memory installed. gap: of the cost, to the best bound known "
        "for the instance, where stable. The bound's own work is in no method's."
    )
    best = {seed: max(row.get("bound", 0) for row in _rows(seed, known, bounds)) for seed in map(str, seeds)}
    for method in TRIED:
        done = [seed for seed in best if seed in known[method]]
        if done:
            rows = [_with_gap(known[method][seed], best[seed]) for seed in done]
            report.add(method, **_summary(rows, [known[DEFAULT].get(seed) for seed in done]))
    return report


def _seeds(text: str) -> list[int]:
    """`20` is the first twenty, `40-59` those."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if last else list(range(int(first)))


def _rows(seed: str, *tables: Any) -> list[dict[str, Any]]:
    known, bounds = tables
    return [bounds[seed], *(rows[seed] for rows in known.values() if seed in rows)]


def _path(work: Path, method: str, budget: float) -> Path:
    return work / f"balance-{budget:g}-{method}.json"


def _kept(work: Path, method: str, budget: float) -> dict[str, dict[str, Any]]:
    path = _path(work, method, budget)
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _run(work: Path, folder: Path, method: str, budget: float, seeds: list[int]) -> dict[str, dict[str, Any]]:
    """The answers of a method by instance; those that are not kept are made. `bound` is the covers' bound alone."""
    known = _kept(work, method, budget)
    for seed in sorted(seeds, key=lambda one: (one % HOURS, one)):
        if str(seed) not in known:
            known[str(seed)] = _solve(folder, seed, method, budget)
            _path(work, method, budget).write_text(json.dumps(known))
    return known


def _solve(folder: Path, seed: int, method: str, budget: float) -> dict[str, Any]:
    instance = _instance(folder, seed)
    began = time.process_time()
    floor = find_floor(instance, seed)
    spent = time.process_time() - began
    if method == "bound":
        return {"bound": floor.bound.cost, "cpu_s": spent}
    began = time.process_time()
    result = balance(instance, method, Budget(budget), seed, floor)
    spent = time.process_time() - began
    if broken := broken_rules(instance, result.at):
        raise RuntimeError(f"{method} on instance {seed} breaks a rule: {broken[0]}")
    return {
        "overload": result.objective.overload_nodes,
        "cost": result.objective.cost,
        "bound": result.bound.cost,
        "cpu_s": spent,
    }


def _instance(folder: Path, seed: int) -> Instance:
    at_us = seed % HOURS * 3_600_000_000
    return _instant(folder, at_us).cut(Cut(at_us, seed=seed))[0]


@lru_cache(maxsize=1)
def _instant(folder: Path, at_us: int) -> TraceInstant:
    return TraceInstant(open_trace(folder), at_us)


def _with_gap(row: dict[str, Any], bound: int) -> dict[str, Any]:
    return row | {"gap": (row["cost"] - bound) / max(row["cost"], 1)}


def _summary(rows: list[dict[str, Any]], ours: list[dict[str, Any] | None]) -> dict[str, Any]:
    stable = [row for row in rows if row["overload"] == 0]
    both = [(a["cost"], b["cost"]) for a, b in zip(rows, ours, strict=True) if b and not a["overload"] + b["overload"]]
    return {
        "instances": len(rows),
        "stable": len(stable),
        "within_1_percent": sum(row["gap"] <= WITHIN for row in stable),
        "median_gap": statistics.median(row["gap"] for row in stable) if stable else None,
        "largest_gap": max((row["gap"] for row in stable), default=None),
        "median_cost_to_ours": statistics.median(a / max(b, 1) for a, b in both) if both else None,
        "cheaper_than_ours": sum(a < b for a, b in both),
        "median_overload": statistics.median(row["overload"] for row in rows),
        "cpu_s": statistics.median(row["cpu_s"] for row in rows),
    }
