"""Small histories of faults, written by hand or drawn."""

from __future__ import annotations

import numpy as np

from analytics.faults.history import History


def a_history(nodes: int, length_h: float, *outages: tuple[int, float, float]) -> History:
    """Outages as (node, start, end) in hours; those of a node must not overlap."""
    rows = sorted(outages, key=lambda outage: (outage[1], outage[0]))
    return History(
        np.array([f"n{i:03}" for i in range(nodes)]),
        np.array([node for node, _, _ in rows], np.int64),
        np.array([start for _, start, _ in rows], float),
        np.array([end for _, _, end in rows], float),
        length_h,
        np.full(nodes, np.inf),
    )


def a_random_history(
    nodes: int, length_h: float, seed: int, mtbf_h: float = 400.0, repeat: float = 0.3, down_h: float = 10.0
) -> History:
    """Faults at random, some of them soon after a repair: `repeat` is the chance of another within a day."""
    rng = np.random.default_rng(seed)
    outages = []
    for node in range(nodes):
        at = rng.exponential(mtbf_h)
        while at < length_h:
            end = at + rng.exponential(down_h)
            outages.append((node, at, end))
            at = end + (rng.uniform(0.1, 24) if rng.random() < repeat else rng.exponential(mtbf_h))
    return a_history(nodes, length_h, *outages)
