"""The planner as a process: watches, leads by Lease, solves, carries out plans, answers health checks, ends cleanly.

One thread owns the world and the plans. Watches hand it their changes, apscheduler its jobs, the solver thread its
answer, all through one queue; between them it takes turns at the plans. So nothing is locked, and a slow API server
slows everything alike instead of reordering it.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped, unused-ignore]
from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped, unused-ignore]

from scheduler.core.snapshot import Budget, Snapshot, SnapshotError, encode_snapshot, read_node
from scheduler.live.api import Api, ApiError
from scheduler.live.journal import Journal
from scheduler.live.kube_objects import BUDGETS_PATH, NODES_PATH, PODS_PATH, LiveBudget, LivePod
from scheduler.live.node_health import ShownNode
from scheduler.live.planner.child import SolverFailed
from scheduler.live.planner.gangs import GangSizes
from scheduler.live.planner.health import HealthServer
from scheduler.live.planner.kube_api import PlannerApi
from scheduler.live.planner.leader import Elector
from scheduler.live.planner.node_scan import NodeScan
from scheduler.live.planner.plan_resource import PATH, Mode, Plan, seconds_of
from scheduler.live.planner.price_round import PriceRound
from scheduler.live.planner.price_solver import PriceSolver
from scheduler.live.planner.proposal import Scope, candidates, is_same, make_plan, snapshot_for
from scheduler.live.planner.rebalance import PURPOSE as REBALANCE
from scheduler.live.planner.rebalance import Rebalancing
from scheduler.live.planner.rebalance_solver import RebalanceSolver
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.runner import Runner, budget_of, limits_of, poke_annotations
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.planner.solver import Answer, Question, Solver
from scheduler.live.planner.trigger import Trigger
from scheduler.live.planner.world import Rooms, World, view_of
from scheduler.live.watch import RUNNING_PODS, Sink, Watcher

log = logging.getLogger(__name__)
STALE_S = 20.0
MOST_POKES = 50
BURST_S, LONGEST_TAKE_S = 0.004, 0.1


class Planner:
    """One planner process. `run` returns when `stop` was called."""

    def __init__(self, settings: PlannerSettings, api: Api) -> None:
        self.settings = settings
        self.identity = settings.identity or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self.writes = PlannerApi(api)
        self.gangs = GangSizes(api)
        self.now = api.now
        self.world = World()
        self.budgets: dict[str, Budget] = {}
        self.inbox: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any] | None]] = queue.SimpleQueue()
        self.scope = Scope(settings.scheduler, settings.mode, settings.namespaces, settings.rest_s)
        self.trigger = Trigger(settings.quiet_s, settings.patience_s)
        self.solver = Solver()
        self.solving: Future[tuple[Snapshot, Mode, str, Answer]] | None = None
        self.solver_thread = ThreadPoolExecutor(1, "solve")
        self.events = ThreadPoolExecutor(1, "events")
        self.journal = Journal(Path(settings.journal), _safe(self.identity)) if settings.journal else None
        self.recorder = Recorder.make(
            lambda event: _submit(self.events, self.writes.event, event), self.journal, self.identity, api.now
        )
        self.node_health = NodeScan(settings, self.writes, self.recorder, api.now)
        self.prices = PriceRound(settings, self.node_health.nodes, self.writes, self.recorder, PriceSolver())
        self.rebalancing = Rebalancing(settings, api, self.recorder, RebalanceSolver())
        namespace = settings.lease_namespace or api.namespace
        self.elector = Elector(
            api, namespace, settings.lease_name, self.identity,
            lease_s=settings.lease_s, give_up_s=settings.lease_s * 2 / 3, retry_s=settings.lease_s * 2 / 15,
        )  # fmt: skip
        self.runner = Runner(
            api=self.writes,
            world=self.world,
            clock=api.now,
            leads=self.may_act,
            limits=limits_of(settings),
            budget=budget_of(settings),
            listeners=[self.recorder],
            pool=ThreadPoolExecutor(8, "release"),
        )
        self.watchers = [Watcher(api, sink, self.deliver) for sink in self._sinks()]
        self.jobs: BackgroundScheduler | None = None
        self.wanted: list[str] = []
        self.stopping = threading.Event()
        self.beat = time.monotonic()
        self.health = HealthServer(settings.host, settings.port, self)

    # ---- life

    def run(self) -> None:
        """Work until told to stop."""
        self.health.start()
        for watcher in self.watchers:
            watcher.start()
        self.elector.start()
        self.solver.start()
        log.info("planner=%s port=%d mode=%s", self.identity, self.health.port, self.settings.mode)
        try:
            while not self.stopping.is_set():
                self.take(0.1)
                self.beat = time.monotonic()
                try:
                    self.work()
                except ApiError as error:
                    log.warning("error=%r", str(error))
                    self.stopping.wait(0.2)
                except Exception:
                    log.exception("a turn failed")
                    self.stopping.wait(1.0)
        finally:
            self.end()

    def stop(self) -> None:
        """Finish the present turn and end."""
        self.stopping.set()

    def end(self) -> None:
        """Give everything back: the Lease first, so that another planner goes on at once."""
        self._keep_jobs(leads=False)
        self.elector.stop()
        for watcher in self.watchers:
            watcher.stop()
        while not self.inbox.empty():
            self.take(0.0)
        self.solver.stop()
        self.prices.stop()
        self.rebalancing.stop()
        self.solver_thread.shutdown(wait=False, cancel_futures=True)
        self.events.shutdown(wait=False, cancel_futures=True)
        if self.runner.pool is not None:
            self.runner.pool.shutdown(wait=False, cancel_futures=True)
        if self.journal is not None:
            self.journal.flush()
        self.health.stop()

    def is_alive(self) -> bool:
        """Whether the working thread still takes turns."""
        return time.monotonic() - self.beat < 60.0

    def is_ready(self) -> bool:
        """Whether the cluster is known; planners that do not lead are ready as well."""
        return all(watcher.feed.is_synced for watcher in self.watchers)

    def may_act(self) -> bool:
        """Whether this process leads, and sees the cluster as it is."""
        now = time.monotonic()
        return self.elector.leads() and all(watcher.is_fresh(now, STALE_S) for watcher in self.watchers)

    # ---- the inbox

    def deliver(self, change: Callable[[], Any]) -> Any:
        """Run a change on the working thread, for a watch; its result."""
        done: Future[Any] = Future()
        self.inbox.put((change, done))
        while not self.stopping.is_set():
            try:
                return done.result(0.5)
            except TimeoutError:
                continue
        return None

    def take(self, wait_s: float) -> None:
        """Do what is in the inbox, waiting for the first of it."""
        try:
            change, done = self.inbox.get(timeout=wait_s) if wait_s else self.inbox.get_nowait()
            ends = time.monotonic() + LONGEST_TAKE_S
            while True:
                _settle(change, done)
                if time.monotonic() > ends:
                    return
                # events come in bursts, and their thread hands over the next when it has the result of the last
                change, done = self.inbox.get(timeout=BURST_S) if wait_s else self.inbox.get_nowait()
        except queue.Empty:
            return

    def _sinks(self) -> list[Sink[Any]]:
        def put_pod(item: LivePod) -> None:
            try:
                self.world.put_pod(view_of(item, []))
            except ValueError as error:
                log.error("pod=%s left out: %s", item.key, error)
                self.world.drop_pod(item.key)

        def put_node(item: ShownNode) -> None:
            name = item.metadata.name
            self.node_health.nodes[name] = item
            try:
                self.world.put_node(read_node(item, "node"))
            except ValueError as error:
                log.error("node=%s left out: %s", name, error)
                self.world.drop_node(name)

        def drop_node(name: str) -> None:
            self.node_health.nodes.pop(name, None)
            self.world.drop_node(name)

        def put_budget(item: LiveBudget) -> None:
            meta = item.metadata
            self.budgets[f"{meta.namespace}/{meta.name}"] = Budget(
                name=meta.name,
                namespace=meta.namespace,
                selector=item.spec.selector,
                allowed=max(0, item.status.disruptions_allowed),
            )

        return [
            Sink("nodes", NODES_PATH, ShownNode, put_node, drop_node),
            Sink("pods", PODS_PATH, LivePod, put_pod, self.world.drop_pod, {"fieldSelector": RUNNING_PODS}),
            Sink("plans", PATH, Plan, self.runner.put_plan, self.runner.drop_plan),
            Sink("budgets", BUDGETS_PATH, LiveBudget, put_budget, lambda key: _forget(self.budgets, key)),
            *self.prices.sinks(),
        ]

    # ---- work

    def work(self) -> None:
        """One turn: jobs, plans, the solver's answer, the next question."""
        leads = self.may_act()
        self.recorder.metrics.leads.set(leads)
        self._keep_jobs(leads)
        if not leads:
            self._forget_answer()
            return
        running = {p.name for p in self.runner.plans.values() if p.status.phase == "Executing"}
        self.runner.turn()
        ended = [p for p in self.runner.plans.values() if p.name in running and p.is_finished]
        for plan in ended:
            self.trigger.plan_ended(time.monotonic(), succeeded=plan.status.phase == "Succeeded")
        if ended:
            self._poke_the_rest()
        self._take_answer()
        self._take_rebalance()
        self._ask()

    def _waiting(self) -> set[str]:
        return {live.pod.uid for live in candidates(self.world, self.scope)}

    def _is_busy(self) -> bool:
        """Whether a plan is on its way: the next one would be made from a world that it changes."""
        return any(
            not p.is_finished and (p.status.phase == "Executing" or p.spec.mode == "auto" or p.spec.approved)
            for p in self.runner.plans.values()
        )

    def _ask(self) -> None:
        waiting = self._waiting()
        self.recorder.metrics.waiting.set(len(waiting))
        if self.solving is not None or self._is_busy():
            return
        if self.trigger.is_due(waiting, self.world.version, time.monotonic()):
            self._solve("pending", waiting)
        elif self.wanted:
            self._solve(self.wanted.pop(0), waiting)

    def _solve(self, purpose: str, waiting: set[str]) -> None:
        """Put the question to the solver, for the strongest mode first."""
        now = self.now()
        questions = []
        budgets, sizes = list(self.budgets.values()), self.gangs.refresh(time.monotonic())
        for mode in self.scope.modes():
            if purpose == "consolidate" or candidates(self.world, self.scope, mode):
                try:
                    snapshot = snapshot_for(self.world, budgets, self.scope, mode, now, sizes)
                except SnapshotError as error:
                    log.warning("no snapshot: %s", error)
                    return
                questions.append((mode, snapshot))
        version = self.world.version
        self.solving = self.solver_thread.submit(self._answer, questions, purpose)
        self.solving.add_done_callback(lambda _: self.inbox.put((lambda: None, None)))
        self.trigger.solved(waiting, version, time.monotonic(), helped=False)

    def _answer(self, questions: list[tuple[Mode, Snapshot]], purpose: str) -> tuple[Snapshot, Mode, str, Answer]:
        """Runs on the solver's thread: the first mode whose answer helps, else the last answer."""
        made: tuple[Snapshot, Mode, str, Answer] | None = None
        for mode, snapshot in questions:
            question = Question(encode_snapshot(snapshot), purpose, self.settings.order, self.settings.solve_s, seed=0)
            answer = self.solver.ask(question, patience_s=30.0 + self.settings.solve_s)
            made = (snapshot, mode, purpose, answer)
            if any(step["action"] == "place" or purpose == "consolidate" for step in answer.steps):
                break
        if made is None:
            raise SolverFailed("nobody waits any more")
        return made

    def _take_answer(self) -> None:
        if self.solving is None or not self.solving.done():
            return
        future, self.solving = self.solving, None
        try:
            snapshot, mode, purpose, answer = future.result()
        except SolverFailed as error:
            log.warning("solver: %s", error)
            self.recorder.metrics.solves.labels(verdict="failed").inc()
            self.trigger.failed(time.monotonic())
            return
        self.recorder.metrics.solves.labels(verdict=answer.verdict).inc()
        self.recorder.metrics.solve_seconds.observe(answer.seconds)
        plan = make_plan(answer, self.world, snapshot, mode, self.settings.order, purpose)
        self._note_answer(answer, plan, snapshot)
        if plan is None:
            return
        try:
            self._propose(plan)
        except ApiError:
            self.trigger.failed(time.monotonic())
            raise
        self.trigger.solved(self._waiting(), self.world.version, time.monotonic(), helped=True)

    def _take_rebalance(self) -> None:
        """Propose what a look for overloaded nodes found; where that is nothing, earlier proposals have no point."""
        taken = self.rebalancing.take(self.world)
        if taken is None:
            return
        plan, found = taken
        if plan is not None and not self._is_busy():  # else it was made from a world that changes now
            self._propose(plan)
        elif not found.answer.steps:
            for old in self._open_proposals(REBALANCE):
                self.runner.supersede(old, "NothingToGain", "; ".join(found.answer.reasons))

    def _note_answer(self, answer: Answer, plan: Plan | None, snapshot: Snapshot) -> None:
        for one in answer.unplaced:
            new = self.recorder.note(one["pod"], one["verdict"], one["why"])
            live = self.world.pods.get(one["pod"])
            if new and live is not None:
                namespace, name = live.pod.namespace, live.pod.name
                self.recorder.tell(namespace, name, live.pod.uid, "Normal", "NoPlan", "Plan", one["why"])
        digest = plan.spec.snapshot.digest.removeprefix("sha256:") if plan is not None else ""
        if plan is not None and self.journal is not None:
            self.journal.keep_snapshot(digest, encode_snapshot(snapshot))
        self.recorder.write("solve", verdict=answer.verdict, snapshot=digest, details=msgspec.to_builtins(answer))

    def _propose(self, plan: Plan) -> None:
        """Create the Plan, unless the same one is proposed already; older proposals give way."""
        if any(is_same(p.spec, plan.spec) for p in self.runner.plans.values() if not p.is_finished):
            return
        for old in self._open_proposals(plan.spec.purpose):
            self.runner.supersede(old)
        made = self.writes.create_plan(plan)
        log.info("plan=%s mode=%s %s verdict=%s", made.name, made.spec.mode, made.spec.summary, made.spec.verdict)
        self.runner.put_plan(made)
        self.runner.turn()

    def _open_proposals(self, purpose: str) -> list[Plan]:
        plans = self.runner.plans.values()
        return [p for p in plans if p.status.phase in ("Proposed", "Waiting") and p.spec.purpose == purpose]

    def _poke_the_rest(self) -> None:
        """A plan has ended and its reservations with it: pods that fit now are tried again."""
        for live in candidates(self.world, self.scope)[:MOST_POKES]:
            if live.is_gated or not self._fits_somewhere(live.demand()):
                continue
            try:
                texts = poke_annotations("", self.now())
                self.writes.annotate(live.pod.namespace, live.pod.name, live.pod.uid, texts)
            except ApiError as error:
                if error.status == 403:  # mode observe has no right to
                    return
                log.info("pod=%s not poked: %s", live.key, error)

    def _fits_somewhere(self, demand: dict[str, int]) -> bool:
        rooms = Rooms(self.world, leaving=False)
        return any(rooms.fits(name, demand) for name in self.world.nodes)

    def _forget_answer(self) -> None:
        if self.solving is not None and self.solving.done():
            self.solving = None
        self.rebalancing.forget()

    # ---- jobs, while leading

    def _keep_jobs(self, leads: bool) -> None:
        if leads == (self.jobs is not None):
            return
        if not leads:
            assert self.jobs is not None
            self.jobs.shutdown(wait=False)
            self.jobs = None
            return
        options = {"coalesce": True, "max_instances": 1, "misfire_grace_time": 60}
        self.jobs = BackgroundScheduler(job_defaults=options, timezone="UTC")
        self.jobs.add_job(self._later(self.prune_plans), "interval", seconds=60)
        if self.journal is not None:
            self.jobs.add_job(self.journal.flush, "interval", seconds=self.settings.journal_flush_s)
            self.jobs.add_job(self.retain_journal, "interval", seconds=3600)
        if self.node_health.is_on:
            self.jobs.add_job(self._later(self._scan_nodes), "interval", seconds=self.settings.node_scan_s)
        if self.prices.is_on:
            self.jobs.add_job(self._later(self._price_nodes), "interval", seconds=self.settings.price_round_s)
        if self.settings.defragment_cron:
            cron = CronTrigger.from_crontab(self.settings.defragment_cron, timezone="UTC")
            self.jobs.add_job(self._later(lambda: self.wanted.append("consolidate")), cron)
        if self.rebalancing.is_on and self.settings.rebalance_cron:
            cron = CronTrigger.from_crontab(self.settings.rebalance_cron, timezone="UTC")
            self.jobs.add_job(self._later(self._rebalance), cron)
        elif self.rebalancing.is_on:
            self.jobs.add_job(self._later(self._rebalance), "interval", seconds=self.settings.rebalance_s)
        self.jobs.start()

    def _later(self, job: Callable[[], Any]) -> Callable[[], None]:
        return lambda: self.inbox.put((job, None))

    def _scan_nodes(self) -> None:
        if self.may_act():  # the job was put into the inbox a while ago
            self.node_health.scan()

    def _price_nodes(self) -> None:
        if self.may_act():
            self.prices.begin(self.world, self.gangs.refresh(time.monotonic()), self.may_act)

    def _rebalance(self) -> None:
        if self.may_act() and not self._is_busy():
            sizes = self.gangs.refresh(time.monotonic())
            self.rebalancing.begin(self.world, list(self.budgets.values()), self.scope, self.now(), sizes)

    def retain_journal(self) -> None:
        """Delete what is too old or too much."""
        if self.journal is not None:
            self.journal.retain(self.settings.journal_keep_days * 86400, self.settings.journal_mib << 20)

    def prune_plans(self) -> None:
        """Delete finished plans beyond `keep_plans`, but none whose evictions the budget still counts."""
        now = self.now()
        ended = sorted(
            (p for p in self.runner.plans.values() if p.is_finished),
            key=lambda p: seconds_of(p.metadata.creation_timestamp) or 0.0,
            reverse=True,
        )
        for plan in ended[self.settings.keep_plans :]:
            if now - (seconds_of(plan.status.finished_at) or 0.0) > self.settings.budget_window_s:
                try:
                    self.writes.delete_plan(plan)
                except ApiError as error:
                    log.info("plan=%s not deleted: %s", plan.name, error)


def _settle(change: Callable[[], Any], done: Future[Any] | None) -> None:
    try:
        result = change()
    except BaseException as error:
        if done is None:
            log.exception("a job failed")
            return
        done.set_exception(error)
        return
    if done is not None:
        done.set_result(result)


def _submit(pool: ThreadPoolExecutor, call: Callable[..., Any], *arguments: Any) -> None:
    def guarded() -> None:
        try:
            call(*arguments)
        except ApiError as error:
            log.info("event not created: %s", error)

    pool.submit(guarded)


def _forget(table: dict[str, Budget], key: str) -> None:
    table.pop(key, None)


def _safe(identity: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in identity)
