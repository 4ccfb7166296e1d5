"""Faults on the machines of a trace: they go down and come back as another fleet's nodes did, or once each by chance.

Every machine gets the life of one node of the fleet, by chance and by the seed, and machines beyond the fleet's size
that of a node again. Each such round begins at a moment of its own in the fleet's history, which repeats
itself where the window is longer: so a window of a day in a history of a year is one day of many, by seed, and what
failed together in the history fails together here. A machine is there when the trace says so and none of its faults
lasts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from analytics.faults.history import HOUR_US, History
from analytics.load.machines import Machines


def with_faults(machines: Machines, history: History, window_us: tuple[int, int], seed: int) -> Machines:
    """The machines with the faults that fall into the window. The same seed gives the same faults."""
    rng = np.random.default_rng([seed, 11])
    count = len(machines.ids)
    order = rng.permutation(count)
    length_us = round(history.length_h * HOUR_US)
    pieces = []
    for first in range(0, count, history.fleet):
        node = order[first : first + history.fleet]
        lives = history.draw(rng.permutation(history.fleet)[: len(node)])
        since_us = int(rng.integers(length_us))
        starts_us, ends_us = (np.rint(side * HOUR_US).astype(np.int64) for side in (lives.start_h, lives.end_h))
        for start, end in _in_window(starts_us, ends_us, since_us, length_us, window_us):
            inside = (end > window_us[0]) & (start < window_us[1])
            pieces.append((node[lives.node[inside]], start[inside], end[inside]))
    if not pieces:
        return machines
    return _merged(machines, *(np.concatenate(column) for column in zip(*pieces, strict=True)))


def with_failures(
    machines: Machines, share: float, outage_us: int, window_us: tuple[int, int], seed: int
) -> Machines:
    """That share of the machines, drawn by the seed, goes down once within the window, each at a moment of its own."""
    rng = np.random.default_rng([seed, 17])
    count = len(machines.ids)
    node = np.sort(rng.choice(count, round(share * count), replace=False))
    start_us = rng.integers(window_us[0] + 1, window_us[1] + 1, len(node))
    return _merged(machines, node, start_us, start_us + outage_us)


def _in_window(
    start_us: NDArray[np.int64], end_us: NDArray[np.int64], since_us: int, length_us: int, window_us: tuple[int, int]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The history from `since_us` on laid over the window, as often as it takes to cover it."""
    rounds = range(-1, -(-(window_us[1] - window_us[0] + since_us) // length_us))
    shifts = [window_us[0] - since_us + number * length_us for number in rounds]
    return [(start_us + shift, end_us + shift) for shift in shifts]


def _merged(
    machines: Machines, node: NDArray[np.int64], start_us: NDArray[np.int64], end_us: NDArray[np.int64]
) -> Machines:
    """Events of the machines that fail, each with what is there after it; those of the others as they were."""
    recorded = len(machines.time_us)
    time_us = np.concatenate([machines.time_us, start_us, end_us])
    who = np.concatenate([machines.node, node, node])
    fault = np.concatenate([np.zeros(recorded, np.int64), np.ones(node.size, np.int64), -np.ones(node.size, np.int64)])
    source = np.concatenate([np.arange(recorded), np.full(2 * node.size, -1)])
    # At one instant a fault begins before another ends, so that the machine is not back in between.
    order = np.lexsort([np.arange(time_us.size), -fault, time_us])
    up, last = np.zeros(time_us.size, np.bool_), np.zeros(time_us.size, np.int64)
    is_there = np.zeros(len(machines.ids), np.bool_)
    open_faults = np.zeros(len(machines.ids), np.int64)
    latest = np.full(len(machines.ids), -1)
    for i in order.tolist():
        n = who[i]
        open_faults[n] += fault[i]
        if source[i] >= 0:
            is_there[n], latest[n] = machines.up[source[i]], source[i]
        up[i], last[i] = is_there[n] and open_faults[n] == 0, latest[n]
    known = order[last[order] >= 0]  # a fault before the machine's first event changes nothing yet
    return dataclasses.replace(
        machines,
        time_us=time_us[known],
        node=who[known].astype(np.int32),
        up=up[known],
        capacity={name: column[last[known]] for name, column in machines.capacity.items()},
    )
