"""The compiled round of migrations by freeness, see `freeness`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.core.columns import Codes, Ints, Mask
from scheduler.core.compiled import compiled


@compiled
def pair_and_move(
    room: Ints,
    typical: NDArray[np.float64],
    draining: Mask,
    low: float,
    high: float,
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    takers: int,
    asked: int,
    rows: Codes,
    first: Codes,
    use: Ints,
    mask: Codes,
    allowed: Mask,
    group: Codes,
    known: Ints,
    who: Codes,
    to: Codes,
) -> int:
    """Go through the sources and fill `who` and `to`; gives how many moves.

    room: (N, R), changed on the way. sources, targets: in order, source i begins at target i. Tasks of draining nodes
    may go to every target, others to the first `takers`, of which they ask `asked`. rows, first: tasks of each source.
    known: sorted group * N + node of every member before the round.
    """
    count = 0
    for i in range(len(sources)):
        source = sources[i]
        drains = draining[source]
        among = len(targets) if drains else takers
        for k in range(first[i], first[i + 1]):
            t = rows[k]
            if not drains and _free(room, typical, source, use, t, 0) >= low:
                break
            if not drains and not _rises(room, typical, source, use, t):
                continue
            for j in range(among if drains else min(asked, among)):
                n = targets[(i + j) % among]
                if n == source or not allowed[mask[t], n] or not _takes(room, typical, n, use, t, low, high, drains):
                    continue
                if group[t] >= 0 and _meets(known, who, to, count, group, t, n, len(room)):
                    continue
                for r in range(use.shape[1]):
                    room[source, r] += use[t, r]
                    room[n, r] -= use[t, r]
                who[count] = t
                to[count] = n
                count += 1
                break
    return count


@compiled
def _free(room: Ints, typical: NDArray[np.float64], n: Any, use: Ints, t: Any, sign: int) -> float:
    """Freeness of the node with `sign` times the task's use added to its room."""
    least = np.inf
    for r in range(len(typical)):
        if typical[r] > 0:
            least = min(least, (room[n, r] + sign * use[t, r]) / typical[r])
    return least


@compiled
def _rises(room: Ints, typical: NDArray[np.float64], n: Any, use: Ints, t: Any) -> bool:
    """Whether the node is freer without the task."""
    return _free(room, typical, n, use, t, 1) > _free(room, typical, n, use, t, 0)


@compiled
def _takes(
    room: Ints, typical: NDArray[np.float64], n: Any, use: Ints, t: Any, low: float, high: float, drains: bool
) -> bool:
    """Whether the task fits on the node and, unless it must leave its own, leaves it free enough."""
    for r in range(use.shape[1]):
        if use[t, r] > 0 and use[t, r] > room[n, r]:
            return False
    if drains:
        return True
    return _free(room, typical, n, use, t, 0) > high and _free(room, typical, n, use, t, -1) >= low


@compiled
def _meets(known: Ints, who: Codes, to: Codes, count: int, group: Codes, t: Any, n: Any, nodes: int) -> bool:
    """Whether a member of the task's group is on the node, was there before the round, or is on its way."""
    key = group[t] * np.int64(nodes) + n
    place = np.searchsorted(known, key)
    if place < len(known) and known[place] == key:
        return True
    for k in range(count):  # noqa: SIM110 (numba compiles no generator)
        if to[k] == n and group[who[k]] == group[t]:
            return True
    return False
