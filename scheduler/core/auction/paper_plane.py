"""The published instance as bids in the plane, so that it can be solved at any size without its matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scheduler.core.auction.candidates import PlaneBids
from scheduler.core.auction.paper_instance import REACH, PaperInstance, UtilityRule, utility


def plane_of(instance: PaperInstance, rule: UtilityRule) -> PlaneBids:
    """The same bids as `market_of` with the same rule, one request per machine.

    Requests of one demand, budget, priority and history are one shape; of the utility only nearness depends on more.
    """
    alike = np.column_stack([instance.demand, instance.budget, instance.priority, instance.history])
    _, example, shape = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    # A request of each shape, farther from every machine than counts.
    outside = np.abs(instance.machine_position).max(initial=0.0) + 2 * REACH
    few = replace(
        instance,
        requests=tuple(instance.requests[j] for j in example),
        demand=instance.demand[example],
        budget=instance.budget[example],
        priority=instance.priority[example],
        history=instance.history[example],
        request_position=np.full((len(example), 2), outside),
        user=instance.user[example],
    )
    fits = few.demand[:, None] <= instance.room[None, :]
    return PlaneBids(
        node_xy=np.ascontiguousarray(instance.machine_position),
        request_xy=instance.request_position,
        shape=shape.ravel().astype(np.int32),
        score=np.where(fits, utility(few, rule), -np.inf),
        near=rule.qos / 2,
        reach=REACH,
    )
