"""Every page over what is cut, garbage, of another version, half-written or deleted: a message, no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from analytics.workspace import REPORTS
from tests.dashboard.conftest import WRITTEN, OpenPage


def cut(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])


def make_garbage(file: Path) -> None:
    file.write_bytes(b"\x00garbage <b>\xff" * 50)


def make_foreign(file: Path) -> None:
    """What another version might write: whole, with other columns or keys."""
    if file.suffix == ".parquet":
        pq.write_table(pa.table({"colour": ["red"], "taste": [None]}), file)
    else:
        file.write_text(json.dumps({"colour": "red"}))


def said(app: AppTest) -> list[str]:
    """What a page says of its data, without the backslashes that keep Markdown away."""
    return [element.value.replace("\\", "") for element in (*app.error, *app.warning, *app.info)]


def open_all(open_page: OpenPage, folder: Path) -> list[str]:
    """What all pages say of it; none of them fails."""
    words: list[str] = []
    for info in WRITTEN:
        app = open_page(info.module, folder)
        assert not app.exception, (info.module, [each.value for each in app.exception])
        words += said(app)
    return words


@pytest.mark.parametrize("spoil", [cut, make_garbage, make_foreign])
@pytest.mark.parametrize("name", ["best-fit", "serverless"])
def test_a_run_whose_tables_are_spoiled_is_named(
    workspace: Path, tmp_path: Path, open_page: OpenPage, name: str, spoil: Callable[[Path], None]
) -> None:
    broken = tmp_path / name
    shutil.copytree(workspace / "runs" / name, broken)
    for file in broken.glob("*.parquet"):
        spoil(file)
    assert any(str(broken) in line for line in open_all(open_page, broken))


@pytest.mark.parametrize("spoil", [cut, make_garbage, make_foreign])
@pytest.mark.parametrize("name", ["best-fit", "serverless"])
def test_a_run_whose_descriptions_are_spoiled_is_named(
    workspace: Path, tmp_path: Path, open_page: OpenPage, name: str, spoil: Callable[[Path], None]
) -> None:
    for file in ("run.json", "summary.json"):
        broken = tmp_path / file / name
        shutil.copytree(workspace / "runs" / name, broken)
        if (broken / file).exists():
            spoil(broken / file)
            open_all(open_page, broken)


@pytest.mark.parametrize("spoil", [cut, make_garbage, make_foreign])
@pytest.mark.parametrize("name", ["trace", "azure", "journal"])
def test_a_spoiled_trace_or_journal_stops_no_page(
    workspace: Path, tmp_path: Path, open_page: OpenPage, name: str, spoil: Callable[[Path], None]
) -> None:
    broken = tmp_path / name
    shutil.copytree(workspace / name, broken)
    for file in broken.iterdir():
        if file.is_file():
            spoil(file)
    for info in WRITTEN:
        app = open_page(
            info.module, *() if name == "journal" else (broken,), journal=broken if name == "journal" else None
        )
        assert not app.exception, (info.module, [each.value for each in app.exception])


@pytest.mark.parametrize("kind", sorted(REPORTS))
@pytest.mark.parametrize("value", [None, 7, "text", [1], {"x": {"y": None}}], ids=repr)
def test_a_report_with_other_values_than_ours_stops_no_page(
    kind: str, value: object, tmp_path: Path, open_page: OpenPage
) -> None:
    (tmp_path / "report.json").write_text(json.dumps(dict.fromkeys(REPORTS[kind], value)))
    open_all(open_page, tmp_path)


def test_a_run_that_is_deleted_while_it_is_looked_at_is_said_to_be_gone(
    workspace: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    for info in WRITTEN:
        folder = tmp_path / info.module
        shutil.copytree(workspace / "runs", folder)
        app = open_page(info.module, folder)
        shutil.rmtree(folder)
        app.run()
        assert not app.exception, (info.module, [each.value for each in app.exception])


def test_a_run_that_is_being_written_is_announced_and_then_shown(
    workspace: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    coming = tmp_path / "runs" / "best-fit.partial"
    shutil.copytree(workspace / "runs" / "best-fit", coming)
    app = open_page("replay", tmp_path / "runs")
    assert any("best-fit is being written" in line for line in said(app))
    coming.rename(coming.with_name("best-fit"))
    st.cache_data.clear()  # otherwise the workspace is looked at again after seconds
    app = open_page("replay", tmp_path / "runs", run="best-fit")
    assert not said(app)
    assert app.selectbox(key="run").value == "best-fit"
