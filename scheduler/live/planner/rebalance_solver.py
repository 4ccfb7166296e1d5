"""Which pods would move off overloaded nodes, asked of a child process of its own: a search of seconds keeps no pod
that waits for room from its plan."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Literal

import msgspec

from scheduler.core.snapshot import Node, Pod, a_snapshot, encode_snapshot
from scheduler.live.planner.child import Child

PATIENCE_S = 60.0
"""Beyond the budget, for reading the cluster, the bound and the order of the moves."""


class RebalanceQuestion(msgspec.Struct, frozen=True):
    """snapshot: in our own file format. use: namespace/name -> what it uses, None where nobody knows.

    target, resources, load: see `scheduler.core.balance.from_snapshot.Limit`. threshold: nothing is moved unless a node
    is above this share. budget_s: of wall clock. most, most_per_namespace, most_by_namespace: pods that may be moved.
    """

    snapshot: bytes
    method: str
    target: float
    threshold: float
    resources: list[str]
    load: Literal["requests", "use"]
    budget_s: float
    most: int
    most_per_namespace: int
    most_by_namespace: dict[str, int] = {}
    use: dict[str, dict[str, int]] | None = None
    seed: int = 0


class Change(msgspec.Struct, frozen=True):
    """As `scheduler.core.balance.moves.LoadChange`, before and after."""

    basis: Literal["requests", "use"]
    nodes: tuple[int, int]
    overload: tuple[float, float]
    highest: tuple[float, float]


class RebalanceAnswer(msgspec.Struct, frozen=True):
    """steps: as `scheduler.core.packing.plan` makes them; empty where nothing is gained, and `reasons` says why.

    overload_bound: in nodes; cost, cost_bound: see `Instance.cost`; gap, gap_of: as of a balancing Result. pinned: how
    many pods stay where they are, whatever is gained.
    """

    verdict: str
    steps: list[dict[str, Any]] = []
    changes: list[Change] = []
    overload_bound: float = 0.0
    cost: int = 0
    cost_bound: int = 0
    gap: float = 0.0
    gap_of: str = ""
    pinned: int = 0
    reasons: list[str] = []
    seconds: float = 0.0


def answer(question: RebalanceQuestion) -> RebalanceAnswer:
    """The moves for a question."""
    from scheduler.core.balance.from_snapshot import Limit, make_balancing
    from scheduler.core.balance.moves import (
        MostMoves,
        executable,
        is_above,
        load_changes,
        measured,
        ordered_moves,
        within,
    )
    from scheduler.core.balance.problem import OVERLOAD_UNIT, Budget
    from scheduler.core.balance.solve import balance
    from scheduler.core.snapshot import parse_snapshot

    began = time.monotonic()
    limit = Limit(question.target, tuple(question.resources), question.load)
    made = make_balancing(parse_snapshot(question.snapshot), limit, question.use, with_waiting=False)
    changes = [Change(**asdict(one)) for one in load_changes(made, made.instance.home)]
    if not is_above(made, question.threshold):
        reason = f"no node is above {100 * question.threshold:g} % of what it offers"
        return RebalanceAnswer("optimal", changes=changes, pinned=len(made.pinned), reasons=[reason])
    budget = Budget(question.budget_s, question.budget_s, time.monotonic)
    result = balance(made.instance, question.method, budget, question.seed)
    most = MostMoves(question.most, question.most_per_namespace, question.most_by_namespace)
    result = measured(made, result, executable(made, within(made, result.at, most)))
    gains = result.objective.overload < result.before.overload
    return RebalanceAnswer(
        verdict=result.verdict,
        steps=[asdict(step) for step in ordered_moves(made, result.at)] if gains else [],
        changes=[Change(**asdict(one)) for one in load_changes(made, result.at)] if gains else changes,
        overload_bound=result.bound.overload / OVERLOAD_UNIT,
        cost=result.objective.cost,
        cost_bound=result.bound.cost,
        gap=result.gap,
        gap_of=result.gap_of,
        pinned=len(made.pinned),
        reasons=[*result.reasons, *([] if gains else ["no overload is removed by moves that are possible"])],
        seconds=time.monotonic() - began,
    )


def _warm() -> None:
    """Load and compile what every question needs: two small nodes, balanced."""
    nodes = [Node(name=name, allocatable={"cpu": 1000, "pods": 2}) for name in ("a", "b")]
    pods = [Pod(name=name, node="a", requests={"cpu": 300}, owner="o") for name in ("p", "q")]
    snapshot = encode_snapshot(a_snapshot(nodes, pods))
    answer(RebalanceQuestion(snapshot, "cover", 0.4, 0.4, ["cpu"], "requests", 0.1, 1, 1))


def _answer(question: bytes) -> bytes:
    return msgspec.msgpack.encode(answer(msgspec.msgpack.decode(question, type=RebalanceQuestion)))


class RebalanceSolver:
    """The child process; it starts with the first question."""

    def __init__(self) -> None:
        self._child = Child("stowage-rebalance", _warm, _answer)
        self.stop = self._child.stop

    def ask(self, question: RebalanceQuestion) -> RebalanceAnswer:
        """The answer. Raises SolverFailed."""
        data = self._child.ask(msgspec.msgpack.encode(question), question.budget_s, PATIENCE_S)
        return msgspec.msgpack.decode(data, type=RebalanceAnswer)
