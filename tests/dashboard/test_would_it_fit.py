"""The Would it fit? page: sizes and manifests against a snapshot, sizes against a replay."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from analytics.errors import InputError
from analytics.views import fitting
from analytics.workspace import Item, find_items
from scheduler.core.snapshot import encode_snapshot
from tests.dashboard.clusters import a_busy_cluster
from tests.dashboard.conftest import OpenPage


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one snapshot."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "cluster.json").write_bytes(encode_snapshot(a_busy_cluster(12, fill=0.5)))
    return folder


def tiles(app):
    return {tile.label: tile.value for tile in app.metric}


def test_a_link_with_a_size_is_answered(cluster: Path, open_page: OpenPage) -> None:
    app = open_page("would_it_fit", cluster, cpu="0.05", memory="0.1", replicas="2")
    assert not app.exception
    assert (tiles(app)["Answer"], tiles(app)["Verdict"]) == ("fits", "optimal")
    places = next(one.value for one in app.dataframe if "node" in one.value.columns)
    assert places["pod"].tolist() == ["default/would-it-fit-0", "default/would-it-fit-1"]


def test_what_does_not_fit_gets_the_nearest_shape(cluster: Path, open_page: OpenPage) -> None:
    app = open_page("would_it_fit", cluster, cpu="64", memory="4")
    assert not app.exception
    assert (tiles(app)["Answer"], tiles(app)["Verdict"]) == ("does not fit", "optimal")
    assert "Nearest shape that fits" in app.info[0].value


def test_a_pasted_manifest_is_answered(cluster: Path, open_page: OpenPage) -> None:
    app = open_page("would_it_fit", cluster, ask="manifest")
    assert not app.exception
    assert tiles(app)["Pods with a place"] == "3 of 3"


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("x" * 5_000_000, "5,000,000 bytes"),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]" for i in range(9)), "50,000 values"),
        ("kind: Deployment\nspec: {replicas: 3000, template: {spec: {containers: []}}}", "more than 2,000 pods"),
        ("kind: <script>alert(1)</script>\nspec: {}", "holds no pod template"),
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_in_a_sentence(
    cluster: Path, open_page: OpenPage, manifest: str, message: str
) -> None:
    app = open_page("would_it_fit", cluster, ask="manifest")
    app.text_area("manifest").set_value(manifest)
    app.button("ask_manifest").click().run()
    assert not app.exception
    assert [message in error.value and "<script>" not in error.value for error in app.error] == [True]


def the_run(cell: Path) -> Item:
    (item,) = find_items([cell / "runs" / "best-fit"]).of("replay")
    return item


def test_a_common_size_fits_as_often_as_the_run_counted(cell: Path) -> None:
    item = the_run(cell)
    cpu, memory = duckdb.execute(
        f"select cpu_milli, memory_mib from '{item.path}/shapes.parquet' where cpu_milli > 0 and memory_mib > 0 limit 1"
    ).fetchall()[0]
    counted = duckdb.execute(
        f"select fits from '{item.path}/shapes.parquet' where cpu_milli = ? and memory_mib = ? order by time_us",
        [cpu, memory],
    ).fetchall()
    frame = fitting.fits_over_time(item, cpu, memory)
    assert frame["at_least"].tolist() == frame["at_most"].tolist() == [row[0] for row in counted]


@pytest.mark.parametrize(("cpu", "memory"), [(100, 100), (333, 2_000), (900, 700)])
def test_bounds_of_any_size_do_not_cross(cell: Path, cpu: int, memory: int) -> None:
    known = fitting.fits_over_time(the_run(cell), cpu, memory).dropna()
    assert (known["at_least"] <= known["at_most"]).all()


def test_a_size_of_nothing_is_refused(cell: Path) -> None:
    with pytest.raises(InputError, match="give a size"):
        fitting.fits_over_time(the_run(cell), 0, 0)


def test_a_replay_shows_the_size_over_time(cell: Path, open_page: OpenPage) -> None:
    app = open_page("would_it_fit", cell / "runs" / "best-fit", cpu="0.2", memory="0.2")
    assert not app.exception
    assert "Median, at most" in tiles(app) or "say nothing" in app.info[0].value
