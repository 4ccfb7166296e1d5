"""What it is worth to run a task: the value that bids start from, and that welfare is counted in.

Traces say how important work is and not what it would pay. We take each tier to be worth twice the one below it, and a
larger task to be worth more in proportion to its dominant share. The factor is a choice, not a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.columns import Ints

TIER_FACTOR = 2.0


def worth_of_tiers(lowest: Sequence[int]) -> Floats:
    """(K,) worth of a unit of work in each tier, in the order given; lowest: the least priority of each tier."""
    rank = np.argsort(np.argsort(np.asarray(lowest, np.int64), kind="stable"), kind="stable")
    return np.asarray(TIER_FACTOR**rank, np.float64)


def task_values(worth: Floats, weight: Floats, demand: Ints, capacity: Ints) -> Floats:
    """(J,) what each task is worth: tier's worth x tenant's weight x dominant share of the cluster.

    worth, weight: (J,). demand: (J, R). capacity: (R,) of the cluster; what it lacks does not count.
    """
    has = capacity > 0
    share = (demand[:, has] / capacity[has]).max(axis=1, initial=0.0)
    return np.asarray(worth * weight * share, np.float64)
