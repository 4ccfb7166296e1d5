"""Pools of ready pods sized from past days, on the cold starts that a trace recorded: hits against idle memory.

What a pool changes is the first component of a cold start, pod allocation. A hit costs what the platform's first search
stage costs; a miss what the recorded allocations that were no such hits cost on average, in that region and
configuration. Everything else of a cold start stays as recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.store import query
from scheduler.core.serverless.pools import HOURS, MINUTES, best_sizes, serve, size_pools
from traces.schema import Trace

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

# The first stage of the search takes 0.2 ms, the next 12 ms (pod allocation by runtime, EuroSys 2025, figure 15b).
FIRST_STAGE_S = 0.0002
FIRST_STAGE_US = 1000  # what was allocated faster was a hit
GRID = 1 - np.geomspace(0.9, 1 / 5000, 160)  # quantiles, tried for those ways of sizing that must meet an idle memory
PRICES = np.geomspace(1e-4, 1e4, 320)  # hits that an idle GiB minute must bring, likewise


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """Cold starts of P pools, one per region and configuration; rows sorted by both.

    counts: (P, M) per minute, M whole days. missed_s, allocation_s: (P,) mean pod allocation of recorded cold starts
    that found no pod at once, and of all; rest_s: of the other components. first_stage: recorded hits. unpooled: cold
    starts of functions without a pool, which are left out.
    """

    region: tuple[str, ...]
    cpu_milli: Counts
    memory_mib: Counts
    counts: Counts
    first_stage: Counts
    missed_s: Floats
    allocation_s: Floats
    rest_s: Floats
    unpooled: int

    @property
    def gib(self) -> Floats:
        return self.memory_mib / 1024


@dataclass(frozen=True, slots=True)
class Sized:
    """One way of sizing over all pools. value: its quantile or price. idle_gb_h: a day. allocation_s: mean pod
    allocation by the component model.
    """

    rule: str
    value: float
    hit_share: float
    idle_gb_h: float
    allocation_s: float


@dataclass(frozen=True, slots=True)
class Level:
    """Ways of sizing at the same idle memory: the same hour's quantile, and what others reach without more of it.

    None where a rule keeps more wherever it was tried. bound: most hits of any sizes, every hour's cold starts known.
    """

    by_hour: Sized
    by_price: Sized | None
    all_day: Sized | None
    bound: float


@dataclass(frozen=True, slots=True)
class Sizing:
    """All levels. days: evaluated, the first day only being learnt from. recorded_hits, recorded_s: first-stage share
    and mean pod allocation as the platform did it, with pools whose sizes were not published. rest_s: mean of the other
    components.
    """

    levels: list[Level]
    pools: int
    days: int
    cold_starts: int
    unpooled: int
    recorded_hits: float
    recorded_s: float
    rest_s: float


def read_demand(trace: Trace, regions: Sequence[str] = ()) -> Demand:
    """Cold starts by pool, of these regions or all. Whole days only: what follows the last is left out.

    Raises InputError if the trace has no cold starts with configuration and components, or no such region.
    """
    if not (trace.has("cold_starts") and trace.has("functions")):
        raise InputError(f"{trace.folder} records no cold starts: pools are sized from them")
    with duckdb.connect() as con:
        for name in ("functions", "cold_starts"):
            con.execute(f"CREATE VIEW {name} AS FROM {trace.scan(name)}")
        times = con.execute(query("serverless/pool_times"), {"first_stage_us": FIRST_STAGE_US}).fetchall()
        rows = con.execute(query("serverless/pool_minutes")).fetchall()
    known = {row[0] for row in times}
    if unknown := sorted(set(regions) - known):
        raise InputError(f"no cold start is of region {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    chosen = [row for row in times if (not regions or row[0] in regions)]
    pools = [row for row in chosen if row[3] and row[6] is not None]
    if not pools:
        raise InputError(f"{trace.folder}: no cold start says its pod's CPU, memory and allocation time")
    number = {row[:3]: n for n, row in enumerate(pools)}
    days = (max(row[3] for row in rows) + 1) // (HOURS * MINUTES)
    if days < 2:
        raise InputError(f"pools are sized from past days: two whole days are needed, {trace.folder} has {days}")
    counts = np.zeros((len(pools), days * HOURS * MINUTES), np.int64)
    for region, cpu, mib, minute, count in rows:
        if (region, cpu, mib) in number and minute < counts.shape[1]:
            counts[number[region, cpu, mib], minute] = count
    allocation_s = np.array([row[6] for row in pools])
    missed_s = np.array([row[6] if row[7] is None else row[7] for row in pools])
    return Demand(
        region=tuple(row[0] for row in pools),
        cpu_milli=np.array([row[1] for row in pools]),
        memory_mib=np.array([row[2] for row in pools]),
        counts=counts,
        first_stage=np.array([row[5] for row in pools]),
        missed_s=missed_s,
        allocation_s=allocation_s,
        rest_s=np.array([row[8] for row in pools]) - allocation_s,
        unpooled=sum(row[4] for row in chosen),
    )


def size_all(demand: Demand, quantiles: Sequence[float], days: int) -> Sizing:
    """Size every pool by each of these quantiles of the past `days` days, and compare at equal idle memory.

    InputError names what is no quantile.
    """
    wrong = [f"{value:g}" for value in quantiles if not 0 <= value <= 1]
    if wrong or not quantiles or days < 1:
        raise InputError(f"quantiles are from 0 to 1, and past days at least 1; not {', '.join(wrong) or days}")
    seen = demand.counts[:, HOURS * MINUTES :]
    evaluated = seen.shape[1] // (HOURS * MINUTES)
    frontier = best_sizes(seen, demand.gib)
    total = max(int(seen.sum()), 1)

    def sized(rule: str, value: float, quantile: Floats, by_hour: bool) -> Sized:
        served = serve(seen, size_pools(demand.counts, quantile, days, by_hour))
        missed = seen.sum(axis=1) - served.hits
        return Sized(
            rule, value, float(served.hits.sum()) / total,
            float(served.idle_minutes @ demand.gib) / MINUTES / evaluated,
            float(served.hits.sum() * FIRST_STAGE_S + missed @ demand.missed_s) / total,
        )  # fmt: skip

    def same(value: float) -> Floats:
        return np.full(len(demand.gib), value)

    # The pod that a share p of past minutes would have used is worth a price of hits per GiB minute if
    # p > (1 - p) * price * GiB, so the pool is the quantile 1 / (1 + price * GiB).
    priced = [sized("price", price, 1 / (1 + price * demand.gib), True) for price in PRICES.tolist()]
    constant = [sized("all day", value, same(value), False) for value in GRID.tolist()]
    levels = []
    for value in quantiles:
        found = sized("same hour", value, same(value), True)
        minutes = found.idle_gb_h * evaluated * MINUTES
        levels.append(Level(found, _within(priced, found), _within(constant, found), frontier.at(minutes) / total))
    weight = seen.sum(axis=1)
    return Sizing(
        levels=levels,
        pools=len(demand.gib),
        days=evaluated,
        cold_starts=int(seen.sum()),
        unpooled=demand.unpooled,
        recorded_hits=float(demand.first_stage.sum()) / max(int(demand.counts.sum()), 1),
        recorded_s=float(weight @ demand.allocation_s) / total,
        rest_s=float(weight @ demand.rest_s) / total,
    )


def _within(line: list[Sized], other: Sized) -> Sized | None:
    """The one with most hits that stands idle no more than the other."""
    return max((one for one in line if one.idle_gb_h <= other.idle_gb_h), key=lambda one: one.hit_share, default=None)
