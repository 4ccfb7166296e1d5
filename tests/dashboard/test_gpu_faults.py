"""The GPU faults page over reports of the commands themselves, and over a journal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import stowage
from analytics.views import gpu_faults
from analytics.workspace import find_items
from scheduler.live.journal import Journal
from tests.dashboard.conftest import OpenPage
from tests.scheduler.core.gpu.telemetry.samples import inspector_line

HOSTILE = "<script>alert(1)</script> **bold** [x](javascript:alert(1))"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diagnosis of a job with one slow connection, and a replay of gangs under drawn faults."""
    folder = tmp_path_factory.mktemp("reports")
    rng = np.random.default_rng(1)
    lines = [
        inspector_line(
            rank, sequence, ranks=8, op="Send", peer=peer,
            took_us=1000 * float(np.exp(0.1 * rng.standard_normal())) * (2 if (rank, peer) == (3, 6) else 1),
        )
        for sequence in range(8) for rank in range(8) for peer in range(8) if peer != rank
    ]  # fmt: skip
    (folder / "dumps").mkdir()
    (folder / "dumps" / "node.jsonl").write_bytes(b"\n".join(lines))
    for name, words in {
        "diagnosis": ["diagnose", str(folder / "dumps"), "--json"],
        "gangs": ["replay", "--faults", "fitted", "--fleet", "40", "--gang-nodes", "8", "--json"],
    }.items():
        done = CliRunner().invoke(stowage.app, words)
        assert done.exit_code == 0, done.output
        (folder / f"{name}.json").write_text(done.stdout)
    return folder


def test_the_slow_connection_is_accused_and_stands_out_of_the_matrix(reports: Path, open_page: OpenPage) -> None:
    app = open_page("gpu_faults", reports / "diagnosis.json")
    assert not app.exception
    assert {tile.label: tile.value for tile in app.metric}["Verdict"] == "communication slow"
    who = next(table.value for table in app.dataframe if "evidence" in table.value.columns)
    assert who["connection"].tolist() == ["3 to 6"]
    (item,) = find_items([reports / "diagnosis.json"]).of("diagnosis")
    cells = gpu_faults.delays(item)
    assert len(cells) == 8 * 7
    assert tuple(cells.loc[cells["factor"].idxmax(), ["source", "target"]]) == (3, 6)


def test_what_a_gang_loses_adds_up(reports: Path, open_page: OpenPage) -> None:
    app = open_page("gpu_faults", reports / "gangs.json")
    assert not app.exception
    (item,) = find_items([reports / "gangs.json"]).of("gangs")
    assert gpu_faults.goodput(item).groupby("recovery")["share"].sum().tolist() == pytest.approx([1, 1])
    curve = gpu_faults.spares(item)
    assert curve["share_of_time"].is_monotonic_increasing
    enough = int(curve["spares"][curve["share_of_time"] >= 0.99].iloc[0])
    assert {tile.label: tile.value for tile in app.metric}["Spares for 99 %"] == f"{enough} nodes"


def test_a_node_is_shown_in_its_last_state(open_page: OpenPage, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", "planner-1")
    for second, state in enumerate(["suspect", "failing", "healthy"]):
        journal.append("node", 1e9 + second, node="gpu-1", verdict=state, message=HOSTILE)
    journal.flush()
    app = open_page("gpu_faults", journal=tmp_path / "journal")
    assert not app.exception
    (row,) = next(table.value for table in app.dataframe if "state" in table.value.columns).to_dict("records")
    assert (row["node"], row["state"], row["changes"], row["why"]) == ("gpu-1", "healthy", 3, HOSTILE)


def test_words_of_a_report_are_shown_as_text(open_page: OpenPage, tmp_path: Path) -> None:
    report = {"verdict": HOSTILE, "accused": [], "missing_ranks": [], "notes": [HOSTILE]}
    (tmp_path / "hostile.json").write_text(json.dumps(report))
    app = open_page("gpu_faults", tmp_path)
    assert not app.exception
    shown = next(caption.value for caption in app.caption if "script" in caption.value)
    assert "\\<script\\>" in shown
    assert "\\[x\\]\\(" in shown
