"""The Cost page: the summary's figures under the stated model, other ones under another."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics.cost import CostModel
from analytics.metrics import cost as cost_of
from analytics.runs import read_run
from tests.dashboard.conftest import OpenPage
from tests.dashboard.studies import some_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return some_runs(tmp_path_factory.mktemp("runs"))


def test_figures_are_those_of_the_summary(runs: Path, open_page: OpenPage) -> None:
    app = open_page("cost", runs)
    assert not app.exception
    table = app.dataframe[0].value.set_index(["run", "part"])
    for name in ("quick", "slow"):
        summary = read_run(runs / name).summary["cost"]
        for part in ("useful", "stranded", "idle"):
            assert table.loc[(name, part), "usd"] == pytest.approx(summary["usd"][part], abs=0.005)
            assert table.loc[(name, part), "kwh"] == pytest.approx(summary["joules"][part] / 3.6e6, abs=0.005)


def test_another_price_changes_the_answer_and_stays_in_the_address(runs: Path, open_page: OpenPage) -> None:
    app = open_page("cost", runs, runs=["slow"], core_hour_usd="3", core_peak_w="9")
    assert not app.exception
    assert app.number_input(key="core_hour_usd").value == 3
    run = read_run(runs / "slow")
    expected = cost_of(run.folder, run.facts, CostModel(core_hour_usd=3, core_peak_w=9))
    table = app.dataframe[0].value.set_index(["run", "part"])
    assert table.loc[("slow", "stranded"), "usd"] == pytest.approx(expected["usd"]["stranded"], abs=0.005)
    assert table.loc[("slow", "useful"), "kwh"] == pytest.approx(expected["joules"]["useful"] / 3.6e6, abs=0.005)
    assert any("USD per core and hour" in text.value and "Changed here" in text.value for text in app.markdown)


def test_least_waste_is_named(runs: Path, open_page: OpenPage) -> None:
    waste = {}
    for name in ("recorded", "quick", "slow"):
        usd = read_run(runs / name).summary["cost"]["usd"]
        waste[name] = usd["stranded"] + usd["idle"]
    app = open_page("cost", runs)
    least = next(tile for tile in app.metric if tile.label == "Least stranded and idle")
    assert waste[least.value] == min(waste.values())


def test_an_impossible_model_is_refused_in_words(runs: Path, open_page: OpenPage) -> None:
    app = open_page("cost", runs, core_idle_w="20", core_peak_w="5")
    assert not app.exception
    assert "peak power of the cost model is at least idle power" in app.error[0].value


def test_an_empty_workspace_names_the_command(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("cost", tmp_path)
    assert not app.exception
    assert "stowage replay" in app.code[0].value
