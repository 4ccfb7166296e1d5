"""What can prove that nothing is better: the full scan, and CP-SAT on the whole problem.

One worker, a seed and deterministic time, so that the same question has the same answer.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.balance import loops
from scheduler.core.balance.metaheuristics import greedy
from scheduler.core.balance.narrow import solve_narrow
from scheduler.core.balance.neighbourhoods import improve_parts, move_covers
from scheduler.core.balance.part import solve_part
from scheduler.core.balance.problem import OVERLOAD_UNIT, Bound
from scheduler.core.balance.scan_loop import scan_all
from scheduler.core.balance.search import TRIALS_PER_UNIT, Search

MOST_PLACES = 30_000  # places of all tasks together in one model of them by name
MOST_SCANNED = 200_000_000
NARROW_SHARE, NARROW_SLACK = 0.3, 0.002
NEARLY = 0.03  # of a node, overload that is left when the covers have moved: with more an answer near them is unlikely


def full_scan(search: Search) -> None:
    """Every placement, with branches cut that cannot beat the best. Gives no answer where that is too much."""
    columns = search.columns
    steps = int(min(search.left * TRIALS_PER_UNIT, MOST_SCANNED))
    now = search.state()
    best, totals, stranded = now.at.copy(), now.totals.copy(), np.full(1, 2**62, np.int64)
    start = loops.make_state(columns, search.instance.home)
    trials = int(scan_all(columns, start, best, totals, stranded, steps))
    search.meter.count(trials)
    if trials >= steps:
        search.answered = False
        search.reasons.append(f"the full scan is for tiny cases: {len(columns.movable)} tasks were not done in {steps}")
        return
    search.best, search.totals = best, totals
    search.bound = Bound(*totals.tolist())


def cp_sat(search: Search) -> None:
    """The whole problem, task by task, where that is a small model.

    Else the covers' tasks are moved and the rest is CP-SAT: where some placement may be stable, all that comes near the
    covers' bound in one model of counts, then neighbourhoods of the best for what is left of the budget.
    """
    columns = search.columns
    places = int(columns.reach.sum()) + len(columns.movable)
    if places <= MOST_PLACES:
        everywhere = [np.flatnonzero(columns.reach[t]).tolist() for t in columns.movable]
        solve_part(search, columns.movable, everywhere, search.left, is_whole=True)
        return
    greedy(search)
    move_covers(search)
    solve_near_covers(search)
    improve_parts(search)


def solve_near_covers(search: Search) -> None:
    """Answers that cost hardly more than the covers' bound, for a share of the budget."""
    nearly = search.totals[loops.OVERLOAD] <= NEARLY * OVERLOAD_UNIT
    if search.covers and nearly and not search.is_closed:
        solve_narrow(search, int(NARROW_SLACK * search.bound.cost), NARROW_SHARE * search.left)
