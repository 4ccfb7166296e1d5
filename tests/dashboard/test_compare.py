"""The Compare page: what `stowage compare` says, and who wins where."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analytics.compare import compare as compare_runs
from analytics.runs import read_run
from analytics.store import open_store
from analytics.views import compare
from analytics.workspace import find_items
from tests.dashboard.conftest import OpenPage
from tests.dashboard.studies import WINDOW, a_studied_run, some_runs
from traces.schema import Tier


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return some_runs(tmp_path_factory.mktemp("runs"))


def finished(app: AppTest) -> AppTest:
    """The page once the intervals are there."""
    until = time.monotonic() + 60
    while any("being worked out" in caption.value for caption in app.caption):
        assert time.monotonic() < until
        time.sleep(0.05)
        app.run()
    return app


def test_tiles_name_the_best_by_the_runs_own_summaries(runs: Path, open_page: OpenPage) -> None:
    app = open_page("compare", runs)
    assert not app.exception
    assert app.selectbox(key="base").value == "recorded"
    p99 = {
        name: read_run(runs / name).summary["delay_s"]["production"]["p99"] for name in ("recorded", "quick", "slow")
    }
    tile = next(tile for tile in app.metric if tile.label == "Lowest p99 delay")
    assert tile.value == min(p99, key=p99.__getitem__) == "quick"
    assert f"{p99['quick']:.4g} s" in tile.delta
    assert "next recorded" in tile.delta


def test_differences_and_intervals_are_those_of_stowage_compare(runs: Path, open_page: OpenPage) -> None:
    app = finished(open_page("compare", runs, all="true"))
    assert not app.exception
    expected = compare_runs([runs / "recorded", runs / "quick", runs / "slow"])
    table = next(frame.value for frame in app.dataframe if "resampled" in frame.value.columns)
    for group in ("quick", "slow"):
        row = table[(table["metric"] == "delay_s.production.p99") & (table["group"] == group)].iloc[0]
        change = expected.differences["delay_s.production.p99"][group]
        assert (row["difference"], row["low"], row["high"]) == (change.difference, change.low, change.high)
    text = app.dataframe[0].value.set_index("")
    assert text.loc["p99 delay, production", "quick"].endswith("✓")
    assert text.loc["mean delay, production", "slow"].endswith("✗")
    assert text.loc["stranded CPU", "slow"].startswith("7.50 %")


def test_the_address_restores_runs_tier_and_view(runs: Path, open_page: OpenPage) -> None:
    app = open_page("compare", runs, base="quick", runs="slow", tier="free", show="classes", of="mean")
    assert not app.exception
    assert app.selectbox(key="base").value == "quick"
    assert app.multiselect[0].value == ["slow"]
    assert app.selectbox(key="tier").value == "free"
    won = app.dataframe[0].value
    assert won["run"].tolist() == ["quick", "slow"]
    assert won["classes_won"].iloc[0] > won["classes_won"].iloc[1] == 0


def test_counting_tasks_that_never_started_asks_for_other_metrics(runs: Path, open_page: OpenPage) -> None:
    app = open_page("compare", runs, unstarted="true")
    censored = read_run(runs / "slow").summary["delay_censored_s"]["production"]["p90"]
    started = read_run(runs / "slow").summary["delay_s"]["production"]["p90"]
    assert censored != started
    row = app.dataframe[0].value.set_index("").loc["p90 delay, production"]
    assert row["slow"].startswith(f"{censored:,.0f} s" if censored >= 1000 else f"{censored:.4g} s")


def test_classes_are_won_by_the_lowest_delay_in_sql(runs: Path) -> None:
    items = find_items([runs]).of("replay")
    frame = compare.winners({item.name: compare.classes(item) for item in items}, "p99_s")
    # a node offers 4,000 millicores: 900 of them are a size of 5 to 25 %
    of_class = frame[(frame["tier"] == "production") & (frame["size"] == 2)].set_index("run")
    expected = {}
    for name in ("recorded", "quick", "slow"):
        run = read_run(runs / name)
        with open_store(run.folder, run.facts) as store:
            attempts, expected[name] = store.execute(
                "select count(*), quantile_disc(waited_us, 0.99) filter (is_placed) / 1e6 from attempts "
                "where tier = 'production' and cpu_milli = 900"
            ).fetchall()[0]
        assert of_class.loc[name, "attempts"] == attempts
    assert of_class["delay_s"].to_dict() == expected
    assert of_class[of_class["wins"]].index.tolist() == ["quick"]


def test_delays_end_where_the_summary_says(runs: Path) -> None:
    (item,) = find_items([runs / "slow"]).of("replay")
    frame = compare.delays(item)
    of_tier = frame[frame["tier"] == "production"]
    assert len(frame) <= 1000
    assert of_tier["share"].is_monotonic_increasing
    assert of_tier["share"].iloc[-1] == 1.0
    longest = duckdb.sql(
        f"select max(start_us - submit_us) / 1e6 from '{runs}/slow/placements.parquet' where priority >= 9"
    ).fetchall()[0][0]
    assert of_tier["delay_s"].iloc[-1] == pytest.approx(longest, abs=1e-3)


def test_frontier_holds_those_that_none_beats_in_both(runs: Path) -> None:
    found = compare_runs([runs / "recorded", runs / "quick", runs / "slow"], intervals=False)
    measures = {measure.name: measure for measure in compare.measures(found, "production", False)}
    frame = compare.frontier(found, measures["delay_s.production.p99"], measures["stranded.cpu"])
    assert frame[frame["is_best"]]["group"].tolist() == ["quick"]
    frame = compare.frontier(found, measures["delay_s.production.p99"], measures["welfare.kept"])
    best = frame.loc[frame["across"].idxmin(), "group"]
    assert best in frame[frame["is_best"]]["group"].tolist()


def test_without_intervals_the_figures_are_the_same(runs: Path) -> None:
    folders = [runs / "recorded", runs / "quick"]
    quick, whole = compare_runs(folders, intervals=False), compare_runs(folders)
    assert quick.metrics == whole.metrics
    change = quick.differences["never_placed"]["quick"]
    assert (change.low, change.difference) == (None, whole.differences["never_placed"]["quick"].difference)


def test_runs_of_another_window_are_refused_with_the_reason(tmp_path: Path, open_page: OpenPage) -> None:
    some_runs(tmp_path)
    a_studied_run(tmp_path / "short", 1.0, window_us=(0, WINDOW[1] // 2))
    app = open_page("compare", tmp_path)
    assert app.multiselect[0].value == ["quick", "recorded", "slow"]  # what can be compared is chosen at first
    app = open_page("compare", tmp_path, base="recorded", runs="short")
    assert not app.exception
    assert "short covers 0 h to 6 h" in app.error[0].value.replace("\\", "")


def test_a_run_that_is_cut_ends_no_page(tmp_path: Path, open_page: OpenPage) -> None:
    some_runs(tmp_path)
    (tmp_path / "slow" / "summary.json").write_text("{")
    (tmp_path / "quick" / "placements.parquet").write_bytes(b"PAR1")
    for page in ("compare", "cost", "overview", "replay", "auction"):
        app = open_page(page, tmp_path, base="recorded", runs=["slow", "quick"], show="delays", of="slow")
        assert not app.exception


def test_one_run_or_none_says_how_to_make_more(runs: Path, tmp_path: Path, open_page: OpenPage) -> None:
    for folder in (tmp_path, runs / "quick"):
        app = open_page("compare", folder)
        assert not app.exception
        assert "two runs of one trace" in app.info[0].value
        assert "stowage replay" in app.code[0].value


def test_measures_leave_out_other_tiers_and_unknown_values(runs: Path) -> None:
    found = compare_runs([runs / "recorded", runs / "quick"], intervals=False)
    names = [measure.name for measure in compare.measures(found, "free", False)]
    assert "delay_s.free.p99" in names
    assert not [name for name in names if "production" in name or "censored" in name or name.startswith("used")]
    assert isinstance(compare.rows(found), pd.DataFrame)


def test_names_of_policies_and_tiers_are_text(tmp_path: Path, open_page: OpenPage) -> None:
    """A tile takes Markdown, and an image in it would be fetched."""
    hostile = "![x](http://example.org/x.png)<b>"
    for name, slowness in (("a", 1.0), ("b", 0.2)):
        a_studied_run(tmp_path / name, slowness, policy=f"{hostile}{name}", tiers=(Tier(hostile, 0, 11),))
    app = open_page("compare", tmp_path)
    assert not app.exception
    tile = next(tile for tile in app.metric if tile.label == "Lowest p99 delay")
    assert tile.value.startswith("\\!\\[x\\]\\(http")
    for each in app.metric:
        assert "![" not in f"{each.label}{each.value}{each.delta}{each.help}"
    for page in ("cost", "replay", "overview", "auction"):
        app = open_page(page, tmp_path)
        assert not app.exception
        for each in app.metric:
            assert "![" not in f"{each.label}{each.value}{each.delta}{each.help}"
