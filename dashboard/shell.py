"""What stands around every page: its title and question, and what cannot be read at the moment."""

from __future__ import annotations

import importlib

import streamlit as st

from analytics.errors import InputError
from dashboard import metrics, show, state
from dashboard.screens import PageInfo


def show_page(info: PageInfo) -> None:
    """The page; where its data cannot be read, the reason in its place."""
    st.title(info.title)
    st.caption(info.question)
    with metrics.page_view(info.module):
        try:
            importlib.import_module(f"dashboard.screens.{info.module}").render()
        except InputError as error:
            st.error(show.plain(error), icon=":material/error:")


def show_problems() -> None:
    """What is being written, and what cannot be read and why."""
    found = state.workspace()
    for item in found.items:
        if item.is_partial:
            st.caption(f":material/edit: {show.plain(item.name)} is being written")
    broken = [item for item in found.items if item.kind == "broken"]
    if broken:
        with st.expander(f"{len(broken)} cannot be read", icon=":material/warning:"):
            for item in broken:
                st.text(item.problem)
    if found.skipped:
        st.caption(f"{found.skipped:,} more are not shown: start the dashboard on fewer folders")
