"""Nodes as Kubernetes shows them, with what monitors write on them, as the telemetry readers take it."""

from __future__ import annotations

import msgspec

from scheduler.core import kube_types as kube
from scheduler.core.gpu.telemetry.node_state import NodeCondition, NodeState
from scheduler.core.gpu.telemetry.times import unix_time
from scheduler.live.kube_objects import LiveCondition, LiveNode


class ShownStatus(kube.NodeStatus, frozen=True, kw_only=True):
    """status of a node with why each condition is as it is."""

    conditions: list[LiveCondition] | None = None  # type: ignore[assignment]  # a condition with more fields


class ShownTaint(kube.Taint, frozen=True, kw_only=True):
    """spec.taints[] whole: who changes one taint writes the list."""

    time_added: str | None = None


class ShownSpec(kube.NodeSpec, frozen=True, kw_only=True):
    """spec of a node with whole taints."""

    taints: list[ShownTaint] | None = None  # type: ignore[assignment]  # taints with more fields


class ShownNode(LiveNode, frozen=True, kw_only=True):
    """v1.Node with all that tells its health."""

    spec: ShownSpec = msgspec.field(default_factory=ShownSpec)
    status: ShownStatus = msgspec.field(default_factory=ShownStatus)


def state_of(node: ShownNode) -> NodeState:
    """What the node shows. Taints of effect PreferNoSchedule count like the others: they say the same."""
    meta = node.metadata
    return NodeState(
        name=meta.name,
        conditions=tuple(
            NodeCondition(one.type, one.status, one.reason, one.message, unix_time(one.last_transition_time))
            for one in node.status.conditions or ()
        ),
        taints={taint.key: taint.value for taint in node.spec.taints or ()},
        labels=meta.labels,
        annotations=meta.annotations,
    )
