"""The synthetic Azure Functions days: the published layout, the published rates, timers on time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from traces.importer import import_trace
from traces.schema import open_trace
from traces.synth import Wish, synthesise
from traces.synth.azure import TRIGGER_SHARE, TRIGGERS, calls_of, draw_population
from traces.tables import to_numpy


def test_calls_of_the_platform_come_out_as_published() -> None:
    """Mean over seeds: a handful of functions makes most calls, so one draw says little."""
    means = [draw_population(50_000, seed).rate.sum() for seed in range(12)]
    assert np.mean(means) == pytest.approx(619_832, rel=0.15)


def test_triggers_have_their_shares_and_timers_fire_on_time() -> None:
    people = draw_population(4000, 1)
    shares = np.bincount(people.trigger, minlength=len(TRIGGERS)) / 4000
    assert shares == pytest.approx(TRIGGER_SHARE, abs=0.03)
    calls = calls_of(people, np.arange(2000), 1, 1)
    hourly = np.flatnonzero(people.period_min[:2000] == 60)
    assert len(hourly)
    for row in hourly:
        assert (np.flatnonzero(calls[row]) % 60 == people.phase_min[row]).all()
    assert (calls_of(people, np.arange(2000), 1, 1) == calls).all()


def test_days_import_as_the_published_ones_and_repeat_themselves(tmp_path: Path) -> None:
    for name in ("raw", "again"):
        rows = synthesise(tmp_path / name, Wish("azure2019", 2, functions=60, seed=4))
    files = sorted(path.name for path in (tmp_path / "raw").glob("*.csv"))
    assert files == [
        f"{table}.anon.d0{day}.csv"
        for table in ("app_memory_percentiles", "function_durations_percentiles", "invocations_per_function_md")
        for day in (1, 2)
    ]
    assert all((tmp_path / "raw" / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)
    report = import_trace("azure2019", [tmp_path / "raw"], tmp_path / "trace")
    assert report.rejected == {}
    trace = open_trace(tmp_path / "trace")
    assert trace.meta.rows["functions"] <= 60 <= rows["invocations_per_function"]
    import pyarrow.parquet as pq

    found = pq.read_table(trace.files("invocations"))
    people = draw_population(60, 4)
    wanted = sum(int(calls_of(people, np.arange(60), day, 4).sum()) for day in (0, 1))
    assert int(to_numpy(found["count"]).sum()) == wanted
