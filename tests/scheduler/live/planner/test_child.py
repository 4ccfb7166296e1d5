"""A child process that answers questions, also after it has died."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from scheduler.live.planner.child import Child, SolverFailed


def warm() -> None:
    """Nothing to load."""


def answer(question: bytes) -> bytes:
    """Upside down; some questions are harder."""
    if question == b"refuse":
        raise ValueError("no such question")
    if question == b"die":
        os._exit(1)
    if question == b"hang":
        time.sleep(60)
    return question[::-1]


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child("test", warm, answer)
    yield made
    made.stop()


def test_it_answers_says_why_not_and_comes_back_after_death_and_silence(child: Child) -> None:
    assert child.ask(b"abc", 1.0, 30.0) == b"cba"
    with pytest.raises(SolverFailed, match="ValueError: no such question"):
        child.ask(b"refuse", 1.0, 30.0)
    with pytest.raises(SolverFailed, match="died"):
        child.ask(b"die", 1.0, 30.0)
    assert child.ask(b"abc", 1.0, 30.0) == b"cba"
    with pytest.raises(SolverFailed, match=r"no answer 0 s after its budget of 0\.1 s"):
        child.ask(b"hang", 0.1, 0.0)
    assert child.ask(b"xyz", 1.0, 30.0) == b"zyx"
