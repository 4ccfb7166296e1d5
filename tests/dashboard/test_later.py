"""What takes seconds is worked out once, beside the pages, and forgotten when much else was asked."""

from __future__ import annotations

import threading

import pytest

from analytics.errors import InputError
from dashboard.later import MOST_KEPT, Later


def test_the_same_question_is_worked_out_once() -> None:
    later, asked = Later(), []
    answers = [later.ask("key", lambda: asked.append(1) or 7).result(5) for _ in range(3)]
    assert (answers, len(asked)) == ([7, 7, 7], 1)


def test_nobody_waits_for_the_answer() -> None:
    later, may_end = Later(), threading.Event()
    future = later.ask("slow", lambda: may_end.wait(5))
    assert not future.done()
    may_end.set()
    assert future.result(5)


def test_the_oldest_are_forgotten_and_asked_again() -> None:
    later, asked = Later(), []

    def ask(key: int) -> int:
        return later.ask(key, lambda: asked.append(key) or key).result(5)

    for key in range(MOST_KEPT + 1):
        ask(key)
    ask(MOST_KEPT)
    assert len(asked) == MOST_KEPT + 1
    ask(0)
    assert asked[-1] == 0


def test_bad_input_is_told_to_whoever_asks() -> None:
    def refuse() -> None:
        raise InputError("gone")

    later = Later()
    for _ in range(2):
        with pytest.raises(InputError, match="gone"):
            later.ask("bad", refuse).result(5)
