"""The Fragmentation page: what it shows is what the run's own tables say."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from analytics.cost import CostModel
from analytics.views import fragmentation
from analytics.workspace import find_items
from tests.dashboard.conftest import OpenPage


def test_fits_and_cost_of_a_shape_follow_from_the_tables(cell: Path) -> None:
    (item,) = find_items([cell / "runs" / "best-fit"]).of("replay")
    frame = fragmentation.shapes(item)
    ((weight, least, mean, cpu, memory),) = duckdb.sql(
        f"""SELECT weight, min(fits), avg(fits), avg(unusable_cpu_milli), avg(unusable_memory_mib)
        FROM '{item.path}/shapes.parquet' GROUP BY cpu_milli, memory_mib, gpu_milli, weight
        ORDER BY weight DESC, cpu_milli, memory_mib, gpu_milli LIMIT 1"""
    ).fetchall()
    model = CostModel()
    first = frame.iloc[0]
    assert (first["weight"], first["fits_least"]) == (weight, least)
    assert first["fits_mean"] == pytest.approx(mean)
    usd_h = cpu / 1000 * model.core_hour_usd + memory / 1024 * model.gib_hour_usd
    assert first["unusable_usd_h"] == pytest.approx(usd_h)


def test_the_page_shows_the_shapes_of_the_linked_run(cell: Path, open_page: OpenPage) -> None:
    app = open_page("fragmentation", cell / "runs", run="kube-default")
    assert not app.exception
    assert app.selectbox[0].value == "kube-default"
    (item,) = [one for one in find_items([cell / "runs"]).of("replay") if one.name == "kube-default"]
    shown = next(table.value for table in app.dataframe if "asks_for" in table.value.columns)
    assert shown.equals(fragmentation.shapes(item))


def test_gpu_curves_end_where_the_report_does(tmp_path: Path, open_page: OpenPage) -> None:
    curve = {str(arrived): arrived * 0.9 for arrived in range(131)}
    (tmp_path / "fgd.json").write_text(
        json.dumps({"policy": "fgd", "allocated_pct": curve, "per_seed": {"42": curve}, "published": None})
    )
    app = open_page("fragmentation", tmp_path)
    assert not app.exception
    assert {tile.label: tile.value for tile in app.metric} == {"fgd": "90 %"}
    (item,) = find_items([tmp_path]).of("fgd")
    assert fragmentation.allocated([item])["arrived_pct"].iloc[-1] == 130
