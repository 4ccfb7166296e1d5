"""How far the clocks of a job's hosts are apart, from what the job's ranks did to each other.

Nobody enters his next operation before everybody has entered the collective before it. So of two clocks each bounds the
other from either side, and closely where one collective follows another at once. Clocks are compared within groups, a
rank with the first of its group and with the one before it; the closest comparisons are then chained to a tree over all
ranks. Clocks that may all be right are left alone: a slow rank must not be taken for a late clock. Where others are off
by far more than two could be, and blocks of ranks by nothing, such a block is one host with one clock.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.gpu.job_record import Floats, Ints, JobRecord

ONE_CLOCK: Final = 0.03  # of how far others are off: hardly one pair in a hundred is so close by chance
MOSTLY: Final = 0.8
SURELY: Final = 0.15  # of the width of what is known of two clocks remains in doubt
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


@dataclass(frozen=True, slots=True)
class _Between:
    """What the second clock of a pair is ahead of the first lies between low_s and high_s. least_s: how far apart these
    must be, because nobody goes from one collective to the next in no time."""

    low_s: float
    high_s: float
    least_s: float

    @property
    def ahead_s(self) -> float:
        return (self.low_s + self.high_s) / 2

    @property
    def doubt_s(self) -> float:
        width = self.high_s - self.low_s
        return max(width - self.least_s, SURELY * width) / 2


def compare_clocks(job: JobRecord, entries: Ints, begin: Ints) -> Clocks:
    """The clocks of all ranks. entries, begin: of `JobRecord.by_group`."""
    pairs = _pairs(job, entries, begin)
    off = [abs(one.ahead_s) for one in pairs.values() if one.low_s > 0 or one.high_s < 0]
    ranks = len(job.rank)
    asynchronous = any(one.low_s > one.high_s for one in pairs.values())
    sound = {pair: one for pair, one in pairs.items() if one.low_s <= one.high_s}
    if not off or not sound:
        return Clocks(np.zeros(ranks), np.full(ranks, -1), np.zeros(ranks), asynchronous)
    least = ONE_CLOCK * float(np.median(off))
    alike = {pair for pair, one in sound.items() if one.low_s <= 0 <= one.high_s and one.high_s - one.low_s < least}
    host = _hosts(job.rank, alike)
    for first, one in alike:
        if host[first] == host[one]:
            sound[first, one] = _Between(0.0, 0.0, 0.0)
    return _chained(ranks, sound, asynchronous)


def _hosts(rank: Ints, alike: set[tuple[int, int]]) -> Ints:
    """Which ranks share a host and its clock, where clocks that seem to be one come in blocks of so many ranks each.

    alike: pairs (by position) whose clocks may be one. A job that shows no such blocks has a host for every rank.
    """
    joined = np.array([pair in alike for pair in itertools.pairwise(range(len(rank)))], bool)
    ends = np.flatnonzero(~np.append(joined, False))
    sizes, counts = np.unique(np.diff(ends, prepend=-1), return_counts=True)
    size = int(sizes[counts.argmax()])  # of two the smaller
    host = rank // size
    is_within = host[1:] == host[:-1]
    if size > 1 and joined[is_within].mean() > MOSTLY and not joined[~is_within].mean() > 1 - MOSTLY:
        return host
    return np.arange(len(rank))


def _pairs(job: JobRecord, entries: Ints, begin: Ints) -> dict[tuple[int, int], _Between]:
    """What is known of the clocks of pairs, by all groups that both are in."""
    to_first = {(int(seen[0]), one) for seen in job.seen if len(seen) for one in seen[1:].tolist()}
    compared = sorted(to_first | {pair for seen in job.seen for pair in itertools.pairwise(seen.tolist())})
    pairs = np.array(compared, np.int64).reshape(-1, 2)
    low, high, least = np.full(len(pairs), -np.inf), np.full(len(pairs), np.inf), np.zeros((2, len(pairs)))
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
        # By the clock of whoever came last, who waits for nobody.
        quickest = max(float(np.fmin.reduce(after - job.time_s[here], initial=np.inf)), 0.0)
        by_rank = [np.ascontiguousarray(table.T) for table in tables[0]]
        both = np.flatnonzero(np.isin(pairs, seen).all(axis=1))
        for some in np.split(both, range(AT_ONCE, len(both), AT_ONCE)):
            first, one = np.searchsorted(seen, pairs[some]).T
            lower = np.fmax.reduce(by_rank[0][one] - by_rank[1][first], axis=1, initial=-np.inf)
            upper = np.fmin.reduce(by_rank[1][one] - by_rank[0][first], axis=1, initial=np.inf)
            least[0, some] = np.where(lower > low[some], quickest, least[0, some])
            least[1, some] = np.where(upper < high[some], quickest, least[1, some])
            low[some], high[some] = np.maximum(low[some], lower), np.minimum(high[some], upper)
    known = np.flatnonzero(np.isfinite(low) & np.isfinite(high)).tolist()
    of = np.column_stack([low, high, least.sum(axis=0)]).tolist()
    return {compared[n]: _Between(*of[n]) for n in known}


def _chained(ranks: int, pairs: dict[tuple[int, int], _Between], asynchronous: bool) -> Clocks:
    """The clocks by the closest comparisons that hang all ranks together (Kruskal)."""
    tree: dict[int, list[tuple[int, float, float]]] = defaultdict(list)
    root = list(range(ranks))

    def find(one: int) -> int:
        while root[one] != one:
            root[one] = one = root[root[one]]
        return one

    for (first, one), between in sorted(pairs.items(), key=lambda pair: (pair[1].doubt_s, pair[0])):
        if find(first) != find(one):
            root[find(one)] = find(first)
            tree[first].append((one, between.ahead_s, between.doubt_s))
            tree[one].append((first, -between.ahead_s, between.doubt_s))
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
