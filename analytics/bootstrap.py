"""How much of a difference between two runs is chance: paired bootstrap intervals.

With three seeds or more, seeds are the repetitions: the per-seed differences are resampled. With fewer, a run is
resampled from inside. Attempts of one job are alike and wait together, so whole jobs are drawn, the same ones for both
runs (delays, counts, welfare, tenants' shares); the state of a cluster is alike from one minute to the next, so whole
hours are drawn, the same ones for both (utilisation, stranded, overload). That says how far the difference depends on
which jobs or hours this trace happened to hold; it does not say what another month would bring. Intervals are
percentile intervals at 95 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.metrics import OVERLOAD_SUMS, flatten, overload_of, short_resource
from analytics.runs import Run
from analytics.store import open_store, query
from scheduler.core.auction.fairness import jain

BLOCK_US = 3_600_000_000
# Below this many blocks a resampled window is too much like itself for an interval to mean anything.
MIN_BLOCKS = 5
PERCENTILES = {"p50": 50, "p90": 90, "p99": 99}

Interval = tuple[float, float]
Replicates = dict[str, NDArray[np.float64]]


def seed_interval(differences: Sequence[float], rng: np.random.Generator, replicates: int) -> Interval:
    """Interval of the mean of per-seed differences."""
    values = np.asarray(differences, np.float64)
    return interval(rng.choice(values, (replicates, len(values))).mean(axis=1))


def interval(replicated: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(replicated, [0.025, 0.975])
    return float(low), float(high)


def job_replicates(pair: tuple[Run, Run], rng: np.random.Generator, replicates: int) -> Replicates:
    """How differences (second less first) of delays and counts scatter over resampled jobs, by metric name.

    Only metrics that both runs have. A job present in one run only counts as empty in the other.
    """
    sides = [_JobTable.read(run) for run in pair]
    jobs = np.union1d(sides[0].jobs, sides[1].jobs)
    if len(jobs) < MIN_BLOCKS:
        return {}
    return replicate([side.statistic(jobs) for side in sides], len(jobs), rng, replicates)


def block_replicates(pair: tuple[Run, Run], rng: np.random.Generator, replicates: int) -> Replicates:
    """How differences (second less first) of shares of the capacity scatter over resampled hours, by metric name."""
    sides = [_read_blocks(run) for run in pair]
    over = [_read_overload(run) for run in pair]
    blocks = min(len(side) for columns in sides for side in columns.values())
    if blocks < MIN_BLOCKS:
        return {}
    statistics = [
        _block_statistic({name: side[:blocks] for name, side in columns.items()}, overload[:blocks])
        for columns, overload in zip(sides, over, strict=True)
    ]
    return replicate(statistics, blocks, rng, replicates)


Statistic = Callable[[NDArray[np.int64]], dict[str, float]]


def replicate(statistics: Sequence[Statistic], units: int, rng: np.random.Generator, replicates: int) -> Replicates:
    """Evaluate both statistics under the same random multiplicities of the units.

    Returns how far each resampled difference is from that of the units as they are: what is rounded in the statistics
    (delays, see waits_by_job.sql) then moves an interval's width a little, and not its place.
    """
    drawn: dict[str, list[float]] = {}
    as_they_are = [statistic(np.ones(units, np.int64)) for statistic in statistics]
    chances = np.full(units, 1 / units)
    for _ in range(replicates):
        weights = rng.multinomial(units, chances)
        first, second = (statistic(weights) for statistic in statistics)
        for name in first.keys() & second.keys():
            drawn.setdefault(name, []).append(second[name] - first[name] - as_they_are[1][name] + as_they_are[0][name])
    # a replicate without any job of a tier has no delay there: a metric that is often absent gets no interval
    return {name: np.asarray(values) for name, values in drawn.items() if len(values) >= 0.9 * replicates}


@dataclass(frozen=True, slots=True, eq=False)
class _Delays:
    """Delays of the attempts that started, as columns in order of increasing delay; `started` attempts per row."""

    job: NDArray[np.int64]
    delay_ms: NDArray[np.int64]
    started: NDArray[np.int64]
    waited_ms: NDArray[np.int64]

    def statistic(self, prefix: str, jobs: NDArray[np.int64]) -> Statistic:
        """Percentiles and mean in seconds, by how often each of `jobs` was drawn; empty if none started."""
        row = np.searchsorted(jobs, self.job)

        def evaluate(weights: NDArray[np.int64]) -> dict[str, float]:
            drawn = weights[row]
            so_far = np.cumsum(self.started * drawn)
            if (total := int(so_far[-1])) == 0:
                return {}
            at = np.searchsorted(so_far, [-(-total * percent // 100) for percent in PERCENTILES.values()])
            found = {f"{prefix}.{name}": self.delay_ms[k] / 1e3 for name, k in zip(PERCENTILES, at, strict=True)}
            return found | {f"{prefix}.mean": float(self.waited_ms @ drawn) / total / 1e3}

        return evaluate


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """What the jobs' work was worth and what tenants got of what they wanted: a row per job and tenant.

    kept, wanted: (rows, resources), resources in name order.
    """

    job: NDArray[np.int64]
    tenant: NDArray[np.int64]
    welfare: NDArray[np.float64]
    kept: NDArray[np.float64]
    wanted: NDArray[np.float64]

    @classmethod
    def read(cls, store: duckdb.DuckDBPyConnection) -> _Work:
        rows = {name: np.asarray(column) for name, column in store.execute(query("work_by_job")).fetchnumpy().items()}
        return cls(
            rows["job"],
            np.unique(rows["tenant"].astype(str), return_inverse=True)[1].reshape(-1),
            rows["welfare"],
            np.stack([rows[name] for name in sorted(rows) if name.startswith("kept_")], axis=1),
            np.stack([rows[name] for name in sorted(rows) if name.startswith("wanted_")], axis=1),
        )

    def statistic(self, jobs: NDArray[np.int64]) -> Statistic:
        """Welfare, and fairness over the tenants' kept shares as in fairness.sql, by how often each job was drawn."""
        row = np.searchsorted(jobs, self.job)

        def evaluate(weights: NDArray[np.int64]) -> dict[str, float]:
            drawn = weights[row]
            kept, wanted = (
                np.stack([np.bincount(self.tenant, drawn * column) for column in columns.T], axis=1)
                for columns in (self.kept, self.wanted)
            )
            dominant = wanted.argmax(axis=1)
            tenants = np.flatnonzero(wanted.max(axis=1, initial=0) > 0)
            if not len(tenants):
                return {}
            share = np.sort(kept[tenants, dominant[tenants]] / wanted[tenants, dominant[tenants]])
            return {
                "welfare.kept": float((self.welfare * drawn).sum()),  # `@` would start BLAS's threads for each draw
                "fairness.jain_kept_share": jain(share),
                "fairness.min_kept_share": float(share[0]),
                "fairness.low_kept_share": float(share[-(-len(share) // 20) - 1]),
            }

        return evaluate


@dataclass(frozen=True, slots=True, eq=False)
class _JobTable:
    """What one run did to each job: counts by name, one value per job; delays by tier and of all; work and tenants."""

    jobs: NDArray[np.int64]
    counts: Mapping[str, NDArray[np.int64]]
    delays: Mapping[str, _Delays]
    work: _Work

    @classmethod
    def read(cls, run: Run) -> _JobTable:
        with open_store(run.folder, run.facts) as store:
            counts = store.execute(query("counts_by_job")).fetchnumpy()
            waits = store.execute(query("waits_by_job")).fetchnumpy()
            work = _Work.read(store)
        tier = np.asarray(waits.pop("tier"), dtype=str)
        rows = {name: tier == name for name in np.unique(tier) if name != "all"}
        rows |= {"all": np.full(len(tier), True)} if len(tier) else {}
        delays = {
            name: _Delays(**{column: np.asarray(waits[column])[at] for column in waits}) for name, at in rows.items()
        }
        jobs = np.asarray(counts.pop("job"))
        return cls(jobs, {name: np.asarray(values) for name, values in counts.items()}, delays, work)

    def statistic(self, jobs: NDArray[np.int64]) -> Statistic:
        """Metrics by how often each of `jobs` was drawn."""
        row = np.searchsorted(jobs, self.jobs)
        others = [table.statistic(f"delay_s.{tier}", jobs) for tier, table in self.delays.items()]
        others.append(self.work.statistic(jobs))

        def evaluate(weights: NDArray[np.int64]) -> dict[str, float]:
            found = {name: float(weights[row] @ values) for name, values in self.counts.items()}
            for other in others:
                found |= other(weights)
            return found

        return evaluate


def _read_blocks(run: Run) -> dict[str, NDArray[np.float64]]:
    """Per resource: (blocks, 5) offered, requested, stranded, used, offered where used."""
    with open_store(run.folder, run.facts) as store:
        rows = store.execute(query("capacity_by_block"), {"block_us": BLOCK_US}).fetchall()
    return {name: np.array([row[2:] for row in rows if row[1] == name]) for name in sorted({row[1] for row in rows})}


def _read_overload(run: Run) -> NDArray[np.float64]:
    """(blocks, 5) the sums of overload_by_block.sql; all zero for a run of an earlier version."""
    with open_store(run.folder, run.facts) as store:
        columns = {column[0] for column in store.execute("select * from series limit 0").description}
        if "overload" not in columns:
            return np.zeros((0, len(OVERLOAD_SUMS)))
        rows = store.execute(query("overload_by_block"), {"block_us": BLOCK_US}).fetchall()
    return np.array([row[1:] for row in rows])


def _block_statistic(columns: Mapping[str, NDArray[np.float64]], overload: NDArray[np.float64]) -> Statistic:
    def evaluate(weights: NDArray[np.int64]) -> dict[str, float]:
        found: dict[str, float] = {}
        for resource, blocks in columns.items():
            offered, requested, stranded, used, offered_where_used = weights @ blocks
            name = short_resource(resource)
            if offered:
                found |= {f"utilisation.{name}": requested / offered, f"stranded.{name}": stranded / offered}
            if offered_where_used:
                found[f"used.{name}"] = used / offered_where_used
        if len(overload) == len(weights):
            sums = flatten(overload_of(*(weights @ overload).tolist()))
            found |= {name: value for name, value in sums.items() if value is not None}
        return found

    return evaluate
