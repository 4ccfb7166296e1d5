"""Regions as one: cold starts that one region has no room for, or is slow at, go to another.

Peaks of regions do not coincide, so all together need less room than each by itself. What may move is limited by the
time between regions, which a moved call pays both ways, and by the room the others have left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ortools.graph.python import min_cost_flow

from scheduler.core.errors import StowageInputError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """moved: (H, R, R) from region to region (the diagonal stays at home). refused: (H,) no region had room for them.
    mean_s: what a cold start took on average, time between regions included.
    """

    moved: Counts
    refused: Counts
    mean_s: float

    @property
    def share_moved(self) -> float:
        """Of all that were served."""
        total = int(self.moved.sum())
        return 1 - int(np.einsum("hrr->", self.moved)) / total if total else 0.0


def pooled_peak(load: Counts) -> tuple[int, int]:
    """The sum of the regions' own peaks, and the peak of their sum. load: (H, R)."""
    if not len(load):
        return 0, 0
    return int(load.max(axis=0).sum()), int(load.sum(axis=1).max())


def route(load: Counts, expected_s: Floats, actual_s: Floats, room: Counts, between_s: Floats) -> Routed:
    """Send every hour's cold starts where their expected time, moving included, is least, within the regions' room.

    load: (H, R) cold starts by the region they are called in. expected_s: (H, R) what the router believes a cold start
    takes in each region (the hour before, say; equal to actual_s for an oracle). actual_s: (H, R) what it takes.
    room: (R,) cold starts an hour that a region can do. between_s: (R, R) added when a call of a region (row) runs in
    another (column); infinite where that is not allowed. Each hour is a min-cost flow, solved exactly.
    """
    hours, regions = load.shape
    if (load < 0).any() or (room < 0).any():
        raise StowageInputError("cold starts and room cannot be negative")
    if expected_s.shape != load.shape or actual_s.shape != load.shape or between_s.shape != (regions, regions):
        raise StowageInputError(
            f"load is {load.shape}, times are {expected_s.shape} and {actual_s.shape}, "
            f"between regions {between_s.shape}"
        )
    moved = np.zeros((hours, regions, regions), np.int64)
    refused = np.zeros(hours, np.int64)
    for hour in range(hours):
        moved[hour], refused[hour] = _route_hour(load[hour], expected_s[hour], room, between_s)
    total = int(moved.sum())
    between = np.where(np.isfinite(between_s), between_s, 0.0)
    spent = float((moved * (actual_s[:, None, :] + between[None, :, :])).sum())
    return Routed(moved, refused, spent / total if total else 0.0)


def _route_hour(load: Counts, expected_s: Floats, room: Counts, between_s: Floats) -> tuple[Counts, int]:
    """(R, R) moved, and how many were refused. Equal costs go by the order of the regions."""
    regions = len(load)
    flow = min_cost_flow.SimpleMinCostFlow()
    pairs = [(a, b) for a in range(regions) for b in range(regions) if np.isfinite(between_s[a, b])]
    worst = 1 + max((expected_s[b] + between_s[a, b] for a, b in pairs), default=0.0)
    arcs = [
        flow.add_arc_with_capacity_and_unit_cost(
            a, regions + b, int(load[a]), round((expected_s[b] + between_s[a, b]) * _MICRO)
        )
        for a, b in pairs
    ]
    sink, nowhere = 2 * regions, 2 * regions + 1
    for region in range(regions):
        flow.add_arc_with_capacity_and_unit_cost(regions + region, sink, int(room[region]), 0)
        # Dearer than any region, so that nothing is refused while there is room.
        flow.add_arc_with_capacity_and_unit_cost(region, nowhere, int(load[region]), round(worst * _MICRO) * 10)
        flow.set_node_supply(region, int(load[region]))
    last = flow.add_arc_with_capacity_and_unit_cost(nowhere, sink, int(load.sum()), 0)
    flow.set_node_supply(sink, -int(load.sum()))
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise RuntimeError(f"min-cost flow ended with status {status}")
    moved = np.zeros((regions, regions), np.int64)
    for (a, b), arc in zip(pairs, arcs, strict=True):
        moved[a, b] = flow.flow(arc)
    return moved, int(flow.flow(last))
