from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analytics.errors import InputError
from analytics.faults.history import read_history
from scheduler.core.gpu.spares import cover_of_history
from tests.analytics.faults.histories import a_history, a_random_history
from traces.importer import import_trace


def test_the_published_trace_is_what_it_was_measured_to_be(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    import_trace("infinitehbd", [shared_data("gpu/infinitehbd")], tmp_path / "trace")
    history = read_history(tmp_path / "trace")
    assert (history.fleet, history.node.size) == (400, 582)
    assert history.fleet * history.length_h / history.node.size / 24 == pytest.approx(237, abs=0.5)
    down, hours = history.down()
    assert np.average(down, weights=hours) == pytest.approx(9.4, abs=0.05)
    assert down.max() == 35
    cover = [cover_of_history(down, hours, 400, 128, spares) for spares in (2, 4, 6, 8, 10, 12)]
    assert cover == pytest.approx([0.54, 0.77, 0.87, 0.93, 0.96, 0.99], abs=0.015)
    per_day = 24 * history.hazard().per_h
    assert per_day[[2, 3, 4, 5, 6]] / 0.0043 == pytest.approx([18, 6.1, 4.0, 2.7, 1.7], rel=0.05)


def test_overlapping_faults_of_a_node_are_one_outage(tmp_path: Path) -> None:
    rows = ["node_id,start_day,end_day,Level,Class,Desc"]
    rows += ["b,1,3,,,", "b,2,2.5,,,", "b,3,4,,,", "a,2,,,,", "b,5,6,,,"]
    (tmp_path / "fault_intervals.csv").write_text("\n".join(rows) + "\n")
    import_trace("infinitehbd", [tmp_path / "fault_intervals.csv"], tmp_path / "trace")
    history = read_history(tmp_path / "trace", fleet=4)
    assert history.name.tolist() == ["a", "b", "quiet-000", "quiet-001"]
    outages = zip(history.node.tolist(), history.start_h.tolist(), history.end_h.tolist(), strict=True)
    assert list(outages) == [(1, 0, 72), (0, 24, 120), (1, 96, 120)]
    assert history.length_h == 120
    with pytest.raises(InputError, match="a fleet of 1 nodes, but 2 had faults"):
        read_history(tmp_path / "trace", fleet=1)


def test_a_trace_without_faults_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "fault_trace.json").write_text(
        json.dumps([{"node_id": "a", "event_time": 1, "event_type": "fault_start", "fault_type": {}}])
    )
    import_trace("infinitehbd", [tmp_path / "fault_trace.json"], tmp_path / "trace")
    (tmp_path / "trace" / "faults" / "part-00000.parquet").unlink()
    with pytest.raises(InputError, match="no table of faults"):
        read_history(tmp_path / "trace")


def test_down_counts_and_spans_of_a_small_history() -> None:
    history = a_history(3, 10.0, (0, 1, 3), (1, 2, 4), (0, 5, 12))
    down, hours = history.down()
    assert (down.tolist(), hours.tolist()) == ([0, 1, 2, 1, 0, 1], [1, 1, 1, 1, 1, 5])
    age_h, length_h, has_failed = history.spans()
    assert list(zip(age_h.tolist(), length_h.tolist(), has_failed.tolist(), strict=True)) == [
        (np.inf, 1, True), (0, 2, True), (np.inf, 2, True), (0, 6, False), (np.inf, 10, False),
    ]  # fmt: skip


def test_a_part_of_a_history_knows_what_was_repaired_before_it() -> None:
    history = a_history(3, 10.0, (0, 1, 3), (1, 2, 6), (2, 8, 9))
    part = history.between(5.0, 8.5)
    assert part.age_h.tolist() == [2.0, np.inf, np.inf]
    outages = zip(part.node.tolist(), part.start_h.tolist(), part.end_h.tolist(), strict=True)
    assert list(outages) == [(1, 0, 1), (2, 3, 4)]
    assert part.length_h == 3.5


def test_halves_of_a_history_hold_its_faults_and_its_hours() -> None:
    history = a_random_history(30, 1000.0, seed=3)
    first, second = history.between(0, 500.0), history.between(500.0, 1000.0)
    inside = (first.start_h > 0).sum() + (second.start_h > 0).sum()
    assert inside == history.node.size
    failed = [part.spans()[2].sum() for part in (history, first, second)]
    assert failed[0] == failed[1] + failed[2]


def test_drawing_nodes_copies_their_whole_lives() -> None:
    history = a_history(3, 10.0, (0, 1, 3), (1, 2, 6), (0, 8, 9))
    drawn = history.draw(np.array([2, 0, 0]))
    outages = zip(drawn.node.tolist(), drawn.start_h.tolist(), drawn.end_h.tolist(), strict=True)
    assert list(outages) == [(1, 1, 3), (2, 1, 3), (1, 8, 9), (2, 8, 9)]
    assert len(set(drawn.name)) == 3
