"""Messages between ranks and how long they take: who talks to whom, jitter, and what is slow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def all_to_all(ranks: int) -> Ints:
    return np.array([(i, j) for i in range(ranks) for j in range(ranks) if i != j])


def in_groups(ranks: int, size: int = 8) -> Ints:
    """All to all within each group of ranks."""
    return np.concatenate([all_to_all(size) + first for first in range(0, ranks, size)])


def ring(ranks: int) -> Ints:
    return np.array([(i, (i + 1) % ranks) for i in range(ranks)])


def both_ways(ranks: int) -> Ints:
    """A ring in which everybody sends to both neighbours."""
    return np.concatenate([ring(ranks), ring(ranks)[:, ::-1]])


def pipelines(ranks: int, stages: int = 8) -> Ints:
    """Activations to the next stage, gradients to the one before."""
    down = np.array([(i, i + 1) for i in range(ranks) if (i + 1) % stages])
    return np.concatenate([down, down[:, ::-1]])


PATTERNS = {
    "all to all": all_to_all, "all to all in groups of 8": in_groups, "ring": ring, "ring, both ways": both_ways,
    "pipelines of 8": pipelines,
}  # fmt: skip


def what_shows(pairs: Ints, kind: str, rank: int) -> str:
    """What a slow row, column or node of a rank can be told to be from who talks to whom: of a line with one cell no
    more than that cell, and of a rank with one peer no more than the connections with it."""
    sends, receives = pairs[pairs[:, 0] == rank], pairs[pairs[:, 1] == rank]
    if kind == "node":
        return "node" if len({*sends[:, 1].tolist(), *receives[:, 0].tolist()}) > 1 else "cell"
    return kind if len(sends if kind == "row" else receives) > 1 else "cell"


def messages(
    pairs: Ints, samples: int, jitter: float, rng: np.random.Generator, slow: tuple[str, int, int] | None, factor: float
) -> tuple[Ints, Ints, Floats, Ints]:
    """Source, destination, seconds and bytes of a window. Sizes differ by message; jitter: of a log-normal.

    slow: kind, source and destination of what takes `factor` times as long.
    """
    source, target = np.repeat(pairs, samples, axis=0).T
    size = 2 ** rng.integers(20, 23, len(source))
    seconds = (2e-5 + size / 20e9) * np.exp(jitter * rng.standard_normal(len(source)))
    if slow is not None:
        kind, a, b = slow
        hit = {
            "row": source == a, "column": target == b, "cell": (source == a) & (target == b),
            "node": (source == a) | (target == a),
        }[kind]  # fmt: skip
        seconds[hit] *= factor
    return source, target, seconds, size
