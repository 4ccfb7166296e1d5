"""The Auction page: reports beside each other, tenants of replays, and a planner's price rounds."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import stowage
from analytics.runs import read_run
from analytics.views import auction
from analytics.workspace import Item, find_items
from scheduler.live.journal import Journal
from tests.dashboard.conftest import OpenPage
from tests.dashboard.studies import HOSTILE, WINDOW, a_studied_run, some_runs


def a_market() -> dict[str, Any]:
    """Twelve requests of four tenants for five nodes."""
    drawn = random.Random(5)
    return {
        "kind": "StowageMarket", "version": 1,
        "nodes": [{"name": f"node-{n}", "room": {"cpu": 4000}} for n in range(5)],
        "requests": [
            {"name": f"pod-{n:02d}", "tenant": ("a", "b", "c", HOSTILE[0])[n % 4],
             "demand": {"cpu": drawn.choice((1000, 3000))},
             "bids": {f"node-{k}": round(drawn.uniform(1, 9), 2) for k in range(5)}}
            for n in range(12)
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three mechanisms on one market, one of them with a frontier."""
    folder = tmp_path_factory.mktemp("reports")
    market = folder / "market.json"
    market.write_text(json.dumps(a_market()))
    for name, options in (("exact", ["--frontier", "3", "--towards", "tenants"]), ("drf", []), ("greedy", [])):
        given = [str(market), "--mechanism", name, *options, "-o", str(folder / f"{name}.json")]
        made = CliRunner().invoke(stowage.app, ["auction", *given])
        assert made.exit_code == 0, made.output
    return folder


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty price rounds of twelve pools, and bids."""
    folder = tmp_path_factory.mktemp("journal")
    written = Journal(folder, "w")
    for n in range(30):
        pools = [{"node": f"n{k:02d}", "nodes": k + 1, "price": float(12 - k), "utilisation": 0.5} for k in range(12)]
        details = {"welfare": 90.0, "bound": 100.0, "cpu_s": 0.1, "steps": 2, "written": 1, "foreign": 0}
        written.append("prices", 1e9 + 60 * n, verdict="feasible", details=details | {"pools": pools})
        for pod, verdict in (("p0", "won"), ("p1", "outbid" if n < 29 else "won"), (HOSTILE[0], "outbid")):
            written.append(
                "bid", 1e9 + 60 * n, namespace="shop", pod=pod, node="n00", verdict=verdict, message=HOSTILE[1],
                details={"bid": 1.0 + n, "price": 12.0},
            )  # fmt: skip
    written.append("solve", 1e9, verdict="optimal")
    written.flush()
    return folder


def test_mechanisms_stand_beside_each_other_as_their_reports_say(reports: Path, open_page: OpenPage) -> None:
    app = open_page("auction", reports)
    assert not app.exception
    told = {name: json.loads((reports / f"{name}.json").read_text()) for name in ("exact", "drf", "greedy")}
    table = app.dataframe[0].value.set_index("mechanism")
    for name, report in told.items():
        assert table.loc[name, "efficiency"] == pytest.approx(report["efficiency"], abs=1e-4)
        assert table.loc[name, "jain_tenants"] == pytest.approx(report["jain_tenants"], abs=1e-4)
    tiles = {tile.label: tile.value for tile in app.metric}
    assert tiles["Most value"] == "exact"
    assert tiles["Fairest to tenants"] == max(told, key=lambda name: told[name]["jain_tenants"])


def test_tenants_of_a_report_add_up_to_its_winners(reports: Path) -> None:
    items = {item.name: item for item in find_items([reports]).of("auction")}
    report = json.loads((reports / "drf.json").read_text())
    frame = auction.tenants(items["drf.json"])
    assert frame["won"].sum() == report["winners"] == len(auction.winners(items["drf.json"]))
    assert dict(zip(frame["tenant"], frame["dominant_share"], strict=True)) == report["dominant_shares"]
    curve = auction.evenness(items["drf.json"])
    assert (curve["room"].iloc[0], curve["room"].iloc[-1]) == (0.0, 1.0)
    assert (curve["room"] <= curve["tenants"] + 1e-9).all()


def test_frontier_and_the_chosen_report_are_in_the_address(reports: Path, open_page: OpenPage) -> None:
    app = open_page("auction", reports)
    assert app.selectbox(key="report").value == "exact.json"  # the one with a frontier
    towards, points = auction.frontier(find_items([reports / "exact.json"]).of("auction")[0])
    assert (towards, len(points)) == ("tenants", 3)
    app = open_page("auction", reports, report="greedy.json")
    assert app.selectbox(key="report").value == "greedy.json"
    assert not [text.value for text in app.markdown if "Frontier" in text.value]


def test_tenants_of_two_runs_are_those_of_their_tables(tmp_path: Path, open_page: OpenPage) -> None:
    some_runs(tmp_path)
    app = open_page("auction", tmp_path, of="replays", run="slow", other="quick")
    assert not app.exception
    table = app.dataframe[-1].value
    rows = duckdb.sql(f"select tenant, kept_share from '{tmp_path}/slow/tenants.parquet'").fetchall()
    assert dict(zip(table["tenant"], table["kept_share"], strict=True)) == pytest.approx(
        {name: round(100 * share, 2) for name, share in rows}
    )
    assert set(HOSTILE) <= set(table["tenant"])
    jain = read_run(tmp_path / "slow").summary["fairness"]["jain_kept_share"]
    assert next(tile.value for tile in app.metric if tile.label == "Evenness (Jain)") == f"{jain:.4g}"


def test_prices_of_a_replay_are_shown_where_the_run_holds_them(tmp_path: Path, open_page: OpenPage) -> None:
    counters = {"rounds": 10, "markets": 4, "market_bids": 20, "market_wins": 5}
    for name in ("auction", "other", "without"):
        a_studied_run(tmp_path / name, 1.0, counters={} if name == "other" else counters)
    app = open_page("auction", tmp_path, of="replays", run="without")
    assert not app.exception
    assert "holds no prices" in app.info[0].value
    rows = [
        {"time_us": n * WINDOW[1] // 4, "on_sale": 3, "bids": 5, "wins": n, "price_p50": 0.1, "price_p90": 0.2,
         "price_max": 0.1 * n}
        for n in range(4)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "auction" / auction.PRICES)
    (item,) = find_items([tmp_path / "auction"]).of("replay")
    frame = auction.prices_of_run(item)
    assert frame is not None
    assert frame["hour"].tolist() == [0.0, 3.0, 6.0, 9.0]
    assert frame["wins"].sum() == 6
    app = open_page("auction", tmp_path, of="replays")
    assert app.selectbox(key="run").value == "auction"  # one with a market comes first
    assert not app.info


def test_price_rounds_of_a_journal(journal: Path, open_page: OpenPage) -> None:
    app = open_page("auction", journal=journal)
    assert not app.exception
    tiles = {tile.label: (tile.value, tile.delta) for tile in app.metric}
    assert tiles["Dearest pool"][0] == "12"
    assert tiles["Short of the best, at most"][0] == "10.00 %"
    assert tiles["Outbid pods"] == ("1", "of 3 that bid last")
    item = Item("journal", "j", journal, "")
    pools = auction.pool_prices(item)
    assert sorted(set(pools["node"])) == [f"n{k:02d}" for k in range(8)]
    assert len(auction.rounds(item)) == 30
    bids = auction.bids(item)
    assert bids["pod"].tolist() == [HOSTILE[0], "p0", "p1"]
    assert bids["bid"].tolist() == [30.0, 30.0, 30.0]


def test_a_journal_without_price_rounds_says_how_to_have_them(tmp_path: Path, open_page: OpenPage) -> None:
    written = Journal(tmp_path, "w")
    written.append("solve", 1e9, verdict="optimal")
    written.flush()
    app = open_page("auction", journal=tmp_path)
    assert not app.exception
    assert "priceRound=observe" in app.code[0].value


def test_a_report_that_is_cut_or_of_another_shape_is_told(reports: Path, tmp_path: Path, open_page: OpenPage) -> None:
    report = json.loads((reports / "drf.json").read_text())
    for odd in ({"allocation": 7}, {"charges": 7}, {"prices": [1]}, {"frontier": {"points": [{}]}}, {"regret": [2]}):
        (tmp_path / "odd.json").write_text(json.dumps(report | odd))
        app = open_page("auction", tmp_path)
        assert not app.exception
        assert "version" in app.error[0].value.replace("\\", "")
    (tmp_path / "odd.json").write_text(json.dumps(report | {"efficiency": "much", "nodes": None}))
    assert not open_page("auction", tmp_path).exception


def test_an_empty_workspace_names_the_commands(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("auction", tmp_path)
    assert not app.exception
    assert "stowage auction" in app.code[0].value
