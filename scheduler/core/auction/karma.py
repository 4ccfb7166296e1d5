"""Karma: credits that remember who lent and who borrowed, and the weight that they give a tenant's bids.

Every tenant has the same fair share of one resource, in whole slices. What it does not want of the guaranteed part is
lent; who wants more than the guaranteed part borrows, for a credit a slice. The richest borrow first and the poorest
lenders are used first, so credits even out. Slices outside the guarantees are common: they are used after the lent
ones, and everybody gets their worth in free credits each quantum. Vuppalapati et al., "Karma: Resource Allocation for
Dynamic Demands", OSDI 2023 (arXiv 2305.17222).

Where the auction decides who gets what, `settle` keeps the same books on what it gave, and `bid_weights` hands the
credits back to it: a tenant that lent bids with more weight, one that borrowed with less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.auction.market import Floats
from scheduler.core.columns import Ints, check_amounts
from scheduler.core.errors import StowageInputError

MOST_WEIGHT = 4.0  # ours: credits tilt the bids, they do not silence anybody


@dataclass(frozen=True, slots=True)
class Shares:
    """What every tenant is entitled to: `fair` slices, of which `guaranteed` are its own whenever it wants them."""

    fair: int
    guaranteed: int

    def __post_init__(self) -> None:
        if not 0 <= self.guaranteed <= self.fair:
            raise StowageInputError(
                f"a guarantee of {self.guaranteed} slices is not between 0 and the fair share of {self.fair}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Quantum:
    """After one quantum. allocation: (T,) slices. credits: (T,), at least 0."""

    allocation: Ints
    credits: Ints


def allocate(credits: Ints, demand: Ints, shares: Shares) -> Quantum:
    """Karma's allocation of one quantum, exact: as if slice by slice, ties to the first tenant.

    credits, demand: (T,). All slices that are wanted are given while the borrowers have credits. Credits are created by
    common slices that nobody used, and not otherwise. Raises StowageInputError.
    """
    _check(credits, demand)
    rich = credits + (shares.fair - shares.guaranteed)
    wish = np.minimum(np.maximum(demand - shares.guaranteed, 0), rich)
    lent = np.maximum(shares.guaranteed - demand, 0)
    common = (shares.fair - shares.guaranteed) * len(credits)
    borrowed = _level(-rich, wish, int(lent.sum()) + common)
    given = np.minimum(demand, shares.guaranteed) + borrowed
    return Quantum(given, _after(rich, lent, borrowed))


def settle(credits: Ints, demand: Ints, used: Ints, shares: Shares) -> Ints:
    """(T,) credits after a quantum in which somebody else, as the auction, decided what everybody used.

    A slice beyond the guarantee costs a credit; one that the tenant did not want and another used earns one. Nobody
    falls below 0: what a tenant cannot pay is forgiven, and then nobody earns it. Raises StowageInputError.
    """
    _check(credits, demand)
    check_amounts("used", used, credits.shape)
    for t in np.flatnonzero(used > demand)[:1]:
        raise StowageInputError(f"tenant {t} used {used[t]} slices and wanted {demand[t]}")
    rich = credits + (shares.fair - shares.guaranteed)
    borrowed = np.minimum(np.maximum(used - shares.guaranteed, 0), rich)
    return _after(rich, np.maximum(shares.guaranteed - demand, 0), borrowed)


def join(credits: Ints, first_credits: int) -> Ints:
    """(T + 1,) credits with a newcomer last: it starts with the mean, or with `first_credits` if it is the first."""
    return np.append(credits, int(credits.sum()) // len(credits) if len(credits) else first_credits)


def bid_weights(credits: Ints, most: float = MOST_WEIGHT) -> Floats:
    """(T,) what to multiply a tenant's bids with: its credits by the mean, between 1/most and most.

    1 for all where all have the same. Raises StowageInputError for a limit below 1.
    """
    if not most >= 1:
        raise StowageInputError(f"the most a weight may be is {most}; it is at least 1")
    check_amounts("credits", credits, credits.shape)
    if not credits.any():
        return np.ones(len(credits))
    return np.clip(credits / credits.mean(), 1 / most, most)


def _after(rich: Ints, lent: Ints, borrowed: Ints) -> Ints:
    """Credits once borrowers paid and lenders, poorest first, earned; common slices serve what lent ones do not."""
    return rich - borrowed + _level(rich, lent, int(borrowed.sum()))


def _level(height: Ints, limit: Ints, amount: int) -> Ints:
    """(T,) who takes how many of `amount` when each one goes to the lowest, which it raises by one.

    Nobody takes more than its limit; ties go to the first. The same as one by one, in log time of the heights.
    """
    amount = min(amount, int(limit.sum()))
    if amount == 0:
        return np.zeros_like(limit)

    def taken_below(level: int) -> Ints:
        return np.clip(level - height, 0, limit)

    level = _first_where(lambda at: int(taken_below(at).sum()) > amount, int(height.min()), int((height + limit).max()))
    taken = taken_below(level - 1)
    short = amount - int(taken.sum())
    if short:
        next_in_line = np.flatnonzero(taken_below(level) > taken)[:short]
        taken[next_in_line] += 1
    return taken


def _first_where(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The first number from low to high where it holds, high + 1 if nowhere; it goes on holding."""
    high += 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _check(credits: NDArray[np.int64], demand: NDArray[np.int64]) -> None:
    check_amounts("credits", credits, (len(credits),))
    check_amounts("demand", demand, credits.shape)
