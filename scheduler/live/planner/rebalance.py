"""Moves off overloaded nodes, as Plans: looked for in a child process, proposed like any other plan.

The planner's thread takes the cluster down as a question and later makes the Plan of the answer; asking what pods use,
and waiting for the child, is done on a thread of its own. A look that is not over when the next is due stands for it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scheduler.core.snapshot import Budget, Snapshot, SnapshotError, encode_snapshot
from scheduler.live.api import ApiError
from scheduler.live.planner import usage
from scheduler.live.planner.child import SolverFailed
from scheduler.live.planner.plan_resource import (
    MAX_STEPS,
    LoadGain,
    Mode,
    Plan,
    PlanBudget,
    PlanMetadata,
    PlanSpec,
    Rebalance,
)
from scheduler.live.planner.proposal import Scope, snapshot_for, snapshot_ref, steps_of
from scheduler.live.planner.rebalance_solver import Change, RebalanceAnswer, RebalanceQuestion
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.planner.world import World

log = logging.getLogger(__name__)
PURPOSE = "rebalance"
MOST_NOTES = 20
MILLI = 1000


class RebalanceSource(Protocol):
    """Who looks for moves."""

    def ask(self, question: RebalanceQuestion) -> RebalanceAnswer:
        """The answer; may take a while. Raises SolverFailed."""
        ...

    def stop(self) -> None:
        """End whatever it runs."""
        ...


class RebalanceMetrics:
    """Metrics of looks for overloaded nodes; no series per node."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.looks = Counter(
            "stowage_planner_rebalances", "Looks for overloaded nodes, by verdict; nothing: no move helps.",
            ["verdict"], registry=registry,
        )  # fmt: skip
        self.seconds = Histogram("stowage_planner_rebalance_duration_seconds", "Time of a search.", registry=registry)
        self.nodes = Gauge(
            "stowage_planner_overloaded_nodes", "Nodes above their limit at the last look.", ["basis"],
            registry=registry,
        )  # fmt: skip
        self.highest = Gauge(
            "stowage_planner_highest_node_load_ratio", "Load of the fullest node at the last look.", ["basis"],
            registry=registry,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """An answer, and what it is about."""

    snapshot: Snapshot
    question: RebalanceQuestion
    answer: RebalanceAnswer
    notes: list[str]


class Rebalancing:
    """`begin` a look now and then, `take` what it found; both on the planner's thread."""

    def __init__(
        self, settings: PlannerSettings, api: usage.PagesApi, recorder: Recorder, source: RebalanceSource
    ) -> None:
        self.settings, self.api, self.recorder, self.source = settings, api, recorder, source
        self.is_on = settings.rebalance != "disabled"
        self.mode: Mode = "approve" if settings.rebalance == "approve" else "observe"
        self.metrics = RebalanceMetrics(recorder.metrics.registry) if self.is_on else None
        self._thread = ThreadPoolExecutor(1, PURPOSE)
        self._running: Future[Found] | None = None

    def begin(
        self, world: World, budgets: list[Budget], scope: Scope, now: float, gang_sizes: Mapping[str, int]
    ) -> Future[Found] | None:
        """Look at the world as it is; None where the last look is not over, or there is nothing to look at."""
        if self._running is not None:
            return None
        try:
            snapshot = snapshot_for(world, budgets, scope, self.mode, now, gang_sizes)
        except SnapshotError as error:
            log.warning("no rebalance: %s", error)
            return None
        self._running = self._thread.submit(self._look, snapshot)
        return self._running

    def take(self, world: World) -> tuple[Plan | None, Found] | None:
        """The Plan of a look that has ended, None in its place where nothing is gained; None while there is no look."""
        if self._running is None or not self._running.done():
            return None
        assert self.metrics is not None
        done, self._running = self._running, None
        try:
            found = done.result()
        except SolverFailed as error:
            log.warning("rebalance: %s", error)
            self.metrics.looks.labels(verdict="failed").inc()
            return None
        plan = make_plan(found, world, self.mode)
        self._tell(found, plan)
        return plan, found

    def forget(self) -> None:
        """Nobody wants the present look any more: somebody else leads."""
        if self._running is not None and self._running.done():
            self._running = None

    def stop(self) -> None:
        """No further look; the child ends, and with it a look that waits for it."""
        self.source.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    # ---- on the thread of its own

    def _look(self, snapshot: Snapshot) -> Found:
        settings, notes = self.settings, []
        use = None
        try:
            use = usage.read_use(self.api)
        except (ApiError, msgspec.MsgspecError) as error:
            if settings.rebalance_load == "use":
                raise SolverFailed(f"metrics.k8s.io does not say what pods use: {error}") from error
            notes.append(f"what pods use is not known, metrics.k8s.io does not say it: {error}")
        question = RebalanceQuestion(
            snapshot=encode_snapshot(snapshot),
            method=settings.rebalance_method,
            target=settings.rebalance_target,
            threshold=settings.rebalance_threshold,
            resources=settings.rebalance_resources,
            load=settings.rebalance_load,
            budget_s=settings.rebalance_solve_s,
            most=min(MAX_STEPS, settings.budget_total),
            most_per_namespace=settings.budget_per_namespace,
            most_by_namespace=settings.budget_namespaces,
            use=use,
        )
        return Found(snapshot, question, self.source.ask(question), notes)

    # ---- what is told

    def _tell(self, found: Found, plan: Plan | None) -> None:
        assert self.metrics is not None
        answer = found.answer
        self.metrics.looks.labels(verdict=answer.verdict if plan is not None else "nothing").inc()
        self.metrics.seconds.observe(answer.seconds)
        for change in answer.changes:
            self.metrics.nodes.labels(basis=change.basis).set(change.nodes[0])
            self.metrics.highest.labels(basis=change.basis).set(change.highest[0])
        text = plan.spec.summary if plan is not None else "; ".join(answer.reasons) or "pods of the plan are gone"
        log.info("rebalance verdict=%s seconds=%.2f %s", answer.verdict, answer.seconds, text)
        digest = ""
        if plan is not None:
            digest = plan.spec.snapshot.digest.removeprefix("sha256:")
            if self.recorder.journal is not None:
                self.recorder.journal.keep_snapshot(digest, found.question.snapshot)
        asked = msgspec.structs.asdict(found.question) | {"snapshot": digest}
        if plan is None:
            del asked["use"]
        details = {"question": asked, "answer": msgspec.to_builtins(answer)}
        self.recorder.write(PURPOSE, verdict=answer.verdict, message=text, snapshot=digest, details=details)


def make_plan(found: Found, world: World, mode: Mode) -> Plan | None:
    """A Plan of what was found, or None if it gains nothing or concerns pods that are gone."""
    question, answer = found.question, found.answer
    if not answer.steps or len(answer.steps) > MAX_STEPS:
        return None
    steps = steps_of(answer.steps, world)
    if steps is None:
        return None
    notes = [*answer.reasons, *found.notes]
    if answer.pinned:
        notes.append(f"{answer.pinned} pods stay whatever they load: they must not move, or rules bind them")
    spec = PlanSpec(
        mode=mode,
        order="",
        purpose=PURPOSE,
        summary=_summary(len(steps), answer.changes),
        verdict=answer.verdict,
        moves_verdict="",
        snapshot=snapshot_ref(found.snapshot),
        steps=steps,
        rebalance=Rebalance(
            method=question.method,
            load=question.load,
            resources=question.resources,
            target_milli=round(question.target * MILLI),
            loads=[_gain(change) for change in answer.changes],
            overload_milli_bound=math.floor(answer.overload_bound * MILLI),
            cost=answer.cost,
            cost_bound=answer.cost_bound,
            gap_of=answer.gap_of,
            gap_milli=math.ceil(answer.gap * MILLI),
            notes=[note[:MILLI] for note in notes[:MOST_NOTES]],
        ),
        budget=PlanBudget(evictions=len(steps)),
    )
    return Plan(spec=spec, metadata=PlanMetadata(generate_name=f"{PURPOSE}-"))


def _gain(change: Change) -> LoadGain:
    return LoadGain(
        basis=change.basis,
        nodes_before=change.nodes[0],
        nodes_after=change.nodes[1],
        overload_milli_before=math.ceil(change.overload[0] * MILLI),
        overload_milli_after=math.ceil(change.overload[1] * MILLI),
        highest_milli_before=math.ceil(change.highest[0] * MILLI),
        highest_milli_after=math.ceil(change.highest[1] * MILLI),
    )


def _summary(moves: int, changes: list[Change]) -> str:
    told = [
        f"overloaded nodes by {one.basis} {one.nodes[0]} -> {one.nodes[1]} "
        f"(overload {one.overload[0]:.3f} -> {one.overload[1]:.3f}, "
        f"fullest {100 * one.highest[0]:.1f} % -> {100 * one.highest[1]:.1f} %)"
        for one in changes
    ]
    return "; ".join([f"{moves} moved", *told])
