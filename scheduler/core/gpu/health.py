"""How well a node and its GPUs are, from what monitors say and from when the node was last repaired.

The score is a chance: that no new fault comes within a day, times a factor for the worst that is open. So scores of
nodes on probation rise smoothly, as the hazard since repair falls, and compare with those of nodes that have a warning.
A fatal signal about one GPU takes that GPU away and leaves the node what it has; one about the node, or about more than
its GPUs, takes the node. The lifetime count of faults is kept beside the score and never in it: on the trace at hand,
nodes with many old faults fail less than others.

Quarantine has a breaker, because the monitor may be what is broken: within any ten minutes at most a tenth of the nodes
may be taken; the worst go first and the rest are asked for again. Every quarantine ends by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from scheduler.core.errors import StowageInputError
from scheduler.core.gpu.hazard import MEASURED, Hazard
from scheduler.core.gpu.signals import SEVERITIES, Severity, Signal, severity_rank

State = Literal["healthy", "probation", "warning", "degraded", "faulty"]

# What is left of the score under an open signal. A warning may be a program's doing; a degraded node still works.
OPEN_FACTOR: Final[Mapping[Severity, float]] = {"info": 1.0, "warning": 0.9, "degraded": 0.5, "fatal": 0.0}
# Components that one GPU has for itself; a fault of any other is a fault of the node, whatever GPU reported it.
OF_ONE_GPU: Final = frozenset({"gpu", "memory", "thermal", "power", "pcie", "nvlink"})
SCORE_OVER_H: Final = 24.0
# A repaired node is on probation while its rate of faults is above this many times that of an old one.
PROBATION_FACTOR: Final = 2.0


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What is known of one node.

    score: 0 (no work) to 1. broken_gpus: indices that take no work although the node does. rate_factor: rate of faults
    now, on that of a node repaired long ago. since_repair_h: None if it never failed. past_faults: the long memory.
    reasons: why the score is below 1, worst first.
    """

    node: str
    score: float
    state: State
    broken_gpus: frozenset[int]
    rate_factor: float
    since_repair_h: float | None
    past_faults: int
    reasons: tuple[str, ...]

    def usable_gpus(self, gpus: int) -> int:
        """How many of the node's GPUs may be given work."""
        return 0 if self.state == "faulty" else max(0, gpus - len(self.broken_gpus))


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """What the records say of a node: when its last repair ended (seconds, same clock as the signals), and how many."""

    repaired_s: float | None = None
    past_faults: int = 0


UNKNOWN: Final = NodeHistory()


def open_signals(signals: Iterable[Signal]) -> list[Signal]:
    """Of each monitor, node, GPU, component and code the last word, if that is that it is open; worst first."""
    last: dict[tuple[str, str, int | None, str, str], Signal] = {}
    for signal in signals:
        key = (signal.source, signal.node, signal.gpu, signal.component, signal.code)
        if key not in last or signal.time_s >= last[key].time_s:
            last[key] = signal
    still = [signal for signal in last.values() if signal.is_open]
    return sorted(still, key=lambda s: (-severity_rank(s.severity), s.node, -1 if s.gpu is None else s.gpu, s.code))


def judge_node(
    node: str,
    signals: Iterable[Signal],
    now_s: float,
    history: NodeHistory = UNKNOWN,
    hazard: Hazard = MEASURED,
) -> NodeHealth:
    """The health of one node at `now_s`; signals of other nodes are passed over."""
    found = open_signals(signal for signal in signals if signal.node == node)
    of_gpus = [s for s in found if s.gpu is not None and s.component in OF_ONE_GPU]
    broken = frozenset(s.gpu for s in of_gpus if s.gpu is not None and s.severity == "fatal")
    whole = [s for s in found if not (s in of_gpus and s.gpu in broken)]
    worst = SEVERITIES[max((severity_rank(s.severity) for s in whole), default=0)]
    age_h = None if history.repaired_s is None else max(0.0, (now_s - history.repaired_s) / 3600)
    age = np.array([math.inf if age_h is None else age_h])
    rate_factor = float(hazard.rate_per_h(age)[0] / hazard.per_h[-1])
    expected = float(hazard.expected_faults(age, SCORE_OVER_H)[0])
    is_on_probation = rate_factor > PROBATION_FACTOR
    reasons = [_describe(s) for s in found if s.severity != "info"]
    if is_on_probation:
        reasons.append(f"repaired {age_h:.1f} h ago: {rate_factor:.0f} times the usual rate of faults")
    return NodeHealth(
        node, math.exp(-expected) * OPEN_FACTOR[worst], _state(worst, bool(broken), is_on_probation), broken,
        rate_factor, age_h, history.past_faults, tuple(reasons),
    )  # fmt: skip


