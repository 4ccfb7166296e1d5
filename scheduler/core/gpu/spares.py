"""How many spare nodes a pool needs, so that a job finds enough that work.

Two answers. From a history of how many nodes were down at once: exactly how often a pool drawn from that fleet would
have had enough. From a model, for pools of any size and one per fault domain: nodes down are beta-binomial, so that
faults which come together (a campaign, a switch, a bad batch) count for more than their mean. A plain binomial is too
sure of itself: on the measured fleet it promises 99 % for 128 nodes with 8 spares, where the history takes 13.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import StowageInputError

Floats = NDArray[np.float64]
MOST_SPARES_SHARE = 10  # a pool of ten times the job is not a pool of spares any more


@dataclass(frozen=True, slots=True)
class DownModel:
    """How many of a group of nodes are down at once. share: mean share down. correlation: of two nodes being down."""

    share: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or not 0 <= self.correlation < 1:
            raise StowageInputError(
                f"a share down lies between 0 and 1 and a correlation from 0 below 1, not {self.share} and "
                f"{self.correlation}"
            )

    def chances(self, nodes: int) -> Floats:
        """(nodes + 1,) chance that 0, 1, ... of `nodes` are down."""
        k = np.arange(nodes + 1, dtype=np.int64)
        ways = _log_factorial(nodes) - _log_factorial(k) - _log_factorial(nodes - k)
        if self.correlation == 0:
            return np.asarray(np.exp(ways + k * math.log(self.share) + (nodes - k) * math.log1p(-self.share)))
        total = 1 / self.correlation - 1
        a, b = self.share * total, (1 - self.share) * total
        return np.asarray(np.exp(ways + _log_beta(k + a, nodes - k + b) - _log_beta(a, b)))


def fit_down_model(down: NDArray[np.int64], weight: Floats, fleet: int) -> DownModel:
    """The model with the mean and the variance of a history: `down` of `fleet` nodes for the time `weight`, each.

    Raises StowageInputError for a history in which no node or every node was always down.
    """
    mean = float(np.average(down, weights=weight))
    variance = float(np.average((down - mean) ** 2, weights=weight))
    share = mean / fleet
    if not 0 < share < 1:
        raise StowageInputError(f"of {fleet} nodes {mean:g} were down on average: nothing to learn from")
    alone = fleet * share * (1 - share)
    return DownModel(share, min(max((variance / alone - 1) / max(fleet - 1, 1), 0.0), 0.999))


def cover_of_history(down: NDArray[np.int64], weight: Floats, fleet: int, nodes: int, spares: int) -> float:
    """Share of the time in which a random pool of `nodes` + `spares` of the fleet has `nodes` that work."""
    pool = nodes + spares
    if not 0 < nodes <= pool <= fleet:
        raise StowageInputError(f"a pool of {nodes} + {spares} nodes cannot be drawn from {fleet}")
    hours = np.bincount(down, weights=weight, minlength=fleet + 1)
    # The chance that x of the pool are among the d that are down: hypergeometric.
    d, x = np.arange(fleet + 1)[:, None], np.arange(spares + 1)[None, :]
    with np.errstate(invalid="ignore"):
        log_chance = _log_choose(d, x) + _log_choose(fleet - d, pool - x) - _log_choose(np.array(fleet), np.array(pool))
    return float(hours @ np.exp(log_chance).sum(axis=1) / hours.sum())


def spares_for(model: DownModel, nodes: int, wanted: float) -> int:
    """The fewest spares with which `nodes` work at any moment with the wanted chance.

    Raises StowageInputError for a chance that no number of spares below ten times the nodes gives.
    """
    if nodes < 1 or not 0 < wanted < 1:
        raise StowageInputError(f"spares are for at least one node and a chance between 0 and 1, not {nodes}, {wanted}")
    low, high = -1, 1
    while _cover(model, nodes, high) < wanted:
        low, high = high, 2 * high
        if high > MOST_SPARES_SHARE * nodes + MOST_SPARES_SHARE:
            raise StowageInputError(f"no reasonable number of spares covers {nodes} nodes for {wanted:.2%} of the time")
    while high - low > 1:  # more spares never cover less
        middle = (low + high) // 2
        low, high = (low, middle) if _cover(model, nodes, middle) >= wanted else (middle, high)
    return high


def spares_by_domain(models: Mapping[str, DownModel], nodes: Mapping[str, int], wanted: float) -> dict[str, int]:
    """`spares_for` each fault domain by itself, by name: a spare serves its own domain only.

    models: by domain; "" holds for those without one of their own.
    """
    found = {}
    for domain, count in sorted(nodes.items()):
        model = models.get(domain, models.get(""))
        if model is None:
            raise StowageInputError(f"fault domain {domain!r} has no model, and there is none for all")
        found[domain] = spares_for(model, count, wanted)
    return found


def _cover(model: DownModel, nodes: int, spares: int) -> float:
    return float(model.chances(nodes + spares)[: spares + 1].sum())


_lgamma = np.vectorize(math.lgamma, otypes=[np.float64])


def _log_factorial(n: NDArray[np.int64] | int) -> Floats:
    whole = np.asarray(n, np.int64)
    table = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, int(whole.max(initial=0)) + 1)))])
    return np.asarray(table[whole])


def _log_beta(a: NDArray[np.floating] | float, b: NDArray[np.floating] | float) -> Floats:
    return np.asarray(_lgamma(a) + _lgamma(b) - _lgamma(a + b))


def _log_choose(n: NDArray[np.int64], k: NDArray[np.int64]) -> Floats:
    """Logarithm of n over k; minus infinity where k is not within 0 to n."""
    is_possible = (k >= 0) & (k <= n)
    inside = np.where(is_possible, k, 0)
    ways = _log_factorial(n) - _log_factorial(inside) - _log_factorial(np.where(is_possible, n - inside, 0))
    return np.where(is_possible, ways, -np.inf)
