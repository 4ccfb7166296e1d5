"""What the packing benchmark's runs amount to: the paper's classes, shares with intervals, the paper's own table.

A run is compared with the baseline, a run of the default scheduler with preemption, on pods placed per priority, the
highest priority first. The classes are the paper's: `no_call` where nothing was pending in either run of the default
scheduler; `certified` where the baseline was proven the best; `better_optimal` and `better` where the solver beats it,
with and without proof; `failed` for all else, an "optimal" below the baseline included. "Improved" is the two better
ones together. Shares are of called instances.

"Optimal" means for the paper's model that every stage was, its disruption stages included; for our methods that the
placement is proven. Moves are proven separately and have their own column.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analytics.packing_instances import Cell, published_file

CLASSES = ("better_optimal", "better", "certified", "failed")
PUBLISHED_COLUMNS = ((4, 4), (4, 8), (8, 4), (8, 8), (16, 4), (16, 8), (32, 4), (32, 8))
Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Outcome:
    """One method on one instance. Tuples are per priority, the highest first.

    placed: pods the plan runs (the start's, where there is no plan). bound: most that can run, as far as proven, summed
    from the top; None where the method gives none. moved, evicted: running pods of the start that do not stay.
    breaches: rules the plan breaks, as our own validator sees it.
    """

    cell: Cell
    seed: int
    method: str
    limit_s: float
    klass: str
    status: str
    placement_proven: bool
    moves_proven: bool
    baseline: tuple[int, ...]
    start: tuple[int, ...]
    placed: tuple[int, ...]
    bound: tuple[int, ...] | None
    moved: int
    evicted: int
    seconds: float
    budget_s: float
    load: float
    breaches: tuple[str, ...] = ()
    stages: str = ""

    @property
    def improved(self) -> bool:
        return self.klass in ("better", "better_optimal")


def classify(placed: Sequence[int] | None, baseline: Sequence[int], *, optimal: bool, pending: tuple[int, int]) -> str:
    """The paper's class of a run. placed: None without a solution; pending: of the baseline and of the start."""
    if pending == (0, 0):
        return "no_call"
    if placed is None:
        return "failed"
    if tuple(placed) > tuple(baseline):
        return "better_optimal" if optimal else "better"
    return "certified" if optimal and tuple(placed) == tuple(baseline) else "failed"


@dataclass(frozen=True, slots=True)
class Share:
    """A share in % of `total`, with its 95 % interval (Wilson)."""

    count: int
    total: int

    @property
    def percent(self) -> float | None:
        return 100 * self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        if not self.total:
            return None
        share, spread = self.count / self.total, Z_95**2 / self.total
        centre = (share + spread / 2) / (1 + spread)
        half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
        return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)

    def as_dict(self) -> dict[str, Any]:
        low, high = self.interval or (None, None)
        return {"percent": self.percent, "low": low, "high": high, "count": self.count, "of": self.total}


def mean_with_interval(values: Sequence[float], draws: int = 1000) -> dict[str, float | None]:
    """The mean and its 95 % interval from a seeded bootstrap."""
    if not values:
        return {"mean": None, "low": None, "high": None}
    stream = random.Random(1)
    means = sorted(sum(stream.choices(values, k=len(values))) / len(values) for _ in range(draws))
    return {
        "mean": sum(values) / len(values),
        "low": means[int(0.025 * draws)],
        "high": means[int(0.975 * draws) - 1],
    }


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One method's runs in figures. The classes are shares of the called ones; moves are of improved runs."""
    called = [outcome for outcome in outcomes if outcome.klass != "no_call"]
    improved = [outcome for outcome in called if outcome.improved]

    def share(test: Callable[[Outcome], bool]) -> dict[str, Any]:
        return Share(sum(map(test, called)), len(called)).as_dict()

    def of_pods(outcome: Outcome, pods: int) -> float:
        return 100 * pods / (outcome.cell.nodes * outcome.cell.pods_per_node)

    seconds = sorted(outcome.seconds for outcome in called)
    return {
        "instances": len(outcomes),
        "called": len(called),
        "improved": share(lambda o: o.improved),
        "certified": share(lambda o: o.klass == "certified"),
        "failed": share(lambda o: o.klass == "failed"),
        "better_optimal": share(lambda o: o.klass == "better_optimal"),
        "placement_proven": share(lambda o: o.placement_proven),
        "placement_and_moves_proven": share(lambda o: o.placement_proven and o.moves_proven),
        "all_placed": share(lambda o: sum(o.placed) == o.cell.nodes * o.cell.pods_per_node),
        "worse_than_start": sum(o.placed < o.start for o in called),
        "worse_than_baseline": sum(o.placed < o.baseline for o in called),
        "breaches": sum(bool(o.breaches) for o in called),
        "moved_percent": mean_with_interval([of_pods(o, o.moved) for o in improved]),
        "evicted_percent": mean_with_interval([of_pods(o, o.evicted) for o in improved]),
        "seconds": {
            "mean": sum(seconds) / len(seconds) if seconds else None,
            "p99": seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))] if seconds else None,
            "max": seconds[-1] if seconds else None,
        },
        "over_deadline": sum(o.seconds > 1.2 * o.budget_s + 0.05 for o in called),
    }


