"""What pages share: the items of the workspace, the choices that the address holds, and caches with bounds.

A cache is keyed by an item's key, so that a run made again is read again; nothing else of a run is kept in a session.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import streamlit as st

from analytics.errors import InputError
from analytics.workspace import REPORTS, Found, Item, Kind, find_items
from dashboard import settings, show

LOOK_AGAIN_S = 5
MOST_ENTRIES = 64
MOST_PROBLEMS = 3  # on a page; the sidebar has all

logger = logging.getLogger(__name__)

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def cached(function: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Remember a view's answers for all sessions, up to a bound. Its arguments tell everything, as an `Item` does."""

    @functools.wraps(function)
    def asked(*given: Given.args, **named: Given.kwargs) -> Answer:
        try:
            return function(*given, **named)
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
            flat = [one for each in given for one in (each if isinstance(each, list | tuple) else [each])]
            report = next((one for one in flat if isinstance(one, Item) and one.kind in REPORTS), None)
            if report is None or isinstance(error, InputError):
                raise
            # Only the outermost types of a report are known to be right; what is deeper anybody may have written.
            logger.warning("event=report_not_understood path=%s", report.path, exc_info=error)
            raise InputError(f"{report.path} holds something else than this version expects; make it again") from error

    return st.cache_data(max_entries=MOST_ENTRIES, show_spinner="reading")(asked)


@st.cache_data(ttl=LOOK_AGAIN_S, max_entries=4, show_spinner=False)
def _look(chosen: settings.Settings) -> Found:
    paths = (*chosen.paths, chosen.journal) if chosen.journal else chosen.paths
    return find_items(paths)


def workspace() -> Found:
    """Everything that can be looked at now."""
    return _look(settings.current())


def choose(label: str, key: str, *kinds: Kind, missing: str, commands: Sequence[str] = ()) -> Item | None:
    """One item of these kinds, held in the address under `key`; None (and a note how to make one) where none is."""
    items = workspace().of(*kinds)
    if not items:
        _say_missing(missing, commands, kinds)
        return None
    names = [item.name for item in items]
    forget_unknown(key, names)
    name = st.selectbox(label, names, key=key, bind="query-params")
    return next(item for item in items if item.name == name)


def choose_run() -> Item | None:
    """One replay of a cluster trace, held in the address under `run`."""
    return choose(
        "Run",
        "run",
        "replay",
        missing="No run of a cluster trace is here.",
        commands=("stowage replay TRACE --policy best-fit -o runs/best-fit",),
    )


def choose_many(label: str, key: str, *kinds: Kind, missing: str, commands: Sequence[str] = ()) -> list[Item]:
    """Several items of these kinds, all at first; held in the address under `key`."""
    items = workspace().of(*kinds)
    if not items:
        _say_missing(missing, commands, kinds)
        return []
    names = [item.name for item in items]
    chosen = st.multiselect(label, names, default=names[:8], key=key, bind="query-params")
    return [item for item in items if item.name in chosen]


def _say_missing(missing: str, commands: Sequence[str], kinds: Sequence[Kind]) -> None:
    """That nothing of these kinds is here, or not yet, or nothing that can be read."""
    for item in workspace().of("broken")[:MOST_PROBLEMS]:
        st.warning(show.plain(item.problem), icon=":material/warning:")
    coming = [item for item in workspace().partial if item.kind in kinds]
    if coming:
        st.info(f"{show.plain(coming[0].name)} is being written; it is shown when it is whole", icon=":material/edit:")
    else:
        show.missing(missing, *commands)


def forget_unknown(key: str, known: Sequence[str]) -> None:
    """Say so, and go on without it, where the address names something that is not there."""
    asked = st.query_params.get(key)
    if asked is not None and asked not in known:
        del st.query_params[key]
        st.warning(f"{show.plain(asked)} is not here (any more); showing {show.plain(known[0])} instead")
