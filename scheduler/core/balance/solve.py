"""`balance`: one instance, one method by name, one budget, one result."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from scheduler.core.balance import repairs
from scheduler.core.balance.bounds import Floor, find_floor
from scheduler.core.balance.cover import cover_search
from scheduler.core.balance.domains import search_in_domains
from scheduler.core.balance.exact import cp_sat, full_scan
from scheduler.core.balance.metaheuristics import anneal, genetic, greedy, seeded_genetic, tabu
from scheduler.core.balance.methods import DEFAULT as DEFAULT
from scheduler.core.balance.methods import METHODS as METHODS
from scheduler.core.balance.problem import Budget, Instance, Result, Verdict
from scheduler.core.balance.search import Search, begin
from scheduler.core.balance.validator import measure
from scheduler.core.errors import StowageInputError

POLISH_ROUNDS = 3
SEARCHES: Mapping[str, Callable[[Search], None]] = {
    DEFAULT: cover_search,
    "greedy": greedy,
    "tabu": tabu,
    "annealing": anneal,
    "genetic": genetic,
    "seeded-genetic": seeded_genetic,
    "full-scan": full_scan,
    "cp-sat": cp_sat,
}
PROVING = ("full-scan", "cp-sat")


def balance(
    instance: Instance, method: str = DEFAULT, budget: Budget | None = None, seed: int = 0, floor: Floor | None = None
) -> Result:
    """The best placement that the method finds, beside the bound. Never worse than leaving everything as it is.

    floor: of `find_floor`, if it is known already; making it is not counted in the budget. Raises StowageInputError
    for an unknown method.
    """
    if method not in METHODS:
        raise StowageInputError(f"no method is called {method!r}; there are {', '.join(METHODS)}")
    floor, budget = floor or find_floor(instance, seed), budget or Budget(1.0)
    if not instance.domains:
        return _search(instance, method, budget, seed, floor)

    def run(part: Instance, share: Budget) -> Result:
        return _search(part, method, share, seed, find_floor(part, seed))

    return search_in_domains(instance, budget, floor.bound, run, tries_all=method in PROVING)


def _search(instance: Instance, method: str, budget: Budget, seed: int, floor: Floor) -> Result:
    """The answer where no team has a choice left."""
    search = begin(instance, budget, seed, floor)
    search.reasons += floor.reasons
    before = measure(instance, instance.home)
    if not search.is_closed:
        SEARCHES[method](search)
    state = search.state()
    if method != "full-scan":
        repairs.polish(search.columns, state, POLISH_ROUNDS)
    objective = measure(instance, state.at)
    verdict: Verdict = "optimal" if search.is_closed else "feasible" if search.answered else "undecided"
    if not len(instance.tasks):
        search.reasons.append("there are no tasks: nothing to balance")
    elif objective.overload and not search.bound.overload:
        search.reasons.append("no stable placement was found; that there is none is not proven")
    elif objective.overload and not floor.bound.overload:
        search.reasons.append("no placement is stable: the search has proven it")
    return Result(
        method, state.at.astype(np.int32), objective, before, search.bound, verdict, search.meter.spent,
        search.meter.trials, tuple(search.reasons),
    )  # fmt: skip
