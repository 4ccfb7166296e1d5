"""The operations of all ranks of a job side by side: columns, and tables of one process group at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.gpu.flight_recorder import Dump

SECOND: Final = 1e9
SPARSE: Final = 16  # cells of a table for each operation in it, at most
LEAST_ROOM: Final = 1 << 20

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class JobRecord:
    """N operations of R ranks in G groups, rank by rank, each oldest first; entry n of every column is one operation.

    rank: (R,) sorted; start: (R + 1,) where a rank's operations begin. groups, names: sorted; what `group` and `name`
    count. position: of the rank in `rank`. collective: number of the collective, the same for all ranks that entered
    it; those of group g are numbered offset[g] to offset[g + 1]. -1 for a message. sequence_of: of a collective.
    time_s: when it was entered, by the rank's own clock, since the first of all. seen: of each group the positions of
    the ranks in it; furthest: the last sequence number that each of them entered. stated: ranks of a group by the
    dumps, where they say so.
    """

    rank: Ints
    start: Ints
    groups: tuple[str, ...]
    names: tuple[str, ...]
    position: NDArray[np.int32]
    group: NDArray[np.int32]
    name: NDArray[np.int32]
    sequence: Ints
    collective: NDArray[np.int32]
    offset: Ints
    time_s: Floats
    state: NDArray[np.int8]
    is_p2p: NDArray[np.bool_]
    duration_s: NDArray[np.float32]
    seen: list[Ints]
    furthest: list[Ints]
    stated: list[frozenset[int]]
    all_stated: frozenset[int]

    def __len__(self) -> int:
        return len(self.position)

    @property
    def last(self) -> Ints:
        """(R,): the last operation of each rank."""
        return self.start[1:] - 1

    def ended_s(self) -> Floats:
        """When the last rank entered each collective; -inf for one that nobody did."""
        out = np.full(int(self.offset[-1]), -np.inf)
        is_collective = self.collective >= 0
        np.maximum.at(out, self.collective[is_collective], self.time_s[is_collective])
        return out

    def members(self, group: int) -> set[int]:
        """The ranks of a group, by what they entered and by what the dumps say."""
        return {*self.rank[self.seen[group]].tolist(), *self.stated[group]}

    def by_group(self) -> tuple[Ints, Ints]:
        """The collectives ordered by group, then rank, then age; and (G + 1,) where each group's begin."""
        entries = np.flatnonzero(self.collective >= 0)
        of = self.group[entries]
        order = np.argsort(of.astype(np.uint16) if len(self.groups) < 1 << 16 else of, kind="stable")
        counts = np.bincount(of, minlength=len(self.groups))
        return entries[order], np.concatenate([[0], np.cumsum(counts)])

    def tables(self, entries: Ints, *values: Floats) -> tuple[list[Floats], Ints, Ints] | None:
        """Of each column of values a table, collectives by ranks, NaN for none; the collectives; the ranks' positions.

        entries: of one group, ordered by rank. None where ranks have so little in common that a table would be
        many times larger than what stands in it.
        """
        collective = self.collective[entries]
        low = int(collective.min())
        is_row = np.bincount(collective - low) > 0
        position = self.position[entries]
        is_new = np.concatenate([[True], position[1:] != position[:-1]])
        rows, columns = int(is_row.sum()), int(is_new.sum())
        if rows * columns > max(SPARSE * len(entries), LEAST_ROOM):
            return None
        place = (np.cumsum(is_row) - 1)[collective - low] * columns + (np.cumsum(is_new) - 1)
        out = [np.full(rows * columns, np.nan) for _ in values]
        for table, column in zip(out, values, strict=True):
            table[place] = column
        shaped = [table.reshape(rows, columns) for table in out]
        return shaped, np.flatnonzero(is_row) + low, position[is_new].astype(np.int64)


