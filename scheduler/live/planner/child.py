"""A child process that answers one question at a time, with its own deadline and memory.

A search that hangs or dies takes no planner with it, and the interpreter that watches the cluster is not held up.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class SolverFailed(Exception):
    """The child did not answer in time, or died; the next question starts another."""


def _work(connection: Connection, warm: Callable[[], None], answer: Callable[[bytes], bytes]) -> None:
    warm()
    connection.send_bytes(b"ready")
    while True:
        try:
            question = connection.recv_bytes()
        except EOFError:
            return
        try:
            connection.send_bytes(b"+" + answer(question))
        except Exception as error:
            connection.send_bytes(b"-" + f"{type(error).__name__}: {error}".encode())


class Child:
    """The process; `start` early, since loading it takes seconds.

    warm, answer: functions of a module, which the child imports; `warm` is run once, before the first question.
    """

    def __init__(self, name: str, warm: Callable[[], None], answer: Callable[[bytes], bytes]) -> None:
        self._name, self._warm, self._answer = name, warm, answer
        self._process: Any = None
        self._connection: Connection | None = None
        self._ready = False

    def start(self) -> None:
        """Start the child if there is none; returns at once."""
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._warm, self._answer), name=self._name)
        self._process.start()
        theirs.close()
        self._connection, self._ready = ours, False

    def ask(self, question: bytes, budget_s: float, patience_s: float) -> bytes:
        """The answer; SolverFailed after its budget and `patience_s` more."""
        self.start()
        connection = self._connection
        assert connection is not None
        try:
            if not self._ready:
                if not connection.poll(120.0):
                    raise SolverFailed("the solver process did not start in 120 s")
                connection.recv_bytes()
                self._ready = True
            connection.send_bytes(question)
            if not connection.poll(budget_s + patience_s):
                raise SolverFailed(f"no answer {patience_s:.0f} s after its budget of {budget_s:.1f} s")
            data = connection.recv_bytes()
        except (EOFError, OSError) as error:
            self.stop()
            raise SolverFailed("the solver process died") from error
        except SolverFailed:
            self.stop()
            raise
        if data[:1] == b"-":
            raise SolverFailed(data[1:].decode())
        return data[1:]

    def stop(self) -> None:
        """End the child."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.terminate()
            self._process.join(2.0)
            if self._process.is_alive():
                self._process.kill()
        self._process, self._connection, self._ready = None, None, False
