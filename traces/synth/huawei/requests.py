"""Calls: per function and minute for the whole time, and on the last day call by call for the pods started then.

The rates per day are the region's published ones. A timer fires at fixed minutes; a workflow's later functions are
called in the minute of its first; the rest come at random with the region's days and hours. These calls are not what
the cold starts were drawn from: the release has no calls per pod but for one day, so the two agree in their laws only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from traces.synth.huawei import calibration as cal
from traces.synth.huawei.curves import Floats, value_at
from traces.synth.huawei.functions import Functions

Codes = NDArray[np.int64]
PERIODS_MIN = np.array([1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 360, 720, 1440])
_FULL_MINUTES = 0.6  # [C] share of timers that fire at the full hour, half, ...; gives the spikes at minute 0
_CHAIN = 0.7  # [C] share of workflow functions that are called by another one


@dataclass(frozen=True, slots=True, eq=False)
class Callers:
    """How each function is called. rate: calls per minute. period_min, phase_min: of timers, else 0. parent: of a later
    function of a workflow the one that calls it, else -1.
    """

    rate: Floats
    period_min: Codes
    phase_min: Codes
    parent: Codes


def draw_callers(region: str, functions: Functions, seed: int) -> Callers:
    """Rates, timers and chains."""
    rng = np.random.default_rng([seed, 6, cal.REGIONS.index(region)])
    size = len(functions.name)
    rate = value_at(cal.REQUESTS_PER_DAY[region], rng.random(size)) / 1440
    is_timer = functions.trigger == cal.TRIGGERS.index("TIMER-A")
    nearest = np.abs(np.log(PERIODS_MIN[None, :] * rate[:, None])).argmin(axis=1)
    period = np.where(is_timer, PERIODS_MIN[nearest], 0)
    phase = np.where(rng.random(size) < _FULL_MINUTES, 0, rng.integers(0, 1440, size)) % np.maximum(period, 1)
    parent = np.full(size, -1)
    chain = np.flatnonzero(functions.trigger == cal.TRIGGERS.index("workflow-S"))
    for at in range(1, len(chain)):
        if rng.random() < _CHAIN:
            parent[chain[at]] = chain[at - 1]
    return Callers(rate, period, phase, parent)


def calls_of_day(region: str, callers: Callers, day: int, seed: int) -> NDArray[np.int64]:
    """(1440, functions) calls in every minute of a day; a day does not depend on the others."""
    rng = np.random.default_rng([seed, 7, cal.REGIONS.index(region), day])
    minute = np.arange(1440)
    load = np.array(cal.HOUR[region])[minute // 60] * cal.DAY[region][day % cal.DAYS]
    calls = np.zeros((1440, len(callers.rate)), np.int64)
    now = day * 1440 + minute
    for f in range(len(callers.rate)):
        if callers.parent[f] >= 0:
            calls[:, f] = calls[:, callers.parent[f]]  # chains are in order, so the parent's are drawn
        elif callers.period_min[f]:
            fires = (now - callers.phase_min[f]) % callers.period_min[f] == 0
            calls[fires, f] = max(1, round(callers.rate[f] * callers.period_min[f]))
        else:
            calls[:, f] = rng.poisson(callers.rate[f] * load)
    return calls


@dataclass(frozen=True, slots=True, eq=False)
class PodCalls:
    """Calls of pods, by time. start: row of the cold start whose pod it is. time_s, busy_s: begin and length."""

    start: Codes
    time_s: Floats
    busy_s: Floats


def calls_of_pods(
    region: str, runtime: Codes, time_s: Floats, total_s: Floats, until_s: float, seed: int
) -> PodCalls:
    """First and last call of each pod, such that (lifetime - keep-alive) / cold-start time has the published quantiles.

    runtime, time_s, total_s: (n,) of the cold starts that began the pods. Calls after `until_s` are not recorded.
    """
    rng = np.random.default_rng([seed, 8, cal.REGIONS.index(region)])
    utility = np.empty(len(time_s))
    for code in np.unique(runtime).tolist():
        rows = np.flatnonzero(runtime == code)
        name = cal.RUNTIMES[code] if code >= 0 else "all"
        utility[rows] = value_at(cal.UTILITY.get(name, cal.UTILITY["all"]), rng.random(len(rows)))
    last_s = time_s + utility * total_s  # the pod is kept 60 s after it, so its lifetime less 60 s is this long
    first_s = np.minimum(time_s + total_s, last_s)
    busy_s = value_at(cal.EXECUTION[region], rng.random(2 * len(time_s)))
    start = np.concatenate([np.arange(len(time_s))] * 2)
    moment = np.concatenate([first_s, last_s])
    kept = moment < until_s
    order = np.lexsort((start[kept], moment[kept]))
    return PodCalls(start[kept][order], moment[kept][order], busy_s[kept][order])
