"""The compiled loop of the full scan."""

from __future__ import annotations

import numpy as np

from scheduler.core.balance.loops import COST, OVERLOAD, UNPLACED, Columns, State, may_go, put, stranded_on
from scheduler.core.balance.problem import WAITING
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled

UNTRIED = -2


@compiled
def scan_all(columns: Columns, state: State, best: Codes, totals: Ints, stranded: Ints, steps: int) -> int:
    """Put every movable task, one after the other, on every node it may use; keep the best of all four parts.

    state: the home placement; all movable tasks are taken off first. Placing one only adds to the parts of those that
    are decided, so a branch ends where these come after the best. Returns the trials, `steps` where they ran out.
    """
    movable = columns.movable
    depth = len(movable)
    nodes = len(columns.capacity)
    # what those not yet decided count in the totals while they stand aside
    aside = np.zeros((depth + 1, 3), np.int64)
    for level in range(depth - 1, -1, -1):
        t = movable[level]
        put(columns, state, t, WAITING)
        aside[level] = aside[level + 1]
        aside[level, UNPLACED] += columns.worth[t]
        if columns.home[t] != WAITING:
            aside[level, COST] += columns.cost[t]
    choice = np.full(depth + 1, UNTRIED, np.int32)
    level = 0
    trials = 0
    while level >= 0:
        trials += 1
        if trials >= steps:
            return steps
        if level == depth:
            _keep(columns, state, best, totals, stranded)
            level -= 1
            continue
        t = movable[level]
        if choice[level] != UNTRIED:
            put(columns, state, t, WAITING)
        n = choice[level] + 1
        while n < nodes and not may_go(columns, state, t, n):
            n += 1
        if n >= nodes:
            choice[level] = UNTRIED
            level -= 1
            continue
        choice[level] = n
        put(columns, state, t, n)
        if not _is_beaten(state.totals, aside[level + 1], totals):
            level += 1
    return trials


@compiled
def _is_beaten(now: Ints, aside: Ints, best: Ints) -> bool:
    """Whether what is decided comes after the best already."""
    for part in (OVERLOAD, UNPLACED, COST):
        value = now[part] - aside[part]
        if value != best[part]:
            return bool(value > best[part])
    return False


@compiled
def _keep(columns: Columns, state: State, best: Codes, totals: Ints, stranded: Ints) -> None:
    found = 0
    for n in range(len(columns.capacity)):
        found += stranded_on(columns, state, n)
    for part in range(3):
        if state.totals[part] != totals[part]:
            if state.totals[part] > totals[part]:
                return
            break
    else:
        if found >= stranded[0]:
            return
    best[:] = state.at
    totals[:] = state.totals
    stranded[0] = found
