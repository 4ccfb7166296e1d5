"""Log-normal and Weibull laws fitted to a sample that is known by its quantiles, and how good the fit is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError

Floats = NDArray[np.float64]

SHARES: Final = tuple((np.arange(199) + 1) / 200)
"""The shares at which quantiles are taken; enough for a distance good to half a percent."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted law. mean, deviation: of the law. distance: Kolmogorov-Smirnov's, over SHARES, 0 to 1."""

    law: str
    parameters: dict[str, float]
    mean: float
    deviation: float
    distance: float


def fit_laws(quantiles: Floats) -> list[Fit]:
    """Both laws, the nearer one first. quantiles: at SHARES, above 0.

    Least squares on the probability plot, where each law is a straight line: it repeats itself and is not pulled by
    the few largest values, as maximum likelihood is. Raises InputError unless all quantiles are above 0.
    """
    if quantiles.shape != (len(SHARES),) or not (np.isfinite(quantiles) & (quantiles > 0)).all():
        raise InputError(f"a fit needs {len(SHARES)} quantiles above 0")
    fits = [_log_normal(quantiles), _weibull(quantiles)]
    return sorted(fits, key=lambda fit: (fit.distance, fit.law))


def _log_normal(quantiles: Floats) -> Fit:
    scores = np.array([NormalDist().inv_cdf(share) for share in SHARES])
    sigma, mu = (float(value) for value in np.polyfit(scores, np.log(quantiles), 1))
    below = np.array([NormalDist(mu, max(sigma, 1e-12)).cdf(value) for value in np.log(quantiles).tolist()])
    mean = math.exp(mu + sigma**2 / 2)
    deviation = mean * math.sqrt(math.expm1(min(sigma**2, 700.0)))
    return Fit("LogNormal", {"mu": mu, "sigma": sigma}, mean, deviation, _distance(below))


def _weibull(quantiles: Floats) -> Fit:
    scores = np.log(-np.log1p(-np.array(SHARES)))
    slope, intercept = (float(value) for value in np.polyfit(scores, np.log(quantiles), 1))
    shape, scale = 1 / max(slope, 1e-12), math.exp(intercept)
    below = -np.expm1(-((quantiles / scale) ** shape))
    mean, square = (math.exp(min(math.lgamma(1 + power / shape), 700.0)) for power in (1, 2))
    deviation = scale * math.sqrt(max(square - mean**2, 0.0))
    return Fit("Weibull", {"k": shape, "lambda": scale}, scale * mean, deviation, _distance(below))


def _distance(below: Floats) -> float:
    return float(np.abs(below - np.array(SHARES)).max())
