"""How far a replay is: cursors, counters, freed nodes, and the timers' kinds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analytics.replay.moving import Moving, new_moving

# rows of Progress.at
NEXT_ARRIVAL, NEXT_MACHINE, TIMERS, FREED, RUNNING, DECISION, ROUND = range(7)
# rows of Progress.counts
EVENTS, PLACEMENTS, EVICTIONS, PREEMPTIONS, REFUSALS, ENDS, ARRIVED = range(7)
# kinds of timer, in the order they are served within one instant; machines come and go after END
END, CANCEL, RESUBMIT, ARRIVE, NOTHING = range(5)
KIND_SHIFT, EPOCH_SHIFT = 56, 40  # value of a timer: kind, epoch, task; of ARRIVE: kind, issue, slot
UNKNOWN = -2  # of Progress.wanted: to be looked up


class Progress(NamedTuple):
    """Cursors and counters, see the constants above."""

    at: NDArray[np.int64]
    counts: NDArray[np.int64]
    all_nodes: NDArray[np.int64]  # (N,) their rows
    victims: NDArray[np.int32]  # scratch
    freed: NDArray[np.int32]  # (N,) nodes with more room than when blocked groups were last served, `at[FREED]` of them
    is_freed: NDArray[np.bool_]  # (N,) by node
    wanted: NDArray[np.int32]  # (N,) per freed node the first blocked group it could take, NOWHERE or UNKNOWN
    moving: Moving


def new_progress(nodes: int, migrating_tasks: int = 0) -> Progress:
    """Everything at its start. migrating_tasks: how many tasks there are, where some may migrate."""
    return Progress(
        at=np.zeros(7, np.int64),
        counts=np.zeros(7, np.int64),
        all_nodes=np.arange(nodes, dtype=np.int64),
        victims=np.zeros(4096, np.int32),
        freed=np.zeros(nodes, np.int32),
        is_freed=np.zeros(nodes, np.bool_),
        wanted=np.zeros(nodes, np.int32),
        moving=new_moving(migrating_tasks, nodes if migrating_tasks else 0),
    )
