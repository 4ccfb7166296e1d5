"""One verdict from all telemetry of a job: who is accused, on what evidence, and what was seen besides.

A hang says more than slowness, a named rank more than a broken part, and evidence of several kinds about one place is
put together. What a program can cause accuses nobody. So does what happened more than a day before the last thing that
was seen: the node was repaired since, or it was not what stopped this job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from scheduler.core.gpu.findings import Culprit, Findings
from scheduler.core.gpu.health import open_signals
from scheduler.core.gpu.signals import Signal, severity_rank

RECENT_S: Final = 86_400.0
ORDER: Final = (
    "non-communication hang", "communication hang", "communication slow", "non-communication slow", "hardware fault",
    "undecided", "healthy",
)  # fmt: skip
"""Of two verdicts the earlier holds."""
FATAL_CONFIDENCE: Final = 0.9
NAMED: Final = 8


@dataclass(frozen=True, slots=True)
class SeenSignal:
    """Equal signals of one monitor: the last of them, when the first came, and how many there were."""

    signal: Signal
    first_s: float
    count: int


def judge(
    signals: Sequence[Signal],
    findings: Iterable[Findings] = (),
    rank_at: Mapping[tuple[str, int], int] | None = None,
) -> Findings:
    """What the signals and the findings say together. rank_at: rank in the job by host and GPU, where it is known."""
    out = Findings("undecided")
    for one in findings:
        out.verdict = min(out.verdict, one.verdict, key=ORDER.index)
        out.accused = merge(out.accused, one.accused)
        out.notes += one.notes
    broken = _broken_parts(signals, out.notes, rank_at or {})
    out.accused = merge(out.accused, broken)
    if broken:
        out.verdict = min(out.verdict, "hardware fault", key=ORDER.index)
    if signals and out.verdict == "undecided":
        out.verdict = "healthy"
    return out


def merge(accused: Sequence[Culprit], more: Iterable[Culprit]) -> list[Culprit]:
    """The accused, in their order, each with what `more` says of its place; then what is left of `more`.

    The first accusation of a place keeps its syndrome.
    """
    out: list[Culprit] = []
    at_rank: dict[int, int] = {}
    at_place: dict[tuple[str, int | None], int] = {}
    at_host: dict[str, int] = {}
    for number, one in enumerate((*accused, *more)):
        at = at_rank.get(one.rank) if one.rank is not None else None
        if at is None and one.host is not None:
            near = at_place.get((one.host, one.gpu), at_place.get((one.host, None)))
            at = near if one.gpu is not None else at_host.get(one.host)
            if at is not None and one.rank is not None and out[at].rank is not None:
                at = None  # another rank of that place
        if at is None or number < len(accused):
            at = len(out)
            out.append(one)
        else:
            known = out[at]
            out[at] = replace(
                known,
                rank=known.rank if known.rank is not None else one.rank,
                host=known.host or one.host,
                gpu=known.gpu if known.gpu is not None else one.gpu,
                confidence=round(1 - (1 - known.confidence) * (1 - one.confidence), 3),
                evidence=f"{known.evidence}; {one.evidence}",
            )
        if one.rank is not None:
            at_rank.setdefault(one.rank, at)
        if one.host is not None:
            at_place.setdefault((one.host, one.gpu), at)
            at_host.setdefault(one.host, at)
    return out


def seen_signals(signals: Iterable[Signal]) -> list[SeenSignal]:
    """Signals that differ in time and message only, counted together; the worst first, then by node and code."""
    groups: dict[tuple[str, int | None, str, str, str, bool], list[Signal]] = {}
    for one in signals:
        groups.setdefault((one.node, one.gpu, one.source, one.code, one.severity, one.is_open), []).append(one)
    out = [
        SeenSignal(max(found, key=lambda one: one.time_s), min(one.time_s for one in found), len(found))
        for found in groups.values()
    ]
    return sorted(out, key=lambda seen: (-severity_rank(seen.signal.severity), *_place(seen.signal), seen.signal.code))


def _place(signal: Signal) -> tuple[str, int]:
    return signal.node, -1 if signal.gpu is None else signal.gpu


def _broken_parts(signals: Sequence[Signal], notes: list[str], rank_at: Mapping[tuple[str, int], int]) -> list[Culprit]:
    """A culprit for every node or GPU with an open fatal signal that is recent."""
    newest = max((one.time_s for one in signals), default=0.0)
    recent = [one for one in signals if not one.time_s or one.time_s >= newest - RECENT_S]
    still = open_signals(recent)
    places: dict[tuple[str, int | None], list[Signal]] = {}
    for one in still:
        if one.severity == "fatal":
            places.setdefault((one.node, one.gpu), []).append(one)
    if old := sum(one.severity == "fatal" for one in open_signals(signals)) - sum(map(len, places.values())):
        notes.append(f"{old} fatal signals are more than a day older than the last one and accuse nobody")
    mild = sorted({one.code for one in still if one.severity == "warning"})
    if mild and not places:
        listed = ", ".join(mild[:NAMED]) + (f" and {len(mild) - NAMED} more" if len(mild) > NAMED else "")
        notes.append(f"{listed}: what a program can cause by itself accuses nobody")
    counts = Counter((one.node, one.gpu, one.source, one.code) for one in recent)
    out = []
    for (node, gpu), found in sorted(places.items(), key=lambda item: _place(item[1][0])):
        told = [
            f"{one.code} by {one.source}, {counts[node, gpu, one.source, one.code]}x: {one.message}"
            for one in found[:NAMED]
        ]
        rank = rank_at.get((node, gpu)) if gpu is not None else None
        confidence = 1 - (1 - FATAL_CONFIDENCE) ** len({one.source for one in found})
        out.append(Culprit(rank, node, gpu, "hardware fault", round(confidence, 3), "; ".join(told)))
    return out
