"""What a reader is told of the cost of moves, the same for traces and clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.balance.problem import Instance

MOVE_NOTE = "a move costs the MiB that live migration of the requested memory sends, and its downtime"


def refusal_notes(instance: Instance, refused: Sequence[str]) -> list[str]:
    """How many tasks are pinned because their move is refused, and why the first is. refused: (T,) reasons."""
    rows = np.flatnonzero([bool(reason) for reason in refused])
    if not len(rows):
        return []
    first = int(rows[0])
    return [f"{len(rows)} tasks cannot be moved and stay: {instance.tasks[first]}: {refused[first]}"]
