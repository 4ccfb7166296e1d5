"""What stands around every page: its title and question, and what cannot be read at the moment."""

from __future__ import annotations

import importlib
import logging
import time
from typing import Final

import duckdb
import streamlit as st

from analytics.errors import InputError
from analytics.workspace import Item, last_written_s
from dashboard import metrics, show, state
from dashboard.screens import PageInfo

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S: Final = 900  # an import may work on one file of a large trace for minutes


def show_page(info: PageInfo) -> None:
    """The page; where its data cannot be read, the reason in its place."""
    st.title(info.title)
    st.caption(info.question)
    with metrics.page_view(info.module):
        try:
            importlib.import_module(f"dashboard.screens.{info.module}").render()
        except InputError as error:
            st.error(show.plain(error), icon=":material/error:")
        except (duckdb.IOException, duckdb.InvalidInputException, FileNotFoundError) as gone:
            logger.warning("event=file_gone page=%s", info.module, exc_info=gone)
            reason = str(gone).partition("\n")[0]
            st.error(f"A file cannot be read any more: {show.plain(reason)}", icon=":material/error:")


@st.fragment(run_every=state.LOOK_AGAIN_S)
def watch_workspace() -> None:
    """What is being written, and what cannot be read and why; the page is shown again when the workspace changes."""
    found = state.workspace()
    whole = tuple((item.name, item.key) for item in found.items if item.kind != "journal" and not item.is_partial)
    seen = st.session_state.setdefault("workspace_seen", whole)
    if seen != whole:
        st.session_state["workspace_seen"] = whole
        st.rerun()
    for item in found.partial:
        st.caption(f":material/edit: {_about_partial(item)}")
    broken = found.of("broken")
    if broken:
        with st.expander(f"{len(broken)} cannot be read", icon=":material/warning:"):
            for item in broken:
                st.text(item.problem)
    if found.skipped:
        st.caption(f"{found.skipped:,} more are not shown: start the dashboard on fewer folders")
    if found.is_cut:
        st.caption("These folders hold too much to look through: start the dashboard on the folders of runs themselves")


def _about_partial(item: Item) -> str:
    """Whether somebody still writes it, as far as its times tell."""
    name, quiet_s = show.plain(item.name), time.time() - last_written_s(item)
    if quiet_s < LONGEST_PAUSE_S:
        return f"{name} is being written"
    return f"{name} was left half-written; make it again, or delete {show.plain(item.path.name)}"
