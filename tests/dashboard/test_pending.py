"""The Pending page over a snapshot, a journal and a replay."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import msgspec
import pytest

from analytics.views import waiting
from analytics.workspace import find_items
from dashboard.screens import pending
from scheduler.core.snapshot import a_snapshot, encode_snapshot
from scheduler.live.journal import Journal
from tests.dashboard.clusters import a_busy_cluster
from tests.dashboard.conftest import OpenPage
from tests.scheduler.core.packing.builders import a_node, a_pod

HOSTILE = "<script>alert(1)</script>**b**[x](javascript:alert(1))" + "y" * 10_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one snapshot."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "cluster.json").write_bytes(encode_snapshot(a_busy_cluster(24)))
    return folder


def tiles(app):
    return {tile.label: tile.value for tile in app.metric}


def table(app, column):
    return next(one.value for one in app.dataframe if column in one.value.columns)


def test_every_waiting_pod_is_there_with_what_stands_in_its_way(cluster: Path, open_page: OpenPage) -> None:
    app = open_page("pending", cluster)
    assert not app.exception
    snapshot = json.loads((cluster / "cluster.json").read_bytes())
    waits = {f"{pod.get('namespace', 'default')}/{pod['name']}" for pod in snapshot["pods"] if "node" not in pod}
    frame = table(app, "cause")
    assert set(frame["namespace"] + "/" + frame["pod"]) == waits
    assert tiles(app)["Pods that wait"] == str(len(waits))
    cause = dict(zip(frame["pod"], frame["cause"], strict=True))
    assert cause["huge-0"] == waiting.TOO_LARGE
    assert cause["pinned-0"] == waiting.CLOSED
    assert cause["held-0"] == waiting.HELD
    assert cause["web-new-0"].startswith("no room: ")


def test_a_link_to_a_pod_restores_its_proof_and_the_smallest_change(cluster: Path, open_page: OpenPage) -> None:
    app = open_page("pending", cluster, pod="batch/pinned-0", budget="2.0")
    assert not app.exception
    assert (tiles(app)["Answer"], tiles(app)["Verdict"]) == ("impossible", "optimal")
    assert any("leave out the node selector" in note.value for note in app.info)
    nodes = table(app, "obstacle")
    assert len(nodes) == 24
    assert set(nodes["obstacle"]) == {"node rules"}


def test_nodes_are_ranked_by_how_near_they_are_to_taking_the_pod(cluster: Path) -> None:
    (item,) = find_items([cluster]).of("snapshot")
    nodes = waiting.nodes_against(item, "ml/huge-0")
    assert nodes["obstacles"].is_monotonic_increasing
    assert (nodes["cpu_milli"] < 200_000).all()
    with_taint = nodes[nodes["why"].str.contains("taint")]
    assert len(with_taint) == 4  # every sixth node has GPUs and their taint


def test_a_row_chosen_in_the_table_is_the_pod_explained(
    cluster: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page("pending", cluster)
    keys = (table(app, "cause")["namespace"] + "/" + table(app, "cause")["pod"]).tolist()
    state = {"waiting": {"selection": {"rows": [3]}}}
    monkeypatch.setattr(pending.st, "session_state", state)
    pending._take(keys)
    assert state["pod"] == keys[3]


def test_a_pod_that_is_gone_is_said_and_another_shown(cluster: Path, open_page: OpenPage) -> None:
    app = open_page("pending", cluster, pod="shop/gone-<b>")
    assert not app.exception
    assert any("not here" in note.value for note in app.warning)


def test_names_of_a_hostile_cluster_are_text(tmp_path: Path, open_page: OpenPage) -> None:
    node = msgspec.structs.replace(a_node(HOSTILE[:300], cpu=1), labels={})
    pod = a_pod(HOSTILE, cpu=5, namespace="<b>")
    (tmp_path / "c.json").write_bytes(encode_snapshot(a_snapshot([node], [pod])))
    app = open_page("pending", tmp_path)
    assert not app.exception
    assert not any("<script>" in text.value and "\\<script" not in text.value for text in app.markdown)


def test_a_snapshot_cut_short_is_a_message(tmp_path: Path, open_page: OpenPage) -> None:
    (tmp_path / "c.json").write_text('{"kind": "StowageSnapshot", "version": 7, "nodes": [], "pods": []}')
    app = open_page("pending", tmp_path)
    assert not app.exception
    assert any("version 7 is not supported" in error.value for error in app.error)


def test_nothing_to_look_at_says_how_to_make_it(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("pending", tmp_path)
    assert not app.exception
    assert "kubectl get nodes,pods" in app.code[0].value


def test_the_journal_tells_the_last_word_on_every_pod(tmp_path: Path, open_page: OpenPage) -> None:
    journal = Journal(tmp_path / "journal", "planner-0")
    for second, (pod, verdict, why) in enumerate([
        ("a", "undecided", "no place found in 1.00 s; at most 2 more of its rank could fit"),
        ("b", "impossible", "too large for each of the 7 nodes that may run it, whatever else is moved"),
        ("c", "impossible", "too large for each of the 9 nodes that may run it, whatever else is moved"),
        ("a", "placed", "Plan p placed it to n1"),
        (HOSTILE, "undecided", HOSTILE),
    ]):  # fmt: skip
        journal.append("pod", 1e9 + second, namespace="shop", pod=pod, verdict=verdict, message=why)
    journal.flush()
    app = open_page("pending", journal=tmp_path / "journal", pod="shop/b")
    assert not app.exception
    assert tiles(app)["Pods that wait"] == "3"
    assert tiles(app)["Proven to have no place"] == "2"
    reasons = table(app, "example")
    assert reasons["pods"].tolist()[0] == 2
    assert "each of the N nodes" in reasons["reason"][0]
    assert table(app, "kind")["why"].tolist() == [
        "too large for each of the 7 nodes that may run it, whatever else is moved"
    ]


def test_a_replay_ranks_sizes_and_tasks_by_their_waiting(cell: Path, open_page: OpenPage) -> None:
    run = cell / "runs" / "best-fit"
    app = open_page("pending", run, tier="free")
    assert not app.exception
    closes_us = json.loads((run / "run.json").read_text())["window_us"][1]
    arrived, waited = duckdb.execute(
        f"select count(*), max(coalesce(start_us, end_us, {closes_us}) - submit_us) / 1e6 "
        f"from read_parquet('{run}/placements.parquet') where not initial and priority <= 1"
    ).fetchall()[0]
    assert tiles(app)["Tasks that arrived"] == f"{arrived:,}"
    assert table(app, "waited_s")["waited_s"][0] == pytest.approx(waited)
