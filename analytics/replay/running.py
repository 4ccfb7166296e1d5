"""A replay that is under way: what the compiled loop and the planners share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.load import ReplayInput
from analytics.replay import engine
from analytics.replay.progress import Progress
from analytics.replay.queues import Queues
from analytics.replay.ranking import Ranking
from analytics.replay.sampling import Samples
from analytics.replay.state import FOREVER
from traces.schema import Tier

Timers = NDArray[np.int64]  # (n, 2) value and time, see `progress`


@dataclass(slots=True, eq=False)
class Running:
    """The columns of a replay, changed in place. scores, choice: how a node is picked. tiers: what bids go by.

    samples.use: (T, R) what each task loads its node with, or no rows where that is what it requests. told: rows of the
    tables that a run has beside those of every run (`analytics.runs.EXTRA_SCHEMAS`), by table.
    """

    given: ReplayInput
    queues: Queues
    ranking: Ranking
    progress: Progress
    samples: Samples
    scores: Any
    choice: int
    preempts: bool
    seed: int
    tiers: Sequence[Tier] = ()
    told: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    _keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << 16, np.int64))
    _values: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << 16, np.int64))

    def advance(self, until_us: int, wake_us: int = FOREVER) -> None:
        """Replay up to and including `until_us`; at `wake_us` the queue is served though nothing happens."""
        self._keys, self._values = engine.advance(
            self.given.nodes,
            self.given.classes,
            self.given.tasks,
            self.given.attempts,
            self.queues,
            self.ranking,
            self.progress,
            self.given.timeline,
            self.samples,
            self._keys,
            self._values,
            self.scores,
            self.choice,
            self.preempts,
            self.seed,
            until_us,
            wake_us,
        )

    def set_timers(self, timers: Timers) -> None:
        """Let what a planner began end, or arrive, when it should."""
        self._keys, self._values = engine.set_timers(self.progress, self._keys, self._values, timers)

    def loads(self, who: NDArray[np.int64]) -> NDArray[np.int64]:
        """(M, R) what each of these tasks loads its node with."""
        if len(self.samples.use):
            return self.samples.use[who]
        return self.given.classes.demand[self.given.tasks.class_of_group[self.given.tasks.group[who]]]


def row_names(count: int) -> NDArray[np.str_]:
    """Names in the order of their numbers, for solvers that ask for some."""
    return np.array([f"{number:09d}" for number in range(count)], np.str_)
