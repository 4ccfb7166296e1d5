"""What the cluster looks like at regular instants of a replay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.replay.state import Nodes

SHAPES_EVERY_US = 3_600_000_000


class Samples(NamedTuple):
    """I instants, R resources, P priority levels, H instants of shapes, K common request shapes, T tasks.

    Row i stands for the state when everything that happens at `time_us[i]` has happened. A node that is up is
    overloaded where its tasks, with the room held for arriving ones, load it with more than its limit.
    """

    time_us: NDArray[np.int64]  # (I,)
    capacity: NDArray[np.int64]  # (I, R) allocatable of machines that are up, over-commit included
    requested: NDArray[np.int64]  # (I, R)
    stranded: NDArray[np.int64]  # (I, R) free on nodes where none of the shapes fits
    waiting: NDArray[np.int64]  # (I, P)
    running: NDArray[np.int64]  # (I,)
    nodes: NDArray[np.int64]  # (I,)
    overloaded: NDArray[np.int64]  # (I,) nodes
    overload: NDArray[np.float64]  # (I,) sum over nodes and resources of the excess as a share of the limit
    limit: NDArray[np.float64]  # (R,) of a node's allocatable, what it may be loaded with
    use: NDArray[np.int64]  # (T, R) what each task loads its node with; T = 0: what it requests
    load: NDArray[np.int64]  # (N, R) what each node is loaded with, where somebody keeps that; or N = 0
    shapes: NDArray[np.int64]  # (K, R)
    shape_every: int  # a row of `shape_fits` every so many instants
    shape_fits: NDArray[np.int64]  # (H, K) how many more of each would fit, each shape alone
    shape_unusable: NDArray[np.int64]  # (H, K, R) free on nodes where it does not fit
    next_row: NDArray[np.int64]  # (1,)


def new_samples(
    from_us: int,
    to_us: int,
    interval_us: int,
    resources: int,
    levels: int,
    shapes: NDArray[np.int64],
    limit: NDArray[np.float64] | None = None,
    use: NDArray[np.int64] | None = None,
) -> Samples:
    """Room for every instant of [from_us, to_us]. limit: (R,), 1 unless given. use: (T, R), requests unless given."""
    shape_every = max(SHAPES_EVERY_US // interval_us, 1)
    time_us = np.arange(from_us, to_us + 1, interval_us, dtype=np.int64)
    rows = len(time_us)
    return Samples(
        time_us=time_us,
        capacity=np.zeros((rows, resources), np.int64),
        requested=np.zeros((rows, resources), np.int64),
        stranded=np.zeros((rows, resources), np.int64),
        waiting=np.zeros((rows, levels), np.int64),
        running=np.zeros(rows, np.int64),
        nodes=np.zeros(rows, np.int64),
        overloaded=np.zeros(rows, np.int64),
        overload=np.zeros(rows),
        limit=np.ones(resources) if limit is None else limit,
        use=np.zeros((0, resources), np.int64) if use is None else use,
        load=np.zeros((0, resources), np.int64),
        shapes=np.ascontiguousarray(shapes),
        shape_every=shape_every,
        shape_fits=np.zeros((-(-rows // shape_every), len(shapes)), np.int64),
        shape_unusable=np.zeros((-(-rows // shape_every), len(shapes), resources), np.int64),
        next_row=np.zeros(1, np.int64),
    )


@njit(cache=True)
def sample(
    samples: Samples, nodes: Nodes, after: NDArray[np.int32], waiting: NDArray[np.int64], running: int, before_us: int
) -> None:
    """Fill every row whose instant lies before the next event, at `before_us`. after: as in Tasks."""
    load = np.empty(samples.capacity.shape[1], np.int64)
    while samples.next_row[0] < samples.time_us.shape[0] and samples.time_us[samples.next_row[0]] < before_us:
        i = samples.next_row[0]
        samples.next_row[0] += 1
        samples.running[i] = running
        samples.waiting[i] = waiting
        for n in range(nodes.up.shape[0]):
            if not nodes.up[n]:
                continue
            samples.nodes[i] += 1
            stranded = not _fits_any(samples.shapes, nodes, n)
            for r in range(samples.capacity.shape[1]):
                free = max(nodes.allocatable[n, r] - nodes.requested[n, r], 0)
                samples.capacity[i, r] += nodes.allocatable[n, r]
                samples.requested[i, r] += nodes.requested[n, r]
                if stranded:
                    samples.stranded[i, r] += free
            excess = _excess(samples, nodes, after, n, load)
            samples.overload[i] += excess
            samples.overloaded[i] += excess > 0
        if i % samples.shape_every == 0:
            for k in range(samples.shapes.shape[0]):
                row = i // samples.shape_every
                samples.shape_fits[row, k] = _copies(samples.shapes[k], nodes, samples.shape_unusable[row, k])


@njit(cache=True)
def _excess(samples: Samples, nodes: Nodes, after: NDArray[np.int32], n: int, load: NDArray[np.int64]) -> float:
    """Sum over the resources of what node `n` carries beyond its limit, as a share of it; 1 where the limit is 0.

    load: scratch.
    """
    load[:] = nodes.requested[n]
    if samples.use.shape[0] > 0:
        load[:] = 0
        t = nodes.first_task[n]
        while t >= 0:
            for r in range(load.shape[0]):
                load[r] += samples.use[t, r]
            t = after[t]
    elif samples.load.shape[0] > 0:
        load[:] = samples.load[n]
    excess = 0.0
    for r in range(load.shape[0]):
        limit = np.int64(nodes.allocatable[n, r] * samples.limit[r])
        if load[r] > limit:
            excess += (load[r] - limit) / limit if limit > 0 else 1.0
    return excess


@njit(cache=True)
def _fits_any(shapes: NDArray[np.int64], nodes: Nodes, n: int) -> bool:
    for k in range(shapes.shape[0]):
        fits = True
        for r in range(shapes.shape[1]):
            if shapes[k, r] > 0 and nodes.requested[n, r] + shapes[k, r] > nodes.allocatable[n, r]:
                fits = False
                break
        if fits:
            return True
    return False


@njit(cache=True)
def _copies(shape: NDArray[np.int64], nodes: Nodes, unusable: NDArray[np.int64]) -> int:
    """How many tasks of `shape` the free room of all nodes holds; `unusable` adds up what is free where none fits."""
    total = 0
    for n in range(nodes.up.shape[0]):
        if not nodes.up[n]:
            continue
        copies = np.iinfo(np.int64).max
        for r in range(shape.shape[0]):
            if shape[r] > 0:
                copies = min(copies, max(nodes.allocatable[n, r] - nodes.requested[n, r], 0) // shape[r])
        total += copies
        if copies == 0:
            for r in range(shape.shape[0]):
                unusable[r] += max(nodes.allocatable[n, r] - nodes.requested[n, r], 0)
    return total
