"""The Replay page: its figures are those of the run, its address restores what was chosen."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from analytics.views import replay
from analytics.workspace import find_items
from tests.dashboard.conftest import OpenPage
from tests.dashboard.studies import HOURS, some_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return some_runs(tmp_path_factory.mktemp("runs"))


def counted(folder: Path, condition: str) -> int:
    return int(duckdb.sql(f"select count(*) from '{folder}/placements.parquet' where {condition}").fetchall()[0][0])


def test_what_happened_between_two_instants_is_counted_as_sql_counts_it(runs: Path, open_page: OpenPage) -> None:
    app = open_page("replay", runs, run="slow", hours=["2.00", "5.00"])
    assert not app.exception
    assert app.slider[0].value == (2.0, 5.0)
    between = "between 7.2e9 and 18e9"
    tiles = {tile.label: tile.value for tile in app.metric}
    assert tiles["Submitted"] == str(counted(runs / "slow", f"submit_us {between}"))
    assert tiles["Started"] == str(counted(runs / "slow", f"start_us {between}"))
    restarts = counted(runs / "slow", f"last_start_us > start_us and last_start_us {between}")
    assert tiles["Set back"] == str(restarts)
    table = app.dataframe[-1].value
    assert table["tier"].tolist() == ["all", "free", "middle", "production"]
    assert table["started"].iloc[0] == table["started"].iloc[1:].sum()


def test_who_waits_at_an_instant_was_submitted_and_has_neither_started_nor_ended(runs: Path) -> None:
    (item,) = find_items([runs / "slow"]).of("replay")
    frame = replay.between(item, 0.0, 6.0)
    at = 6 * 3.6e9
    waiting = counted(runs / "slow", f"submit_us <= {at} and (start_us is null or start_us > {at}) and end_us > {at}")
    assert frame["waiting_at_the_end"].iloc[0] == waiting > 0


def test_buttons_move_both_instants_by_what_lies_between(runs: Path, open_page: OpenPage) -> None:
    app = open_page("replay", runs, run="slow", hours=["2.00", "5.00"])
    app.button(key="on").click().run()
    assert app.slider[0].value == (5.0, 8.0)
    app.button(key="on").click().run()
    app.button(key="on").click().run()
    assert app.slider[0].value == (HOURS - 3, HOURS)  # no further than the end
    app.button(key="back").click().run()
    assert app.slider[0].value == (6.0, 9.0)


def test_the_whole_window_cannot_be_moved(runs: Path, open_page: OpenPage) -> None:
    app = open_page("replay", runs, run="slow")
    assert app.slider[0].value == (0.0, HOURS)
    assert app.button(key="on").disabled


def test_flow_counts_everything_that_started_once(runs: Path) -> None:
    (item,) = find_items([runs / "slow"]).of("replay")
    frame = replay.flow(item)
    assert frame["started"].sum() == counted(runs / "slow", f"start_us between 0 and {HOURS * 3.6e9}")
    assert len(frame) <= replay.FLOW_BINS


def test_overload_is_shown_only_where_the_run_tells(runs: Path, tmp_path: Path, open_page: OpenPage) -> None:
    """Runs of an earlier version do not."""
    assert "Overloaded nodes" in [text.value for text in open_page("replay", runs, run="slow").subheader]
    silent = shutil.copytree(runs / "slow", tmp_path / "silent")
    duckdb.sql(
        f"copy (select * exclude (overloaded_nodes, overload) from '{runs}/slow/series.parquet') "
        f"to '{silent}/series.parquet'"
    )
    app = open_page("replay", silent)
    assert not app.exception
    assert "Overloaded nodes" not in [text.value for text in app.subheader]


def test_a_run_that_is_gone_or_cut_is_told_and_no_traceback(runs: Path, tmp_path: Path, open_page: OpenPage) -> None:
    cut = shutil.copytree(runs / "slow", tmp_path / "cut")
    (cut / "placements.parquet").write_bytes((cut / "placements.parquet").read_bytes()[:200])
    app = open_page("replay", cut)
    assert not app.exception
    app = open_page("replay", runs, run="deleted")
    assert "deleted is not here" in app.warning[0].value
    assert not app.exception


def test_an_empty_workspace_names_the_command(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("replay", tmp_path)
    assert not app.exception
    assert "stowage replay" in app.code[0].value
