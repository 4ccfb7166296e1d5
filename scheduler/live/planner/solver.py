"""Questions about room and their answers, solved in a child process."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from scheduler.live.planner.child import Child


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


def _warm() -> None:
    from scheduler.core.packing.solve import warm

    warm()


def _answer(question: bytes) -> bytes:
    return msgspec.msgpack.encode(answer(msgspec.msgpack.decode(question, type=Question)), enc_hook=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value)} cannot be sent")


class Solver:
    """The child process; `start` early, since loading it takes seconds."""

    def __init__(self) -> None:
        self._child = Child("stowage-solver", _warm, _answer)
        self.start, self.stop = self._child.start, self._child.stop

    def ask(self, question: Question, patience_s: float) -> Answer:
        """The answer; SolverFailed after its budget and `patience_s` more."""
        data = self._child.ask(msgspec.msgpack.encode(question), question.budget_s, patience_s)
        return msgspec.msgpack.decode(data, type=Answer)
