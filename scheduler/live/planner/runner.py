"""Turning the executor's answers into writes: the status first, then the actions, each conditional."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from scheduler.live.api import ApiError
from scheduler.live.kube_objects import PLAN_ANNOTATION, POKE_ANNOTATION
from scheduler.live.planner.actions import Action, Evict, Nominate, Poke, Refusal, Release, Replace, Touch
from scheduler.live.planner.budget import DisruptionBudget, spent_by
from scheduler.live.planner.executor import is_newer, reconcile
from scheduler.live.planner.phases import Limits, finished
from scheduler.live.planner.plan_resource import FINALIZER, Plan, stamp
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.planner.steer import pinned_to
from scheduler.live.planner.world import PodView, World, node_fault

log = logging.getLogger(__name__)
ASK_AGAIN_S = 0.4


class ClusterApi(Protocol):
    """What carrying out a plan asks of the API server; every call raises ApiError.

    Writes to pods are conditional on the uid, evictions and releases also on the resource version, as writes to Plans.
    """

    def read_plan(self, name: str) -> Plan:
        """The newest state, not a cached one."""

    def write_plan_status(self, plan: Plan) -> Plan:
        """Replace the status subresource."""

    def write_finalizers(self, plan: Plan, finalizers: list[str]) -> Plan:
        """Replace metadata.finalizers."""

    def evict(self, namespace: str, pod: str, uid: str, resource_version: str) -> None:
        """POST an Eviction."""

    def annotate(self, namespace: str, pod: str, uid: str, annotations: dict[str, str]) -> None:
        """Set annotations."""

    def release(self, live: PodView, resource_version: str, node: str, plan: str, *, pin: bool) -> None:
        """Remove our gate; with `pin` tie the pod to the node by affinity in the same patch."""

    def nominate(self, namespace: str, pod: str, uid: str, node: str) -> None:
        """Set status.nominatedNodeName."""

    def delete_pod(self, namespace: str, pod: str, uid: str) -> None:
        """Delete a pod that never ran."""


class Listener(Protocol):
    """Who is told what was done: events, journal, metrics."""

    def status_written(self, before: Plan, after: Plan) -> None:
        """A Plan's status changed."""

    def action_done(self, plan: Plan, action: Action, refusal: Refusal | None) -> None:
        """An action was done, or refused by the API server."""