def join(dumps: Sequence[Dump]) -> JobRecord:
    """The record of a job; ranks whose dump has no operation are left out.

    Raises ValueError for two dumps of one rank.
    """
    ranks = [dump.rank for dump in dumps]
    if len(set(ranks)) < len(ranks):
        raise ValueError(f"two dumps of rank {min(rank for rank in set(ranks) if ranks.count(rank) > 1)}")
    full = sorted((dump for dump in dumps if len(dump)), key=lambda dump: dump.rank)
    used = [np.bincount(dump.group, minlength=len(dump.words)) > 0 for dump in full]
    groups = sorted({word for dump, is_group in zip(full, used, strict=True) for word in _where(dump.words, is_group)})
    names = sorted({word for dump in full for word in dump.words})
    number = {word: i for i, word in enumerate(groups)}, {word: i for i, word in enumerate(names)}
    start = np.concatenate([[0], np.cumsum([len(dump) for dump in full])]).astype(np.int64)
    group, name, position = (np.empty(int(start[-1]), np.int32) for _ in range(3))
    sequence, created = (np.empty(int(start[-1]), np.int64) for _ in range(2))
    for i, dump in enumerate(full):
        here = slice(int(start[i]), int(start[i + 1]))
        position[here] = i
        group[here] = np.array([number[0].get(word, -1) for word in dump.words], np.int32)[dump.group]
        name[here] = np.array([number[1][word] for word in dump.words], np.int32)[dump.name]
        sequence[here], created[here] = dump.sequence, dump.created_ns
    is_p2p = _joined([dump.is_p2p for dump in full], bool)
    seen, first, furthest = _spans(group, sequence, is_p2p, start, len(groups))
    collective, offset = _numbered(group, sequence, is_p2p, first, furthest)
    stated, all_stated = _stated(dumps, groups)
    zero = int(created.min()) if len(created) else 0
    span = (int(created.max()) - zero) if len(created) else 0
    time_s = (created - zero if span < 2**62 else created.astype(np.float64) - zero) / SECOND
    return JobRecord(
        np.array([dump.rank for dump in full], np.int64), start, tuple(groups), tuple(names), position, group, name,
        sequence, collective, offset, time_s, _joined([dump.state for dump in full], np.int8), is_p2p,
        _joined([dump.duration_s for dump in full], np.float32), seen, furthest, stated, all_stated,
    )  # fmt: skip


def _where(words: Sequence[str], is_wanted: NDArray[np.bool_]) -> list[str]:
    return [words[i] for i in np.flatnonzero(is_wanted).tolist()]


def _joined(parts: list[NDArray], kind: type) -> NDArray:  # type: ignore[type-arg]
    return np.concatenate([np.empty(0, kind), *parts]).astype(kind, copy=False)


def _spans(
    group: NDArray[np.int32], sequence: Ints, is_p2p: NDArray[np.bool_], start: Ints, groups: int
) -> tuple[list[Ints], list[Ints], list[Ints]]:
    """Of each group: the positions of its ranks, and the first and last sequence number that each of them entered."""
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(groups)]
    for i in range(len(start) - 1):
        here = slice(int(start[i]), int(start[i + 1]))
        is_collective = ~is_p2p[here]
        of, numbers = group[here][is_collective], sequence[here][is_collective]
        for g in np.flatnonzero(np.bincount(of, minlength=1)).tolist():
            mine = numbers[of == g]
            found[g].append((i, int(mine.min()), int(mine.max())))
    columns = [np.array(rows, np.int64).reshape(-1, 3) for rows in found]
    return [one[:, 0] for one in columns], [one[:, 1] for one in columns], [one[:, 2] for one in columns]


def _numbered(
    group: NDArray[np.int32], sequence: Ints, is_p2p: NDArray[np.bool_], first: list[Ints], furthest: list[Ints]
) -> tuple[NDArray[np.int32], Ints]:
    """A number for each collective, and where those of each group begin: counted through where a group's sequence
    numbers lie close together, else by order."""
    low = [int(one.min()) if len(one) else 0 for one in first]
    size = [int(high.max()) - low[g] + 1 if len(high) else 0 for g, high in enumerate(furthest)]
    if sum(size) <= SPARSE * len(group) + LEAST_ROOM:
        offset = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        out = (sequence + (offset[:-1] - np.array(low, np.int64))[group]).astype(np.int32)
        out[is_p2p] = -1
        return out, offset
    out = np.full(len(group), -1, np.int32)
    entries = np.flatnonzero(~is_p2p)
    of, numbers = group[entries], sequence[entries]
    order = np.lexsort((numbers, of))
    is_new = np.ones(len(order), bool)
    is_new[1:] = (np.diff(of[order]) != 0) | (numbers[order][1:] != numbers[order][:-1])
    out[entries[order]] = np.cumsum(is_new) - 1
    counts = np.bincount(of[order][is_new], minlength=len(first))
    return out, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _stated(dumps: Sequence[Dump], groups: Sequence[str]) -> tuple[list[frozenset[int]], frozenset[int]]:
    """The ranks of each group by all dumps together, and of all groups, also of those that nobody used."""
    found: dict[str, dict[int, tuple[int, ...]]] = {}
    for dump in dumps:
        for name, ranks in dump.members.items():
            found.setdefault(name, {})[id(ranks)] = ranks  # the same object, mostly: large ones take long to compare
    union = {name: frozenset().union(*ranks.values()) for name, ranks in found.items()}
    return [union.get(name, frozenset()) for name in groups], frozenset().union(*union.values())
