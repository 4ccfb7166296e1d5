"""The Nodes page: what it shows is what the run's own tables say."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from analytics.views import cluster_nodes, nodes
from analytics.workspace import Item, find_items
from scheduler.core.snapshot import Node, Pod, a_snapshot, encode_snapshot
from tests.dashboard.conftest import OpenPage


@pytest.fixture
def run(cell: Path) -> Item:
    (item,) = find_items([cell / "runs" / "best-fit"]).of("replay")
    return item


def test_every_machine_is_in_one_cell_and_one_pool(run: Item) -> None:
    count = duckdb.sql(f"SELECT count(*) FROM '{run.path}/nodes.parquet'").fetchall()[0][0]
    assert nodes.pools(run)["machines"].sum() == count
    assert nodes.cells(run)["machines"].sum() == count


def test_cells_are_bounded_however_many_machines_there_are(run: Item, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "CELLS", 5)
    frame = nodes.cells(run)
    assert len(frame) <= 5 + frame["group"].nunique()
    assert frame["machines"].max() > 1


def test_what_is_left_over_is_of_the_resource_less_asked_for(run: Item) -> None:
    frame = nodes.pools(run)
    assert (frame[["cpu_left_over", "memory_left_over"]] >= 0).all().all()
    one = duckdb.sql(
        f"""SELECT avg(least(greatest(share_cpu_milli, share_memory_mib), 1) - least(share_cpu_milli, 1))
        FROM '{run.path}/nodes.parquet' WHERE capacity_cpu_milli = {frame["cpu_milli"][0]}
        AND capacity_memory_mib = {frame["memory_mib"][0]}"""
    ).fetchall()[0][0]
    assert frame["cpu_left_over"][0] == pytest.approx(one)


def test_a_link_shows_what_ran_on_a_machine(cell: Path, run: Item, open_page: OpenPage) -> None:
    node = int(duckdb.sql(f"SELECT max(node) FROM '{run.path}/placements.parquet'").fetchall()[0][0])
    app = open_page("nodes", cell / "runs", run="best-fit", node=str(node))
    assert not app.exception
    shown = next(table.value for table in app.dataframe if "started_h" in table.value.columns)
    count = duckdb.sql(f"SELECT count(*) FROM '{run.path}/placements.parquet' WHERE node = {node}").fetchall()[0][0]
    assert len(shown) == min(count, nodes.MOST_TASKS) > 0


def test_a_machine_that_is_not_there_is_no_fault(cell: Path, open_page: OpenPage) -> None:
    app = open_page("nodes", cell / "runs", node="999999999999")
    assert not app.exception
    assert any("Nothing ran" in text.value for text in app.markdown)


@pytest.fixture
def snapshot(tmp_path: Path) -> Item:
    """Three nodes in two racks, one of them cordoned; names that no cluster should have."""
    nodes_of = [("a", "r1", False), ("b", "r2", False), ("<b>c</b>", "r2", True)]
    cluster = a_snapshot(
        [
            Node(name=name, allocatable={"cpu": 4000, "memory": 8 << 30, "pods": 9}, labels=labels, unschedulable=off)
            for name, rack, off in nodes_of
            for labels in [{"topology.kubernetes.io/rack": rack, "karpenter.sh/nodepool": "main"}]
        ],
        [
            Pod(name="web", node="a", requests={"cpu": 3000, "memory": 2 << 30}),
            Pod(name="job", node="b", requests={"cpu": 1000, "memory": 8 << 30}),
            Pod(name="waits", requests={"cpu": 1000}),
        ],
    )
    (tmp_path / "cluster.json").write_bytes(encode_snapshot(cluster))
    (item,) = find_items([tmp_path / "cluster.json"]).of("snapshot")
    return item


def test_a_cluster_is_grouped_by_pool_or_rack(snapshot: Item) -> None:
    pools = cluster_nodes.groups(snapshot, "pool")
    assert pools[["pool", "machines", "pods"]].to_dict("records") == [{"pool": "main", "machines": 3, "pods": 2}]
    racks = cluster_nodes.groups(snapshot, "rack").set_index("rack")
    assert racks["cpu"].to_dict() == {"r1": 0.75, "r2": 0.125}
    assert racks["cpu_left_over"].to_dict() == {"r1": 0, "r2": pytest.approx(0.375)}


def test_the_pods_of_a_node_and_its_names_are_text(snapshot: Item, open_page: OpenPage) -> None:
    app = open_page("nodes", snapshot.path, by="rack", host="b")
    assert not app.exception
    shown = next(table.value for table in app.dataframe if "pod" in table.value.columns)
    assert shown["pod"].tolist() == ["job"]
    assert "<b>c</b>" in cluster_nodes.nodes(snapshot)["node"].tolist()
