"""Which node to clear for a more important task, after kube-scheduler's DefaultPreemption.

kube-scheduler dry-runs preemption on a random tenth of the nodes and prefers fewest PDB violations, then the lowest
top priority among victims, the smallest sum of priorities, the fewest victims. We look at every node with totals
kept by priority level, take those with the lowest top level, and count exact victims on the first `EXACT` of them
by row, or until one needs a single victim; fewest victims wins, then the lowest row. Replays have no PDBs and no
grace period: room is free at once.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.state import NOWHERE, Classes, Nodes, Tasks, fits, is_allowed

EXACT = 100  # kube-scheduler's minCandidateNodesAbsolute


@njit(cache=True)
def lowest_level(
    requested: NDArray[np.int64],
    allocatable: NDArray[np.int64],
    by_level: NDArray[np.int64],
    demand: NDArray[np.int64],
    has_gpus: bool,
    c: int,
    level: int,
    n: int,
) -> int:
    """The lowest level up to which evicting everything lets class `c` in on node `n`; -1 when none below `level` does.

    Bare arrays, as in `has_room`. GPU devices are not counted here: `choose_victims` decides.
    """
    needed = -1
    for r in range(demand.shape[1]):
        wanted = demand[c, r]
        if wanted == 0:
            continue
        lacking = requested[n, r] + wanted - allocatable[n, r]
        lower = 0
        while lacking > 0 and lower < level:
            lacking -= by_level[n, lower, r]
            lower += 1
        if lacking > 0:
            return -1
        needed = max(needed, lower - 1)
    if needed < 0 and has_gpus:
        needed = level - 1  # the totals fit, the devices did not
    return needed


@njit(cache=True)
def choose_victims(
    nodes: Nodes, classes: Classes, tasks: Tasks, c: int, level: int, n: int, victims: NDArray[np.int32]
) -> int:
    """Fewest tasks below `level` on node `n` whose going lets class `c` in.

    All go in thought, then the most important that still fit return.
    Fills `victims` and gives their number, -1 when even all of them are not enough or more than fit in `victims`.
    """
    count = 0
    t = nodes.first_task[n]
    while t >= 0:
        if tasks.level_of_group[tasks.group[t]] < level:
            if count == victims.shape[0]:
                return -1
            victims[count] = t
            count += 1
        t = tasks.after[t]
    order = np.empty(count, np.int64)
    for i in range(count):  # most important first, then longest known task first
        order[i] = -np.int64(tasks.level_of_group[tasks.group[victims[i]]]) * (1 << 40) + victims[i]
    ranked = victims[:count][np.argsort(order)]
    for i in range(count):
        _lift(nodes, classes, tasks, ranked[i], n, -1)
    kept = -1
    if fits(nodes, classes, c, n):
        kept = 0
        for i in range(count):
            _lift(nodes, classes, tasks, ranked[i], n, 1)
            if not fits(nodes, classes, c, n):
                _lift(nodes, classes, tasks, ranked[i], n, -1)
                victims[kept] = ranked[i]
                kept += 1
        for i in range(kept):
            _lift(nodes, classes, tasks, victims[i], n, 1)
    else:
        for i in range(count):
            _lift(nodes, classes, tasks, ranked[i], n, 1)
    return kept


@njit(cache=True)
def _lift(nodes: Nodes, classes: Classes, tasks: Tasks, t: int, n: int, sign: int) -> None:
    """Take task `t`'s requests off node `n` (sign -1), or put them back (1), for a trial."""
    c = tasks.class_of_group[tasks.group[t]]
    for r in range(classes.demand.shape[1]):
        nodes.requested[n, r] += sign * classes.demand[c, r]
    if classes.gpus[c] > 0:
        for g in range(nodes.devices.shape[1]):
            if (tasks.device_mask[t] >> g) & 1:
                nodes.devices[n, g] -= sign * classes.gpu_milli[c]


@njit(cache=True)
def find_preemption(
    nodes: Nodes,
    classes: Classes,
    tasks: Tasks,
    c: int,
    level: int,
    rows: NDArray[np.int64],
    victims: NDArray[np.int32],
) -> tuple[int, int]:
    """(node, number of victims), the victims being in `victims`; (-1, 0) when nothing below `level` helps.

    rows: the nodes to look at, ascending.
    """
    count = rows.shape[0]
    lowest = level
    needed = np.empty(count, np.int64)
    requested, allocatable, by_level, demand = nodes.requested, nodes.allocatable, nodes.by_level, classes.demand
    up = nodes.up
    has_gpus = classes.gpus[c] > 0
    has_rules = classes.mask[c] >= 0 or classes.spread[c] >= 0
    for i in range(count):
        needed[i] = -1
        n = rows[i]
        if up[n] and (not has_rules or is_allowed(classes, c, n)):
            needed[i] = lowest_level(requested, allocatable, by_level, demand, has_gpus, c, level, n)
        if 0 <= needed[i] < lowest:
            lowest = needed[i]
    best, fewest, tried = NOWHERE, 0, 0
    trial = np.empty_like(victims)
    for wanted in range(lowest, level):
        for i in range(count):
            if needed[i] != wanted:
                continue
            n = rows[i]
            found = choose_victims(nodes, classes, tasks, c, level, n, trial)
            tried += 1
            if found >= 0 and (best < 0 or found < fewest):
                best, fewest = n, found
                victims[:found] = trial[:found]
            if best >= 0 and (fewest == 1 or tried >= EXACT):
                return best, fewest
        if best >= 0:
            return best, fewest
    return best, fewest
