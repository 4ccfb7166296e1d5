"""What the telemetry says of one culprit, whichever input it came from."""

from __future__ import annotations

from dataclasses import dataclass
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
