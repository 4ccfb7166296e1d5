"""The compiled part: a placement with its sums, and single moves, that the methods are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scheduler.core.balance.problem import STRANDED_UNIT, WAITING, Instance
from scheduler.core.columns import Codes, Ints, Mask
from scheduler.core.compiled import compiled

OVERLOAD, UNPLACED, COST = 0, 1, 2
Floats = NDArray[np.float64]
Dice = NDArray[np.uint64]


class Columns(NamedTuple):
    """What never changes. weight: (N, R) of excess. worth: (T,) of a place. reach: (T, N), see `can_arrive`.

    movable: rows of the tasks that have anywhere to go, ascending.
    """

    use: Ints
    capacity: Ints
    weight: Ints
    home: Codes
    cost: Ints
    worth: Ints
    reach: Mask
    group: Codes
    movable: Codes


class State(NamedTuple):
    """A placement. free: (N, R), negative where overloaded. members, arrived: (G, N) tasks of a group on a node, and
    those of them that were moved there. totals: overload, unplaced, cost."""

    at: Codes
    free: Ints
    members: Codes
    arrived: Codes
    totals: Ints


def make_columns(instance: Instance) -> Columns:
    """The instance as the loops take it."""
    reach = instance.can_arrive()
    return Columns(
        use=instance.use,
        capacity=instance.capacity,
        weight=instance.overload_weight(),
        home=instance.home,
        cost=instance.cost,
        worth=instance.priority + 1,
        reach=reach,
        group=instance.group,
        movable=np.flatnonzero(reach.any(axis=1)).astype(np.int32),
    )


def make_state(columns: Columns, at: Codes) -> State:
    """The sums of a placement that breaks no rule. at: (T,)."""
    nodes, groups = len(columns.capacity), int(columns.group.max(initial=-1)) + 1
    shape = (max(groups, 1), nodes)
    state = State(
        np.full(len(at), WAITING, np.int32), columns.capacity.copy(), np.zeros(shape, np.int32),
        np.zeros(shape, np.int32), np.zeros(3, np.int64),
    )  # fmt: skip
    _fill(columns, state, np.ascontiguousarray(at, np.int32))
    return state


def copy_state(state: State) -> State:
    """A trial needs its copy."""
    return State._make(one.copy() for one in state)


def make_dice(seed: int) -> Dice:
    """(1,) what the loops draw from; the same seed gives the same draws."""
    return np.array([seed * 2654435761 % 2**63 + 88172645463325252], np.uint64)


@compiled
def draw(dice: Dice, below: int) -> int:
    """A whole number of 0 to below - 1 (Marsaglia's xorshift, 64 bits)."""
    state = dice[0]
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    dice[0] = state
    return int(state >> np.uint64(33)) % below


@compiled
def chance(dice: Dice) -> float:
    """A number in [0, 1)."""
    return draw(dice, 1 << 31) / 2147483648.0


@compiled
def _fill(columns: Columns, state: State, at: Codes) -> None:
    for t in range(len(at)):
        state.totals[UNPLACED] += columns.worth[t]
    for t in range(len(at)):
        if at[t] != WAITING:
            _add(columns, state, t, at[t])
            state.totals[UNPLACED] -= columns.worth[t]
            if at[t] != columns.home[t]:
                state.totals[COST] += columns.cost[t]


@compiled
def relief(columns: Columns, state: State, t: Any, n: Any) -> int:
    """Overload that ends when the task leaves the node."""
    ended = 0
    for r in range(columns.use.shape[1]):
        free = state.free[n, r]
        if free < 0:
            ended += min(-free, columns.use[t, r]) * columns.weight[n, r]
    return ended


@compiled
def harm(columns: Columns, state: State, t: Any, n: Any) -> int:
    """Overload that begins when the task comes to the node."""
    begun = 0
    for r in range(columns.use.shape[1]):
        free = state.free[n, r]
        excess = columns.use[t, r] - max(free, 0)
        if excess > 0:
            begun += excess * columns.weight[n, r]
    return begun


@compiled
def _add(columns: Columns, state: State, t: Any, n: Any) -> None:
    state.totals[OVERLOAD] += harm(columns, state, t, n)
    for r in range(columns.use.shape[1]):
        state.free[n, r] -= columns.use[t, r]
    g = columns.group[t]
    if g >= 0:
        state.members[g, n] += 1
        if n != columns.home[t]:
            state.arrived[g, n] += 1
    state.at[t] = n


@compiled
def _take(columns: Columns, state: State, t: Any) -> None:
    n = state.at[t]
    state.totals[OVERLOAD] -= relief(columns, state, t, n)
    for r in range(columns.use.shape[1]):
        state.free[n, r] += columns.use[t, r]
    g = columns.group[t]
    if g >= 0:
        state.members[g, n] -= 1
        if n != columns.home[t]:
            state.arrived[g, n] -= 1
    state.at[t] = WAITING


@compiled
def may_go(columns: Columns, state: State, t: Any, n: Any) -> bool:
    """Whether the rules let the task be on the node, among those that are there now; it is elsewhere."""
    g = columns.group[t]
    if n == columns.home[t]:
        return n == WAITING or g < 0 or state.arrived[g, n] == 0
    if n == WAITING or not columns.reach[t, n]:
        return False
    return g < 0 or state.members[g, n] == 0


@compiled
def put(columns: Columns, state: State, t: Any, n: Any) -> None:
    """Put the task on the node (or to wait), whatever it does to the sums."""
    old = state.at[t]
    home = columns.home[t]
    if old != WAITING:
        _take(columns, state, t)
    if n != WAITING:
        _add(columns, state, t, n)
    state.totals[UNPLACED] += ((n == WAITING) * 1 - (old == WAITING) * 1) * columns.worth[t]
    state.totals[COST] += ((n != home) * 1 - (old != home) * 1) * columns.cost[t]


@compiled
def worth_of(columns: Columns, state: State, t: Any, n: Any, rate: Floats) -> float:
    """What the move changes of the weighted sum of the parts; below 0 is better. rate: (3,)."""
    old = state.at[t]
    home = columns.home[t]
    over = 0
    if old != WAITING:
        over -= relief(columns, state, t, old)
    if n != WAITING:
        over += harm(columns, state, t, n)
    unplaced = ((n == WAITING) * 1 - (old == WAITING) * 1) * columns.worth[t]
    cost = ((n != home) * 1 - (old != home) * 1) * columns.cost[t]
    return rate[OVERLOAD] * over + rate[UNPLACED] * unplaced + rate[COST] * cost


@compiled
def is_better(totals: Ints, best: Ints) -> bool:
    """Whether the first sums come before the second."""
    for part in range(3):
        if totals[part] != best[part]:
            return bool(totals[part] < best[part])
    return False


@compiled
def is_overloaded(state: State, n: Any) -> bool:
    """Whether the node has too little of anything."""
    for r in range(state.free.shape[1]):  # noqa: SIM110 (numba compiles no generator)
        if state.free[n, r] < 0:
            return True
    return False


@compiled
def stranded_on(columns: Columns, state: State, n: Any) -> int:
    """Millionths of a node: the largest free share less the smallest."""
    most, least = 0, STRANDED_UNIT
    for r in range(columns.use.shape[1]):
        share = max(state.free[n, r], 0) * STRANDED_UNIT // max(columns.capacity[n, r], 1)
        most = max(most, share)
        least = min(least, share)
    return max(most - least, 0)
