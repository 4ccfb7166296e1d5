"""What is told about decisions: one record per pod, events on pods, the journal, metrics.

A record says why a pod waits, or why it is where it is. It stays when the events are gone, and when the pod is: until
as many newer ones push it out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scheduler.live.api import ApiError
from scheduler.live.journal import Journal
from scheduler.live.planner.actions import Action, Evict, Refusal, Release
from scheduler.live.planner.plan_resource import Plan, StepSpec, StepStatus, stamp

log = logging.getLogger(__name__)
MOST_RECORDS = 50_000


class PodRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a pod waits (verdict impossible or undecided) or is where it is (verdict placed, moved, evicted)."""

    pod: str
    time: str
    verdict: str
    why: str
    node: str = ""
    plan: str = ""


class Metrics:
    """Counters of one planner process."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.solves = Counter("stowage_planner_solves", "Searches, by verdict.", ["verdict"], registry=r)
        self.solve_seconds = Histogram("stowage_planner_solve_duration_seconds", "Time of a search.", registry=r)
        self.plans = Counter("stowage_planner_plans", "Ended plans, by phase, reason.", ["phase", "reason"], registry=r)
        self.evictions = Counter("stowage_planner_evictions", "Evictions asked for, by answer.", ["code"], registry=r)
        self.waiting = Gauge("stowage_planner_waiting_pods", "Pods that wait for room.", registry=r)
        self.marks = Counter(
            "stowage_planner_node_marks", "Changes of nodes' health marks, by state, answer.", ["state", "answer"],
            registry=r,
        )  # fmt: skip
        self.marked = Gauge("stowage_planner_marked_nodes", "Nodes by health mark.", ["state"], registry=r)
        self.leads = Gauge("stowage_planner_is_leader", "1 while this process leads.", registry=r)


@dataclass(slots=True)
class Recorder:
    """The runner's listener. event: creates an Event; failures to do so are only logged."""

    clock: Callable[[], float]
    event: Callable[[dict[str, Any]], None]
    metrics: Metrics
    journal: Journal | None
    identity: str
    records: OrderedDict[str, PodRecord]
    lock: threading.Lock

    @classmethod
    def make(
        cls,
        event: Callable[[dict[str, Any]], None],
        journal: Journal | None,
        identity: str,
        clock: Callable[[], float] = time.time,
    ) -> Recorder:
        """A recorder that knows nothing yet."""
        return cls(clock, event, Metrics(), journal, identity, OrderedDict(), threading.Lock())

    def record_of(self, pod: str) -> PodRecord | None:
        """The record of namespace/name."""
        with self.lock:
            return self.records.get(pod)

    def note(self, pod: str, verdict: str, why: str, *, node: str = "", plan: str = "", uid: str = "") -> bool:
        """Set a pod's record; whether it says something new."""
        old = self.record_of(pod)
        new = PodRecord(pod=pod, time=stamp(self.clock()), verdict=verdict, why=why, node=node, plan=plan)
        if old is not None and (old.verdict, old.why, old.node, old.plan) == (verdict, why, node, plan):
            return False
        with self.lock:
            self.records[pod] = new
            self.records.move_to_end(pod)
            while len(self.records) > MOST_RECORDS:
                self.records.popitem(last=False)
        namespace, _, name = pod.partition("/")
        self.write(
            "pod", namespace=namespace, pod=name, uid=uid, verdict=verdict, message=why, node=node, plan=plan
        )
        return True

    def write(self, kind: str, *, details: Any = None, **columns: str) -> None:
        """A row of the journal."""
        if self.journal is not None:
            self.journal.append(kind, self.clock(), details=details, **columns)

    # ---- what the runner tells

    def status_written(self, before: Plan, after: Plan) -> None:
        """A Plan went on."""
        old, new = before.status, after.status
        if old.phase != new.phase or old.message != new.message:
            reason = next((c.reason for c in reversed(new.conditions)), "")
            log.info("plan=%s phase=%s progress=%s %s", after.name, new.phase, new.progress, new.message)
            self.write(
                "plan", plan=after.name, verdict=new.phase, reason=reason, message=new.message,
                snapshot=after.spec.snapshot.digest.removeprefix("sha256:"),
            )  # fmt: skip
            if after.is_finished and not before.is_finished:
                self.metrics.plans.labels(phase=new.phase, reason=reason).inc()
        known = {step.index: step for step in old.steps}
        for spec, step in zip(after.spec.steps, new.steps, strict=False):
            was = known.get(step.index)
            if was is None or was.state != step.state:
                self._step_changed(after, spec, step)

    def _step_changed(self, plan: Plan, spec: StepSpec, step: StepStatus) -> None:
        if step.state == "pending":
            return
        name = step.replacement or spec.pod
        self.write(
            "step", plan=plan.name, namespace=spec.namespace, pod=spec.pod, uid=spec.uid, node=spec.to,
            verdict=step.state, reason=spec.action, message=step.message,
        )  # fmt: skip
        if step.state == "bound":
            verdict = "moved" if spec.action == "move" else "placed"
            text = f"Plan {plan.name} {verdict} it to {spec.to}: {spec.why}"
            self.note(f"{spec.namespace}/{name}", verdict, text, node=spec.to, plan=plan.name)
            self.tell(spec.namespace, name, step.replacement_uid, "Normal", "PlacedByPlan", "Place", text)
        elif step.state == "failed":
            text = f"Plan {plan.name}: {step.message}"
            self.note(f"{spec.namespace}/{name}", "failed", text, plan=plan.name)
            self.tell(spec.namespace, name, step.replacement_uid, "Warning", "NotPlacedByPlan", "Place", text)

    def action_done(self, plan: Plan, action: Action, refusal: Refusal | None) -> None:
        """A write to a pod was done or refused."""
        kind = type(action).__name__
        spec = plan.spec.steps[action.step]
        if refusal is not None or isinstance(action, Evict | Release):
            self.write(
                "action", plan=plan.name, namespace=action.namespace, pod=action.pod, uid=action.uid, reason=kind,
                verdict=str(refusal.code) if refusal else "done", message=refusal.message if refusal else "",
            )  # fmt: skip
        if isinstance(action, Evict):
            self.metrics.evictions.labels(code=str(refusal.code if refusal else 201)).inc()
            if refusal is None:
                where = f"it will run on {spec.to}" if spec.to else "it gives way"
                text = f"Plan {plan.name} evicts it ({spec.why}); {where}"
                self.note(spec.key, "evicted", text, plan=plan.name, uid=spec.uid)
                self.tell(spec.namespace, spec.pod, spec.uid, "Normal", "EvictedByPlan", "Evict", text)

    def tell(self, namespace: str, pod: str, uid: str, kind: str, reason: str, action: str, text: str) -> None:
        """Create an Event on a pod."""
        regarding = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": pod, "uid": uid}
        self._tell(namespace, regarding, kind, reason, action, text)

    def tell_of_node(self, node: str, uid: str, kind: str, reason: str, action: str, text: str) -> None:
        """Create an Event on a node."""
        regarding = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": uid}
        self._tell("default", regarding, kind, reason, action, text)

    def tell_of_namespace(self, name: str, uid: str, kind: str, reason: str, action: str, text: str) -> None:
        """Create an Event on a namespace, in it; the API server wants it to name that namespace twice."""
        regarding = {"apiVersion": "v1", "kind": "Namespace", "namespace": name, "name": name, "uid": uid}
        self._tell(name, regarding, kind, reason, action, text)

    def _tell(
        self, namespace: str, regarding: dict[str, str], kind: str, reason: str, action: str, text: str
    ) -> None:
        now = stamp(self.clock())
        name = regarding["name"]
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": namespace, "generateName": f"{name[:40].rstrip('.-')}-"},
            "eventTime": now,
            "reportingController": "stowage.dev/planner",
            "reportingInstance": self.identity[:128],
            "type": kind,
            "reason": reason,
            "action": action,
            "note": text[:1000],
            "regarding": regarding,
        }
        try:
            self.event(event)
        except ApiError as error:
            log.info("event=%s on=%s/%s not created: %s", reason, namespace, name, error)
