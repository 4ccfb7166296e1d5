"""Over-commitment lets more in; what the cluster has, and costs, stays what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_traces import SmallTrace, ran

from analytics.options import ReplayOptions
from analytics.replay import run_replay
from analytics.runs import read_run


def test_overcommitment_admits_more_and_is_measured_against_what_is_installed(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1, cpu=4000)
    trace.task(ran(0, 0, 100), cpu=1000)
    for _ in range(2):
        trace.task(ran(10, 10, 90), cpu=3000)
    trace.write(tmp_path / "trace", (0, 100))
    metrics = {}
    for factor in (1.0, 2.0):
        options = ReplayOptions(
            tmp_path / "trace", tmp_path / f"x{factor}", overcommit=(("cpu_milli", factor),), interval_us=10_000_000
        )
        metrics[factor] = read_run(run_replay(options)).report()["metrics"]
    assert (metrics[1.0]["peak_utilisation"]["cpu"], metrics[2.0]["peak_utilisation"]["cpu"]) == (1.0, 7 / 4)
    assert metrics[1.0]["cost"]["usd"]["total"] == pytest.approx(metrics[2.0]["cost"]["usd"]["total"])
