"""The default: from the bound downwards instead of from a placement upwards.

1. The cheapest covers say which tasks at least must leave; if all of them find a place, nothing is cheaper.
2. CP-SAT looks in one model at all that costs hardly more than the covers.
3. Short annealing, and then CP-SAT on neighbourhoods: nodes that pay more than their cover, and nodes with room, in one
   model; the rest is held.

The search ends where the bound is met.
"""

from __future__ import annotations

from scheduler.core.balance.exact import solve_near_covers
from scheduler.core.balance.metaheuristics import cool, greedy
from scheduler.core.balance.neighbourhoods import improve_parts, move_covers
from scheduler.core.balance.search import Search

ANNEAL_SHARE = 0.35
WARM = 0.5  # where annealing begins, in moves of usual cost: the start is worth keeping


def cover_search(search: Search) -> None:
    """The method of the module's text."""
    if not len(search.columns.movable):
        return
    greedy(search)
    move_covers(search)
    solve_near_covers(search)
    if search.is_closed:
        return
    cool(search, ANNEAL_SHARE * search.left, WARM, search.seed)
    improve_parts(search)