def compare_head_to_head(ours: Iterable[Outcome], theirs: Iterable[Outcome]) -> dict[str, int]:
    """On how many called instances `ours` places more, the same, or fewer, compared from the top priority down."""
    other = {(outcome.cell, outcome.seed): outcome for outcome in theirs if outcome.klass != "no_call"}
    result = {"more": 0, "equal": 0, "fewer": 0, "fewer_pods": 0}
    for outcome in ours:
        rival = other.get((outcome.cell, outcome.seed))
        if rival is None or outcome.klass == "no_call":
            continue
        verdict = "more" if outcome.placed > rival.placed else "fewer" if outcome.placed < rival.placed else "equal"
        result[verdict] += 1
        result["fewer_pods"] += sum(outcome.placed) < sum(rival.placed)
    return result


def report(outcomes: Sequence[Outcome], cells: Sequence[Cell], limit_s: float) -> dict[str, Any]:
    """Every method's figures over all cells and per side of the grid, and what the paper published for these cells."""
    methods = list(dict.fromkeys(outcome.method for outcome in outcomes))
    result: dict[str, Any] = {"limit_s": limit_s, "methods": {}, "published": published_shares(cells, limit_s)}
    for method in methods:
        mine = [outcome for outcome in outcomes if outcome.method == method]
        figures = summarise(mine)
        for side in ("nodes", "pods_per_node", "priorities", "usage_pct"):
            values = sorted({getattr(outcome.cell, side) for outcome in mine})
            figures[f"by_{side}"] = {
                str(value): summarise([o for o in mine if getattr(o.cell, side) == value]) for value in values
            }
        result["methods"][method] = figures
    if "paper" in result["methods"]:
        paper = [outcome for outcome in outcomes if outcome.method == "paper"]
        for method in methods:
            if method != "paper":
                mine = [outcome for outcome in outcomes if outcome.method == method]
                result["methods"][method]["against_paper"] = compare_head_to_head(mine, paper)
    for side in ("nodes", "usage_pct"):
        values = sorted({getattr(cell, side) for cell in cells})
        result[f"published_by_{side}"] = {
            str(value): published_shares([c for c in cells if getattr(c, side) == value], limit_s) for value in values
        }
    return result


def load_published() -> dict[tuple[int, Cell], dict[str, int]]:
    """The authors' outcome table: {(limit in s, cell): {letter: % of about 100 instances}}; empty where it is absent.

    Letters: F failed, N no call, K certified, B better, O better and optimal.
    """
    table: dict[tuple[int, Cell], dict[str, int]] = {}
    path = published_file("paper_outcomes.txt")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("#") or not line.strip():
            continue
        head, *groups = line.split("|")
        limit, usage, priorities = map(int, head.split())
        for column, values in enumerate(zip(*(group.split() for group in groups), strict=True)):
            if "-" not in values:
                nodes, pods_per_node = PUBLISHED_COLUMNS[column]
                cell = Cell(nodes, pods_per_node, priorities, usage)
                table[limit, cell] = dict(zip("FNKBO", map(int, values), strict=True))
    return table


def published_shares(cells: Sequence[Cell], limit_s: float) -> dict[str, float] | None:
    """The published shares of called instances over `cells`, None where the paper has no such limit or cells."""
    table = load_published()
    rows = [table[int(limit_s), cell] for cell in cells if limit_s == int(limit_s) and (int(limit_s), cell) in table]
    called = sum(sum(row.values()) - row["N"] for row in rows)
    if not called:
        return None
    return {
        "improved": 100 * sum(row["B"] + row["O"] for row in rows) / called,
        "certified": 100 * sum(row["K"] for row in rows) / called,
        "failed": 100 * sum(row["F"] for row in rows) / called,
        "placement_and_moves_proven": 100 * sum(row["K"] + row["O"] for row in rows) / called,
        "cells": len(rows),
    }
