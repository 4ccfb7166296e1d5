"""The synthetic Huawei release: its layout is the published one, its distributions are those read off the paper."""

from __future__ import annotations

import csv
import filecmp
import gzip
import math
from pathlib import Path

import duckdb
import numpy as np
import pytest

from traces.errors import TraceFormatError
from traces.synth import Wish, synthesise
from traces.synth.huawei import arrivals
from traces.synth.huawei import calibration as cal
from traces.synth.huawei.components import LARGE, SMALL, ColdStarts, KnownRuntimes, UnknownRuntimes
from traces.synth.huawei.curves import (
    from_quartiles,
    mean_of,
    normal_scores,
    share_below,
    shares_of,
    stretch_tails,
    value_at,
)  # fmt: skip
from traces.synth.huawei.functions import draw_functions
from traces.synth.huawei.requests import calls_of_day, calls_of_pods, draw_callers

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "huawei_serverless"
real = pytest.mark.skipif(not REAL.exists(), reason="../shared/data/huawei_serverless is not there")
EVENTS = 1_000_000


def drawn(region: str, events: int = EVENTS, seed: int = 1) -> ColdStarts:
    model = KnownRuntimes() if region == "R2" else UnknownRuntimes(region)
    rng = np.random.default_rng(seed)
    return model.draw(rng, rng.standard_normal(events))


@pytest.fixture(scope="module")
def r2() -> ColdStarts:
    return drawn("R2", 2_000_000)


def test_a_curve_can_be_read_both_ways() -> None:
    curve = cal.TOTAL["R1"]
    share = np.array([0.01, 0.3, 0.5, 0.97])
    assert share_below(curve, value_at(curve, share)) == pytest.approx(share)
    many = value_at(curve, (np.arange(200_000) + 0.5) / 200_000)
    assert mean_of(curve) == pytest.approx(many.mean(), rel=1e-3)


def test_stretching_the_tail_meets_the_mean_and_keeps_the_quantiles() -> None:
    found = stretch_tails({"R1": cal.TOTAL["R1"]}, {"R1": 1.0}, 6.0)["R1"]
    assert mean_of(found) == pytest.approx(6.0, rel=1e-6)
    assert found[: cal.LEVELS.index(0.95) + 1] == cal.TOTAL["R1"][: cal.LEVELS.index(0.95) + 1]


def test_three_quartiles_make_a_curve_through_them() -> None:
    assert value_at(from_quartiles((1.0, 3.0, 5.0)), np.array([0.25, 0.5, 0.75])) == pytest.approx([1, 3, 5], rel=1e-6)


def test_slow_hours_have_slow_cold_starts_and_the_whole_stays_uniform() -> None:
    rng = np.random.default_rng(3)
    events = rng.integers(10, 2000, 744)
    scores = normal_scores(rng.random(744), events.astype(float))
    per_event = np.repeat(scores, events)
    shares = shares_of(rng, per_event, 0.5)
    assert np.quantile(shares, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.01)
    assert shares[per_event > 1].mean() > 0.6 > 0.4 > shares[per_event < -1].mean()


def test_r2_has_the_published_means_of_the_components(r2: ColdStarts) -> None:
    assert r2.seconds.mean(axis=0) == pytest.approx(cal.MEAN_S["R2"], rel=0.01)


@pytest.mark.parametrize("region", ["R1", "R3", "R4", "R5"])
def test_other_regions_have_the_published_means_and_quantiles(region: str) -> None:
    starts = drawn(region)
    assert starts.seconds.mean(axis=0) == pytest.approx(cal.MEAN_S[region], rel=0.01)
    whole = starts.seconds.sum(axis=1)
    at = [cal.LEVELS.index(level) for level in (0.1, 0.5, 0.9)]
    assert np.quantile(whole, [0.1, 0.5, 0.9]) == pytest.approx([cal.TOTAL[region][n] for n in at], rel=0.02)


def test_r2_has_the_published_medians_by_runtime(r2: ColdStarts) -> None:
    whole = r2.seconds.sum(axis=1)
    for name, median in cal.TOTAL_MEDIAN.items():
        of = r2.runtime == cal.RUNTIMES.index(name)
        assert np.median(whole[of]) == pytest.approx(median, rel=0.05), name
        for column, component in enumerate(cal.COMPONENTS):
            curve = cal.BY_RUNTIME[component].get(name)
            values = r2.seconds[of, column]
            if curve is not None and (values > 0).sum() > 5000:
                middle = curve[cal.LEVELS.index(0.5)]
                assert np.median(values[values > 0]) == pytest.approx(middle, rel=0.05), (name, component)


def test_r2_has_the_published_medians_by_trigger(r2: ColdStarts) -> None:
    whole = r2.seconds.sum(axis=1)
    for name, curve in cal.TOTAL_BY_TRIGGER.items():
        of = r2.trigger == cal.TRIGGERS.index(name)
        assert np.median(whole[of]) == pytest.approx(curve[cal.LEVELS.index(0.5)], rel=0.05), name
        assert of.mean() == pytest.approx(cal.TRIGGER_SHARE[cal.TRIGGERS.index(name)], rel=0.10), name


def test_large_pods_are_slower(r2: ColdStarts) -> None:
    whole = r2.seconds.sum(axis=1)
    for code, size in ((SMALL, "small"), (LARGE, "large")):
        assert np.median(whole[r2.size == code]) == pytest.approx(cal.QUARTILES["R2", size][0][1], rel=0.05)


