"""The script that Streamlit runs for every view of a page."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from analytics.errors import InputError
from dashboard import live, show
from dashboard.screens import LIMITED, PAGES
from dashboard.shell import show_page, watch_workspace

ICON = Path(__file__).with_name("icon.svg")  # a file of ours: named icons are fetched from afar

st.set_page_config(page_title="Stowage", page_icon=str(ICON), layout="wide")
sections: dict[str, list[st.Page]] = {}
try:
    visible = live.visible_namespaces()
except InputError as error:  # the API server cannot say what this person may see: nothing, then
    st.error(show.plain(error), icon=":material/error:")
    st.stop()
for number, info in enumerate(info for info in PAGES if visible is None or info.module in LIMITED):
    icon = f":material/{info.icon}:"
    page = st.Page(partial(show_page, info), title=info.title, icon=icon, url_path=info.path, default=number == 0)
    sections.setdefault(info.section, []).append(page)
chosen = st.navigation(sections, expanded=True)
with st.sidebar:
    if visible is None:
        watch_workspace()
chosen.run()
