"""Pools of ready pods, one per region and configuration: how many pods to hold ready in every hour.

A cold start that finds a pod of its configuration ready skips the search for one. Time is in minutes: a pod that is
taken is replaced by the next minute (from scratch it takes ten seconds), so of a minute's cold starts as many are hits
as the pool is large. What is not taken in a minute stood idle in it.

Daily patterns repeat (lag 24 h autocorrelation of .7 to .95 in four of five regions) and minutes are burstier than
Poisson ("Serverless Cold Starts and Where to Find Them", EuroSys 2025), so a pool is sized by a quantile of the minutes
at the same hour of past days, not by their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import StowageInputError

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
MINUTES = 60
HOURS = 24


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """hits: (P,) cold starts that found a pod ready. idle_minutes: (P,) minutes that ready pods waited for one."""

    hits: Counts
    idle_minutes: Counts


@dataclass(frozen=True, slots=True, eq=False)
class Frontier:
    """Most hits for an idle cost: corners of a concave line that begins at (0, 0)."""

    cost: Floats
    hits: Floats

    def at(self, cost: float) -> float:
        """Hits that no sizes exceed at this cost. Between corners it is a bound that whole pods may just miss."""
        return float(np.interp(cost, self.cost, self.hits))


def size_pools(counts: Counts, quantile: Floats, days: int, by_hour: bool = True) -> Counts:
    """(P, H) pods to hold ready in every hour from the second day on, known before that hour begins.

    counts: (P, M) cold starts per minute, M whole days. quantile: (P,) in [0, 1], the share of past minutes that the
    pool would have served whole. The past is the same hour of up to `days` days before, or where by_hour is false all
    hours of these days. The first day, which has no past, gives no hours: H = M / 60 - 24.
    """
    pools, minutes = counts.shape
    hours = minutes // MINUTES
    if minutes % (HOURS * MINUTES) or hours <= HOURS:
        raise StowageInputError(f"pools are sized over two whole days of minutes or more, not {minutes} minutes")
    if days < 1 or quantile.shape != (pools,) or not ((quantile >= 0) & (quantile <= 1)).all():
        raise StowageInputError("pools need a quantile from 0 to 1 each, and at least one past day")
    by_day = counts.reshape(pools, hours // HOURS, HOURS, MINUTES)
    sizes = np.empty((pools, hours - HOURS), np.int64)
    for day in range(1, hours // HOURS):
        past = by_day[:, max(day - days, 0) : day]
        seen = np.moveaxis(past, 2, 1).reshape(pools, HOURS, -1) if by_hour else past.reshape(pools, 1, -1)
        rank = np.maximum(np.ceil(quantile * seen.shape[2] - 1e-9).astype(np.int64) - 1, 0)
        chosen = np.take_along_axis(np.sort(seen, axis=2), rank[:, None, None], axis=2)[:, :, 0]
        sizes[:, (day - 1) * HOURS : day * HOURS] = chosen
    return sizes


def serve(counts: Counts, sizes: Counts) -> Served:
    """What pools of these sizes do. counts: (P, M) cold starts per minute; sizes: (P, M / 60) pods in every hour."""
    if counts.shape != (sizes.shape[0], sizes.shape[1] * MINUTES):
        raise StowageInputError(f"sizes of {sizes.shape} do not go with counts of {counts.shape}")
    if (counts < 0).any() or (sizes < 0).any():
        raise StowageInputError("cold starts and pods cannot be negative")
    ready = np.repeat(sizes, MINUTES, axis=1)
    hits = np.minimum(counts, ready)
    return Served(hits.sum(axis=1), (ready - hits).sum(axis=1))


def best_sizes(counts: Counts, cost: Floats) -> Frontier:
    """What sizes chosen hour by hour could reach at most, the counts being known.

    counts: (P, M) cold starts per minute, M whole hours. cost: (P,) of an idle minute of a pool's pod. In an hour with
    j minutes of at least k cold starts, the pool's k-th pod brings j hits for 60 - j idle minutes; each further pod
    brings no more than the one before, so taking pods in order of hits per cost is exact at every corner.
    """
    if (cost <= 0).any():
        raise StowageInputError("an idle minute of a pod costs more than 0")
    descending = -np.sort(-counts.reshape(len(counts), -1, MINUTES), axis=2)
    following = np.concatenate([descending[:, :, 1:], np.zeros_like(descending[:, :, :1])], axis=2)
    pods = (descending - following).sum(axis=1)  # (P, 60): so many pods bring 1, 2, ... 60 hits each
    hits = np.arange(1, MINUTES + 1)
    spent = (MINUTES - hits)[None, :] * cost[:, None]
    order = np.argsort((spent / hits).reshape(-1), kind="stable")
    gained = (pods * hits).reshape(-1)[order]
    paid = (pods * spent).reshape(-1)[order]
    return Frontier(np.append(0.0, np.cumsum(paid)), np.append(0.0, np.cumsum(gained)))
