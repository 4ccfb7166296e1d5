"""Balanced edge colouring of a bipartite multigraph: each colour equally often at every vertex, give or take one.

de Werra proved that it exists for any number of colours. Found by splitting every vertex into vertices of at most as
many edges as there are colours, and colouring those properly (König) with Kempe chains: O(E (V + E)), in practice close
to O(E).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scheduler.core.compiled import compiled

Ints = NDArray[np.int64]
Closed = NDArray[np.bool_]


def balanced_colouring(left: Ints, right: Ints, colours: int, closed: tuple[Closed, Closed] | None = None) -> Ints:
    """A colour in [0, colours) per edge.

    left, right: (E,), the edges' ends, each side numbered from 0. A vertex of degree d has each colour on floor(d /
    colours) or ceil(d / colours) of its edges. Deterministic. Raises ValueError for no colour, or unequal ends.
    closed: for either side (vertices, colours), which colours a vertex should not have; avoided as far as exchanging
    two colours along a chain can, so the caller looks at what came of it.
    """
    if colours < 1:
        raise ValueError(f"{colours} colours: at least one is needed")
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"ends of shapes {left.shape} and {right.shape}: one left and one right end per edge")
    if not left.size:
        return np.empty(0, np.int64)
    small_left, small_right = _split(left, colours), _split(right, colours)
    colour = _proper(small_left, small_right, colours)
    if closed is not None:
        _avoid(small_left, small_right, left, right, colour, closed[0], closed[1])
    return colour


def _split(ends: Ints, most: int) -> Ints:
    """Vertices of at most `most` edges each, numbered from 0, that make up the given ones."""
    order = np.argsort(ends, kind="stable")
    degree = np.bincount(ends)
    start = np.cumsum(degree) - degree
    parts = -(-degree // most)
    first = np.cumsum(parts) - parts
    out = np.empty(ends.size, np.int64)
    at = np.arange(ends.size) - np.repeat(start, degree)
    out[order] = np.repeat(first, degree) + at // most
    return out


@compiled
def _proper(left: Ints, right: Ints, colours: int) -> Ints:
    """Colours such that no two edges of a vertex share one; no vertex has more edges than there are colours."""
    edges = left.size
    at = np.full((2, max(left.max(), right.max()) + 1, colours), -1, np.int64)  # edge of each colour; -1: it is free
    colour = np.empty(edges, np.int64)
    chain = np.empty(edges, np.int64)
    for edge in range(edges):
        u, v = left[edge], right[edge]
        free_u, free_v, both = -1, -1, -1
        for c in range(colours):
            open_u, open_v = at[0, u, c] < 0, at[1, v, c] < 0
            if open_u and open_v:
                both = c
                break
            if open_u and free_u < 0:
                free_u = c
            if open_v and free_v < 0:
                free_v = c
        if both < 0:
            # No cycle is odd, so the chain from v ends elsewhere than in u: free_u is free at both ends then.
            length = _chain(at, left, right, 1, v, free_u, free_v, chain)
            _exchange(at, left, right, colour, free_u, free_v, chain[:length])
            both = free_u
        colour[edge] = both
        at[0, u, both] = edge
        at[1, v, both] = edge
    return colour


@compiled
def _chain(at: Ints, left: Ints, right: Ints, side: int, vertex: int, first: int, second: int, chain: Ints) -> int:
    """Edges of the two colours in turn from a vertex (side 0: left), into `chain`; how many they are."""
    length, c = 0, first
    while at[side, vertex, c] >= 0:
        found = at[side, vertex, c]
        chain[length] = found
        length += 1
        side = 1 - side
        vertex = left[found] if side == 0 else right[found]
        c = second if c == first else first
    return length


@compiled
def _exchange(at: Ints, left: Ints, right: Ints, colour: Ints, first: int, second: int, chain: Ints) -> None:
    """Give every edge of the chain the other of the two colours."""
    for one in chain:
        at[0, left[one], colour[one]] = -1
        at[1, right[one], colour[one]] = -1
    for one in chain:
        colour[one] = second if colour[one] == first else first
        at[0, left[one], colour[one]] = one
        at[1, right[one], colour[one]] = one


@compiled
def _avoid(
    left: Ints, right: Ints, whole_left: Ints, whole_right: Ints, colour: Ints, closed_left: Closed,
    closed_right: Closed,
) -> None:
    """Exchange a closed colour for a free one along the chain from its vertex, where no other vertex gets a closed one.

    left, right: the split vertices; whole_left, whole_right: the vertices they are parts of, which `closed` is about.
    Vertices inside a chain keep both colours; only its two ends change.
    """
    colours = closed_left.shape[1]
    at = np.full((2, max(left.max(), right.max()) + 1, colours), -1, np.int64)
    for edge in range(left.size):
        at[0, left[edge], colour[edge]] = edge
        at[1, right[edge], colour[edge]] = edge
    chain = np.empty(left.size, np.int64)
    for edge in range(left.size):
        for side in range(2):
            taken = colour[edge]
            whole = whole_left[edge] if side == 0 else whole_right[edge]
            closed = closed_left if side == 0 else closed_right
            if not closed[whole, taken]:
                continue
            start = left[edge] if side == 0 else right[edge]
            for other in range(colours):
                if closed[whole, other] or at[side, start, other] >= 0:
                    continue
                length = _chain(at, left, right, side, start, taken, other, chain)
                last = chain[length - 1]
                gains = other if colour[last] == taken else taken
                ends_left = (side + length) % 2 == 0
                end = whole_left[last] if ends_left else whole_right[last]
                if (closed_left if ends_left else closed_right)[end, gains]:
                    continue
                _exchange(at, left, right, colour, taken, other, chain[:length])
                break
