"""Which rank takes longer of its own before each collective than the ranks beside it.

A rank's own time is what passes between the end of its last collective (when the last of the group has entered) and its
entering the next: waiting for others is not in it, so victims have no more of it than anybody else. Ranks are compared
with those that shared both collectives. Where the job measured how long each execution took, that says more truly
who came late: all end together, so whoever executed for a shorter time came later, whatever the clocks say.

A rank is slow that exceeds its peers by a share that matters, in most steps, and by more than chance explains: its own
scatter from step to step and that of its peers. Both the whole record and its last steps are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from scheduler.core.gpu.clocks import Clocks
from scheduler.core.gpu.findings import Culprit
from scheduler.core.gpu.job_record import Floats, Ints, JobRecord

SLOWER: Final = 0.08  # of the peers' own time between two collectives: what is 15 % slower shows more, whatever chance
OF_STEP: Final = 0.03  # of the time that passes in all: less is of no interest
SPREAD: Final = 6.0  # times the scatter of the peers, as of a normal distribution by the median absolute deviation
CHANCE: Final = 6.5  # times the standard error of the mean: one in a million would be 5, but steps are few
STEADY: Final = 0.6  # share of the steps in which it is late by more than half of the usual
FEWEST: Final = 10  # collectives that a verdict on speed needs
FEWEST_RANKS: Final = 3  # of two, nobody can say which is wrong
RECENT: Final = 20  # steps
LATE_S: Final = 0.5
LATE_TIMES: Final = 10.0
MOST_LATE: Final = 50
TO_SIGMA: Final = 1.4826  # median absolute deviation to standard deviation, of a normal distribution
TRIMMED: Final = 0.2  # of the steps, at either end: a pause or a checkpoint is not what is usual


@dataclass(slots=True, eq=False)
class Kind:
    """Collectives of one name and group that follow a collective of the group `after`.

    own_s: (C, P) own time of each rank (column) before each collective (row), NaN where unknown. ended_s: (C,) when the
    last rank entered. ranks: (P,) positions. collectives: (C,).
    """

    group: int
    name: int
    after: int
    own_s: Floats
    ended_s: Floats
    collectives: Ints
    ranks: Ints


@dataclass(slots=True)
class _Suspect:
    """lost: share of the time that passed, in the kinds that show it, of the whole record and of its last steps."""

    lost: list[float] = field(default_factory=lambda: [0.0, 0.0])
    most: float = 0.0
    share: float = 0.0
    text: str = ""


@dataclass(slots=True, eq=False)
class Speeds:
    """suspects: by rank. late: single late steps."""

    suspects: dict[int, _Suspect] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)

    def accused(self) -> list[Culprit]:
        """Who loses so much of the job's time that it is of interest, by rank."""
        return [
            Culprit(rank, None, None, "non-communication slow", round(one.share, 3), one.text)
            for rank, one in sorted(self.suspects.items()) if max(one.lost) > OF_STEP
        ]  # fmt: skip


def own_times(job: JobRecord, entries: Ints, begin: Ints) -> Iterator[list[Kind]]:
    """The kinds of collectives of each group. entries, begin: of `JobRecord.by_group`."""
    ended = job.ended_s()
    for group in range(len(job.groups)):
        here = entries[begin[group] : begin[group + 1]]
        here = here[here > job.start[job.position[here]]]  # the first of a rank follows nothing that is known
        here = here[job.collective[here - 1] >= 0]  # when a message ended is not recorded
        if not len(here):
            continue
        came = _came_s(job, here, ended)
        own = came - ended[job.collective[here - 1]]
        kinds, number = _numbered(job.name[here].astype(np.int64) * len(job.groups) + job.group[here - 1])
        order = np.argsort(number, kind="stable")
        cuts = np.cumsum(np.bincount(number, minlength=len(kinds)))
        found = []
        for of, cells in zip(kinds.tolist(), np.split(order, cuts[:-1]), strict=True):
            tables = job.tables(here[cells], own[cells])
            if tables is not None:
                name, after = divmod(of, len(job.groups))
                found.append(Kind(group, name, after, tables[0][0], ended[tables[1]], *tables[1:]))
        yield found


def _came_s(job: JobRecord, here: Ints, ended: Floats) -> Floats:
    """When each rank came to each collective: so much before the end as it executed, where all of them say so."""
    duration, collective = job.duration_s[here].astype(np.float64), job.collective[here]
    if np.isnan(duration).any():
        return job.time_s[here]
    low = int(collective.min())
    shortest = np.full(int(collective.max()) - low + 1, np.inf)
    np.minimum.at(shortest, collective - low, duration)
    return ended[collective] - (duration - shortest[collective - low])


