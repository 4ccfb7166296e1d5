"""The next value of a short series, by autoregression: what stands for ARIMA where a histogram cannot see far enough.

The published hybrid policy fits ARIMA(p, d, q) with a package that searches the orders. The series here are short (a
few idle times of hours each), where moving-average terms cannot be told from noise; so the orders are p <= 2, d <= 1,
q = 0, each fitted exactly by least squares, and the one with the lowest AIC over the same points is used.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from scheduler.core.compiled import compiled

MAX_ORDER = 2
MIN_POINTS = 6  # below, orders cannot be compared: the mean is the forecast


@compiled
def _solve(matrix: NDArray[float64], right: NDArray[float64]) -> NDArray[float64]:
    """Gaussian elimination of a positive definite system, in place."""
    size = right.shape[0]
    for i in range(size):
        for k in range(i + 1, size):
            factor = matrix[k, i] / matrix[i, i]
            for j in range(i, size):
                matrix[k, j] -= factor * matrix[i, j]
            right[k] -= factor * right[i]
    for i in range(size - 1, -1, -1):
        for j in range(i + 1, size):
            right[i] -= matrix[i, j] * right[j]
        right[i] /= matrix[i, i]
    return right


@compiled
def _fit(series: NDArray[float64], order: int, start: int) -> tuple[NDArray[float64], float]:
    """(constant and weights by lag, residual sum of squares) of predicting series[start:] from what came before."""
    size = order + 1
    normal, right = np.zeros((size, size)), np.zeros(size)
    row = np.ones(size)
    for t in range(start, series.shape[0]):
        for lag in range(1, size):
            row[lag] = series[t - lag]
        for i in range(size):
            right[i] += row[i] * series[t]
            for j in range(size):
                normal[i, j] += row[i] * row[j]
    for i in range(size):
        normal[i, i] += 1e-9 * (normal[i, i] + 1.0)  # a constant series has no unique weights; any of them will do
    weights = _solve(normal, right)
    rss = 0.0
    for t in range(start, series.shape[0]):
        error = series[t] - weights[0]
        for lag in range(1, size):
            error -= weights[lag] * series[t - lag]
        rss += error * error
    return weights, rss


@compiled
def forecast_next(values: NDArray[float64]) -> float:
    """The expected next value of a series, oldest first, at least 0; its mean where it is too short to fit."""
    n = values.shape[0]
    if n == 0:
        return 0.0
    best, best_aic = values.mean(), math.inf
    if n < MIN_POINTS:
        return best
    for d in range(2):
        series = values if d == 0 else values[1:] - values[:-1]
        for order in range(MAX_ORDER + 1):
            start = MAX_ORDER + 1 - d  # the same points of `values` are predicted by every model
            weights, rss = _fit(series, order, start)
            points = series.shape[0] - start
            aic = points * math.log(rss / points + 1e-9) + 2 * (order + 1)
            if aic < best_aic - 1e-9:
                step = weights[0]
                for lag in range(1, order + 1):
                    step += weights[lag] * series[series.shape[0] - lag]
                best, best_aic = (step if d == 0 else values[n - 1] + step), aic
    return max(best, 0.0)
