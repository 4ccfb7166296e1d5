import json
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analytics.packing_bench import Answer
from analytics.packing_scale import ScaleRun, draw_growth, peak_rss_mib, read_placed_s
from stowage import app


def a_run(nodes: int = 100, method: str = "no-harm", placed_s: float = 0.1) -> ScaleRun:
    return ScaleRun(nodes, 10 * nodes, 95, 1, method, 1.0, 9, 0, 0, True, 3, 0, 0.3, placed_s, 1.0, 200, ())


def test_a_large_cluster_is_packed_and_told_in_json(tmp_path: Path) -> None:
    answer = CliRunner().invoke(
        app,
        ["bench", "packing-scale", "--nodes", "20", "--usage", "95", "--limit", "1s", "--workers", "1", "--json",
         "--csv", str(tmp_path / "runs.csv"), "--plot", str(tmp_path / "growth.svg"), "--quiet"],
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    (run,) = json.loads(answer.stdout)["runs"]
    assert run["pending_after"] <= run["pending_before"]
    assert run["pending_bound"] <= run["pending_after"]
    assert run["breaches"] == []
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 2
    assert "<svg" in (tmp_path / "growth.svg").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "paper"], "millions of booleans"),
        (["--methods", "x"], "methods are"),
        (["--nodes", "0"], "--nodes"),
    ],
)
def test_bad_options_name_the_rule(options: list[str], message: str) -> None:
    answer = CliRunner().invoke(app, ["bench", "packing-scale", *options])
    assert message in str(answer.exception)


def test_the_time_to_place_ends_with_the_last_tier() -> None:
    stages = (
        "tier=0 placed=1/1 seconds=0.100; disruption level=0 seconds=0.200; tier=1 seconds=0.300; disruption seconds=9"
    )
    assert read_placed_s(Answer(np.zeros(1), "", True, True, 12.0, stages=stages)) == pytest.approx(0.6)
    assert read_placed_s(Answer(np.zeros(1), "", True, True, 12.0)) == 12


def test_the_plot_is_xml_with_a_line_per_method() -> None:
    plot = draw_growth([a_run(100), a_run(1000, placed_s=2.0), a_run(100, "max-pack"), a_run(1000, "max-pack")])
    root = xml.etree.ElementTree.fromstring(plot)
    assert len([part for part in root if part.tag.endswith("polyline")]) == 2
    assert xml.etree.ElementTree.fromstring(draw_growth([a_run()])) is not None


def test_memory_is_measured() -> None:
    assert peak_rss_mib() > 10
