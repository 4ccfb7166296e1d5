"""Capacity: the answer equals a search through every size, and says when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders import RECORDED_NODES, S, a_trace, pretend_replay
from typer.testing import CliRunner

import stowage
from analytics import capacity
from analytics.capacity import Capacity, find_capacity
from analytics.errors import InputError, StudyFailed
from analytics.options import ReplayOptions
from analytics.workers import Outcome


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs replays here: a process per cluster size would take longer than the search."""

    def run_all(replays: Any, *, force: bool, replay: Any, **_: Any) -> Any:
        for options in replays:
            try:
                yield Outcome(replay(options, force), "digest")
            except ValueError as error:
                yield Outcome(options.out, None, repr(error))

    monkeypatch.setattr(capacity, "run_all", run_all)


def search(tmp_path: Path, limit_s: float, workers: int = 1, tier: str = "production", **options: Any) -> Capacity:
    base = ReplayOptions(a_trace(tmp_path / "trace"), tmp_path / "runs", **options)
    return find_capacity(base, tier, round(limit_s * S), workers=workers, replay=pretend_replay)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("limit_s", [100, 101, 160, 399, 4000])
def test_answer_is_the_smallest_cluster_that_keeps_the_limit(tmp_path: Path, limit_s: float, workers: int) -> None:
    found = search(tmp_path, limit_s, workers)
    assert found.nodes == next(n for n in range(1, RECORDED_NODES + 1) if 4000 / n <= limit_s)
    assert found.recorded_nodes == RECORDED_NODES
    by_nodes = {tried.nodes: tried for tried in found.searched}
    assert by_nodes[found.nodes].ok
    assert found.nodes == 1 or not by_nodes[found.nodes - 1].ok
    assert by_nodes[RECORDED_NODES].delay_p99_s == 100
    assert len(found.searched) <= 2 + workers * 6


def test_larger_cluster_than_recorded_is_found(tmp_path: Path) -> None:
    found = search(tmp_path, 61)
    assert found.nodes == 66
    assert "the recorded 40 nodes do not keep" in found.why


def test_limit_that_twice_the_nodes_do_not_keep_has_no_answer(tmp_path: Path) -> None:
    found = search(tmp_path, 10)
    assert found.nodes is None
    assert [(tried.nodes, tried.ok) for tried in found.searched] == [(40, False), (80, False)]
    assert "not even 80 nodes" in found.why


def test_runs_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = search(tmp_path, 160)
    monkeypatch.setattr(capacity, "run_all", lambda replays, **_: iter(replays and pytest.fail("replayed again")))
    assert search(tmp_path, 160) == first


def test_unknown_tier_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tiers: free, middle, production"):
        search(tmp_path, 60, tier="prod")


def test_failed_replay_fails_the_search(tmp_path: Path) -> None:
    with pytest.raises(StudyFailed, match="cannot decide"):
        search(tmp_path, 60, policy="broken")


def test_size_above_the_answer_that_breaks_the_limit_is_reported(tmp_path: Path) -> None:
    tried = [capacity.Tried(n, float(n), 0, ok) for n, ok in ((10, False), (11, True), (20, False), (40, True))]
    assert capacity._sizes_above_that_break(tried, 11) == ["20"]


def test_command_prints_table_and_json(tmp_path: Path) -> None:
    search(tmp_path, 160)  # its runs are found again: the command itself replays nothing
    words = ["capacity", str(tmp_path / "trace"), "--policy", "best-fit", "--tier", "production", "--delay-p99", "160s"]
    words += ["-o", str(tmp_path / "runs"), "--workers", "1"]
    table = CliRunner().invoke(stowage.app, words)
    assert table.exit_code == 0, table.output
    assert "25 of the recorded 40 nodes keep the p99 delay of production within 2m40s" in table.stdout
    found = json.loads(CliRunner().invoke(stowage.app, [*words, "--json"]).stdout)
    assert found["nodes"] == 25
    assert {"nodes": 24, "delay_p99_s": 166.667, "never_placed": 0, "ok": False} in found["searched"]
