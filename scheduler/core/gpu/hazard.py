"""How likely a node is to fail, by the time since its last repair.

A repaired node is dangerous for days: some repairs do not cure, some tickets are closed too early. The rate of faults
is a line through a few knots on a log-log scale, constant outside them; so it decays smoothly, and the faults expected
over a job's length have a closed form. How many faults a node had in its life says little once the time since the last
is known (measured), and has no place here.

`MEASURED` is what 582 outages of 400 servers over 345 days show (InfiniteHBD, arXiv 2502.03885): the mean rate, and
the factors on it by age. A cluster with a history of its own fits its own curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import StowageInputError

Floats = NDArray[np.float64]

# Ages between which rates are counted, in hours: an hour, a quarter, a day, then 3, 7, 14, 30, 60 days.
AGE_EDGES_H = (0.0, 1.0, 6.0, 24.0, 72.0, 168.0, 336.0, 720.0, 1440.0, np.inf)
FIRST_EDGE_H = 0.5  # stands for 0 where the logarithm is taken
# Faults that each age class is given for free at the mean rate of all, so that an empty one has a rate above 0.
PRIOR_FAULTS = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Hazard:
    """Rate of faults of one node by hours since its repair.

    age_h: (K,), ascending, above 0. per_h: (K,) faults per hour at these ages, above 0; between them the logarithms are
    interpolated, before the first and after the last the rate is constant. Raises StowageInputError for anything else.
    """

    age_h: Floats
    per_h: Floats

    def __post_init__(self) -> None:
        if self.age_h.ndim != 1 or self.age_h.shape != self.per_h.shape or not self.age_h.size:
            raise StowageInputError(f"a hazard has one rate per age, not {self.per_h.shape} for {self.age_h.shape}")
        if not (self.age_h > 0).all() or not (np.diff(self.age_h) > 0).all() or not (self.per_h > 0).all():
            raise StowageInputError("ages and rates of a hazard are above 0, ages ascending")

    def rate_per_h(self, age_h: Floats) -> Floats:
        """Faults per hour at these ages; infinity is a node that never failed."""
        log_age = np.log(np.clip(age_h, self.age_h[0], self.age_h[-1]))
        return np.exp(np.interp(log_age, np.log(self.age_h), np.log(self.per_h)))

    def expected_faults(self, age_h: Floats, length_h: float) -> Floats:
        """Faults expected of nodes of these ages within the next `length_h`, if none is repaired meanwhile."""
        old = np.isinf(age_h)
        start = np.where(old, 0.0, age_h)
        before, after = self._since_repair(np.stack([start, start + length_h]))
        return np.asarray(np.where(old, self.per_h[-1] * length_h, after - before))

    def _since_repair(self, age_h: Floats) -> Floats:
        """Integral of the rate from 0: constant up to the first knot, then pieces in which it is a power of the age."""
        at = np.clip(np.searchsorted(self.age_h, age_h, side="right") - 1, 0, self.age_h.size - 1)
        first = self.per_h[0] * np.minimum(age_h, self.age_h[0])
        power, full = self._pieces()
        return np.asarray(first + full[at] + self._piece(at, np.maximum(age_h, self.age_h[0]), power[at]))

    def _pieces(self) -> tuple[Floats, Floats]:
        """(K,) exponent of the integral from each knot on, and the integral from the first knot up to each."""
        power = np.append(np.diff(np.log(self.per_h)) / np.diff(np.log(self.age_h)), 0.0) + 1.0
        whole = self._piece(np.arange(self.age_h.size - 1), self.age_h[1:], power[:-1])
        return power, np.concatenate([[0.0], np.cumsum(whole)])

    def _piece(self, at: NDArray[np.int64], until_h: Floats, power: Floats) -> Floats:
        """Integral from knot `at` to `until_h` along the piece that begins there."""
        knot = self.age_h[at]
        ratio = np.log(until_h / knot)
        flat = np.abs(power) < 1e-9
        return np.asarray(
            self.per_h[at] * knot * np.where(flat, ratio, np.expm1(power * ratio) / np.where(flat, 1.0, power))
        )


def fit_hazard(age_h: Floats, length_h: Floats, has_failed: NDArray[np.bool_]) -> Hazard:
    """The curve that spans of work show, each of which ended in a fault or was cut off.

    age_h: (S,) hours since the repair before, when the span began; infinity where none is known, which counts for the
    oldest class. length_h: (S,). Rates are counted per age class, drawn towards the mean of all by PRIOR_FAULTS, and
    never rise with age (pooled where they would: weighted isotonic regression). Raises StowageInputError without a
    fault: then take `MEASURED`.
    """
    if not has_failed.any():
        raise StowageInputError("no fault to learn a hazard from: use the measured curve")
    edges = np.array(AGE_EDGES_H)
    start = np.where(np.isinf(age_h), edges[-2], age_h)
    end = start + length_h
    spent_h = [np.clip(np.minimum(end, b) - np.maximum(start, a), 0, None).sum() for a, b in pairwise(edges)]
    exposed_h = np.array(spent_h)
    failed = np.histogram(end[has_failed], bins=np.append(edges[:-1], end.max() + 1.0))[0]
    prior_h = PRIOR_FAULTS * exposed_h.sum() / failed.sum()
    return Hazard(_knots_h(), _never_rising((failed + PRIOR_FAULTS) / (exposed_h + prior_h), exposed_h + prior_h))


def _knots_h() -> Floats:
    """Where on the log scale the rate of each age class holds: in its middle; the oldest ends at twice its start."""
    edges = np.array(AGE_EDGES_H)
    return np.sqrt(np.maximum(edges[:-1], FIRST_EDGE_H) * np.append(edges[1:-1], 2 * edges[-2]))


def _never_rising(rate: Floats, weight: Floats) -> Floats:
    """The nearest rates that never rise (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []  # rate, weight, classes
    for new_rate, new_weight in zip(rate.tolist(), weight.tolist(), strict=True):
        pools.append((new_rate, new_weight, 1))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (a, weight_a, count_a), (b, weight_b, count_b) = pools[-2:]
            both = weight_a + weight_b
            pools[-2:] = [((a * weight_a + b * weight_b) / both, both, count_a + count_b)]
    return np.repeat([pool[0] for pool in pools], [pool[2] for pool in pools])


MEASURED_PER_DAY = 0.0043
MEASURED_FACTORS = (522.0, 118.0, 18.0, 6.1, 4.0, 2.7, 1.7, 0.9, 0.7)  # one per age class of AGE_EDGES_H
MEASURED = Hazard(_knots_h(), np.array(MEASURED_FACTORS) * MEASURED_PER_DAY / 24)