def test_the_pod_pool_is_searched_in_stages(r2: ColdStarts) -> None:
    """Most are found at once or in the second stage, custom images start from nothing, little lies between."""
    wait = r2.seconds[:, 0]
    custom = r2.runtime == cal.RUNTIMES.index("Custom")
    assert ((wait < 0.002) | ((wait > 0.005) & (wait < 0.03)))[~custom].mean() > 0.88
    assert ((wait > 10) & (wait < 11))[custom].mean() > 0.9


def test_modelled_cold_starts_follow_day_hour_and_minute() -> None:
    counts = arrivals.modelled("R4", 31, 1.0, 5).counts
    assert counts.sum() == pytest.approx(cal.COLD_STARTS["R4"], rel=0.01)
    minute = counts.reshape(-1, 60).sum(axis=0) / counts.reshape(-1, 60).sum(axis=0).mean()
    assert minute[0] == pytest.approx(cal.MINUTE["R4"][0], rel=0.05)
    day = counts.reshape(31, -1).sum(axis=1)
    assert day[14:22].mean() < 0.75 * day[24:].mean()


@real
def test_published_hours_are_met_exactly() -> None:
    with gzip.open(REAL / f"{arrivals.COUNTS}.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    total = 0
    for region in cal.REGIONS:
        hours = np.array([int(row[region]) for row in rows]).reshape(-1, 60).sum(axis=1)
        found = arrivals.published(REAL, region, 31, 1.0, 3)
        assert (found.counts.reshape(-1, 60).sum(axis=1) == hours).all()
        total += int(found.counts.sum())
    assert total == 11_913_857


def test_published_counts_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceFormatError, match="no cold_starts_per_minute"):
        arrivals.published(tmp_path, "R1", 1, 1.0, 0)
    path = tmp_path / arrivals.COUNTS
    path.write_text("day,time,R1\n0,0,-3\n")
    with pytest.raises(TraceFormatError, match=r"row 2.*'-3'"):
        arrivals.published(tmp_path, "R1", 1, 1.0, 0)
    path.write_text("day,time,R1\n0,0,3\n")
    with pytest.raises(TraceFormatError, match="1 minutes, 1440 are needed"):
        arrivals.published(tmp_path, "R1", 1, 1.0, 0)


def test_every_cold_start_is_of_a_function_of_its_kind(r2: ColdStarts) -> None:
    functions = draw_functions("R2", 1.0, r2, 4)
    assert len(functions.name) >= cal.FUNCTIONS["R2"]
    assert len(set(functions.name.tolist())) == len(functions.name)
    chosen = functions.choose(np.random.default_rng(1), r2)
    assert (functions.runtime[chosen] == r2.runtime).mean() > 0.999
    assert (functions.trigger[chosen] == r2.trigger).mean() > 0.999
    one = (np.bincount(functions.user)[functions.user] == 1).sum() / len(np.unique(functions.user))
    assert 0.6 <= one <= 0.9


def test_timers_fire_on_time_and_workflows_in_chains() -> None:
    functions = draw_functions("R2", 0.2, drawn("R2", 50_000), 4)
    callers = draw_callers("R2", functions, 4)
    calls = calls_of_day("R2", callers, 1, 4)
    timers = np.flatnonzero(callers.period_min == 60)
    assert len(timers)
    for f in timers:
        assert (np.flatnonzero(calls[:, f]) % 60 == callers.phase_min[f]).all()
        assert (calls[:, f] > 0).sum() == 24
    for f in np.flatnonzero(callers.parent >= 0):
        assert (calls[:, f] == calls[:, callers.parent[f]]).all()
    assert (callers.parent >= 0).any()


def test_pods_live_as_long_as_published(r2: ColdStarts) -> None:
    few = slice(0, 60_000)
    whole = r2.seconds[few].sum(axis=1)
    calls = calls_of_pods("R2", r2.runtime[few], np.zeros(len(whole)), whole, math.inf, 2)
    last = np.zeros(len(whole))
    np.maximum.at(last, calls.start, calls.time_s)
    utility = (last + 60 - 60) / whole
    assert np.median(utility) == pytest.approx(4.3, rel=0.2)


def test_the_release_has_its_layout_and_repeats_itself(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = synthesise(tmp_path / name, Wish("huawei2025", 2, scale=0.005, seed=3))
    assert all(count > 0 for count in rows.values())
    same = filecmp.dircmp(tmp_path / "a", tmp_path / "b")
    assert not same.left_only
    assert not same.right_only
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.csv"))
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    assert Path("cold_start/R5/day_01.csv") in files
    assert Path("quantiles/R1/requests/day_00.csv") in files
    assert Path("per_request/R4/part_000.csv") in files
    assert Path("runtime_triggerType/df_funcID_runtime_triggerType.csv") in files
    starts = duckdb.sql(f"FROM read_csv('{tmp_path}/a/cold_start/*/day_*.csv')")
    assert starts.columns == [
        "day", "time", "clusterName", "funcName", "userID", "requestID", "totalCost_cold_start", "podAllocationCost",
        "deployCodeCost", "deployDependencyCost", "schedulingCost", "podID",
    ]  # fmt: skip
    off = starts.aggregate(
        """max(abs(totalCost_cold_start - podAllocationCost - deployCodeCost - deployDependencyCost - schedulingCost)),
        min(time - day * 86400), max(time - day * 86400)"""
    ).fetchall()[0]
    assert off[0] < 1e-5
    assert off[1] >= 0
    assert off[2] < 86400
