"""Tiles, tables and charts as every page shows them: with units, and everything on the screen to be downloaded.

Names come from clusters and traces, so nobody vouches for them: they reach the page as text (`plain`), or inside
tables and charts, which draw text. No page allows HTML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import altair as alt
import pandas as pd
import streamlit as st

from dashboard.screens import PAGES

# What a column's last word means, and how people read it.
UNITS: Final = {
    "s": "s",
    "us": "µs",
    "ms": "ms",
    "mib": "MiB",
    "milli": "millicores",
    "usd": "USD",
    "joules": "J",
    "h": "h",
}
WORDS: Final = {"cpu": "CPU", "gpu": "GPU", "gpus": "GPUs", "p50": "median", "p90": "p90", "p99": "p99", "id": "ID"}
Drawing: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart | alt.HConcatChart | alt.VConcatChart
MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:])")


@dataclass(frozen=True, slots=True)
class Tile:
    """One number. value: with its unit, as people read it. delta: against what, in words. trend: its course."""

    label: str
    value: str
    delta: str | None = None
    help: str | None = None
    trend: Sequence[float] | None = None


def plain(text: object) -> str:
    """The text as it is, whatever Markdown or HTML is in it."""
    return MARKDOWN.sub(r"\\\1", str(text).replace("\n", " "))


def number(value: float | None, unit: str = "") -> str:
    """Four digits at most, thousands grouped; a dash where there is none."""
    if value is None or pd.isna(value):
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
    return f"{text} {unit}".rstrip()


def share(value: float | None) -> str:
    """A share as a percentage."""
    return "–" if value is None or pd.isna(value) else f"{100 * value:.1f} %"


def tiles(row: Sequence[Tile]) -> None:
    """Numbers side by side; they wrap where the window is narrow."""
    with st.container(horizontal=True):
        for tile in row:
            st.metric(
                tile.label, tile.value, tile.delta, delta_color="off", delta_arrow="off", help=tile.help, border=True,
                chart_data=tile.trend, chart_type="area",
            )  # fmt: skip


def table(frame: pd.DataFrame, key: str, headings: Mapping[str, str] | None = None, **options: Any) -> Any:
    """A table with units in its headings, and the same rows as CSV. options: of st.dataframe."""
    config = {
        str(name): _column((headings or {}).get(str(name)) or heading(str(name)), frame[name]) for name in frame.columns
    }
    answer = st.dataframe(frame, key=key, hide_index=True, column_config=config, **options)
    download(frame, key)
    return answer


def _column(label: str, values: pd.Series) -> Any:
    """How a column is written: numbers with their thousands grouped."""
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return st.column_config.NumberColumn(label, format="localized") if is_number else label


def chart(drawing: Drawing, frame: pd.DataFrame, key: str, alt_text: str, **options: Any) -> Any:
    """A chart; its menu saves the picture (PNG, SVG), the button its data. alt_text: what it shows, for a reader."""
    answer = st.altair_chart(drawing, key=key, alt=alt_text, **options)
    download(frame, key)
    return answer


def download(frame: pd.DataFrame, key: str) -> None:
    """The frame as a CSV file."""
    st.download_button(
        "CSV", frame.to_csv(index=False), f"{key}.csv", "text/csv", key=f"{key}-csv", on_click="ignore",
        type="tertiary", icon=":material/download:", help=f"{len(frame):,} rows",
    )  # fmt: skip


def link(label: str, module: str, **query: str | list[str]) -> None:
    """A link to another page. module: of `dashboard.screens`. query: what its address holds."""
    info = next(info for info in PAGES if info.module == module)
    page = st.Page(lambda: None, title=info.title, url_path=info.path)  # known by its path alone
    st.page_link(page, label=plain(label), icon=f":material/{info.icon}:", query_params=query or None)


def missing(what: str, *commands: str) -> None:
    """What is not there, and how to make it."""
    st.info(plain(what), icon=":material/info:")
    if commands:
        st.code("\n".join(commands), language="shell")


def heading(column: str) -> str:
    """A column's name as a heading with its unit: "waited_s" is "Waited, s"."""
    words = column.split("_")
    unit = UNITS.get(words[-1], "") if len(words) > 1 else ""
    if unit:
        words = words[:-1]
    text = " ".join(WORDS.get(word, word) for word in words)
    return f"{text[:1].upper()}{text[1:]}{', ' + unit if unit else ''}"
