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
    at_left = np.full((left.max() + 1, colours), -1, np.int64)  # the edge of each colour, -1: the colour is free
    at_right = np.full((right.max() + 1, colours), -1, np.int64)
    colour = np.empty(edges, np.int64)
    chain = np.empty(edges, np.int64)
    for edge in range(edges):
        u, v = left[edge], right[edge]
        free_u, free_v, both = -1, -1, -1
        for c in range(colours):
            open_u, open_v = at_left[u, c] < 0, at_right[v, c] < 0
            if open_u and open_v:
                both = c
                break
            if open_u and free_u < 0:
                free_u = c
            if open_v and free_v < 0:
                free_v = c
        if both < 0:
            # Swap the two colours along the chain that leaves v by free_u; the graph has no odd cycle, so it ends
            # elsewhere than in u, and free_u is free at both ends then.
            length, on_right, vertex, c = 0, True, v, free_u
            while True:
                found = at_right[vertex, c] if on_right else at_left[vertex, c]
                if found < 0:
                    break
                chain[length] = found
                length += 1
                vertex = left[found] if on_right else right[found]
                on_right = not on_right
                c = free_v if c == free_u else free_u
            for i in range(length):
                one = chain[i]
                at_left[left[one], colour[one]] = -1
                at_right[right[one], colour[one]] = -1
            for i in range(length):
                one = chain[i]
                colour[one] = free_v if colour[one] == free_u else free_u
                at_left[left[one], colour[one]] = one
                at_right[right[one], colour[one]] = one
            both = free_u
        colour[edge] = both
        at_left[u, both] = edge
        at_right[v, both] = edge
    return colour


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
                length, where, vertex, c = 0, side, start, taken
                while at[where, vertex, c] >= 0:
                    found = at[where, vertex, c]
                    chain[length] = found
                    length += 1
                    where = 1 - where
                    vertex = left[found] if where == 0 else right[found]
                    c = other if c == taken else taken
                last = chain[length - 1]
                gains = other if colour[last] == taken else taken
                end = whole_left[last] if where == 0 else whole_right[last]
                if (closed_left if where == 0 else closed_right)[end, gains]:
                    continue
                for i in range(length):
                    at[0, left[chain[i]], colour[chain[i]]] = -1
                    at[1, right[chain[i]], colour[chain[i]]] = -1
                for i in range(length):
                    one = chain[i]
                    colour[one] = other if colour[one] == taken else taken
                    at[0, left[one], colour[one]] = one
                    at[1, right[one], colour[one]] = one
                break
