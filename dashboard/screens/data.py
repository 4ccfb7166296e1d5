"""Data: what was kept and refused of an input, what is absent, how old it is, and what was made of it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from analytics.views import data
from analytics.workspace import Item
from dashboard import show, state

about, tables, gaps = state.cached(data.about), state.cached(data.tables), state.cached(data.gaps)
rejected, reasons, sources = state.cached(data.rejected), state.cached(data.reasons), state.cached(data.sources)
lineage = state.cached(data.lineage)
COMMANDS = (
    "stowage trace import google2011 DOWNLOADS -o trace",
    "stowage trace check trace",
    "stowage dashboard trace runs",
)


def render() -> None:
    """The page."""
    item = state.choose("Trace", "trace", "trace", missing="No imported trace is here.", commands=COMMANDS)
    if item is not None:
        _show_trace(item)
    found = state.workspace()
    runs = found.of("replay")
    if runs:
        st.subheader("What was made of which trace")
        show.table(lineage(runs, found.of("trace")), "lineage")


def _show_trace(item: Item) -> None:
    known = about(item)
    total = known.kept + known.rejected
    show.tiles(
        [
            show.Tile("Format", known.format, help=f"digest {known.digest}"),
            show.Tile(
                "Rows kept", show.number(known.kept), f"{show.share(known.kept / total if total else None)} of all rows"
            ),
            show.Tile("Rows rejected", show.number(known.rejected), help="Each is kept in the trace, with its reason."),
            show.Tile(
                "Illegal transitions",
                show.number(known.illegal),
                help="Events out of order, without an excuse in the trace.",
            ),
            show.Tile("Tables with gaps", show.number(known.gaps)),
            show.Tile("Length", show.number(known.hours, "h")),
            show.Tile("Imported", f"{known.imported:%Y-%m-%d %H:%M} UTC"),
        ]
    )
    for note in known.notes:
        st.caption(show.plain(note))
    st.subheader("Tables")
    show.table(tables(item), "tables")
    if known.gaps:
        st.subheader("What is missing")
        show.table(gaps(item), "gaps")
    st.subheader("Rejected rows")
    why: pd.DataFrame = reasons(item)
    if why.empty:
        st.write("No row was rejected.")
    else:
        show.table(why, "reasons")
        show.table(rejected(item), "rejected")
    with st.expander("Source files"):
        show.table(sources(item), "sources")
