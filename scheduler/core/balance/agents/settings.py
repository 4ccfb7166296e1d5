"""What can be set of the agents: every number with its unit, default and range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Final, NamedTuple

from scheduler.core.errors import StowageInputError


class Range(NamedTuple):
    """What a setting may be. unit: empty for a count or a share."""

    unit: str
    low: float
    high: float
    what: str


RANGES: Final[Mapping[str, Range]] = MappingProxyType(
    {
        "brokers": Range("", 1, 64, "brokers that know the nodes"),
        "candidates": Range("", 1, 32, "nodes that are asked for one placement (the k of power of k)"),
        "staleness_s": Range("s", 0, 3600, "between two reports of a node to the brokers; 0: they see all at once"),
        "latency_s": Range("s", 1e-6, 10, "mean time of a message; each takes half to one and a half of it"),
        "timeout_s": Range("s", 1e-5, 100, "after which an answer counts as lost; over 3 x latency_s"),
        "lease_s": Range("s", 1e-5, 3600, "for which a node holds room for a task that may come"),
        "loss": Range("", 0, 0.9, "share of messages that get lost"),
        "node_failure": Range("", 0, 1, "share of the nodes that fail within the window"),
        "refusals": Range("", 1, 1000, "after which a placement is forced, or given up"),
        "resends": Range("", 0, 1000, "of a message without an answer, before that counts as a refusal"),
        "depth": Range("", 0, 1000, "forced placements in a chain at most; 0: nothing is forced"),
        "check_s": Range("s", 1e-3, 86400, "between two looks of an overloaded node at itself"),
        "cost_weight": Range("", 0, 1000, "of the migration cost in a re-allocation score (lambda)"),
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How the agents behave, see `RANGES`. Raises StowageInputError, naming everything that is out of range."""

    brokers: int = 4
    candidates: int = 2
    staleness_s: float = 5.0
    latency_s: float = 0.001
    timeout_s: float = 0.01
    lease_s: float = 0.5
    loss: float = 0.0
    node_failure: float = 0.0
    refusals: int = 2
    resends: int = 3
    depth: int = 3
    check_s: float = 5.0
    cost_weight: float = 0.1

    def __post_init__(self) -> None:
        faults = []
        for name, value in asdict(self).items():
            rule = RANGES[name]
            if not math.isfinite(value) or not rule.low <= value <= rule.high:
                unit = f" {rule.unit}" if rule.unit else ""
                faults.append(f"{name} is {value:g}; it is {rule.low:g} to {rule.high:g}{unit}: {rule.what}")
            elif name in COUNTS and value != int(value):
                faults.append(f"{name} is {value:g}; it is a whole number: {rule.what}")
        if not faults and self.timeout_s <= 3 * self.latency_s:
            faults.append(f"timeout_s is {self.timeout_s:g}; it is over 3 x latency_s = {3 * self.latency_s:g} s")
        if faults:
            raise StowageInputError("; ".join(faults))


COUNTS: Final = frozenset(field.name for field in fields(Settings) if field.type in (int, "int"))


class Rules(NamedTuple):
    """The settings as the loops take them: times in microseconds."""

    brokers: int
    candidates: int
    staleness_us: int
    latency_us: int
    timeout_us: int
    lease_us: int
    loss: float
    refusals: int
    resends: int
    depth: int
    check_us: int
    cost_weight: float


def make_rules(settings: Settings) -> Rules:
    """Rounded to whole microseconds."""
    return Rules(
        brokers=int(settings.brokers),
        candidates=int(settings.candidates),
        staleness_us=round(settings.staleness_s * 1e6),
        latency_us=max(round(settings.latency_s * 1e6), 1),
        timeout_us=round(settings.timeout_s * 1e6),
        lease_us=round(settings.lease_s * 1e6),
        loss=float(settings.loss),
        refusals=int(settings.refusals),
        resends=int(settings.resends),
        depth=int(settings.depth),
        check_us=round(settings.check_s * 1e6),
        cost_weight=float(settings.cost_weight),
    )
