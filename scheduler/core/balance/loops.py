"""The compiled part: a placement with its sums, and the walks over single moves that the methods are made of."""

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
def _relief(columns: Columns, state: State, t: Any, n: Any) -> int:
    """Overload that ends when the task leaves the node."""
    ended = 0
    for r in range(columns.use.shape[1]):
        free = state.free[n, r]
        if free < 0:
            ended += min(-free, columns.use[t, r]) * columns.weight[n, r]
    return ended


@compiled
def _harm(columns: Columns, state: State, t: Any, n: Any) -> int:
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
    state.totals[OVERLOAD] += _harm(columns, state, t, n)
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
    state.totals[OVERLOAD] -= _relief(columns, state, t, n)
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
        over -= _relief(columns, state, t, old)
    if n != WAITING:
        over += _harm(columns, state, t, n)
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
                ended = _relief(columns, state, t, source)
                trials += 1
                if ended == 0:
                    continue
                for n in range(len(order)):
                    trials += 1
                    if n == source or not may_go(columns, state, t, n):
                        continue
                    gain = float(ended - _harm(columns, state, t, n))
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
            if left < least and _harm(columns, state, t, n) == 0:
                pick, least = n, left
    return pick


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
def stranded_on(columns: Columns, state: State, n: Any) -> int:
    """Millionths of a node: the largest free share less the smallest."""
    most, least = 0, STRANDED_UNIT
    for r in range(columns.use.shape[1]):
        share = max(state.free[n, r], 0) * STRANDED_UNIT // max(columns.capacity[n, r], 1)
        most = max(most, share)
        least = min(least, share)
    return max(most - least, 0)


@compiled
def polish(columns: Columns, state: State, rounds: int) -> None:
    """Lower stranded room, the last part, by sending moved tasks to other nodes at no harm to the first three."""
    for _ in range(rounds):
        found = False
        for t in columns.movable:
            old = state.at[t]
            if old == WAITING or old == columns.home[t]:
                continue
            relief = _relief(columns, state, t, old)
            for n in range(len(columns.capacity)):
                if n == old or n == columns.home[t] or not may_go(columns, state, t, n):
                    continue
                if _harm(columns, state, t, n) > relief:
                    continue
                now = stranded_on(columns, state, old) + stranded_on(columns, state, n)
                put(columns, state, t, n)
                if stranded_on(columns, state, old) + stranded_on(columns, state, n) < now:
                    found = True
                    break
                put(columns, state, t, old)
        if not found:
            return


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
def send_away(columns: Columns, state: State, tasks: Codes) -> int:
    """Each of these tasks leaves its home for the tightest node that takes it without overload. Returns the trials."""
    trials = 0
    for t in tasks:
        pick = tightest(columns, state, t)
        trials += len(columns.capacity)
        if pick >= 0:
            put(columns, state, t, pick)
    return trials
