"""What shaving peaks and joining regions could save, and what rules that know no future do save."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.store import query
from scheduler.core.serverless.regions import pooled_peak, route
from scheduler.core.serverless.shaving import least_peak_in_blocks, least_peak_with_delay, shave
from traces.schema import Trace

Floats = NDArray[np.float64]
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Pooling:
    """Room for the cold starts of an hour. room_apart: the regions' own peaks added; room_together: the peak of all.

    learned: room that was enough in the first half, for all regions in proportion to their own peaks there; refused:
    cold starts of the second half that found none in any region, moved: share that ran in another region, when each
    goes where it would be done soonest by the hour before (`mean_s`, and `mean_oracle_s` by the hour itself) beside
    staying at home (`mean_home_s`). None where the trace has no times.
    """

    hours: int
    room_apart: int
    room_together: int
    learned: int
    refused: int
    moved: float
    mean_home_s: float | None
    mean_s: float | None
    mean_oracle_s: float | None

    @property
    def saved(self) -> float:
        """The bound, as a share of the room apart."""
        return 1 - self.room_together / self.room_apart if self.room_apart else 0.0


@dataclass(frozen=True, slots=True)
class Shaving:
    """Running pods of an hour, those of one trigger being allowed to wait. All peaks as shares below the present one.

    blocks: work moves within fixed blocks of so many hours (the paper's figure). bound: it waits so many hours at most,
    the future known. reached: the same without knowing it. waited_h: mean wait of that work then.
    """

    hours: int
    blocks: float
    bound: float
    reached: float
    waited_h: float


def read_hours(trace: Trace) -> tuple[list[str], NDArray[np.int64], Floats | None]:
    """Regions, (H, R) cold starts an hour, and their (H, R) mean seconds where the trace has each cold start.

    Raises InputError if the trace counts no cold starts.
    """
    with duckdb.connect() as con:
        if trace.has("cold_starts"):
            for name in ("functions", "cold_starts"):
                con.execute(f"CREATE VIEW {name} AS FROM {trace.scan(name)}")
            con.execute(f"CREATE VIEW starts AS {query('serverless/starts')}")
            hours = query("serverless/hours")
            rows = con.execute(f"SELECT region, hour, cold_starts, mean_s FROM ({hours})").fetchall()
        elif trace.has("series"):
            rows = con.execute(
                f"""SELECT region, (time_us // {HOUR_US})::INT AS hour, sum(value)::BIGINT, NULL
                FROM {trace.scan("series")} WHERE metric = 'num_cold_starts' AND region IS NOT NULL
                GROUP BY ALL ORDER BY ALL"""
            ).fetchall()
        else:
            rows = []
    if not rows:
        raise InputError(f"{trace.folder} counts no cold starts by region")
    regions = sorted({row[0] for row in rows})
    counts = np.zeros((max(row[1] for row in rows) + 1, len(regions)), np.int64)
    means = np.full(counts.shape, np.nan)
    for region, hour, count, mean_s in rows:
        counts[hour, regions.index(region)] = count
        means[hour, regions.index(region)] = np.nan if mean_s is None else mean_s
    return regions, counts, None if np.isnan(means).all() else _carried(means)


def _carried(means: Floats) -> Floats:
    """An hour without cold starts has the mean of the hour before; before the first, the region's own."""
    filled = means.copy()
    filled[0] = np.where(np.isnan(filled[0]), np.nanmean(means, axis=0), filled[0])
    for hour in range(1, len(filled)):
        filled[hour] = np.where(np.isnan(filled[hour]), filled[hour - 1], filled[hour])
    return filled


def pool_regions(counts: NDArray[np.int64], means: Floats | None, between_s: float) -> Pooling:
    """What regions save together. between_s: added to a cold start that runs in another region than its call."""
    apart, together = pooled_peak(counts)
    half = len(counts) // 2
    seen, later = counts[:half], counts[half:]
    peaks = seen.max(axis=0, initial=0)
    learned = int(seen.sum(axis=1).max(initial=0))
    share = peaks / max(int(peaks.sum()), 1)
    room = np.floor(share * learned).astype(np.int64)
    room[np.argsort(-share)[: learned - int(room.sum())]] += 1
    way = np.full((counts.shape[1],) * 2, between_s)
    np.fill_diagonal(way, 0.0)
    times = np.ones(later.shape) if means is None else means[half:]
    before = times if means is None else means[half - 1 : -1]
    by_rule = route(later, before, times, room, way)
    if means is None:
        refused = int(by_rule.refused.sum())
        return Pooling(len(counts), apart, together, learned, refused, by_rule.share_moved, None, None, None)
    by_oracle = route(later, times, times, room, way)
    home = float((later * times).sum() / max(int(later.sum()), 1))
    return Pooling(
        len(counts), apart, together, learned, int(by_rule.refused.sum()), by_rule.share_moved, home, by_rule.mean_s,
        by_oracle.mean_s,
    )  # fmt: skip


def read_running(trace: Trace, region: str, trigger: str) -> tuple[Floats, Floats]:
    """(H,) mean running pods of all other triggers, and of this one, in an hour. Raises InputError if not recorded."""
    if not (trace.has("series") and trace.has("functions")):
        raise InputError(f"{trace.folder} has no series of running pods by function")
    with duckdb.connect() as con:
        rows = con.execute(
            f"""WITH pods AS (
                SELECT (time_us // {HOUR_US})::INT AS hour, function, avg(value) AS running
                FROM {trace.scan("series")} WHERE metric = 'num_pods' AND quantile IS NULL GROUP BY ALL)
            SELECT hour, coalesce(trigger, 'unknown') AS trigger, sum(running)
            FROM pods JOIN {trace.scan("functions")} USING (function) WHERE region = $region GROUP BY ALL""",
            {"region": region},
        ).fetchall()
    triggers = sorted({row[1] for row in rows})
    if trigger not in triggers:
        known = ", ".join(triggers) or "none"
        raise InputError(f"no running pods of trigger {trigger!r} in {region}; there are {known}")
    fixed = np.zeros(max(row[0] for row in rows) + 1)
    movable = np.zeros_like(fixed)
    for hour, name, running in rows:
        (movable if name == trigger else fixed)[hour] += running
    return fixed, movable


def read_running_csv(path: Path, trigger: str) -> tuple[Floats, Floats]:
    """The same from a CSV with a row per hour, in order, and a column `trigger:NAME` per trigger.

    Raises InputError for a missing file, column or hour, or what is no number.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    names = [name for name in (rows[0] if rows else {}) if name and name.startswith("trigger:")]
    if f"trigger:{trigger}" not in names:
        raise InputError(f"{path}: no column trigger:{trigger}; there are {', '.join(names) or 'none'}")
    running = np.empty((len(rows), len(names)))
    for number, row in enumerate(rows):
        if row.get("hour") != str(number):
            raise InputError(f"{path}, row {number + 2}: hour is {row.get('hour')!r}; hours run from 0 without gaps")
        for column, name in enumerate(names):
            try:
                running[number, column] = float(row[name])
            except (TypeError, ValueError):
                raise InputError(f"{path}, row {number + 2}: {name} is {row[name]!r}, not a number of pods") from None
    movable = running[:, names.index(f"trigger:{trigger}")]
    return running.sum(axis=1) - movable, movable


def shave_peaks(fixed: Floats, movable: Floats, hours: tuple[int, ...]) -> list[Shaving]:
    """One row per bound on the wait."""
    peak = float((fixed + movable).max())
    rows = []
    for wait in hours:
        online = shave(fixed, movable, wait)
        rows.append(
            Shaving(
                wait,
                1 - least_peak_in_blocks(fixed, movable, wait) / peak,
                1 - least_peak_with_delay(fixed, movable, wait) / peak,
                1 - online.peak / peak,
                online.waited / max(float(movable.sum()), 1e-12),
            )
        )
    return rows
