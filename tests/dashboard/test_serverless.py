"""The Serverless page over a small synthetic region, analysed and replayed by the commands themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import stowage
from analytics.views import serverless
from analytics.workspace import find_items
from tests.dashboard.conftest import OpenPage


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis of cold starts in two made-up regions, and a run of two policies."""
    folder = tmp_path_factory.mktemp("serverless")
    run = CliRunner().invoke
    for words in (
        ["trace", "synth", "azure2019", "--functions", "20", "--days", "1", "-o", str(folder / "raw")],
        ["trace", "import", "azure2019", str(folder / "raw"), "-o", str(folder / "azure")],
        ["serverless", "replay", str(folder / "azure"), "--policy", "fixed", "--policy", "hybrid",
         "-o", str(folder / "run")],
    ):  # fmt: skip
        done = run(stowage.app, words)
        assert done.exit_code == 0, done.output
    return folder


def test_policies_are_those_of_the_run(workspace: Path, open_page: OpenPage) -> None:
    app = open_page("serverless", workspace / "run")
    assert not app.exception
    shown = next(table.value for table in app.dataframe if "idle_gb_h" in table.value.columns)
    (item,) = find_items([workspace / "run"]).of("serverless")
    assert shown.equals(serverless.policies(item))
    assert len(shown) == 2


def test_a_link_restores_region_and_grouping(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "analysis.json").write_text(ANALYSIS)
    app = open_page("serverless", tmp_path, region="R2", by="runtime")
    assert not app.exception
    assert [box.value for box in app.selectbox if box.label in ("Region", "By")] == ["R2", "runtime"]
    tiles = {tile.label: tile.value for tile in app.metric}
    assert tiles["Cold starts in R2"] == "30"
    assert tiles["of it allocating a pod"] == "1 s"
    groups = next(table.value for table in app.dataframe if "runtime" in table.value.columns)
    assert groups["runtime"].tolist() == ["java", "go"]


def test_a_region_that_is_not_there_is_said(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "analysis.json").write_text(ANALYSIS)
    app = open_page("serverless", tmp_path, region="R9")
    assert not app.exception
    assert "R9" in app.warning[0].value


def test_nothing_is_here(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page("serverless", tmp_path)
    assert not app.exception
    assert len(app.info) == 2


def _row(region: str, runtime: str | None, count: int, allocation_s: float) -> str:
    of = f'"runtime": "{runtime}", ' if runtime else ""
    return (
        f'{{"region": "{region}", {of}"cold_starts": {count}, "share": 0.5, "p50_s": 1, "p90_s": 3, "p99_s": 9, '
        f'"mean_s": 2, "pod_allocation_mean_s": {allocation_s}, "deploy_code_mean_s": 0.5, '
        f'"deploy_dependency_mean_s": 0.25, "scheduling_mean_s": 0.25}}'
    )


def _table(rows: list[str]) -> str:
    return f'{{"basis": "measured", "why": "made up", "rows": [{", ".join(rows)}]}}'


ANALYSIS = (
    '{"tables": {"by region": '
    + _table([_row("R1", None, 10, 0.5), _row("R2", None, 30, 1)])
    + ', "by runtime": '
    + _table([_row("R2", "go", 10, 1), _row("R2", "java", 20, 1), _row("R1", "go", 10, 1)])
    + ', "by hour": '
    + _table(['{"region": "R2", "hour": 0, "cold_starts": 30, "mean_s": 2}'])
    + ', "pod utility by runtime": '
    + _table(['{"region": "R2", "runtime": "go", "pods": 3, "p50": 1, "p75": 2, "p90": 3}'])
    + "}}"
)
