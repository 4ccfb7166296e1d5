"""The Overview page: figures of what is there, and actions that name their basis and their price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analytics.runs import read_run
from analytics.views import overview
from analytics.workspace import Item, find_items
from scheduler.core.snapshot import Node, Pod, a_snapshot
from scheduler.live.journal import Journal
from tests.dashboard.conftest import OpenPage
from tests.dashboard.studies import HOSTILE, a_studied_run, some_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return some_runs(tmp_path_factory.mktemp("runs"))


def items_of(folder: Path) -> dict[str, Item]:
    return {item.name: item for item in find_items([folder]).items}


def a_report(folder: Path, name: str, report: dict[str, Any]) -> Item:
    (folder / name).write_text(json.dumps(report))
    return items_of(folder)[name]


def a_plan(**changes: Any) -> dict[str, Any]:
    return {
        "verdict": "optimal", "placed": {"9": 10, "0": 3}, "placed_before": {"9": 6, "0": 5},
        "total": {"9": 10, "0": 6},
        "moves": [{"pod": "a/b", "from": "n", "to": "m"}], "evicted": ["a/c", "a/d"], "placements": {}, "unplaced": [],
    } | changes  # fmt: skip


def a_search(recorded: int, nodes: int | None, tried: dict[int, int]) -> dict[str, Any]:
    """A capacity report. tried: attempts never placed by size."""
    return {
        "nodes": nodes, "recorded_nodes": recorded, "policy": "best-fit", "tier": "production", "limit_s": 60.0,
        "why": "because", "searched": [
            {"nodes": size, "delay_p99_s": 50.0, "never_placed": lost, "ok": size >= (nodes or 10**9)}
            for size, lost in tried.items()
        ],
    }  # fmt: skip


def test_tiles_are_the_summary_of_the_run(runs: Path, open_page: OpenPage) -> None:
    app = open_page("overview", runs)
    assert not app.exception
    assert app.selectbox(key="of").value == "recorded"
    summary = read_run(runs / "recorded").summary
    tiles = {tile.label: (tile.value, tile.delta) for tile in app.metric}
    assert tiles["Requested CPU"][0] == f"{100 * summary['utilisation']['cpu']:.1f} %"
    assert tiles["Stranded CPU"][0] == f"{100 * summary['stranded']['cpu']:.1f} %"
    assert tiles["Never placed"][0] == str(summary["never_placed"])
    assert tiles["Waiting tasks"][1] == f"p99 delay {summary['delay_s']['production']['p99']:.4g} s"
    assert len(tiles) == 5


def test_the_address_chooses_what_is_looked_at(runs: Path, open_page: OpenPage) -> None:
    app = open_page("overview", runs, of="slow")
    assert app.selectbox(key="of").value == "slow"
    assert any("Place by quick" in text.value for text in app.markdown)


def test_another_policy_is_proposed_with_what_it_makes_better(runs: Path) -> None:
    items = items_of(runs)
    (action,) = overview.by_policy(items["slow"], [items["quick"], items["recorded"]])
    before, after = (read_run(runs / name).summary["delay_s"]["production"]["p99"] for name in ("slow", "quick"))
    assert action.title == "Place by quick"  # what was recorded cannot be chosen
    assert f"p99 delay of production {before:,.0f} s → {after:,.0f} s" in action.value
    assert "stranded CPU 7.5 % → 2.5 %" in action.value
    assert action.worth == pytest.approx(1 - after / before)
    assert (action.page, action.query["base"]) == ("compare", "slow")


def test_what_becomes_worse_is_the_price(tmp_path: Path) -> None:
    a_studied_run(tmp_path / "now", 1.0, stranded=1000)
    a_studied_run(tmp_path / "tight", 9.0, stranded=100)
    items = items_of(tmp_path)
    (action,) = overview.by_policy(items["now"], [items["tight"]])
    assert "stranded CPU" in action.value
    assert "p99 delay of production" in action.costs


def test_a_policy_that_changes_nothing_is_not_proposed(tmp_path: Path, open_page: OpenPage) -> None:
    for name in ("one", "two"):
        a_studied_run(tmp_path / name, 1.0)
    items = items_of(tmp_path)
    assert overview.by_policy(items["one"], [items["two"]]) == []
    app = open_page("overview", tmp_path)
    assert "Nothing worth doing" in app.success[0].value


def test_capacity_says_how_many_nodes_could_go(tmp_path: Path) -> None:
    fewer = a_report(tmp_path, "fewer.json", a_search(100, 90, {100: 5, 90: 5, 80: 50}))
    (action,) = overview.by_capacity(fewer)
    assert (action.title, action.worth) == ("Run 10 nodes fewer", 0.1)
    equal = a_report(tmp_path, "equal.json", a_search(100, 120, {100: 5, 95: 5, 90: 9, 120: 0}))
    (action,) = overview.by_capacity(equal)
    assert "5 of 100 nodes could go with no more attempts left unplaced" in action.value
    more = a_report(tmp_path, "more.json", a_search(100, 120, {100: 5, 120: 0}))
    assert overview.by_capacity(more)[0].title == "Add 20 nodes"
    assert overview.by_capacity(a_report(tmp_path, "none.json", a_search(100, None, {100: 5, 200: 4}))) == []


def test_a_plan_counts_what_it_places_and_what_it_costs(tmp_path: Path) -> None:
    (action,) = overview.by_plan(a_report(tmp_path, "plan.json", a_plan()))
    assert action.value == "pods that run: +4 at priority 9"
    assert action.costs == "2 fewer at priority 0; 1 pods moved, 2 evicted"
    assert action.worth == pytest.approx(4 / 5)
    assert (action.page, action.query) == ("plan", {"plan": "plan.json"})  # what the Plan page's choice is held under
    nothing = a_plan(placed={"9": 6, "0": 5})
    assert overview.by_plan(a_report(tmp_path, "nothing.json", nothing)) == []


def test_nodes_to_drain(tmp_path: Path) -> None:
    report = {"verdict": "feasible", "nodes_before": 20, "nodes_after": 15, "drained": ["n"] * 5, "moves": 3}
    (action,) = overview.by_drain(a_report(tmp_path, "drain.json", report))
    assert (action.title, action.worth, action.costs) == ("Drain 5 nodes", 0.25, "3 pods moved")


def test_three_actions_are_drawn_the_largest_change_first(runs: Path, tmp_path: Path, open_page: OpenPage) -> None:
    a_report(tmp_path, "plan.json", a_plan())
    a_report(
        tmp_path, "drain.json", {"verdict": "f", "nodes_before": 20, "nodes_after": 19, "drained": ["n"], "moves": 0}
    )
    a_report(tmp_path, "size.json", a_search(100, 90, {100: 5, 90: 5}))
    app = open_page("overview", runs, tmp_path, of="slow")
    assert not app.exception
    titles = [text.value.split("**")[1] for text in app.markdown if text.value.startswith("**")]
    assert titles == ["Place by quick", "Carry out the plan", "Run 10 nodes fewer"]
    assert app.expander[0].label == "1 more"
    table = next(frame.value for frame in app.dataframe if "gain" in frame.value.columns)
    assert table["do"].tolist() == ["Drain 1 nodes"]


def test_a_snapshot_is_counted_by_node(tmp_path: Path, open_page: OpenPage) -> None:
    """Two nodes of ten cores; on the first there is memory for no further pod."""
    nodes = [Node(name=f"n{n}", allocatable={"cpu": 10_000, "memory": 10 << 30, "pods": 9}) for n in range(2)]
    nodes.append(Node(name="out", allocatable={"cpu": 10_000}, ready=False))
    pods = [
        Pod(name="big", node="n0", requests={"cpu": 2000, "memory": 9 << 30}),
        Pod(name="mid", node="n1", requests={"cpu": 3000, "memory": 2 << 30}),
        Pod(name="low", node="n1", requests={"cpu": 1000, "memory": 2 << 30}),
        Pod(name="waits", priority=7, requests={"cpu": 1000}),
    ]
    from analytics.runs import write_text
    from scheduler.core.snapshot import encode_snapshot

    write_text(tmp_path / "cluster.json", encode_snapshot(a_snapshot(nodes, pods)).decode())
    found = overview.packed(items_of(tmp_path)["cluster.json"])
    assert found.requested == {"CPU": 6000 / 20_000, "memory": 13 / 20}
    assert found.stranded == {"CPU": 8000 / 20_000, "memory": 1 / 20}
    assert (found.nodes, found.out_of_service, found.running, found.waiting) == (3, 1, 3, {7: 1})
    app = open_page("overview", tmp_path)
    assert not app.exception
    assert {tile.label: tile.value for tile in app.metric}["Waiting pods"] == "1"


def test_plans_of_the_journal_that_nobody_decided_come_first(tmp_path: Path, open_page: OpenPage) -> None:
    written = Journal(tmp_path, "w")
    for n, (plan, phase) in enumerate(
        (("p1", "Proposed"), ("p2", "Proposed"), ("p1", "Executing"), ("p3", "Proposed"))
    ):
        written.append("plan", 1e9 + 60 * n, plan=plan, verdict=phase, message=HOSTILE[0])
    written.append("pod", 1e9, namespace="a", pod="x", verdict="impossible")
    written.append("pod", 1e9 + 100, namespace="a", pod="y", verdict="undecided")
    written.append("pod", 1e9 + 150, namespace="a", pod="x", verdict="placed")
    written.append("action", 1e9 + 70, reason="Evict", verdict="done")
    written.append("action", 1e9 + 70, reason="Evict", verdict="429")
    written.flush()
    app = open_page("overview", journal=tmp_path)
    assert not app.exception
    tiles = {tile.label: tile.value for tile in app.metric}
    assert (tiles["Waiting pods"], tiles["Plans proposed"], tiles["Evicted"]) == ("1", "2", "1")
    assert app.markdown[0].value.replace("\\", "").startswith("**Decide on plan p3, and 1 more**: <script>")
    course = overview.live_course(Item("journal", "j", tmp_path, ""))
    assert course["waiting"].max() == 2
    assert len(course) == overview.BINS


def test_odd_reports_are_told_beside_what_else_is_worth_doing(runs: Path, tmp_path: Path, open_page: OpenPage) -> None:
    a_report(tmp_path, "plan.json", a_plan(placed={"high": 7}))
    a_report(tmp_path, "size.json", a_search(100, 90, {100: 5}) | {"limit_s": None})
    a_report(tmp_path, "drain.json", {"nodes_before": "x", "nodes_after": 2, "drained": 7})
    app = open_page("overview", runs, tmp_path, of="slow")
    assert not app.exception
    told = [text.value for text in app.caption if "than this version expects" in text.value.replace("\\", "")]
    assert len(told) == 3
    assert any("Place by quick" in text.value for text in app.markdown)


def test_a_summary_of_another_version_is_told(tmp_path: Path, open_page: OpenPage) -> None:
    some_runs(tmp_path)
    summary = json.loads((tmp_path / "slow" / "summary.json").read_text())
    del summary["stranded"]
    (tmp_path / "slow" / "summary.json").write_text(json.dumps(summary))
    app = open_page("overview", tmp_path, of="slow")
    assert not app.exception
    assert "lacks stranded" in app.error[0].value


def test_an_empty_workspace_says_what_to_point_at(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("overview", tmp_path)
    assert not app.exception
    assert "stowage dashboard" in app.code[0].value
