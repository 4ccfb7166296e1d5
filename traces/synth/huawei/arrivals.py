"""How many cold starts every minute has, and how slow every hour is: drawn from the profiles, or as published."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceFormatError
from traces.synth.huawei import calibration as cal
from traces.synth.huawei.curves import Floats, normal_scores

Counts = NDArray[np.int64]
COUNTS = "cold_starts_per_minute_R1_R5.csv"
HOURS = "fig11_hourly_components.csv"
_HOUR_MEMORY = 0.7  # [C] of the part of an hour's level that the load does not explain


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """One region. counts: (minutes,) cold starts. hour_score: (hours,) how slow, standard normal over cold starts."""

    counts: Counts
    hour_score: Floats


def modelled(region: str, days: int, scale: float, seed: int) -> Arrivals:
    """Cold starts by day, hour and minute as usual, more uneven than chance where the published counts are."""
    rng = np.random.default_rng([seed, 3, cal.REGIONS.index(region)])
    minutes = np.arange(days * 1440)
    profile = [
        np.array(cal.DAY[region])[minutes // 1440 % cal.DAYS],
        np.array(cal.HOUR[region])[minutes // 60 % 24],
        np.array(cal.MINUTE[region])[minutes % 60],
    ]
    mean = cal.COLD_STARTS[region] / (cal.DAYS * 1440) * scale * np.prod(profile, axis=0)
    spread = cal.DISPERSION[region]
    burst = rng.gamma(1 / spread, spread, len(mean)) if spread else np.ones(len(mean))
    counts = rng.poisson(mean * burst)
    return Arrivals(counts, _hours_by_load(counts, cal.LOAD_CORRELATION[region], rng))


def published(source: Path, region: str, days: int, scale: float, seed: int) -> Arrivals:
    """The published counts (thinned at random where scale is below 1) and, if beside them, every hour's mean time.

    source: a folder that holds COUNTS (its first day first) and perhaps HOURS, gzipped or not, at any depth.
    Raises TraceFormatError if there are no counts, too few days, or a value is no whole number.
    """
    rng = np.random.default_rng([seed, 4, cal.REGIONS.index(region)])
    path = _find(source, COUNTS)
    if path is None:
        raise TraceFormatError(f"no {COUNTS} in it", file=source, fix="Give the folder with the published counts")
    counts = _column(path, region, days * 1440)
    counts = counts if scale == 1 else rng.binomial(counts, scale)
    hours = _find(source, HOURS)
    if hours is None:
        return Arrivals(counts, _hours_by_load(counts, cal.LOAD_CORRELATION[region], rng))
    rows = [row for row in csv.DictReader(_text(hours)) if row["region"] == region][: days * 24]
    level = np.array([float(row["total_s"] or 0) for row in rows])
    if len(level) < days * 24:
        raise TraceFormatError(
            f"{len(level)} hours of {region}, {days * 24} are needed", file=hours, fix="Ask for fewer --days"
        )
    return Arrivals(counts, normal_scores(level, counts.reshape(-1, 60).sum(axis=1).astype(np.float64)))


def _hours_by_load(counts: Counts, correlation: float, rng: np.random.Generator) -> Floats:
    events = counts.reshape(-1, 60).sum(axis=1).astype(np.float64)
    load = normal_scores(events, np.ones(len(events)))
    noise = rng.standard_normal(len(events))
    for hour in range(1, len(noise)):
        noise[hour] = _HOUR_MEMORY * noise[hour - 1] + np.sqrt(1 - _HOUR_MEMORY**2) * noise[hour]
    return normal_scores(correlation * load + np.sqrt(1 - correlation**2) * noise, events)


def _find(folder: Path, name: str) -> Path | None:
    found = sorted([*folder.rglob(name), *folder.rglob(name + ".gz")])
    return found[0] if found else None


def _text(path: Path) -> io.TextIOBase:
    return io.StringIO(gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text())


def _column(path: Path, region: str, rows: int) -> Counts:
    counts: list[int] = []
    for number, row in enumerate(csv.DictReader(_text(path)), 2):
        if len(counts) == rows:
            break
        text = row.get(region)
        if text is None or not text.isdecimal():
            raise TraceFormatError(
                f"{region} is {text!r}, not a number of cold starts", file=path, row=number, fix="Restore the file"
            )
        counts.append(int(text))
    if len(counts) < rows:
        raise TraceFormatError(f"{len(counts)} minutes, {rows} are needed", file=path, fix="Ask for fewer --days")
    return np.array(counts, np.int64)
