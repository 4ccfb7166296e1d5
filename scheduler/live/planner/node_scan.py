"""The planner's look at the health of nodes: decides on marks, writes or only tells them.

In `observe` nothing is written: what would be is remembered, so that each change is told once and the breaker counts as
it would. In `auto` a mark is one patch of annotation and taint together, valid for the version that was looked at; what
somebody else changed meanwhile is decided again at the next look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from scheduler.live.api import ApiError
from scheduler.live.kube_objects import Health
from scheduler.live.node_health import ShownNode
from scheduler.live.planner.node_marks import Mark, Marks, Rules, decide_marks
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.settings import PlannerSettings

log = logging.getLogger(__name__)
MOST_WRITES: Final = 50
"""Of one look: the planner's thread has other work; the rest comes with the next."""
STATES: Final = ("failing", "suspect", "held_back", "foreign")


class NodeApi(Protocol):
    """What the scan writes."""

    def mark_node(self, node: ShownNode, mark: Mark) -> ShownNode:
        """Set annotation and taint; the node as it is then. Raises ApiError."""
        ...


class NodeScan:
    """nodes: as last observed, by name; whoever watches keeps it."""

    def __init__(self, settings: PlannerSettings, api: NodeApi, recorder: Recorder, clock: Callable[[], float]) -> None:
        self.nodes: dict[str, ShownNode] = {}
        self.is_on = settings.node_health != "disabled"
        self.writes = settings.node_health == "auto"
        self.rules = Rules(settings.quarantine_s, settings.quarantine_share, settings.quarantine_window_s)
        self.api, self.recorder, self.clock = api, recorder, clock
        self._observed: dict[str, Health] = {}
        self._held_back: set[str] = set()

    def scan(self) -> Marks:
        """One look at all nodes."""
        for gone in self._observed.keys() - self.nodes.keys():
            del self._observed[gone]
        marks = decide_marks(self.nodes, self.clock(), self.rules, None if self.writes else self._observed)
        for line in marks.unreadable[:1]:
            log.warning("health of %d nodes cannot be read whole: %s", len(marks.unreadable), line)
        # out of service first: they are what work may be lost on
        for mark in sorted(marks.changed, key=lambda one: (not one.is_tainted, one.node))[:MOST_WRITES]:
            if not self._apply(mark):
                break
        for name in sorted(marks.held_back.keys() - self._held_back):
            why = f"The breaker keeps it in service: {marks.held_back[name]}"
            self._tell(name, "Warning", "QuarantineHeldBack", why)
        self._held_back = set(marks.held_back)
        counts = marks.states | {"held_back": len(marks.held_back), "foreign": len(marks.foreign)}
        for state in STATES:
            self.recorder.metrics.marked.labels(state=state).set(counts.get(state, 0))
        return marks

    def _apply(self, mark: Mark) -> bool:
        """Write or remember one mark; False where no other write would do better."""
        node = self.nodes[mark.node]
        state = mark.health.state if mark.health is not None else "healthy"
        answer = "observed"
        if self.writes:
            try:
                self.nodes[mark.node] = self.api.mark_node(node, mark)
                answer = "written"
            except ApiError as error:
                self.recorder.metrics.marks.labels(state=state, answer=str(error.status)).inc()
                if error.is_conflict or error.is_not_found:
                    log.info("node=%s state=%s not written: %s", mark.node, state, error)
                    return True
                log.warning("node=%s state=%s not written: %s", mark.node, state, error)
                return False
        else:
            self._observed[mark.node] = mark.health or Health()
        self.recorder.metrics.marks.labels(state=state, answer=answer).inc()
        if state != mark.before:
            self._tell_of(mark, state, answer)
        return True

    def _tell_of(self, mark: Mark, state: str, answer: str) -> None:
        why = mark.health.reason if mark.health is not None else "no monitor shows a fault"
        log.info("node=%s state=%s before=%s answer=%s %s", mark.node, state, mark.before, answer, why)
        self.recorder.write("node", node=mark.node, verdict=state, reason=answer, message=why)
        told = {"failing": ("Warning", "NodeQuarantined"), "suspect": ("Warning", "NodeSuspect")}
        kind, reason = told.get(state, ("Normal", "NodeHealthy"))
        if mark.before == "failing":
            kind, reason = "Normal", "NodeReleased"
        self._tell(mark.node, kind, reason, f"{'' if self.writes else 'Would be: '}{why}")

    def _tell(self, node: str, kind: str, reason: str, text: str) -> None:
        self.recorder.tell_of_node(node, self.nodes[node].metadata.uid, kind, reason, "CheckHealth", text)