@dataclass(slots=True)
class Runner:
    """Carries out plans, one at a time, while `leads` says so. `plans` holds the newest known state of every Plan.

    pool: gates are taken off by its threads side by side; None for one after the other.
    """

    api: ClusterApi
    world: World
    clock: Callable[[], float]
    leads: Callable[[], bool]
    limits: Limits = field(default_factory=Limits)
    budget: DisruptionBudget = field(default_factory=DisruptionBudget)
    listeners: list[Listener] = field(default_factory=list)
    plans: dict[str, Plan] = field(default_factory=dict)
    refusals: dict[str, dict[int, Refusal]] = field(default_factory=dict)
    asked: dict[Action, float] = field(default_factory=dict)
    pool: ThreadPoolExecutor | None = None

    def put_plan(self, plan: Plan) -> None:
        """Take over a Plan, unless a newer state of it is known."""
        known = self.plans.get(plan.name)
        if known is None or known.metadata.uid != plan.metadata.uid or not _is_older(plan, known):
            self.plans[plan.name] = plan

    def drop_plan(self, name: str) -> None:
        """Forget a deleted Plan."""
        self.plans.pop(name, None)
        self.refusals.pop(name, None)

    def turn(self) -> bool:
        """One turn of every unfinished plan, oldest first, at most one of them executing; whether anything changed."""
        changed = False
        now = self.clock()
        self.asked = {action: then for action, then in self.asked.items() if 0 <= now - then < ASK_AGAIN_S}
        executing: str | None = next((p.name for p in self._unfinished() if p.status.phase == "Executing"), None)
        for plan in self._unfinished():
            if not self.leads():
                break
            if executing is not None and plan.name != executing and plan.spec.mode != "observe":
                continue
            before = plan.status
            self.advance(plan)
            after = self.plans.get(plan.name)
            changed = changed or after is None or after.status != before
            if after is not None and after.status.phase == "Executing":
                executing = after.name
        for plan in list(self.plans.values()):
            if plan.is_finished and FINALIZER in (plan.metadata.finalizers or ()) and self.leads():
                self._finalizers(plan, [f for f in plan.metadata.finalizers or () if f != FINALIZER])
        self.rescue()
        return changed

    def rescue(self) -> None:
        """A pod that a plan tied to a node which is lost since can run nowhere: its controller makes another."""
        steered = {step.replacement_uid for plan in self._unfinished() for step in plan.status.steps}
        for live in self.world.waiting():
            pod, pin = live.pod, pinned_to(live)
            if not pin or not pod.owner or PLAN_ANNOTATION not in pod.annotations or pod.uid in steered:
                continue
            action = Replace(0, pod.namespace, pod.name, pod.uid)
            if node_fault(self.world.nodes.get(pin), pod) is None or not self.leads() or self._was_just_asked(action):
                continue
            try:
                self.api.delete_pod(pod.namespace, pod.name, pod.uid)
                log.info("pod=%s replaced: it is tied to node %s, which is lost", live.key, pin)
            except ApiError as error:
                log.info("pod=%s not replaced: %s", live.key, error)

    def supersede(self, plan: Plan, reason: str = "NewerPlan", why: str = "a newer plan replaces it") -> None:
        """End a proposal that has lost its point, by default because a newer one replaces it."""
        status = finished(plan.status, "Superseded", reason, why, self.clock())
        self._write(plan, msgspec.structs.replace(plan, status=status))

    def _unfinished(self) -> list[Plan]:
        plans = [p for p in self.plans.values() if not p.is_finished]
        return sorted(plans, key=lambda p: (p.metadata.creation_timestamp or "", p.name))

    def advance(self, plan: Plan) -> None:
        """Write the plan's next status, then do what it asks for; a conflict only refreshes what is known of it."""
        finalizers = plan.metadata.finalizers or []
        if plan.spec.mode != "observe" and plan.metadata.deletion_timestamp is None and FINALIZER not in finalizers:
            held = self._finalizers(plan, [*finalizers, FINALIZER])
            if held is None:
                return
            plan = held
        others = spent_by(p for p in self.plans.values() if p.name != plan.name)
        refusals = self.refusals.pop(plan.name, {})
        turn = reconcile(plan, self.world, self.clock(), self.limits, self.budget, others, refusals)
        if turn.status != plan.status:
            written = self._write(plan, msgspec.structs.replace(plan, status=turn.status))
            if written is None:
                return
            plan = written
        actions = turn.actions
        if self.pool is not None and self.leads():  # a gang starts when the last of its pods is released
            releases = [action for action in actions if isinstance(action, Release)]
            list(self.pool.map(lambda action: self._do(plan, action), releases))
            actions = [action for action in actions if not isinstance(action, Release)]
        for action in actions:
            if not self.leads():
                return
            self._do(plan, action)

    def _write(self, before: Plan, after: Plan) -> Plan | None:
        try:
            written = self.api.write_plan_status(after)
        except ApiError as error:
            self._refresh(before.name, error)
            return None
        self.put_plan(written)
        for listener in self.listeners:
            listener.status_written(before, written)
        return written

    def _finalizers(self, plan: Plan, finalizers: list[str]) -> Plan | None:
        try:
            written = self.api.write_finalizers(plan, finalizers)
        except ApiError as error:
            self._refresh(plan.name, error)
            return None
        if written.metadata.deletion_timestamp is not None and not finalizers:
            self.drop_plan(plan.name)
            return None
        self.put_plan(written)
        return written

    def _refresh(self, name: str, error: ApiError) -> None:
        """Someone else wrote, or the answer was lost: read the newest state."""
        log.info("plan=%s write refused: %s", name, error)
        try:
            self.plans[name] = self.api.read_plan(name)
        except ApiError as again:
            if again.is_not_found:
                self.drop_plan(name)
            elif not again.is_transient:
                raise

    def _do(self, plan: Plan, action: Action) -> None:
        refusal: Refusal | None = None
        if self._was_just_asked(action):
            return
        try:
            self._call(plan, action)
        except ApiError as error:
            refusal = Refusal(error.status, error.message, error.retry_after_s or 0.0)
            self._note(plan, action, error, refusal)
        for listener in self.listeners:
            listener.action_done(plan, action, refusal)

    def _was_just_asked(self, action: Action) -> bool:
        """Whether the same was asked for a moment ago: then its effect is on its way to us."""
        now = self.clock()
        then = self.asked.get(action)
        if then is not None and 0 <= now - then < ASK_AGAIN_S:
            return True
        self.asked[action] = now
        return False

    def _note(self, plan: Plan, action: Action, error: ApiError, refusal: Refusal) -> None:
        """What a refusal means: a pod that changed or went will be seen; an eviction is told to the next turn."""
        if isinstance(action, Nominate) and error.status in (403, 422):
            log.warning("nominating is not allowed here (%s): reservations and pokes alone steer from now on", error)
            self.limits = replace(self.limits, may_nominate=False)
        elif isinstance(action, Evict) and not (error.is_conflict or error.is_not_found):
            self.refusals.setdefault(plan.name, {})[action.step] = refusal
        log.info("plan=%s action=%s refused: %s", plan.name, action, error)

    def _call(self, plan: Plan, action: Action) -> None:
        match action:
            case Evict():
                self.api.evict(action.namespace, action.pod, action.uid, action.resource_version)
            case Touch():
                text = f"{plan.name} {self.clock():.6f}"
                self.api.annotate(action.namespace, action.pod, action.uid, {"stowage.dev/spared": text})
            case Poke():
                self.api.annotate(action.namespace, action.pod, action.uid, poke_annotations(plan.name, self.clock()))
            case Release():
                live = self.world.pod(f"{action.namespace}/{action.pod}", action.uid)
                if live is not None:
                    self.api.release(live, action.resource_version, action.node, plan.name, pin=action.pin)
            case Nominate():
                self.api.nominate(action.namespace, action.pod, action.uid, action.node)
            case Replace():
                self.api.delete_pod(action.namespace, action.pod, action.uid)


def poke_annotations(plan: str, now: float) -> dict[str, str]:
    """What a poke writes: when, and for which plan if for any."""
    return {POKE_ANNOTATION: stamp(now)} | ({PLAN_ANNOTATION: plan} if plan else {})


def _is_older(plan: Plan, known: Plan) -> bool:
    return is_newer(known.metadata.resource_version, plan.metadata.resource_version)


def limits_of(settings: PlannerSettings) -> Limits:
    """The settings that say how patient plans are."""
    return Limits(
        at_once=settings.at_once,
        eviction_s=settings.eviction_s,
        replacement_s=settings.replacement_s,
        bind_s=settings.bind_s,
        plan_s=settings.plan_s,
        drain_s=settings.drain_s,
    )


def budget_of(settings: PlannerSettings) -> DisruptionBudget:
    """The settings that say how many evictions there may be."""
    return DisruptionBudget(
        settings.budget_window_s,
        settings.budget_total,
        settings.budget_per_namespace,
        settings.budget_namespaces,
    )
