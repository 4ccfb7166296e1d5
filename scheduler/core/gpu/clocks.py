"""How far the clocks of a job's hosts are apart, from what the job's ranks did to each other.

Nobody enters his next operation before everybody has entered the collective before it. So of two clocks each bounds the
other from either side, and closely where one collective follows another at once. Clocks are compared within groups, a
rank with the first of its group and with the one before it; the closest comparisons are then chained to a tree over all
ranks. Clocks that may all be right are left alone: a slow rank must not be taken for a late clock. Where others are off
by far more than two could be, these two are one clock: ranks of one host.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.gpu.job_record import Floats, Ints, JobRecord

ONE_CLOCK: Final = 0.03  # of how far others are off: hardly one pair in a hundred is so close by chance
AT_ONCE: Final = 256  # pairs of ranks


@dataclass(frozen=True, slots=True, eq=False)
class Clocks:
    """ahead_s: (R,) what to take from a rank's times. parent, doubt_s: (R,) the rank it was compared with, -1 for none,
    and by how much that may be wrong. is_asynchronous: ranks enter operations before those before have ended, so that
    their times say little."""

    ahead_s: Floats
    parent: Ints
    doubt_s: Floats
    is_asynchronous: bool

    def doubt_against(self, one: int, peers: Ints) -> float:
        """By how much a rank's times may be wrong against those of its peers, the median."""
        if not self.doubt_s.any():
            return 0.0
        sums, at, total = {}, one, 0.0
        while at >= 0:
            sums[at] = total
            total += self.doubt_s[at]
            at = int(self.parent[at])
        found = []
        for peer in peers.tolist():
            at, total = peer, 0.0
            while at >= 0 and at not in sums:
                total += self.doubt_s[at]
                at = int(self.parent[at])
            found.append(total + sums[at] if at >= 0 else np.inf)
        return float(np.median(found))


def compare_clocks(job: JobRecord, entries: Ints, begin: Ints) -> Clocks:
    """The clocks of all ranks. entries, begin: of `JobRecord.by_group`."""
    pairs = _pairs(job, entries, begin)
    off = [abs(low + high) / 2 for low, high in pairs.values() if low > 0 or high < 0]
    ranks = len(job.rank)
    asynchronous = any(low > high for low, high in pairs.values())
    sound = {pair: bounds for pair, bounds in pairs.items() if bounds[0] <= bounds[1]}
    if not off or not sound:
        return Clocks(np.zeros(ranks), np.full(ranks, -1), np.zeros(ranks), asynchronous)
    least = ONE_CLOCK * float(np.median(off))
    for pair, (low, high) in sound.items():
        if low <= 0 <= high and high - low < least:
            sound[pair] = 0.0, 0.0
    return _chained(ranks, sound, asynchronous)


def _pairs(job: JobRecord, entries: Ints, begin: Ints) -> dict[tuple[int, int], tuple[float, float]]:
    """Between what the second clock of a pair is ahead of the first, by all groups that both are in."""
    to_first = {(int(seen[0]), one) for seen in job.seen if len(seen) for one in seen[1:].tolist()}
    compared = sorted(to_first | {pair for seen in job.seen for pair in itertools.pairwise(seen.tolist())})
    pairs = np.array(compared, np.int64).reshape(-1, 2)
    low, high = np.full(len(pairs), -np.inf), np.full(len(pairs), np.inf)
    is_last = np.zeros(len(job), bool)
    is_last[job.last] = True
    for group, seen in enumerate(job.seen):
        if len(seen) < 2:
            continue
        here = entries[begin[group] : begin[group + 1]]
        after = np.where(is_last[here], np.nan, job.time_s[np.minimum(here + 1, len(job) - 1)])
        tables = job.tables(here, job.time_s[here], after)
        if tables is None:
            continue
        by_rank = [np.ascontiguousarray(table.T) for table in tables[0]]
        both = np.flatnonzero(np.isin(pairs, seen).all(axis=1))
        for some in np.split(both, range(AT_ONCE, len(both), AT_ONCE)):
            first, one = np.searchsorted(seen, pairs[some]).T
            least = np.fmax.reduce(by_rank[0][one] - by_rank[1][first], axis=1, initial=-np.inf)
            most = np.fmin.reduce(by_rank[1][one] - by_rank[0][first], axis=1, initial=np.inf)
            low[some], high[some] = np.maximum(low[some], least), np.minimum(high[some], most)
    known = np.isfinite(low) & np.isfinite(high)
    bounds = zip(low.tolist(), high.tolist(), strict=True)
    return {pair: of for pair, of, is_known in zip(compared, bounds, known.tolist(), strict=True) if is_known}


def _chained(ranks: int, pairs: dict[tuple[int, int], tuple[float, float]], asynchronous: bool) -> Clocks:
    """The clocks by the closest comparisons that hang all ranks together (Kruskal)."""
    tree: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
    root = list(range(ranks))

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = one = root[root[one]]
        return one

    for (first, one), (low, high) in sorted(pairs.items(), key=lambda pair: (pair[1][1] - pair[1][0], pair[0])):
        if find(first) != find(one):
            root[find(one)] = find(first)
            tree[first].append((one, (low + high) / 2, (high - low) / 2))
            tree[one].append((first, -(low + high) / 2, (high - low) / 2))
    clocks = Clocks(np.zeros(ranks), np.full(ranks, -1), np.zeros(ranks), asynchronous)
    reached = [False] * ranks
    for start in range(ranks):
        waiting = [start] if not reached[start] else []
        while waiting:
            at = waiting.pop()
            reached[at] = True
            for other, ahead, doubt in tree[at]:
                if not reached[other]:
                    clocks.ahead_s[other] = clocks.ahead_s[at] + ahead
                    clocks.parent[other], clocks.doubt_s[other] = at, doubt
                    waiting.append(other)
    return clocks
