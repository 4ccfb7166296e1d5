"""A result in lines of text: tiers, and nodes before and after."""

from __future__ import annotations

import numpy as np

from scheduler.core.packing.from_snapshot import Packing
from scheduler.core.packing.ledger import room_left
from scheduler.core.packing.problem import PackingResult

SHOWN = 40  # nodes listed before the rest is summed up


def tier_lines(result: PackingResult) -> list[str]:
    """One line per priority: pods, placed before and after, bound."""
    lines = ["  priority      pods    before     after     bound"]
    rows: dict[int, list[int]] = {}
    proven: dict[int, bool] = {}
    for tier in result.tiers:
        row = rows.setdefault(tier.priority, [0, 0, 0, 0])
        for i, amount in enumerate((tier.total, tier.before, tier.placed, tier.bound)):
            row[i] += amount
        proven[tier.priority] = proven.get(tier.priority, True) and tier.proven
    for priority, row in rows.items():
        mark = "  proven" if proven[priority] else ""
        lines.append(f"{priority:>10}" + "".join(f"{amount:>10}" for amount in row) + mark)
    return lines


def node_lines(packing: Packing, result: PackingResult) -> list[str]:
    """One line per node that changes: pods and the fullest resource, before and after."""
    problem = packing.problem
    size = np.array(
        [[max(1, n.allocatable.get(r, 0)) for r in problem.resources] for n in packing.snapshot.nodes], dtype=float
    ).reshape(len(problem.nodes), len(problem.resources))
    named = [i for i, r in enumerate(problem.resources) if not r.startswith("port ") and r != "pods"]
    shares = []
    counts = []
    for where in (problem.home, result.assign):
        used = 1 - room_left(problem, where)[:, named] / size[:, named]
        shares.append(np.clip(used, 0, None).max(axis=1, initial=0.0))
        counts.append(np.bincount(where[where >= 0], minlength=len(problem.nodes)))
    changed = np.unique(
        np.concatenate([w[(w >= 0) & (problem.home != result.assign)] for w in (problem.home, result.assign)])
    )
    lines = [] if not len(changed) else ["  node: movable pods and fullest resource, before -> after"]
    for n in changed[:SHOWN]:
        lines.append(
            f"  {problem.nodes[n]}: {counts[0][n]} -> {counts[1][n]} pods, {shares[0][n]:.0%} -> {shares[1][n]:.0%}"
        )
    if len(changed) > SHOWN:
        lines.append(f"  and {len(changed) - SHOWN} more nodes")
    return lines
