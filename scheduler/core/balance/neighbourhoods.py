"""From the covers to an answer: their tasks moved, and neighbourhoods of the best re-solved by CP-SAT."""

from __future__ import annotations

import numpy as np

from scheduler.core.balance import loops, repairs
from scheduler.core.balance.part import solve_part
from scheduler.core.balance.search import LEAST_WORK, Search
from scheduler.core.columns import Codes, Ints

STEP_WORK = 0.05  # per node that pays too much: many small steps first
FEW, MANY = 1, 12
MOST_PLACES = 6_000


def move_covers(search: Search) -> None:
    """Move exactly the covers' tasks, largest first, each to the tightest node that takes it; repair what is left."""
    columns = search.columns
    state = loops.make_state(columns, search.instance.home)
    tasks = np.concatenate([np.zeros(0, np.int32), *(cover.tasks for cover in search.covers)]).astype(np.int32)
    share = columns.use[tasks] / np.maximum(columns.capacity.max(axis=0, initial=1), 1)
    order = tasks[np.argsort(-share.max(axis=1, initial=0), kind="stable")]
    trials = int(repairs.send_away(columns, state, order))
    nodes = np.arange(len(columns.capacity), dtype=np.int32)
    search.meter.count(trials + int(repairs.repair(columns, state, search.rate(), nodes)))
    search.offer(state)


def improve_parts(search: Search) -> None:
    """Re-solve neighbourhoods until the budget ends or the bound is met; they grow where nothing is found."""
    rng = np.random.default_rng(search.seed)
    nodes = len(search.columns.capacity)
    if nodes == 0:
        return
    least = np.zeros(nodes, np.int64)
    for cover in search.covers:
        least[cover.node] = cover.bound
    failed = 0
    while search.left > LEAST_WORK and not search.is_closed:
        width = min(FEW + failed // 8, MANY)
        chosen = _draw_nodes(search, least, width, rng)
        tasks = _tasks_of(search, chosen)
        search.meter.count(nodes + len(search.columns.home))
        most = max(MOST_PLACES // max(len(tasks), 1), 1)
        options = [chosen[search.columns.reach[t, chosen]][:most].tolist() for t in tasks]
        improved = solve_part(search, tasks, options, min(STEP_WORK * width, search.left), is_whole=False)
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
