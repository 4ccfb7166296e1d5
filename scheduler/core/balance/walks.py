"""The compiled walks: simulated annealing and tabu search over single moves."""

from __future__ import annotations

import numpy as np

from scheduler.core.balance.loops import (
    Columns,
    Dice,
    Floats,
    State,
    chance,
    draw,
    is_better,
    is_overloaded,
    may_go,
    put,
    worth_of,
)
from scheduler.core.balance.problem import WAITING
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled


@compiled
def anneal(
    columns: Columns,
    state: State,
    best: Codes,
    best_totals: Ints,
    rate: Floats,
    hot: float,
    cold: float,
    steps: int,
    dice: Dice,
) -> None:
    """Simulated annealing: moves and swaps of two tasks, from temperature `hot` to `cold` (geometric) over `steps`.

    Half of the tasks that are tried are drawn by node, so that nodes with few and large tasks are not passed over; a
    task that was moved is sent home in one of three trials. best, best_totals: kept up to date.
    """
    movable = columns.movable
    nodes = len(columns.capacity)
    ratio = (cold / hot) ** (1.0 / max(steps, 1))
    heat = hot
    for _ in range(steps):
        heat *= ratio
        t = movable[draw(dice, len(movable))]
        old = state.at[t]
        if chance(dice) < 0.5 and old != WAITING and old == columns.home[t] and not is_overloaded(state, old):
            continue  # leaving a node that is well is rarely of use
        is_swap = False
        if old != columns.home[t] and chance(dice) < 0.33:
            n = columns.home[t]
        else:
            n = draw(dice, nodes)
            is_swap = chance(dice) < 0.3
        if n == old or not may_go(columns, state, t, n):
            continue
        change = worth_of(columns, state, t, n, rate)
        if not is_swap or n == WAITING or old == WAITING:
            if change <= 0 or chance(dice) < np.exp(-change / heat):
                put(columns, state, t, n)
        else:
            put(columns, state, t, n)
            u = movable[draw(dice, len(movable))]
            for _ in range(8):
                if state.at[u] == n and u != t:
                    break
                u = movable[draw(dice, len(movable))]
            if state.at[u] == n and u != t and may_go(columns, state, u, old):
                second = change + worth_of(columns, state, u, old, rate)
                if second <= change and (second <= 0 or chance(dice) < np.exp(-second / heat)):
                    put(columns, state, u, old)
                    change = -1.0
            if change > 0 and chance(dice) >= np.exp(-change / heat):
                put(columns, state, t, old)
        if is_better(state.totals, best_totals):
            best_totals[:] = state.totals
            best[:] = state.at


@compiled
def tabu(
    columns: Columns,
    state: State,
    best: Codes,
    best_totals: Ints,
    rate: Floats,
    until: Ints,
    clock: int,
    steps: int,
    dice: Dice,
) -> tuple[int, int]:
    """Tabu search: the best of the moves looked at, if better or not, then that task is held for some iterations.

    Looked at: every task of an overloaded node (drawn; any node where none is) and every place for it, and all tasks
    that were moved, home. until: (T,) iteration up to which a task is held. A held task moves where that gives the best
    sum so far. Returns the iteration reached and the trials counted.
    """
    movable = columns.movable
    nodes = len(columns.capacity)
    sick = np.empty(nodes, np.int32)
    least = np.inf
    value = 0.0
    trials = 0
    while trials < steps:
        clock += 1
        ill = 0
        for n in range(nodes):
            if is_overloaded(state, n):
                sick[ill] = n
                ill += 1
        source = sick[draw(dice, ill)] if ill else draw(dice, nodes)
        pick, target, gain = -1, -1, np.inf
        trials += nodes
        for t in movable:
            old = state.at[t]
            if old == source or old == WAITING:  # noqa: SIM109 (a tuple of two types is none to numba)
                for n in range(nodes):
                    trials += 1
                    if n != old and may_go(columns, state, t, n):
                        change = worth_of(columns, state, t, n, rate)
                        is_free = until[t] <= clock or value + change < least - 1e-9
                        if is_free and change < gain:
                            pick, target, gain = t, n, change
            elif old != columns.home[t]:
                trials += 1
                home = columns.home[t]
                if may_go(columns, state, t, home):
                    change = worth_of(columns, state, t, home, rate)
                    if (until[t] <= clock or value + change < least - 1e-9) and change < gain:
                        pick, target, gain = t, home, change
        if pick < 0:
            continue
        put(columns, state, pick, target)
        value += gain
        least = min(least, value)
        until[pick] = clock + 5 + draw(dice, 15)
        if is_better(state.totals, best_totals):
            best_totals[:] = state.totals
            best[:] = state.at
    return clock, trials
