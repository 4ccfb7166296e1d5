from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from traces.importer import import_trace
from traces.schema import open_trace
from traces.synth import SynthError, Wish, synthesise
from traces.synth.faults import draw_faults

DAYS = 345.0


def test_a_fleet_fails_as_the_published_one_does() -> None:
    """Means over seeds, against what was measured on the trace: one trace is one draw."""
    outages, down_p50, down_p90, hours = [], [], [], []
    for seed in range(12):
        faults = draw_faults(400, DAYS * 24, seed)
        start, end = (np.array([getattr(fault, side) for fault in faults]) for side in ("start_h", "end_h"))
        times = np.linspace(0, DAYS * 24, 1500)
        down = ((start <= times[:, None]) & (end > times[:, None])).sum(axis=1)
        outages.append(len(faults))
        down_p50.append(np.median(down))
        down_p90.append(np.quantile(down, 0.9))
        hours += (end - start).tolist()
    assert np.mean(outages) == pytest.approx(582, rel=0.15)
    assert np.mean(down_p50) == pytest.approx(7, abs=2)
    assert np.mean(down_p90) == pytest.approx(22, abs=5)
    assert np.median(hours) == pytest.approx(20.4, rel=0.25)
    assert np.mean(hours) == pytest.approx(132.8, rel=0.25)


def test_a_fifth_fails_again_within_a_day_of_the_repair() -> None:
    again, repairs = [], 0
    for seed in range(12):
        faults = sorted(draw_faults(400, DAYS * 24, seed), key=lambda fault: (fault.node, fault.start_h))
        repairs += sum(fault.end_h < DAYS * 24 for fault in faults)
        again += [b.start_h - a.end_h for a, b in itertools.pairwise(faults) if a.node == b.node]
    assert (np.array(again) < 24).sum() / repairs == pytest.approx(0.22, abs=0.05)
    assert (np.array(again) < 168).sum() / repairs == pytest.approx(0.31, abs=0.06)


def test_faults_of_a_node_do_not_overlap_and_do_not_depend_on_the_other_nodes() -> None:
    few, many = draw_faults(20, 2000.0, 1), draw_faults(60, 2000.0, 1)
    assert few == [fault for fault in many if fault.node < 20]
    for node in range(60):
        mine = [fault for fault in many if fault.node == node]
        assert all(a.end_h <= b.start_h for a, b in itertools.pairwise(mine))


def test_the_file_imports_as_the_published_one_and_repeats_itself(tmp_path: Path) -> None:
    for name in ("raw", "again"):
        synthesise(tmp_path / name, Wish("infinitehbd", 300, 50, seed=3))
    assert (tmp_path / "raw/fault_trace.json").read_bytes() == (tmp_path / "again/fault_trace.json").read_bytes()
    report = import_trace("infinitehbd", [tmp_path / "raw"], tmp_path / "trace")
    faults = draw_faults(50, 300 * 24.0, 3)
    assert report.rows == {"faults": len(faults)}
    assert report.rejected == {}
    assert open_trace(tmp_path / "trace").meta.fleet == 50
    assert open_trace(tmp_path / "trace").meta.sources[0].verified
    events = json.loads((tmp_path / "raw/fault_trace.json").read_text())
    assert events[0].keys() == {"node_id", "event_time", "event_type", "fault_type"}


def test_impossible_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="takes no usage"):
        synthesise(tmp_path / "raw", Wish("infinitehbd", 3, 5, usage=0.5))
    with pytest.raises(SynthError, match="machines must be"):
        synthesise(tmp_path / "raw", Wish("infinitehbd", 3, 0))
