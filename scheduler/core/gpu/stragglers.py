"""Which worker of a pipeline-parallel job computes slower than its peers do with the same part of the model.

Workers of one stage run the same layers on different data: one that is slower step after step has a fault. A stage that
is slower as a whole holds more of the model, and a worker that is slower now and then had the longer sequences: neither
is anybody's fault. Compare "Understanding Stragglers in Large Model Training Using What-if Analysis" (OSDI'25).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SLOWER: Final = 0.15
SPREAD: Final = 6.0  # times the peers' median absolute deviation
STEPS: Final = 0.8  # share of the steps in which it is the slower one
FEWEST_PEERS, FEWEST_STEPS = 2, 10

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SlowWorker:
    """slower: share by which it exceeds the median of its peers. steady: share of steps in which it does."""

    stage: int
    worker: int
    slower: float
    steady: float
    steps: int
    peers_s: float


def slow_workers(stage: Ints, worker: Ints, step: Ints, seconds: Floats) -> list[SlowWorker]:
    """Workers slower than their peers of the same stage, by stage and number.

    stage, worker, step, seconds: (N,), one entry per computation of one kind. Stages with fewer than three workers are
    not judged: of two, nobody can say which is wrong.
    """
    found = []
    for s in np.unique(stage).tolist():
        here = stage == s
        workers, row = np.unique(worker[here], return_inverse=True)
        steps, column = np.unique(step[here], return_inverse=True)
        if len(workers) < FEWEST_PEERS + 1 or len(steps) < FEWEST_STEPS:
            continue
        table = _medians(row, column, seconds[here], (len(workers), len(steps)))
        typical = np.nanmedian(table, axis=1)
        for w in range(len(workers)):
            peers = np.delete(typical, w)
            usual = float(np.median(peers))
            spread = 1.4826 * float(np.median(np.abs(peers - usual)))
            more = float(typical[w]) - usual
            known = ~np.isnan(table[w])
            beside = np.nanmedian(np.delete(table, w, axis=0)[:, known], axis=0)
            steady = float((table[w, known] > (1 + SLOWER) * beside).mean()) if known.any() else 0.0
            if more > max(SLOWER * usual, SPREAD * spread) and steady >= STEPS:
                found.append(SlowWorker(int(s), int(workers[w]), more / usual, steady, int(known.sum()), usual))
    return found


def _medians(row: Ints, column: Ints, values: Floats, shape: tuple[int, int]) -> Floats:
    """Median of the values of each cell; NaN for an empty one."""
    out = np.full(shape, np.nan)
    cell = row.ravel() * shape[1] + column.ravel()
    order = np.lexsort((values, cell))
    cells, start, count = np.unique(cell[order], return_index=True, return_counts=True)
    ordered = values[order]
    low, high = start + (count - 1) // 2, start + count // 2
    out.flat[cells] = (ordered[low] + ordered[high]) / 2
    return out
