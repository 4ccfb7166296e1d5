"""Teams that share a kind of NIC or a rack, on top of searches that know only which task may go where.

A team that runs has its value, and a search sees it as nodes that are not allowed (`Instance.can_arrive`). A team that
waits entirely is given one before the search, by a trial placement: the value in which most of its worth finds room.
Methods that prove try every choice while these are few. A preference is tried as a rule first, and given up where that
costs overload or a place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.core.balance.problem import WAITING, Bound, Budget, Instance, Result, Verdict
from scheduler.core.columns import Codes, Ints, Mask

MOST_CHOICES = 16  # that a method which proves tries one after the other
Run = Callable[[Instance, Budget], Result]


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    """A team that has yet to choose. domain: which of the domains; members: rows; values: those it may choose."""

    domain: int
    members: Codes
    values: tuple[int, ...]


def search_in_domains(instance: Instance, budget: Budget, bound: Bound, run: Run, *, tries_all: bool) -> Result:
    """The best answer of `run`, given instances whose teams have all chosen.

    bound: of the instance as it is. tries_all: the method proves what it finds. The answer is as good as proven only
    where that holds for every choice and without the preferences.
    """
    strict = replace(instance, domains=tuple(replace(one, is_hard=True) for one in instance.domains))
    plain = replace(instance, domains=tuple(one for one in instance.domains if one.is_hard))
    prefers = len(plain.domains) < len(strict.domains)
    share = _part(budget, 0.5) if prefers else budget
    found = _best_choice(strict, share, bound, run, tries_all=tries_all)
    if prefers:
        found = replace(found, bound=bound, verdict=_verdict(found, bound))
        if found.objective[:2] > (bound.overload, bound.unplaced):
            second = _best_choice(plain, share, bound, run, tries_all=tries_all)
            if second.objective[:2] < found.objective[:2]:
                names = ", ".join(one.name for one in instance.domains if not one.is_hard)
                given_up = f"teams are not kept together in one {names}: it would cost overload or places"
                return replace(second, reasons=(*second.reasons, given_up))
    return found


def _best_choice(instance: Instance, budget: Budget, bound: Bound, run: Run, *, tries_all: bool) -> Result:
    open_teams = _open_teams(instance)
    if not open_teams:
        return run(instance, budget)
    count = math.prod(len(one.values) for one in open_teams)
    if tries_all and count <= MOST_CHOICES:
        picks: Sequence[tuple[int, ...]] = list(itertools.product(*(one.values for one in open_teams)))
    else:
        picks = [_choose(instance, open_teams)]
    results = [run(_bind(instance, open_teams, pick), _part(budget, 1 / len(picks))) for pick in picks]
    at = min(range(len(results)), key=lambda i: results[i].objective)
    least = max(_key(bound), min(_key(one.bound) for one in results)) if len(picks) == count else None
    proven = bound if least is None else Bound(*least)
    chosen = _sentence(instance, open_teams, picks[at], is_all=len(picks) == count)
    best = results[at]
    work, steps = sum(one.work for one in results), sum(one.steps for one in results)
    return replace(
        best, bound=proven, verdict=_verdict(best, proven), work=work, steps=steps, reasons=(*best.reasons, chosen)
    )


def _key(bound: Bound) -> tuple[int, int, int]:
    """The parts in their order: of two bounds that hold, the greater holds."""
    return bound.overload, bound.unplaced, bound.cost


def _verdict(result: Result, bound: Bound) -> Verdict:
    if result.objective[:3] == _key(bound):
        return "optimal"
    return "undecided" if result.verdict == "undecided" else "feasible"


def _part(budget: Budget, share: float) -> Budget:
    seconds = None if budget.seconds is None else budget.seconds * share
    return replace(budget, work=budget.work * share, seconds=seconds)


def _open_teams(instance: Instance) -> list[_Open]:
    """The teams that have yet to choose and could come somewhere, those that are worth most first."""
    found = []
    reach = instance.can_arrive()
    for d, domain in enumerate(instance.domains):
        for team in np.flatnonzero(domain.value_of_teams(instance.home) < 0).tolist():
            members = np.flatnonzero(domain.team == team).astype(np.int32)
            open_nodes = reach[members].any(axis=0) & (domain.node >= 0)
            values = np.unique(domain.node[open_nodes]).tolist()
            if len(values):
                found.append(_Open(d, members, tuple(values)))
    return sorted(found, key=lambda one: -int((instance.priority[one.members] + 1).sum()))


def _choose(instance: Instance, teams: Sequence[_Open]) -> tuple[int, ...]:
    """For each team in turn the value in which most of its worth finds room; that room is then taken.

    Members of teams that have no choice take theirs first.
    """
    free = instance.capacity.copy()
    runs = np.flatnonzero(instance.home != WAITING)
    np.subtract.at(free, instance.home[runs], instance.use[runs])
    reach = instance.can_arrive()
    is_bound = np.any([one.team >= 0 for one in instance.domains], axis=0)
    is_bound[np.concatenate([one.members for one in teams])] = False
    bound = np.flatnonzero(is_bound).astype(np.int32)
    free = _try(instance, bound, reach[bound], free)[1]
    picks: list[int] = []
    for one in teams:
        nodes = instance.domains[one.domain].node
        trials = [_try(instance, one.members, reach[one.members] & (nodes == value), free) for value in one.values]
        best = max(range(len(trials)), key=lambda k: trials[k][0])
        picks.append(one.values[best])
        reach[one.members] &= nodes == one.values[best]
        free = trials[best][1]
    return tuple(picks)


def _try(instance: Instance, members: Codes, reach: Mask, free: Ints) -> tuple[int, Ints]:
    """What of the members' worth finds room, most worth first and each on its tightest node; and the room then left."""
    left, worth = free.copy(), 0
    size = np.maximum(instance.capacity, 1)
    for i in np.argsort(-instance.priority[members], kind="stable").tolist():
        t = members[i]
        fits = np.flatnonzero(reach[i] & (instance.use[t] <= left).all(axis=1))
        if instance.home[t] == WAITING and len(fits):
            n = fits[((left[fits] - instance.use[t]) / size[fits]).min(axis=1, initial=np.inf).argmin()]
            left[n] -= instance.use[t]
            worth += int(instance.priority[t]) + 1
    return worth, left


def _bind(instance: Instance, teams: Sequence[_Open], picks: Sequence[int]) -> Instance:
    """The instance in which these teams may only come to these values."""
    allowed = instance.allowed[instance.mask]
    for one, value in zip(teams, picks, strict=True):
        allowed[one.members] &= instance.domains[one.domain].node == value
    rows, mask = np.unique(allowed, axis=0, return_inverse=True) if allowed.size else (allowed, instance.mask)
    return replace(instance, allowed=np.ascontiguousarray(rows), mask=mask.reshape(-1).astype(np.int32))


def _sentence(instance: Instance, teams: Sequence[_Open], picks: Sequence[int], *, is_all: bool) -> str:
    named = []
    for one, value in zip(teams[:3], picks[:3], strict=True):
        domain = instance.domains[one.domain]
        named.append(f"{domain.name} {domain.values[value]} for {instance.tasks[one.members[0]]} and its team")
    others = f", and {len(teams) - 3} more" if len(teams) > 3 else ""
    how = "every choice was tried" if is_all else "chosen by a trial placement before the search, so not proven"
    return f"teams that wait were given {', '.join(named)}{others}: {how}"