def _numbered(values: Ints) -> tuple[Ints, Ints]:
    """The distinct values, sorted, and the number of each among them; small where few, to be sorted fast."""
    high = int(values.max()) + 1
    if high > 1 << 22:
        kinds, number = np.unique(values, return_inverse=True)
        return kinds, number.ravel()
    is_used = np.bincount(values, minlength=high) > 0
    kinds = np.flatnonzero(is_used)
    number = (np.cumsum(is_used) - 1)[values]
    return kinds, number.astype(np.uint16) if len(kinds) < 1 << 16 else number


def judge_kinds(job: JobRecord, kinds: list[Kind], clocks: Clocks, speeds: Speeds) -> None:
    """Add what the collectives of one group show."""
    often = [kind for kind in kinds if len(kind.own_s) >= FEWEST]
    # The rarest kind of a group occurs once a step. What a rank does within one step hangs together: one sample.
    rarest = min(often, key=lambda kind: len(kind.own_s)) if often else None
    for kind in kinds:
        if len(kind.ranks) < FEWEST_RANKS:
            continue
        middle = median(kind.own_s, axis=1)
        excess, usual = kind.own_s - middle[:, None], float(np.median(middle))
        if rarest is not None and len(kind.own_s) >= FEWEST:
            first = np.flatnonzero(np.diff(np.searchsorted(rarest.ended_s, kind.ended_s), prepend=-1))
            if len(first) >= FEWEST:
                by_step, step_s = _mean_of_steps(excess, first), float(np.median(np.diff(kind.ended_s[first])))
                for window, rows in enumerate((by_step, by_step[-RECENT:])):
                    _judge(job, kind, clocks, rows, (window, usual, len(excess) / len(first), step_s), speeds)
        _add_late(job, kind, excess, usual, speeds)


def _mean_of_steps(excess: Floats, first: Ints) -> Floats:
    """(steps, P) the mean of each step's collectives. first: of each step, the row it begins with."""
    known = ~np.isnan(excess)
    sums = np.add.reduceat(np.where(known, excess, 0.0), first, axis=0)
    counts = np.add.reduceat(known.astype(np.int64), first, axis=0)
    out: Floats = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return out


def _judge(
    job: JobRecord, kind: Kind, clocks: Clocks, excess: Floats, of: tuple[int, float, float, float], speeds: Speeds
) -> None:
    """excess: (steps, P). of: the window's number, the peers' own time, the collectives and seconds of a step."""
    window, usual, a_step, step_s = of
    typical, error = trimmed_mean(excess)
    more = typical - median(typical[None], axis=1)
    spread = TO_SIGMA * float(median(np.abs(more)[None], axis=1)[0])
    # A few steps may agree, or scatter, by chance: half of what is known of a rank's noise is that of its peers.
    usually = np.nanmean(error**2)
    error = np.sqrt(np.fmax((error**2 + usually) / 2, usually))
    least = np.maximum(np.maximum(SLOWER * usual, SPREAD * spread), CHANCE * error)
    for column in np.flatnonzero(more > least).tolist():
        extra, steps = float(more[column]), excess[:, column]
        share = float((steps[~np.isnan(steps)] > extra / 2).mean())
        if share < STEADY or step_s <= 0:
            continue
        if extra <= least[column] + clocks.doubt_against(int(kind.ranks[column]), np.delete(kind.ranks, column)):
            continue
        one = speeds.suspects.setdefault(int(job.rank[kind.ranks[column]]), _Suspect())
        lost = extra * a_step / step_s
        one.lost[window] += lost
        if lost > one.most:
            one.most, one.share = lost, share
            one.text = (
                f"{1000 * extra:.1f} ms more of its own than its {len(kind.ranks) - 1} peers ({1000 * usual:.1f} ms) "
                f"before {job.names[kind.name]} of group {job.groups[kind.group]}, in {len(excess)} steps; "
                f"a step takes {1000 * step_s:.1f} ms"
            )


