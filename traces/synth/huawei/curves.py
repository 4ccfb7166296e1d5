"""Published curves as numbers one can draw from, and the copula that keeps them while hours differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from traces.synth.huawei.calibration import LEVELS, Curve, Quartiles

Floats = NDArray[np.float64]

_AT = np.array(LEVELS)
_GRID = np.linspace(-6, 6, 4001)
_PHI = np.array([0.5 * (1 + math.erf(z / math.sqrt(2))) for z in _GRID.tolist()])
_TAIL = LEVELS.index(0.95)


def value_at(curve: Curve, share: Floats) -> Floats:
    """The curve's quantiles at these shares, log-linear between LEVELS."""
    return np.asarray(np.exp(np.interp(share, _AT, np.log(curve))))


def share_below(curve: Curve, value: Floats) -> Floats:
    """The other way: which share lies below."""
    return np.asarray(np.interp(np.log(value), np.log(curve), _AT, left=0.0, right=1.0))


def mean_of(curve: Curve) -> float:
    """The mean of what `value_at` gives for a uniform share."""
    logs = np.log(curve)
    steps = np.diff(logs)
    flat = steps < 1e-12
    means = np.where(flat, np.exp(logs[1:]), np.diff(np.exp(logs)) / np.where(flat, 1.0, steps))
    return float(np.diff(_AT) @ means + _AT[0] * curve[0])


def stretch_tails(curves: Mapping[str, Curve], weight: Mapping[str, float], mean: float) -> dict[str, Curve]:
    """The curves with everything above their 95th percentile stretched alike, so that their weighted mean is `mean`.

    The figures end at 3, 10 or 20 s and hide what lies beyond; the means count it. Quantiles up to the 95th stay.
    """
    low, high = 0.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        found = sum(weight[name] * mean_of(_stretched(curve, middle)) for name, curve in curves.items())
        low, high = (middle, high) if found < mean else (low, middle)
    return {name: _stretched(curve, low) for name, curve in curves.items()}


def _stretched(curve: Curve, power: float) -> Curve:
    base = curve[_TAIL]
    return tuple(value if n <= _TAIL else base * (value / base) ** power for n, value in enumerate(curve))


def from_quartiles(quartiles: Quartiles) -> Curve:
    """A curve through three quartiles, log-normal on each side of the median."""
    low, middle, high = (math.log(value) for value in quartiles)
    one = NormalDist().inv_cdf(0.75)
    scores = [NormalDist().inv_cdf(min(max(level, 1e-3), 1 - 1e-3)) / one for level in LEVELS]
    return tuple(math.exp(middle + z * (high - middle if z > 0 else middle - low)) for z in scores)


def shares_of(rng: np.random.Generator, hour_score: Floats, strength: float) -> Floats:
    """A uniform share per event that is high in hours of a high score: a Gaussian copula.

    hour_score: standard normal over the events. strength: correlation, 0 to 1.
    """
    z = strength * hour_score + math.sqrt(1 - strength**2) * rng.standard_normal(len(hour_score))
    return np.asarray(np.interp(z, _GRID, _PHI))


def normal_scores(level: Floats, events: Floats) -> Floats:
    """Per hour its level as a normal score, such that over all events the scores are standard normal.

    level, events: (hours,).
    """
    order = np.argsort(level, kind="stable")
    below = np.cumsum(events[order]) - events[order] / 2
    share = np.empty(len(level))
    share[order] = below / max(float(events.sum()), 1.0)
    return np.array([NormalDist().inv_cdf(min(max(value, 1e-6), 1 - 1e-6)) for value in share.tolist()])
