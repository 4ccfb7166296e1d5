"""The default: from the bound downwards instead of from a placement upwards.

1. The cheapest covers say which tasks at least must leave; if all of them find a place, nothing is cheaper.
2. Those that find none are repaired greedily, and short annealing makes the answer better.
3. CP-SAT on neighbourhoods: nodes that pay more than their cover, and nodes with room, in one model; the rest is held.

The search ends where the bound is met.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.balance import loops
from scheduler.core.balance.bounds import Cover
from scheduler.core.balance.exact import LEAST_WORK, solve_part
from scheduler.core.balance.metaheuristics import cool, greedy
from scheduler.core.balance.search import Search
from scheduler.core.columns import Codes, Ints

ANNEAL_SHARE = 0.35
WARM = 0.5  # where annealing begins, in moves of usual cost: the start is worth keeping
STEP_WORK = 0.4
FEW, MANY = 3, 12
MOST_PLACES = 6_000


def cover_search(search: Search, covers: Sequence[Cover]) -> None:
    """The method of the module's text."""
    if not len(search.columns.movable):
        return
    greedy(search)
    move_covers(search, covers)
    if search.is_closed:
        return
    cool(search, ANNEAL_SHARE * search.left, WARM, search.seed)
    improve_parts(search, covers)


def move_covers(search: Search, covers: Sequence[Cover]) -> None:
    """Move exactly the covers' tasks, largest first, each to the tightest node that takes it; repair what is left."""
    columns = search.columns
    state = loops.make_state(columns, search.instance.home)
    tasks = np.concatenate([np.zeros(0, np.int32), *(cover.tasks for cover in covers)]).astype(np.int32)
    share = columns.use[tasks] / np.maximum(columns.capacity.max(axis=0, initial=1), 1)
    order = tasks[np.argsort(-share.max(axis=1, initial=0), kind="stable")]
    trials = int(loops.send_away(columns, state, order))
    nodes = np.arange(len(columns.capacity), dtype=np.int32)
    search.meter.count(trials + int(loops.repair(columns, state, search.rate(), nodes)))
    search.offer(state)


def improve_parts(search: Search, covers: Sequence[Cover]) -> None:
    """Re-solve neighbourhoods until the budget ends or the bound is met; they grow where nothing is found."""
    rng = np.random.default_rng(search.seed)
    nodes = len(search.columns.capacity)
    if nodes == 0:
        return
    least = np.zeros(nodes, np.int64)
    for cover in covers:
        least[cover.node] = cover.bound
    failed = 0
    while search.left > LEAST_WORK and not search.is_closed:
        width = min(FEW + failed // 8, MANY)
        chosen = _draw_nodes(search, least, width, rng)
        tasks = _tasks_of(search, chosen)
        search.meter.count(nodes + len(search.columns.home))
        most = max(MOST_PLACES // max(len(tasks), 1), 1)
        options = [chosen[search.columns.reach[t, chosen]][:most].tolist() for t in tasks]
        improved = solve_part(search, tasks, options, min(STEP_WORK, search.left), is_whole=False)
        failed = 0 if improved else failed + 1


def _draw_nodes(search: Search, least: Ints, width: int, rng: np.random.Generator) -> Codes:
    """Nodes that pay more than they must or are overloaded, more likely the more; and twice as many at random."""
    state, columns = search.state(), search.columns
    paid = np.zeros(len(least), np.int64)
    moved = np.flatnonzero((search.best != columns.home) & (columns.home >= 0))
    np.add.at(paid, columns.home[moved], columns.cost[moved])
    waste = np.maximum(paid - least, 0).astype(np.float64)
    ill = (state.free < 0).any(axis=1)
    waste[ill] += max(float(waste.max(initial=0)), 1.0)
    sources = np.flatnonzero(waste)
    if len(sources) > width:
        sources = rng.choice(sources, width, replace=False, p=waste[sources] / waste.sum())
    others = rng.choice(len(least), min(2 * width + 3, len(least)), replace=False)
    return np.unique(np.concatenate([sources, others])).astype(np.int32)


def _tasks_of(search: Search, chosen: Codes) -> Codes:
    """The tasks that are on these nodes, or belong there, and those that wait."""
    columns = search.columns
    inside = np.zeros(len(columns.capacity) + 1, np.bool_)
    inside[chosen] = True
    now, home = search.best[columns.movable], columns.home[columns.movable]
    here = np.where(now < 0, True, inside[now]) | np.where(home < 0, False, inside[home])
    return columns.movable[here]
