from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import stowage
from analytics.errors import InputError
from analytics.faults.hits import HitsStudy, compare_hits, draw_sizes
from analytics.faults.recovery import PRESETS
from analytics.faults.report import GangReplay, parse_recoveries, replay_gangs, spares_curve
from tests.analytics.faults.histories import a_history, a_random_history
from traces.importer import import_trace


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    """Twenty nodes named by their faults, as an imported trace."""
    history = a_random_history(20, 24 * 60.0, seed=1, mtbf_h=200.0)
    events = []
    for node, start_h, end_h in zip(history.node, history.start_h, history.end_h, strict=True):
        for what, at_h in (("fault_start", start_h), ("fault_end", end_h)):
            events.append({"node_id": f"n{node}", "event_time": at_h / 24, "event_type": what, "fault_type": {}})
    (tmp_path / "fault_trace.json").write_text(json.dumps(events))
    import_trace("infinitehbd", [tmp_path / "fault_trace.json"], tmp_path / "faults")
    return tmp_path / "faults"


def run(*words: Any) -> Any:
    return CliRunner().invoke(stowage.app, [str(word) for word in words], catch_exceptions=True)


def test_the_command_splits_the_hours_of_a_gang_under_both_recoveries(faults: Path) -> None:
    words = ["replay", "--faults", faults, "--gang-nodes", 10, "--fleet", 20, "--json"]
    found = json.loads(run(*words).stdout)
    assert list(found["recoveries"]) == ["automated", "manual"]
    for one in found["recoveries"].values():
        assert one["ettr"] + sum(one["lost"].values()) == pytest.approx(1)
        assert one["stops"] > 0
    assert found["recoveries"]["automated"]["ettr"] > found["recoveries"]["manual"]["ettr"]
    assert json.loads(run(*words).stdout) == found
    table = run(*words[:-1]).stdout
    assert "productive (ETTR)" in table
    assert "detection" in table


def test_phases_of_ones_own_make_one_recovery(faults: Path) -> None:
    phases = ["--detect", "1m", "--diagnose", "2m", "--checkpoint", "never", "--checkpoint-cost", "1s"]
    found = json.loads(run("replay", "--faults", faults, "--gang-nodes", 4, "--fleet", 20, *phases, "--json").stdout)
    (one,) = found["recoveries"].values()
    assert one["phases"] == {
        "detect_h": 1 / 60, "diagnose_h": 2 / 60, "restart_h": 5 / 60, "checkpoint_h": None, "save_h": 1 / 3600,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gang-nodes", 4], "takes --faults"),
        (["--gang-nodes", 4, "--spares", 30], "the fleet has 20"),
        (["--gang-nodes", 40], "the fleet has 20"),
        (["--gang-nodes", 4, "--recovery", "magic"], "manual, automated, not 'magic'"),
        (["--gang-nodes", 4, "--recovery", "manual", "--recovery", "automated", "--detect", "1m"], "once"),
        (["--gang-nodes", 4, "--placement", "best"], "aware, quarantine, blind, not 'best'"),
        (["--gang-nodes", 0], "at least one node"),
        (["--gang-nodes", 4, "--seed", -1], "a seed is a whole number from 0"),
        (["--gang-nodes", 4, "--detect", "soon"], "a duration has a unit"),
        ([], "they go with --gang-nodes"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(faults: Path, words: list[Any], message: str) -> None:
    given = [] if message == "takes --faults" else ["--faults", faults, "--fleet", 20]
    refused = run("replay", *given, *words)
    assert isinstance(refused.exception, InputError)
    assert message in str(refused.exception)


def test_a_fitted_fleet_needs_no_data() -> None:
    words = ["replay", "--faults", "fitted", "--gang-nodes", 40, "--fleet", 60, "--recovery", "automated", "--json"]
    found = [json.loads(run(*words, "--seed", seed).stdout) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert (found[0]["fleet"], found[0]["days"]) == (60, 345.0)


def test_presets_are_replayed_by_name() -> None:
    assert parse_recoveries([], {}) == PRESETS
    assert parse_recoveries(["manual"], {"detect": None}) == {"manual": PRESETS["manual"]}


def test_spares_decide_how_long_a_gang_waits() -> None:
    history = a_random_history(40, 2000.0, seed=2, mtbf_h=100.0, down_h=20.0)
    recoveries = {"automated": PRESETS["automated"]}
    waits = []
    for spares in (0, 4, 10):
        answer = replay_gangs(history, GangReplay((24,), recoveries, spares=spares))
        waits.append(answer["recoveries"]["automated"]["lost"]["waiting"])
    assert waits[0] > waits[1] > waits[2]
    curve = list(spares_curve(history, 24).values())
    assert curve == sorted(curve)
    assert curve[answer["spares_for_99"]] >= 0.99 > curve[answer["spares_for_99"] - 1]
    assert curve[0] < 0.2
    assert (len(curve), curve[-1] > 0.99) == (17, True)  # the whole fleet


def test_a_fleet_that_never_fails_loses_nothing() -> None:
    answer = replay_gangs(a_history(5, 100.0), GangReplay((3,), PRESETS))
    assert {one["ettr"] for one in answer["recoveries"].values()} == {1.0}


@pytest.mark.parametrize("split", ["time", "nodes", "in-sample"])
def test_hits_are_compared_at_equal_allocation(split: Any) -> None:
    history = a_random_history(60, 4000.0, seed=4, mtbf_h=1500.0, repeat=0.6)
    found = compare_hits(history, HitsStudy(share=0.6, seeds=4, split=split))["placements"]
    assert found["aware"]["allocation"] == pytest.approx(found["blind"]["allocation"], rel=1e-9)
    assert found["blind"]["cut"] == 0
    assert found["aware"]["cut_low"] <= found["aware"]["cut"] <= found["aware"]["cut_high"]
    assert found["aware"]["cut"] > 0.1


def test_without_any_repeat_placement_has_nothing_to_know() -> None:
    history = a_random_history(60, 4000.0, seed=4, mtbf_h=300.0, repeat=0.0, down_h=1.0)
    found = compare_hits(history, HitsStudy(share=0.6, seeds=6, split="time"))["placements"]
    assert abs(found["aware"]["cut"]) < 0.12


def test_gangs_fill_what_they_are_to_hold() -> None:
    for seed in range(20):
        sizes = draw_sizes(300, seed)
        assert sum(sizes) == 300
        assert set(sizes[:-1]) <= {1, 2, 4, 8, 16, 32, 64}
    with pytest.raises(InputError, match="a study holds"):
        HitsStudy(share=1.0)


def test_the_bench_prints_every_placement(faults: Path) -> None:
    words = ["bench", "faults", faults, "--fleet", 20, "--share", 0.5, "--seeds", 2, "--resample"]
    table = run(*words).stdout
    assert all(name in table for name in ("aware", "quarantine", "blind", "fewer than blind"))
    assert json.loads(run(*words, "--json").stdout)["resampled"] is True
