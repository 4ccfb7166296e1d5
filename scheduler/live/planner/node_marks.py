"""Which nodes get which mark, from what monitors show of them: the decision, without its writes.

A node with an open fault that stops work is quarantined (taint and state `failing`), as far as the breaker lets; what
the breaker keeps back stays in service as `suspect`, and is asked for again at each look. When the fault is gone the
quarantine still lasts for a while, because monitors flap; then the node is `suspect` for as long as repaired nodes fail
more often than others. All that is remembered stands in the annotations, so a restart or another leader cannot take a
second tenth of the nodes. A GPU that its device plugin has taken away does not take the node with it.

What others wrote is left alone: a quarantine taint without our annotation, an annotation without `since`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from scheduler.core.gpu.health import (
    NodeHealth,
    NodeHistory,
    Quarantine,
    Wish,
    judge_node,
    open_signals,
    step_quarantine,
)
from scheduler.core.gpu.signals import Signal, severity_rank
from scheduler.core.gpu.telemetry.node_state import node_signals
from scheduler.core.gpu.telemetry.rejects import Rejects
from scheduler.core.quantity import parse_quantity
from scheduler.live.kube_objects import HEALTH_ANNOTATION, QUARANTINE_TAINT, Health
from scheduler.live.node_health import ShownNode, state_of
from scheduler.live.planner.plan_resource import seconds_of, stamp

MOST_REASON: Final = 500
MOST_CODES: Final = 5
GPU_RESOURCES: Final = ("nvidia.com/gpu", "amd.com/gpu")
UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Rules:
    """quarantine_s: how long a quarantine lasts after its fault was last seen. The rest is the breaker's."""

    quarantine_s: float = 600.0
    most_share: float = 0.10
    window_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What a node ought to carry: annotation (None for none), our taint of value `taint`. before: its last state."""

    node: str
    before: str
    health: Health | None
    is_tainted: bool
    taint: str = ""


@dataclass(slots=True)
class Marks:
    """changed: what differs from what is there, by name. held_back: nodes that the breaker kept in service, with why.

    states: nodes by state, ours only. foreign: nodes that somebody else has marked.
    """

    changed: list[Mark] = field(default_factory=list)
    held_back: dict[str, str] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def decide_marks(
    nodes: Mapping[str, ShownNode], now_s: float, rules: Rules, marks: Mapping[str, Health] | None = None
) -> Marks:
    """The marks that nodes ought to get now.

    marks: what nodes would carry in place of their annotations and our taint, for a planner that only observes.
    """
    out = Marks()
    looked: dict[str, tuple[NodeHealth, list[Signal], Health]] = {}
    for name in sorted(nodes):
        own = _mark_of(nodes[name])
        if own is None or (_is_tainted(nodes[name]) and own.state != "failing"):
            out.foreign.append(name)
            continue
        mark = own if marks is None else marks.get(name, own)
        rejects = Rejects()
        signals = open_signals(node_signals(state_of(nodes[name]), rejects))
        if rejects.total:
            out.unreadable.append(rejects.words())
        if not signals and mark == Health():
            continue  # as nearly all nodes are, and to judge takes several times as long as to look
        history = NodeHistory(seconds_of(mark.repaired))
        looked[name] = judge_node(name, signals, now_s, history), signals, mark
    is_out = {name: _stops_work(nodes[name], health) for name, (health, _, _) in looked.items()}
    step = step_quarantine(
        _held(looked, is_out, now_s, rules), now_s, len(nodes),
        [Wish(name, "", rules.quarantine_s, _urgency(signals))
         for name, (_, signals, _) in looked.items() if is_out[name]],
    )  # fmt: skip
    held_back = {wish.node for wish in step.deferred}
    for name, (health, signals, mark) in looked.items():
        until_s = step.quarantine.until_s.get(name)
        new = _new_mark(mark, health, signals, now_s, until_s, name in held_back)
        if until_s is not None and mark.state == "failing" and is_out[name] and _lasts(mark, now_s, rules):
            new = msgspec.structs.replace(new, until=mark.until)  # renewed when half of it is over
        if name in held_back:
            out.held_back[name] = new.reason
        if new.state != "healthy":
            out.states[new.state] = out.states.get(new.state, 0) + 1
        wanted = Mark(name, mark.state, None if new == Health() else new, until_s is not None, _taint_value(signals))
        had_taint = _is_tainted(nodes[name]) if marks is None else mark.state == "failing"
        if new != mark or wanted.is_tainted != had_taint:
            out.changed.append(wanted)
    return out


def _mark_of(node: ShownNode) -> Health | None:
    """The annotation as we wrote it, empty where there is none; None where somebody else wrote it."""
    text = (node.metadata.annotations or {}).get(HEALTH_ANNOTATION)
    if not text:
        return Health()
    try:
        mark = msgspec.json.decode(text, type=Health)
    except (msgspec.DecodeError, RecursionError):
        return None
    return mark if seconds_of(mark.since) is not None else None


def _is_tainted(node: ShownNode) -> bool:
    return any(taint.key == QUARANTINE_TAINT for taint in node.spec.taints or ())


def _stops_work(node: ShownNode, health: NodeHealth) -> bool:
    """Whether the node ought to be taken: by a fault of its own, or of a GPU that pods may still be given."""
    if health.state == "faulty":
        return True
    if not health.broken_gpus:
        return False
    return _withdrawn_gpus(node) < len(health.broken_gpus)


def _withdrawn_gpus(node: ShownNode) -> int:
    """GPUs that the node has and that its device plugin does not offer."""
    capacity, offered = node.status.capacity or {}, node.status.allocatable or {}
    missing = 0
    for name in GPU_RESOURCES:
        if name in capacity:
            try:
                missing += parse_quantity(capacity[name]) - parse_quantity(offered.get(name, "0"))
            except ValueError:
                continue
    return missing


def _held(
    looked: Mapping[str, tuple[NodeHealth, list[Signal], Health]],
    is_out: Mapping[str, bool],
    now_s: float,
    rules: Rules,
) -> Quarantine:
    """The quarantine as the annotations tell it. An open fault renews it, also after a time without a planner."""
    until_s, entered = {}, []
    for name, (_, _, mark) in looked.items():
        if mark.state == "failing":
            end = seconds_of(mark.until) or now_s
            until_s[name] = max(end, now_s + rules.quarantine_s) if is_out[name] else end
        if (at := seconds_of(mark.quarantined)) is not None:
            entered.append(at)
    return Quarantine(rules.most_share, rules.window_s, until_s, dict.fromkeys(until_s, ""), tuple(sorted(entered)))


def _new_mark(
    mark: Health, health: NodeHealth, signals: list[Signal], now_s: float, until_s: float | None, is_held_back: bool
) -> Health:
    """The annotation that the node ought to have; an empty one for none."""
    now, told = stamp(now_s), _reason(signals)
    if until_s is not None:
        is_new = mark.state != "failing"
        return Health(
            state="failing", reason=told or mark.reason, since=now if is_new else mark.since,
            quarantined=now if is_new else mark.quarantined, until=stamp(until_s),
        )  # fmt: skip
    was_held = mark.state == "failing"
    repaired = now if was_held else mark.repaired
    if is_held_back:
        reason = f"{told}; in service still: too many nodes were taken at once"
    elif health.state in ("degraded", "faulty") or health.broken_gpus:
        reason = told
    elif was_held or health.state == "probation":
        reason = told or f"repaired at {repaired}"
    else:
        return Health()
    return Health(
        state="suspect", reason=reason[:MOST_REASON], since=mark.since if mark.state == "suspect" else now,
        quarantined=mark.quarantined, repaired=repaired,
    )  # fmt: skip


def _lasts(mark: Health, now_s: float, rules: Rules) -> bool:
    return (seconds_of(mark.until) or 0.0) - now_s > rules.quarantine_s / 2


def _urgency(signals: list[Signal]) -> float:
    return float(max((severity_rank(one.severity) for one in signals), default=0)) + len(signals) / 1000


def _reason(signals: list[Signal]) -> str:
    """What is open, worst first; the same words as long as the same is open."""
    told = [one for one in signals if severity_rank(one.severity) > 0]
    parts = [
        f"{one.code}{f' on GPU {one.gpu}' if one.gpu is not None else ''} ({one.source}): {one.message}"
        for one in told[:MOST_CODES]
    ]
    return "; ".join(parts)[:MOST_REASON]


def _taint_value(signals: list[Signal]) -> str:
    """The first code as a taint may have it: 63 letters, digits, dots, dashes and underscores."""
    return UNFIT.sub("-", signals[0].code)[:63].strip("-._") if signals else ""
