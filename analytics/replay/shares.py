"""What each tenant holds, and its dominant share of the machines that are up: the order of the queue under DRF.

Source: Ghodsi et al., "Dominant Resource Fairness", NSDI 2011: the tenant with the least dominant share is served
next. Its own tasks go by priority, then arrival. Shares are counted in whole steps, so that they are part of the key
that the queue compares; tenants within one step of each other go by priority and arrival.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.queues import PLACE_BITS, Queues
from analytics.replay.state import Classes, Tasks

MOST = 2  # shares above are not told apart: what runs when a window opens may exceed what its machines offer


def count_shares(queues: Queues) -> Queues:
    """The queues of an empty cluster, with every tenant's share kept from now on and served by it."""
    return queues._replace(held=np.zeros((len(queues.standing), len(queues.offered)), np.int64))


@njit(cache=True)
def hold(queues: Queues, classes: Classes, tasks: Tasks, t: int, sign: int) -> None:
    """The tenant of task `t` holds what it asks for (sign 1), or gives it back (-1)."""
    if queues.held.shape[0] == 0:
        return
    g = tasks.group[t]
    tenant = tasks.tenant_of_group[g]
    for r in range(queues.held.shape[1]):
        queues.held[tenant, r] += sign * classes.demand[tasks.class_of_group[g], r]
    _stand(queues, tenant)


@njit(cache=True)
def offer(queues: Queues, allocatable: NDArray[np.int64], sign: int) -> None:
    """A machine with that much comes (sign 1) or goes (-1)."""
    if queues.held.shape[0] == 0:
        return
    for r in range(queues.offered.shape[0]):
        queues.offered[r] += sign * allocatable[r]
    if sign > 0:
        for tenant in range(queues.held.shape[0]):
            _stand(queues, tenant)


@njit(cache=True)
def _stand(queues: Queues, tenant: int) -> None:
    """The tenant's dominant share in whole steps, above the levels in a place of the queue."""
    level_bits = 0
    while queues.waiting_by_level.shape[0] >> level_bits > 0:
        level_bits += 1
    steps = 1 << (PLACE_BITS - 1 - level_bits)
    share = 0.0
    for r in range(queues.offered.shape[0]):
        if queues.offered[r] > 0:
            share = max(share, queues.held[tenant, r] / queues.offered[r])
    queues.standing[tenant] = min(int(share * steps), MOST * steps - 1) << level_bits
