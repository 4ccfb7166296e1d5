"""The Nodes page: what it shows is what the run's own tables say."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from analytics.views import nodes
from analytics.workspace import Item, find_items
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
    assert len(frame) <= 5 + frame["pool"].nunique()
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
