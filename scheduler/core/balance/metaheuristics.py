"""Greedy, tabu search, simulated annealing, and genetic algorithms with and without seeds, by the book.

The names are those of Sliwko's balancer; his parameters were not to be had, these are ours. All walk the same moves
(`loops`), so a difference between two of them is the method's and not the code's.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.balance import loops, repairs, walks
from scheduler.core.balance.search import TRIALS_PER_UNIT, Search
from scheduler.core.columns import Codes, Ints

SLICE = 400_000  # trials between two looks at the clock
HOT, COLD = 2.0, 0.01  # in moves of usual cost
RESTARTS = 4
POPULATION, TOURNAMENT, MUTATIONS = 40, 3, 4


def greedy(search: Search) -> None:
    """The nodes from most to least overloaded: the move that ends most overload per cost, until none is left."""
    state = search.state()
    excess = (np.maximum(-state.free, 0) * search.columns.weight).sum(axis=1)
    order = np.argsort(-excess, kind="stable").astype(np.int32)
    search.meter.count(int(repairs.repair(search.columns, state, search.rate(), order)))
    search.offer(state)


def anneal(search: Search) -> None:
    """Simulated annealing, in as many cooling runs as `RESTARTS`, each from the best so far."""
    if not len(search.columns.movable):
        return
    greedy(search)
    share = search.left / RESTARTS
    for run in range(RESTARTS):
        cool(search, share, HOT / 2**run, search.seed * RESTARTS + run)


def cool(search: Search, work: float, hot: float, seed: int) -> None:
    """One cooling run of about this much work, from the best placement."""
    rate = search.rate()
    state = search.state()
    best, totals = search.best.copy(), search.totals.copy()
    steps = int(min(work, search.left) * TRIALS_PER_UNIT)
    dice = loops.make_dice(seed)
    done = 0
    while done < steps and search.left > 0 and not search.is_closed:
        now = min(SLICE, steps - done)
        heat = hot * (COLD / hot) ** (done / steps)
        end = hot * (COLD / hot) ** ((done + now) / steps)
        walks.anneal(search.columns, state, best, totals, rate, heat, end, now, dice)
        search.meter.count(now)
        done += now
        _keep(search, best, totals)


def tabu(search: Search) -> None:
    """Tabu search from the greedy placement."""
    if not len(search.columns.movable):
        return
    greedy(search)
    rate = search.rate()
    state = search.state()
    best, totals = search.best.copy(), search.totals.copy()
    until = np.zeros(len(best), np.int64)
    clock, dice = 0, loops.make_dice(search.seed)
    while search.left > 0 and not search.is_closed:
        clock, trials = walks.tabu(search.columns, state, best, totals, rate, until, clock, SLICE, dice)
        search.meter.count(int(trials))
        _keep(search, best, totals)


def genetic(search: Search) -> None:
    """A genetic algorithm from random placements, repaired."""
    _evolve(search, [])


def seeded_genetic(search: Search) -> None:
    """The same, its first population from greedy, tabu search and annealing, a fifth of the budget for each search.

    The best of a population is never lost, so the answer is never worse than its seeds.
    """
    home, home_totals = search.best, search.totals
    found = []
    whole = search.left
    for method, share in ((greedy, 0.0), (tabu, 0.2), (anneal, 0.2)):
        search.best, search.totals = home, home_totals
        search.reserve += max(search.left - share * whole, 0.0) if share else 0.0
        method(search)
        search.reserve = 0.0
        found.append((search.best, search.totals))
    for best, totals in found:
        _keep(search, best, totals)
    _evolve(search, [best for best, _ in found])


def _evolve(search: Search, seeds: list[Codes]) -> None:
    """Steady state: two tournaments give the parents, the child takes the place of the worst if it is better."""
    columns = search.columns
    if not len(columns.movable):
        return
    rng, dice = np.random.default_rng(search.seed), loops.make_dice(search.seed)
    rate = search.rate()
    home = loops.make_state(columns, search.instance.home)
    people = [(_key(loops.make_state(columns, best).totals), best) for best in seeds]
    while search.left > 0 and not search.is_closed:
        is_first = len(people) < POPULATION
        if is_first:
            parents = [seeds[int(rng.integers(len(seeds)))] if seeds else home.at] * 2
            changes = max(len(columns.movable) // 10, 1)
        else:
            drawn = rng.integers(POPULATION, size=(2, TOURNAMENT))
            parents = [min((people[i] for i in row), key=lambda one: one[0])[1] for row in drawn.tolist()]
            changes = int(rng.integers(MUTATIONS + 1))
        child = loops.copy_state(home)
        order = rng.permutation(len(columns.capacity)).astype(np.int32)
        trials = repairs.breed(columns, parents[0], parents[1], child, rate, order, changes, dice)
        search.meter.count(int(trials))
        search.offer(child)
        one = (_key(child.totals), child.at)
        if is_first:
            people.append(one)
            continue
        worst = max(range(POPULATION), key=lambda i: people[i][0])
        if one[0] < people[worst][0] and all(one[0] != key for key, _ in people):
            people[worst] = one


def _key(totals: Ints) -> tuple[int, ...]:
    return tuple(totals.tolist())


def _keep(search: Search, best: Codes, totals: Ints) -> None:
    if loops.is_better(totals, search.totals):
        search.best, search.totals = best.copy(), totals.copy()
