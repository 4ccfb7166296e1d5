"""The Data page over an imported trace with rows that were refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from typer.testing import CliRunner

import stowage
from analytics.views import data
from analytics.workspace import find_items
from tests.dashboard.conftest import OpenPage


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic cell as published, two of its rows spoiled, imported."""
    folder = tmp_path_factory.mktemp("traces")
    run = CliRunner().invoke
    made = run(
        stowage.app, ["trace", "synth", "google2011", "--machines", "20", "--days", "0.05", "-o", str(folder / "raw")]
    )
    assert made.exit_code == 0, made.output
    part = next((folder / "raw" / "task_events").glob("*.gz"))
    lines = gzip.decompress(part.read_bytes()).decode().splitlines(keepends=True)
    fields = lines[5].split(",")
    lines[5] = ",".join([*fields[:5], "99", *fields[6:]])
    lines[9] = "x" + lines[9]
    part.write_bytes(gzip.compress("".join(lines).encode()))
    (folder / "raw" / "SHA256SUMS").unlink(missing_ok=True)
    imported = run(stowage.app, ["trace", "import", "google2011", str(folder / "raw"), "-o", str(folder / "cell")])
    assert imported.exit_code == 0, imported.output
    return folder


def test_rows_kept_and_rejected_are_those_of_the_trace(traces: Path, open_page: OpenPage) -> None:
    app = open_page("data", traces / "cell")
    assert not app.exception
    tiles = {tile.label: tile.value for tile in app.metric}
    (item,) = find_items([traces / "cell"]).of("trace")
    imported = data.tables(item).set_index("table")["rows_kept"].drop(["attempts", "tasks"])
    assert tiles["Rows kept"] == f"{imported.sum():,}"
    assert tiles["Rows rejected"] == "2"
    assert len(data.rejected(item)) == 2
    assert data.reasons(item)["rows"].sum() == 2


def test_the_refused_rows_are_shown_with_file_and_reason(traces: Path, open_page: OpenPage) -> None:
    app = open_page("data", traces / "cell")
    shown = next(table.value for table in app.dataframe if "reason" in table.value.columns)
    assert shown["row"].tolist() == [6, 10]
    assert all("task_events" in name or "part-" in name for name in shown["file"])


def test_an_empty_workspace_says_what_to_do(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("data", tmp_path)
    assert not app.exception
    assert "No imported trace is here" in app.info[0].value.replace("\\", "")
    assert any("stowage trace import" in block.value for block in app.code)


def test_a_cut_meta_file_is_named(tmp_path: Path, traces: Path, open_page: OpenPage) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "meta.json").write_text((traces / "cell" / "meta.json").read_text()[:100])
    app = open_page("data", broken)
    assert not app.exception
    assert "meta.json" in app.error[0].value.replace("\\", "")
