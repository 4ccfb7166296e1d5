"""How evenly a cluster is shared: the usual measures, each with what it says when nobody has or wants anything.

Count everybody. Jain's index over winners alone is 1 whenever all winners get the same, however many were left out.
Jain et al., "A Quantitative Measure of Fairness and Discrimination", DEC TR-301, 1984; Ghodsi et al., "Dominant
Resource Fairness", NSDI 2011; Mahajan et al., "Themis", NSDI 2020.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.core.auction.market import Floats, Market
from scheduler.core.errors import StowageInputError

Amounts = NDArray[np.float64] | NDArray[np.int64]


def per_tenant(market: Market, amounts: Amounts) -> Floats:
    """(T,) what a tenant's requests have together. amounts: (J,)."""
    return np.bincount(market.tenant, weights=amounts, minlength=len(market.tenants)).astype(np.float64)


def jain(amounts: Amounts) -> float:
    """Jain's index of what everybody has: 1 where all have the same, 1/n where one has everything.

    1 where nobody has anything, or nobody is there: all are treated alike. Raises StowageInputError for an amount below
    0 or not finite.
    """
    checked = _amounts("an amount", amounts)
    most = checked.max(initial=0.0)
    if most == 0:
        return 1.0
    scaled = checked / most  # squares of very small or large amounts would vanish or overflow
    return float(scaled.sum() ** 2 / (len(scaled) * (scaled**2).sum()))


def minimum_share(got: Amounts, wanted: Amounts) -> float:
    """The smallest share that anybody has of what it wanted; 1 where nobody wanted anything."""
    had, asked = _amounts("what is had", got), _amounts("what is wanted", wanted)
    wants = asked > 0
    return float((had[wants] / asked[wants]).min(initial=np.inf)) if wants.any() else 1.0


def dominant_share(used: Amounts, capacity: Amounts) -> Floats:
    """(T,) the share of the resource of which a tenant has most. used: (T, R). capacity: (R,) of the whole cluster.

    Of a resource that the cluster lacks, nobody has a share. Raises StowageInputError if somebody uses it.
    """
    amounts, room = _amounts("what is used", used), _amounts("capacity", capacity)
    if amounts.ndim != 2 or amounts.shape[1:] != room.shape:
        raise StowageInputError(f"use has shape {amounts.shape}; the cluster has {room.shape[0]} resources")
    for t, r in np.argwhere((amounts > 0) & (room == 0))[:1]:
        raise StowageInputError(f"tenant {t} uses {amounts[t, r]:g} of resource {r}, of which the cluster has none")
    return np.asarray((amounts / np.where(room > 0, room, 1)).max(axis=1, initial=0.0))


def finish_time_ratio(shared_s: Amounts, alone_s: Amounts) -> Floats:
    """Themis' rho: (J,) how many times longer a job takes than alone on its fair share of the cluster.

    Up to 1 it gained or lost nothing by sharing. Raises StowageInputError for a job that takes no time alone.
    """
    shared, alone = _amounts("time shared", shared_s), _amounts("time alone", alone_s)
    for j in np.flatnonzero(alone == 0)[:1]:
        raise StowageInputError(f"job {j} takes no time alone, so no ratio can be formed")
    return np.asarray(shared / alone)


def _amounts(what: str, amounts: Amounts) -> Floats:
    values = np.asarray(amounts, np.float64)
    for value in values[~(np.isfinite(values) & (values >= 0))][:1]:
        raise StowageInputError(f"{what} is {value}; it is a finite number, at least 0")
    return values