def judge_nodes(
    signals: Sequence[Signal],
    now_s: float,
    histories: Mapping[str, NodeHistory] | None = None,
    hazard: Hazard = MEASURED,
) -> dict[str, NodeHealth]:
    """The health of every node that a signal or a history names, by name."""
    known = histories or {}
    by_node: dict[str, list[Signal]] = {node: [] for node in known}
    for signal in signals:
        by_node.setdefault(signal.node, []).append(signal)
    return {node: judge_node(node, by_node[node], now_s, known.get(node, UNKNOWN), hazard) for node in sorted(by_node)}


def _state(worst: Severity, has_broken_gpu: bool, is_on_probation: bool) -> State:
    if worst == "fatal":
        return "faulty"
    if worst == "degraded" or has_broken_gpu:
        return "degraded"
    if worst == "warning":
        return "warning"
    return "probation" if is_on_probation else "healthy"


def _describe(signal: Signal) -> str:
    where = "" if signal.gpu is None else f" on GPU {signal.gpu}"
    told = f": {signal.message}" if signal.message else ""
    return f"{signal.severity} {signal.code}{where} ({signal.source}){told}"


@dataclass(frozen=True, slots=True)
class Wish:
    """A node that ought to be taken out of service: why, for how long, and how bad it is (higher is worse)."""

    node: str
    reason: str
    for_s: float
    urgency: float = 0.0


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Which nodes are out of service, until when and why; every step gives a new one.

    until_s, reason: by node. entered_s: times of the entries that the breaker still counts. most_share and window_s are
    the breaker: within any window_s at most that share of the fleet is taken, rounded down, but always one node.
    """

    most_share: float = 0.10
    window_s: float = 600.0
    until_s: Mapping[str, float] = field(default_factory=dict)
    reason: Mapping[str, str] = field(default_factory=dict)
    entered_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.most_share <= 1 or not self.window_s > 0:
            raise StowageInputError(
                f"a breaker lets a share above 0 and at most 1 pass in a time above 0, not {self.most_share} in "
                f"{self.window_s} s"
            )


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did. taken, released: nodes, by name. deferred: what the breaker kept back; ask again."""

    quarantine: Quarantine
    taken: tuple[str, ...]
    released: tuple[str, ...]
    deferred: tuple[Wish, ...]


def step_quarantine(held: Quarantine, now_s: float, fleet: int, wishes: Iterable[Wish]) -> Step:
    """Release what has expired, then take what is wished for, worst first and by name, as far as the breaker lets.

    A node that is held already keeps the later of both ends and does not count again. fleet: nodes there are in all.
    Raises StowageInputError if a wish would never end.
    """
    asked = sorted(wishes, key=lambda wish: (-wish.urgency, wish.node))
    for wish in asked:
        if not (math.isfinite(wish.for_s) and wish.for_s > 0):
            raise StowageInputError(f"a quarantine ends: {wish.node} for {wish.for_s} s")
    until_s = {node: end for node, end in held.until_s.items() if end > now_s}
    reason = {node: held.reason[node] for node in until_s}
    entered = [at for at in held.entered_s if at > now_s - held.window_s]
    room = max(1, int(held.most_share * fleet)) - len(entered)
    taken, deferred = [], []
    for wish in asked:
        is_new = wish.node not in until_s
        if is_new and room <= 0:
            deferred.append(wish)
            continue
        if is_new:
            room -= 1
            taken.append(wish.node)
            entered.append(now_s)
        if now_s + wish.for_s > until_s.get(wish.node, now_s):
            until_s[wish.node], reason[wish.node] = now_s + wish.for_s, wish.reason
    after = Quarantine(held.most_share, held.window_s, until_s, reason, tuple(entered))
    released = tuple(sorted(held.until_s.keys() - until_s.keys()))
    return Step(after, tuple(sorted(taken)), released, tuple(deferred))