def _add_late(job: JobRecord, kind: Kind, excess: Floats, usual: float, speeds: Speeds) -> None:
    step = float(np.median(np.diff(np.sort(kind.ended_s)))) if len(excess) > 1 else 0.0
    most = max(LATE_S, LATE_TIMES * max(usual, step))
    if not (excess > most).any():
        return
    typical = np.maximum(median(excess, axis=0), 0)
    for i, column in np.argwhere(excess - typical > most)[: MOST_LATE - len(speeds.late)].tolist():
        entry = int(np.flatnonzero(job.collective == kind.collectives[i])[0])
        speeds.late.append(
            f"rank {job.rank[kind.ranks[column]]} was {excess[i, column]:.2f} s late once, "
            f"at {job.names[kind.name]} {job.sequence[entry]} of group {job.groups[kind.group]}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Extremes:
    """The least and most own time before each collective of one kind; see `Kind`."""

    kind: Kind
    least_s: Floats
    most_s: Floats

    @classmethod
    def of(cls, kind: Kind) -> Extremes:
        return cls(kind, np.fmin.reduce(kind.own_s, axis=1), np.fmax.reduce(kind.own_s, axis=1))


def slow_without_dump(job: JobRecord, kinds: list[Extremes], absent: list[int]) -> list[Culprit]:
    """Who left no dump shows in what its group does next: all others of it come late from the collective they shared.

    Judged only where one rank can be meant: the only one without a dump that may be of that group.
    """
    alike: dict[tuple[int, int], list[Extremes]] = {}
    for one in kinds:
        alike.setdefault((one.kind.group, one.kind.name), []).append(one)
    for (group, name), found in alike.items():
        for one in found:
            after = one.kind.after
            stated = job.members(after) & set(absent)
            among = sorted(stated) if stated else absent if not job.all_stated else []
            beside = [other for other in found if other.kind.after not in (after, group)]
            if len(among) != 1 or after == group or not beside:
                continue
            low = int(min(part.kind.collectives[0] for part in found))
            others = np.full(int(max(part.kind.collectives[-1] for part in found)) - low + 1, -np.inf)
            for other in beside:
                np.maximum.at(others, other.kind.collectives - low, other.most_s)
            several = (~np.isnan(one.kind.own_s)).sum(axis=1) >= 2
            gaps = (one.least_s - others[one.kind.collectives - low])[several]
            gaps = gaps[np.isfinite(gaps)]
            step = float(np.median(np.diff(np.sort(one.kind.ended_s)))) if len(one.kind.ended_s) > 1 else 0.0
            more = float(np.median(gaps)) if len(gaps) else 0.0
            if len(gaps) >= FEWEST and more > max(OF_STEP * step, 1e-9):
                share = float((gaps > more / 2).mean())
                text = (
                    f"it left no dump; every other rank of group {job.groups[after]} comes {1000 * more:.1f} ms later "
                    f"from it than other ranks to {job.names[name]} of group {job.groups[group]}, median of "
                    f"{len(gaps)}; a step takes {1000 * step:.1f} ms"
                )
                return [Culprit(among[0], None, None, "non-communication slow", round(0.8 * share, 3), text)]
    return []


def median(values: Floats, axis: int) -> Floats:
    """The median along an axis of a table, NaN left out; NaN where nothing is known."""
    ordered = np.sort(values, axis=axis)  # NaN last
    count = (~np.isnan(values)).sum(axis=axis, keepdims=True)
    low, high = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, max(values.shape[axis] - 1, 0))
    both = np.take_along_axis(ordered, low, axis) + np.take_along_axis(ordered, high, axis)
    out: Floats = (both / 2).squeeze(axis)
    return out


def trimmed_mean(values: Floats) -> tuple[Floats, Floats]:
    """The mean of each column without its highest and lowest values, and its standard error.

    NaN are left out; NaN where nothing is known.

    Source: Yuen, "The two-sample trimmed t for unequal population variances", Biometrika 1974.
    """
    ordered = np.sort(values, axis=0)  # NaN last
    count = (~np.isnan(values)).sum(axis=0)
    cut = (TRIMMED * count).astype(np.int64)
    row = np.arange(len(values))[:, None]
    kept = np.where((row >= cut) & (row < count - cut), ordered, 0.0)
    mean = np.where(count > 0, kept.sum(axis=0) / np.maximum(count - 2 * cut, 1), np.nan)
    low, high = (np.take_along_axis(ordered, at[None], 0) for at in (cut, np.maximum(count - cut - 1, 0)))
    squares = np.where(row < count, (np.clip(ordered, low, high) - mean) ** 2, 0.0).sum(axis=0)
    kept_share = (count - 2 * cut) / np.maximum(count, 1)
    error: Floats = np.sqrt(squares / np.maximum(count - 1, 1) / np.maximum(count, 1)) / np.maximum(kept_share, TRIMMED)
    return mean, error
