"""What people have written on namespaces and pods about a round of bidding, as its terms.

A value that cannot be read, or that breaks a rule, is told once and counts as not written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from scheduler.core.auction.from_snapshot import Terms, why_refused
from scheduler.live.kube_objects import BID_ANNOTATION, BUDGET_ANNOTATION, WEIGHT_ANNOTATION, LiveNamespace
from scheduler.live.planner.world import PodView

NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
MOST: Final = 1e9
MOST_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """An annotation that counts as not written, and why. pod: empty for one of the namespace itself."""

    namespace: str
    pod: str
    uid: str
    text: str


def read_terms(pods: Iterable[PodView], namespaces: Mapping[str, LiveNamespace]) -> tuple[Terms, list[Fault]]:
    """The terms of a round, and what was left out of them. pods: those of our scheduler."""
    faults: list[Fault] = []
    keys: set[str] = set()
    bids: dict[str, float] = {}
    weights: dict[str, float] = {}
    budgets: dict[str, float] = {}
    for live in pods:
        pod = live.pod
        keys.add(pod.key)
        if (text := pod.annotations.get(BID_ANNOTATION)) is not None:
            _read("bid", BID_ANNOTATION, text, pod.key, bids, faults, Fault(pod.namespace, pod.name, pod.uid, ""))
    for name, namespace in sorted(namespaces.items()):
        annotations = namespace.metadata.annotations or {}
        where = Fault(name, "", namespace.metadata.uid, "")
        for what, key, into in (("weight", WEIGHT_ANNOTATION, weights), ("budget", BUDGET_ANNOTATION, budgets)):
            if (text := annotations.get(key)) is not None:
                _read(what, key, text, name, into, faults, where)
    return Terms(frozenset(keys), bids, weights, budgets), faults


def _read(what: str, key: str, text: str, name: str, into: dict[str, float], faults: list[Fault], where: Fault) -> None:
    number = float(text) if NUMBER.fullmatch(text.strip()) else None
    if number is None:
        why = f"a {what} is a decimal number such as 2 or 0.5"
    elif number > MOST:
        why = f"a {what} is at most {MOST:g}"
    else:
        why = why_refused(what, number)
    if number is not None and not why:
        into[name] = number
        return
    shown = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
    faults.append(Fault(where.namespace, where.pod, where.uid, f"{key}: {shown!r} is ignored: {why}"))
