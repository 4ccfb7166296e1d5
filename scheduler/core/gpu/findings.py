"""What a diagnosis says: who or what is accused, of which syndrome, why, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Syndrome = Literal[
    "non-communication hang", "communication hang", "non-communication slow", "communication slow", "hardware fault"
]


@dataclass(frozen=True, slots=True)
class Culprit:
    """rank: in the job; None where only the place is known. gpu: index on the host. confidence: 0 to 1.

    evidence: in words and numbers. link: source and destination rank of the connection meant; among: ranks between
    which the faulty connection lies, where it is not known which.
    """

    rank: int | None
    host: str | None
    gpu: int | None
    syndrome: Syndrome
    confidence: float
    evidence: str
    link: tuple[int, int] | None = None
    among: tuple[int, ...] = ()


@dataclass(slots=True)
class Findings:
    """What one input shows, or all of them together.

    verdict: a syndrome, healthy, undecided where there is too little, or what the program did (deadlock, mismatched
    collectives). notes: what accuses nobody.
    """

    verdict: str
    accused: list[Culprit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Diagnosis(Findings):
    """Findings from dumps. missing: ranks without one. late: single late steps, nobody's fault yet."""

    missing: list[int] = field(default_factory=list)
    late: list[str] = field(default_factory=list)


def listed(ranks: Sequence[int], most: int = 8) -> str:
    """Ranks for people: the first few, and how many there are."""
    shown = ", ".join(map(str, ranks[:most]))
    return f"{shown}, ... ({len(ranks)})" if len(ranks) > most else shown
