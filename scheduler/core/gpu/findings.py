"""What a diagnosis says: who or what is accused, of which syndrome, why, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scheduler.core.gpu.telemetry.accusation import Culprit


@dataclass(slots=True)
class Diagnosis:
    """verdict: a syndrome, healthy, undecided, or what the program did (deadlock, mismatched collectives).

    missing: ranks without a dump. late: single late steps, nobody's fault yet.
    """

    verdict: str
    accused: list[Culprit] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def listed(ranks: Sequence[int], most: int = 8) -> str:
    """Ranks for people: the first few, and how many there are."""
    shown = ", ".join(map(str, ranks[:most]))
    return f"{shown}, ... ({len(ranks)})" if len(ranks) > most else shown
