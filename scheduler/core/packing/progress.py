"""What a search has left and what it has proven."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.packing.problem import Budget


class Meter:
    """What is left of the budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.began = budget.clock()
        self.spent = 0.0

    def elapsed(self) -> float:
        """Seconds, or units of counted work."""
        return self.spent if self.budget.deterministic else self.budget.clock() - self.began

    def left(self) -> float:
        """What remains."""
        return self.budget.limit - self.elapsed()


@dataclass(slots=True)
class Proof:
    """What is known of a tier or of the disruption after it."""

    bound: int
    proven: bool = False
