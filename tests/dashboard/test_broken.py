"""Every page over what is cut, garbage, of another version, half-written or deleted: a message, no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from analytics.workspace import LIST, NUMBER, OBJECT, REPORTS, TEXT, TYPES
from dashboard.screens import PAGES
from tests.dashboard.conftest import OpenPage

EVERY = tuple(info.module for info in PAGES)


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


def open_all(open_page: OpenPage, folder: Path, pages: Sequence[str] = EVERY, journal: Path | None = None) -> list[str]:
    """What these pages say of it; none of them fails."""
    words: list[str] = []
    for page in pages:
        app = open_page(page, folder, journal=journal)
        assert not app.exception, (page, [each.value for each in app.exception])
        words += said(app)
    return words


@pytest.mark.parametrize("spoil", [cut, make_garbage, make_foreign])
@pytest.mark.parametrize("name", ["best-fit", "serverless"])
def test_a_run_whose_files_are_spoiled_is_named(
    workspace: Path, tmp_path: Path, open_page: OpenPage, name: str, spoil: Callable[[Path], None]
) -> None:
    for pattern in ("*.parquet", "run.json", "summary.json"):
        broken = tmp_path / pattern.strip("*.") / name
        shutil.copytree(workspace / "runs" / name, broken)
        for file in broken.glob(pattern):
            spoil(file)
        pages = ("serverless",) if name == "serverless" else ("replay", "nodes")
        is_unread = pattern == "summary.json" and spoil is make_foreign  # whole, and these pages do not look into it
        assert any(str(broken) in line for line in open_all(open_page, broken, pages)) or is_unread


@pytest.mark.parametrize("spoil", [cut, make_garbage, make_foreign])
@pytest.mark.parametrize("name", ["trace", "journal"])
def test_a_spoiled_trace_or_journal_stops_no_page(
    workspace: Path, tmp_path: Path, open_page: OpenPage, name: str, spoil: Callable[[Path], None]
) -> None:
    broken = tmp_path / name
    shutil.copytree(workspace / name, broken)
    for file in broken.iterdir():
        if file.is_file():
            spoil(file)
    if name == "trace":
        open_all(open_page, broken, ("data",))
    else:
        open_all(open_page, tmp_path / "reports", journal=broken)


def test_reports_with_other_values_than_ours_stop_no_page(tmp_path: Path, open_page: OpenPage) -> None:
    """Right on the outside, wrong within; what is wrong outside is told by `find_items`."""
    inside: dict[tuple[bytes, str], object] = {OBJECT: {"x": {"y": None}}, LIST: [{"x": None}], TEXT: "x", NUMBER: 7}
    for kind, keys in REPORTS.items():
        about = {key: inside[TYPES[key]] if key in TYPES else {"x": [None]} for key in keys}
        (tmp_path / f"{kind}.json").write_text(json.dumps(about))
    open_all(open_page, tmp_path)


def test_runs_that_are_deleted_while_they_are_looked_at_are_said_to_be_gone(
    workspace: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    for page in ("replay", "compare", "serverless"):
        folder = tmp_path / page
        shutil.copytree(workspace / "runs", folder)
        app = open_page(page, folder)
        assert not app.error
        shutil.rmtree(folder)
        st.cache_data.clear()
        app.run()
        assert not app.exception, (page, [each.value for each in app.exception])
        assert said(app)


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
