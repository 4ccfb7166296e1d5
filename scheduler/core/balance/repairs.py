"""Compiled repairs of a placement: greedy cures, places for those that wait, children of two parents, polish."""

from __future__ import annotations

from typing import Any

import numpy as np

from scheduler.core.balance.loops import (
    Columns,
    Dice,
    Floats,
    State,
    chance,
    draw,
    harm,
    is_overloaded,
    may_go,
    put,
    relief,
    stranded_on,
    worth_of,
)
from scheduler.core.balance.problem import WAITING
from scheduler.core.columns import Codes
from scheduler.core.compiled import compiled


@compiled
def room_left(columns: Columns, state: State, t: Any, n: Any) -> float:
    """The smallest free share of the node if the task came to it."""
    left = 1e300
    for r in range(columns.use.shape[1]):
        left = min(left, (state.free[n, r] - columns.use[t, r]) / max(columns.capacity[n, r], 1))
    return left


@compiled
def tightest(columns: Columns, state: State, t: Any) -> int:
    """The node that takes the task without overload and has least left then; -1 for none."""
    pick, least = -1, np.inf
    for n in range(len(columns.capacity)):
        if n != state.at[t] and n != columns.home[t] and may_go(columns, state, t, n):
            left = room_left(columns, state, t, n)
            if left < least and harm(columns, state, t, n) == 0:
                pick, least = n, left
    return pick


@compiled
def repair(columns: Columns, state: State, rate: Floats, order: Codes) -> int:
    """Greedy, in place: while some move lowers the weighted sum per unit of cost, the best of a node is made.

    order: the nodes as they are gone through. Last, tasks that were moved go home where that adds no overload, and
    those that wait are placed where that adds none. Returns the trials.
    """
    trials = 0
    for source in order:
        while is_overloaded(state, source):
            pick, target, most = -1, -1, 0.0
            for t in columns.movable:
                if state.at[t] != source:
                    continue
                ended = relief(columns, state, t, source)
                trials += 1
                if ended == 0:
                    continue
                for n in range(len(order)):
                    trials += 1
                    if n == source or not may_go(columns, state, t, n):
                        continue
                    gain = float(ended - harm(columns, state, t, n))
                    if gain <= 0:
                        continue
                    paid = 0.0 if n == columns.home[t] else float(columns.cost[t])
                    # the tighter the fit the better, among equals
                    value = gain / (1.0 + paid) * (1.0 - 1e-6 * room_left(columns, state, t, n))
                    if value > most:
                        pick, target, most = t, n, value
            if pick < 0:
                break
            put(columns, state, pick, target)
    for t in columns.movable:
        home = columns.home[t]
        if state.at[t] != home and home != WAITING and may_go(columns, state, t, home):
            trials += 1
            if worth_of(columns, state, t, home, rate) <= 0:
                put(columns, state, t, home)
    return trials + place_waiting(columns, state)


@compiled
def place_waiting(columns: Columns, state: State) -> int:
    """Place those that wait, more priority first, on the tightest node that stays without more overload."""
    trials = 0
    waiting = columns.movable[state.at[columns.movable] == WAITING]
    for t in waiting[np.argsort(-columns.worth[waiting], kind="mergesort")]:
        pick = tightest(columns, state, t)
        trials += len(columns.capacity)
        if pick >= 0:
            put(columns, state, t, pick)
    return trials


@compiled
def send_away(columns: Columns, state: State, tasks: Codes) -> int:
    """Each of these tasks leaves its home for the tightest node that takes it without overload. Returns the trials."""
    trials = 0
    for t in tasks:
        pick = tightest(columns, state, t)
        trials += len(columns.capacity)
        if pick >= 0:
            put(columns, state, t, pick)
    return trials


@compiled
def breed(
    columns: Columns, first: Codes, second: Codes, child: State, rate: Floats, order: Codes, mutations: int, dice: Dice
) -> int:
    """Make `child`, the home placement, a mix of two parents: tasks come by node of origin from one or the other.

    Some are then sent anywhere, and the result is repaired in the order of these nodes. Returns the trials.
    """
    nodes = len(columns.capacity)
    from_first = np.zeros(nodes + 1, np.bool_)
    for n in range(nodes + 1):
        from_first[n] = chance(dice) < 0.5
    for t in columns.movable:
        n = first[t] if from_first[columns.home[t]] else second[t]
        if n != child.at[t] and may_go(columns, child, t, n):
            put(columns, child, t, n)
    for _ in range(mutations):
        t = columns.movable[draw(dice, len(columns.movable))]
        n = columns.home[t] if chance(dice) < 0.5 else draw(dice, nodes)
        if n != child.at[t] and may_go(columns, child, t, n):
            put(columns, child, t, n)
    return len(columns.movable) + repair(columns, child, rate, order)


@compiled
def polish(columns: Columns, state: State, rounds: int) -> None:
    """Lower stranded room, the last part, by sending moved tasks to other nodes at no harm to the first three."""
    for _ in range(rounds):
        found = False
        for t in columns.movable:
            old = state.at[t]
            if old == WAITING or old == columns.home[t]:
                continue
            ended = relief(columns, state, t, old)
            for n in range(len(columns.capacity)):
                if n == old or n == columns.home[t] or not may_go(columns, state, t, n):
                    continue
                if harm(columns, state, t, n) > ended:
                    continue
                now = stranded_on(columns, state, old) + stranded_on(columns, state, n)
                put(columns, state, t, n)
                if stranded_on(columns, state, old) + stranded_on(columns, state, n) < now:
                    found = True
                    break
                put(columns, state, t, old)
        if not found:
            return
