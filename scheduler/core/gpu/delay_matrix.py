"""Slow connections, ports and nodes from how long messages take: the delay matrix of C4D (arXiv 2406.04594).

Rows are sources, columns destinations, each cell the logarithm of the median over the window against all cells alike. A
row that is high as a whole is the transmit side of its source, a column the receive side of its destination, both of
one rank that rank itself, a single cell one connection. Not every pair talks: in a ring, a pipeline or an all-to-all
within groups most cells are unknown. A row or column of which one cell is known is no more than that cell.

The paper gives no thresholds. Ours start from what chance alone does to a row of medians and to a cell, measured from
the matrix itself and from the scatter within the cells, and never go below 10 % for a row and 20 % for a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from scheduler.core.gpu.findings import Culprit

LEAST_LINE: Final = float(np.log(1.10))  # of a row or a column
LEAST_CELL: Final = float(np.log(1.20))
SPREAD_LINE: Final = 6.0  # standard deviations by the median absolute deviation
SPREAD_CELL: Final = 7.0
TO_SIGMA: Final = 1.4826
OF_MEDIAN: Final = 1.2533
FEWEST_SAMPLES: Final = 5
FEWEST_CELLS: Final = 6  # of a matrix: fewer do not say what is usual
FEW: Final = 4  # cells of a line; of fewer the least must be high, not the median
MOST_LINES: Final = 0.25  # of all ranks: more are no exception, but what is usual

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Kind = Literal["node", "row", "column", "cell"]
WORDS: Final = {
    "node": "everything it sends and receives", "row": "what it sends", "column": "what it receives",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class DelayMatrix:
    """The known cells, by source and destination. log_delay: (M,) above what is usual for messages alike; error: (M,)
    its standard error; samples: (M,)."""

    source: Ints
    target: Ints
    log_delay: Floats
    error: Floats
    samples: Ints


@dataclass(frozen=True, slots=True)
class Slow:
    """What is slow: a rank (`node`), its transmit (`row`) or receive side (`column`), or a connection (`cell`).

    factor: times as long as usual. cells: connections that show it. source, target: -1 where it is not one.
    """

    kind: Kind
    source: int
    target: int
    factor: float
    cells: int
    confidence: float


def delay_matrix(
    source: Ints, target: Ints, seconds: Floats, size: Ints | None = None, alike: Ints | None = None
) -> DelayMatrix:
    """The matrix of a window of messages, one entry of each (N,) array a message.

    size: in bytes; alike: any number that is the same for pairs of which the same is expected, as within one host.
    Messages are compared with those of about their size and of pairs alike. Times that are not above zero and pairs
    with fewer than FEWEST_SAMPLES are left out. Raises ValueError for arrays of unequal length.
    """
    columns = [source, target, seconds, *(one for one in (size, alike) if one is not None)]
    if len({len(one) for one in columns}) != 1:
        raise ValueError(f"columns of unequal length: {[len(one) for one in columns]}")
    good = np.isfinite(seconds) & (seconds > 0) & (source != target)
    source, target, delay = source[good].astype(np.int64), target[good].astype(np.int64), np.log(seconds[good])
    kind = np.zeros(len(delay), np.int64)
    if size is not None:
        kind = np.round(8 * np.log2(np.maximum(size[good], 1))).astype(np.int64)  # within 9 %
    if alike is not None:
        kind = kind * 65_521 + np.unique(alike[good], return_inverse=True)[1].ravel()
    usual, _, of_kind = _medians(kind, delay)
    delay = delay - usual[of_kind]
    ranks, number = np.unique(np.concatenate([source, target]), return_inverse=True)
    pair = number[: len(source)] * max(len(ranks), 1) + number[len(source) :]
    middle, first, of_pair = _medians(pair, delay)
    samples = np.bincount(of_pair, minlength=len(middle))
    scatter = TO_SIGMA * _medians(pair, np.abs(delay - middle[of_pair]))[0]
    if len(scatter):  # few samples agree, or differ, by chance
        scatter = np.maximum((scatter + np.median(scatter)) / 2, np.median(scatter))
    keep = samples >= FEWEST_SAMPLES
    # What is usual is the usual cell's, not that of the pairs that talk most.
    middle = middle - (np.median(middle[keep]) if keep.any() else 0.0)
    error = OF_MEDIAN * scatter / np.sqrt(np.maximum(samples, 1))
    return DelayMatrix(source[first][keep], target[first][keep], middle[keep], error[keep], samples[keep])


def find_slow(matrix: DelayMatrix) -> list[Slow]:
    """What is slow, the lines first, then single connections, each by rank.

    Lines are taken away one after another, the slowest first, and with each its cells: what a slow sender does to its
    receivers' columns is not theirs.
    """
    if len(matrix.source) < FEWEST_CELLS:
        return []
    left = np.ones(len(matrix.source), bool)
    found: list[Slow] = []
    ranks = len(np.union1d(matrix.source, matrix.target))
    while len(found) < max(1, MOST_LINES * ranks):
        worst = _slowest_line(matrix, left)
        if worst is None:
            break
        one, cells = worst
        found.append(one)
        left &= ~cells
    if len(found) > MOST_LINES * ranks and ranks > FEW:
        return []
    return sorted(found, key=lambda one: (max(one.source, one.target), one.kind)) + _slow_cells(matrix, left)


def slow_connections(matrix: DelayMatrix) -> list[Culprit]:
    """The accused of a delay matrix: ranks, and connections, which accuse no rank."""
    accused = []
    for one in find_slow(matrix):
        if one.kind == "cell":
            text = f"messages from rank {one.source} to rank {one.target} take {one.factor:.2f} times as long as others"
            link = (one.source, one.target)
            accused.append(Culprit(None, None, None, "communication slow", one.confidence, text, link, link))
        else:
            rank = max(one.source, one.target)
            text = f"{WORDS[one.kind]} takes {one.factor:.2f} times as long as elsewhere, on {one.cells} connections"
            accused.append(Culprit(rank, None, None, "communication slow", one.confidence, text))
    return accused


def _medians(key: Ints, values: Floats) -> tuple[Floats, Ints, Ints]:
    """The median of the values of each key, the first entry of each, and the number of each entry's key."""
    keys, first, number = np.unique(key, return_index=True, return_inverse=True)
    order = np.lexsort((values, number.ravel()))
    count = np.bincount(number.ravel(), minlength=len(keys))
    start = np.cumsum(count) - count
    ordered = values[order]
    if not len(keys):
        return np.empty(0), first, number.ravel()
    return (ordered[start + (count - 1) // 2] + ordered[start + count // 2]) / 2, first, number.ravel()


def _lines(rank: Ints, values: Floats, error: Floats) -> tuple[Ints, Floats, Ints, Floats]:
    """Ranks that have a line; how high it is as a whole; its cells; its standard error."""
    ranks, number = np.unique(rank, return_inverse=True)
    count = np.bincount(number, minlength=len(ranks))
    least = np.full(len(ranks), np.inf)
    np.minimum.at(least, number, values)
    middle = _medians(rank, values)[0]
    squares = np.bincount(number, error**2, minlength=len(ranks))
    return ranks, np.where(count < FEW, least, middle), count, OF_MEDIAN * np.sqrt(squares) / count


def _threshold(height: Floats, error: Floats) -> Floats:
    """From where on a line is high. error: of each."""
    spread = TO_SIGMA * float(np.median(np.abs(height - np.median(height))))
    usual = np.maximum(LEAST_LINE, SPREAD_LINE * np.maximum(spread, error))
    return usual + max(float(np.median(height)), 0.0)


def _slowest_line(matrix: DelayMatrix, left: NDArray[np.bool_]) -> tuple[Slow, NDArray[np.bool_]] | None:
    """The node, row or column that is the highest, and its cells."""
    if left.sum() < FEWEST_CELLS:
        return None
    values, error = matrix.log_delay[left], matrix.error[left]
    rows = _lines(matrix.source[left], values, error)
    columns = _lines(matrix.target[left], values, error)
    high = []
    for ranks, height, count, error_of in (rows, columns):
        is_high = height > _threshold(height, error_of)
        high.append({
            rank: (float(h), n) for rank, h, n in zip(ranks[is_high].tolist(), height[is_high].tolist(),
                                                      count[is_high].tolist(), strict=True)
        })  # fmt: skip
    found: list[tuple[float, int, Kind, int]] = []
    for rank in sorted(high[0].keys() | high[1].keys()):
        row, column = high[0].get(rank), high[1].get(rank)
        if row and column and _peers(matrix, left, rank) > 1:
            found.append((min(row[0], column[0]) + LEAST_CELL, rank, "node", row[1] + column[1]))
        elif row and row[1] > 1:
            found.append((row[0], rank, "row", row[1]))
        elif column and column[1] > 1:
            found.append((column[0], rank, "column", column[1]))
    if not found:
        return None
    _, rank, kind, cells = max(found, key=lambda one: (one[0], -one[1]))
    is_row, is_column = matrix.source == rank, matrix.target == rank
    mine = is_row | is_column if kind == "node" else is_row if kind == "row" else is_column
    factor = float(np.exp(np.median(matrix.log_delay[mine & left])))
    sure = 0.95 if cells >= 2 * FEW else 0.8
    source, target = (rank if kind != "column" else -1), (rank if kind != "row" else -1)
    return Slow(kind, source, target, factor, cells, sure), mine


def _peers(matrix: DelayMatrix, left: NDArray[np.bool_], rank: int) -> int:
    """With how many others a rank talks: to and from a single one may be one bad cable."""
    talks = left & ((matrix.source == rank) | (matrix.target == rank))
    return len(np.union1d(matrix.source[talks], matrix.target[talks])) - 1


def _slow_cells(matrix: DelayMatrix, left: NDArray[np.bool_]) -> list[Slow]:
    """Single connections among what is left."""
    values = matrix.log_delay[left]
    if len(values) < FEWEST_CELLS:
        return []
    middle = float(np.median(values))
    spread = TO_SIGMA * float(np.median(np.abs(values - middle)))
    least = middle + np.maximum(LEAST_CELL, SPREAD_CELL * np.maximum(spread, matrix.error[left]))
    high = values > least
    ends = zip(matrix.source[left][high].tolist(), matrix.target[left][high].tolist(), strict=True)
    factors = np.exp(values[high] - middle).tolist()
    return [Slow("cell", *pair, factor, 1, 0.9) for pair, factor in zip(ends, factors, strict=True)]
