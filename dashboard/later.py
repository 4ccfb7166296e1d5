"""Answers that take seconds: worked out one after another beside the pages, and kept for everybody.

A page asks, draws what it already knows, and watches; it never waits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import streamlit as st

MOST_KEPT: Final = 32
Answer = TypeVar("Answer")


class Later:
    """What was asked, newest last. One thread: a question does not take the pages' time from them twice."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="later")
        self._asked: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, key: Hashable, question: Callable[[], Answer]) -> Future[Answer]:
        """The answer to come, the same one for the same key. The oldest beyond `MOST_KEPT` are forgotten."""
        with self._lock:
            if key not in self._asked:
                self._asked[key] = self._worker.submit(question)
            self._asked.move_to_end(key)
            while len(self._asked) > MOST_KEPT:
                self._asked.popitem(last=False)[1].cancel()
            return self._asked[key]


@st.cache_resource
def _everybodys() -> Later:
    return Later()


def ask(key: Hashable, question: Callable[[], Answer]) -> Future[Answer]:
    """See `Later.ask`."""
    return _everybodys().ask(key, question)


@st.fragment(run_every=1)
def watch(future: Future[Any], words: str) -> None:
    """Say what is being worked out, and draw the page again when it is there."""
    if future.done():
        st.rerun(scope="app")
    st.caption(f":material/hourglass_top: {words}")
