"""Solving in a child process with its own deadline and memory: a search that hangs or dies takes no planner with it."""

from __future__ import annotations

import logging
import multiprocessing
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

import msgspec

log = logging.getLogger(__name__)


class Question(msgspec.Struct, frozen=True):
    """snapshot: in our own file format. kind: pending (find room for waiting pods) or consolidate (fewer nodes)."""

    snapshot: bytes
    kind: str
    order: str
    budget_s: float
    seed: int


class Answer(msgspec.Struct, frozen=True):
    """steps and unplaced: as `scheduler.core.packing.plan` makes them; tiers: priority, before, placed, bound."""

    verdict: str
    moves_verdict: str
    seconds: float
    tiers: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    unplaced: list[dict[str, str]]
    notes: list[str]


class SolverFailed(Exception):
    """The child did not answer in time, or died; the next question starts another."""


def answer(question: Question) -> Answer:
    """The plan for a question."""
    from scheduler.core.packing.consolidate import minimise_nodes
    from scheduler.core.packing.from_snapshot import make_packing
    from scheduler.core.packing.plan import make_plan, order_steps
    from scheduler.core.packing.problem import Budget
    from scheduler.core.packing.solve import solve
    from scheduler.core.snapshot import parse_snapshot

    packing = make_packing(parse_snapshot(question.snapshot))
    budget = Budget(question.budget_s)
    if question.kind == "consolidate":
        found = minimise_nodes(packing, budget, question.seed)
        steps = order_steps(packing.problem, found.assign)
        verdict = "optimal" if found.bound == found.nodes_after else "feasible"
        note = f"{found.nodes_before} -> {found.nodes_after} nodes, at least {found.bound}"
        return Answer(verdict, verdict, 0.0, [], [asdict(s) for s in steps], [], [note])
    result = solve(packing.problem, "max-pack" if question.order == "max-pack" else "no-harm", budget, question.seed)
    plan = make_plan(packing, result)
    return Answer(
        verdict=result.verdict,
        moves_verdict=result.moves_verdict,
        seconds=result.seconds,
        tiers=[asdict(tier) for tier in result.tiers],
        steps=[asdict(step) for step in plan.steps],
        unplaced=plan.unplaced,
        notes=[*packing.notes, *result.notes],
    )


def _work(connection: Connection) -> None:
    from scheduler.core.packing.solve import warm

    warm()
    connection.send_bytes(b"ready")
    decoder = msgspec.msgpack.Decoder(Question)
    while True:
        try:
            question = decoder.decode(connection.recv_bytes())
        except EOFError:
            return
        try:
            made = msgspec.msgpack.encode(answer(question), enc_hook=_plain)
            connection.send_bytes(b"+" + made)
        except Exception as error:
            connection.send_bytes(b"-" + f"{type(error).__name__}: {error}".encode())


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value)} cannot be sent")


class Solver:
    """The child process; `start` early, since loading it takes seconds."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Connection | None = None
        self._ready = False

    def start(self) -> None:
        """Start the child if there is none; returns at once."""
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), name="stowage-solver")
        self._process.start()
        theirs.close()
        self._connection, self._ready = ours, False

    def ask(self, question: Question, patience_s: float) -> Answer:
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
            connection.send_bytes(msgspec.msgpack.encode(question))
            if not connection.poll(question.budget_s + patience_s):
                raise SolverFailed(f"no answer {patience_s:.0f} s after its budget of {question.budget_s:.1f} s")
            data = connection.recv_bytes()
        except (EOFError, OSError) as error:
            self.stop()
            raise SolverFailed("the solver process died") from error
        except SolverFailed:
            self.stop()
            raise
        if data[:1] == b"-":
            raise SolverFailed(data[1:].decode())
        return msgspec.msgpack.decode(data[1:], type=Answer)

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
