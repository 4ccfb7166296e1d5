"""Which rank holds a job up, from the collectives that every rank entered and when (after C4D, arXiv 2406.04594).

A hang. Every rank waits in the last collective it entered, for the members of its group that have not entered it.
Who is waited for and waits for nobody is where progress stopped, however many groups chain behind. If everybody known
waits, it is somebody who left no dump; if there is nobody such either, the collective itself does not finish.

A slow rank. A rank's own time is what passes between the end of its last collective (when the last of the group has
entered) and its entering the next: waiting for others is not in it, so victims have no more of it than anybody else.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from scheduler.core.gpu.flight_recorder import Dump, Operation

Syndrome = Literal["non-communication hang", "communication hang", "non-communication slow"]
SLOWER: Final = 0.15  # of the peers' own time between two collectives
OF_STEP: Final = 0.05  # of the time from one such collective to the next: less is of no interest
SPREAD: Final = 6.0  # times the peers' median absolute deviation
FEWEST: Final = 10  # collectives that a verdict on speed needs
LATE_S: Final = 0.5
LATE_TIMES: Final = 10.0
SECOND: Final = 1e9


@dataclass(frozen=True, slots=True)
class Accusation:
    """confidence: 0 to 1. evidence: in words and numbers."""

    rank: int
    syndrome: Syndrome
    confidence: float
    evidence: str


@dataclass(slots=True)
class Diagnosis:
    """verdict: a syndrome, or healthy. missing: ranks without a dump. late: single late steps, nobody's fault yet."""

    verdict: str
    accused: list[Accusation] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def diagnose(dumps: Sequence[Dump], missing: Sequence[int] = ()) -> Diagnosis:
    """What holds the job up. missing: ranks whose dump is known to be absent, besides the gaps in the numbers.

    Raises ValueError for two dumps of one rank.
    """
    ranks = [dump.rank for dump in dumps]
    twice = sorted({rank for rank in ranks if ranks.count(rank) > 1}) if len(set(ranks)) < len(ranks) else []
    if twice:
        raise ValueError(f"two dumps of rank {twice[0]}")
    entered = _Entered(dumps)
    expected = {*range(max([*ranks, *missing], default=-1) + 1), *missing, *entered.stated}
    absent = sorted(expected - set(ranks))
    empty = sorted(dump.rank for dump in dumps if not dump.operations)
    notes = [f"ranks {_listed(empty)} recorded nothing"] if empty else []
    if not any(dump.operations for dump in dumps):
        return Diagnosis("undecided", missing=absent, notes=[*notes, "no collectives in any dump"])
    hang = _hang(entered, absent)
    if hang is not None:
        verdict, accused = hang
        return Diagnosis(verdict, accused, absent, notes=notes)
    own = _own_times(entered)
    accused, late = _slow(entered, own)
    if absent and not accused:
        accused = _slow_without_dump(entered, own, absent)
    return Diagnosis("non-communication slow" if accused else "healthy", accused, absent, late, notes)


class _Entered:
    """Who entered what, and when. times: (group, sequence) -> rank -> seconds."""

    def __init__(self, dumps: Sequence[Dump]) -> None:
        self.operations: dict[int, list[Operation]] = {dump.rank: dump.operations for dump in dumps if dump.operations}
        self.last = {rank: found[-1] for rank, found in self.operations.items()}
        self.furthest: dict[tuple[str, int], int] = {}
        self.times: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
        zero = min((found[0].created_ns for found in self.operations.values()), default=0)
        stated: dict[str, set[int]] = defaultdict(set)
        seen: dict[str, set[int]] = defaultdict(set)
        for dump in dumps:
            for group, members in dump.members.items():
                stated[group] |= set(members)
        for rank, found in self.operations.items():
            for one in found:
                self.times[one.group, one.sequence][rank] = (one.created_ns - zero) / SECOND
                key = (one.group, rank)
                self.furthest[key] = max(one.sequence, self.furthest.get(key, one.sequence))
                seen[one.group].add(rank)
        self.set_clocks()
        self.members = {group: ranks | stated.get(group, set()) for group, ranks in seen.items()}
        self.stated = set().union(*stated.values()) if stated else set()

    def set_clocks(self) -> None:
        """Put the ranks' clocks right where they are provably wrong.

        Nobody enters his next collective before everybody has entered the one before. So of two clocks each bounds the
        other from either side, and closely where one collective follows another at once. A clock that may be right is
        left alone: a slow rank must not be taken for a late clock.
        """
        follows = {
            rank: dict(itertools.pairwise(map(_key, found))) for rank, found in self.operations.items()
        }  # what a rank entered after each collective
        first = min(self.operations, default=None)
        if first is None:
            return
        ahead: dict[int, float] = {}
        for rank, found in self.operations.items():
            shared = [_key(one) for one in found if rank != first and first in self.times[_key(one)]]
            gaps: dict[int, list[float]] = {}
            for one, other in ((rank, first), (first, rank)):
                after = follows[one]
                gaps[one] = [self.times[after[key]][one] - self.times[key][other] for key in shared if key in after]
            ours, theirs = gaps[rank], gaps[first]
            if ours and theirs and min(min(ours), min(theirs)) < 0:
                ahead[rank] = (min(ours) - min(theirs)) / 2
        for entering in self.times.values():
            for rank in entering.keys() & ahead.keys():
                entering[rank] -= ahead[rank]

    def awaited(self, rank: int) -> set[int]:
        """Who has not entered the last collective of this rank."""
        last = self.last[rank]
        return {
            other for other in self.members[last.group]
            if other in self.last and self.furthest.get((last.group, other), -1) < last.sequence
        }  # fmt: skip


def _hang(entered: _Entered, absent: list[int]) -> tuple[str, list[Accusation]] | None:
    awaited = {rank: entered.awaited(rank) for rank in entered.last}
    held = {rank: others for rank, others in awaited.items() if others}
    if not held:
        return _unfinished(entered)
    culprits = sorted(set().union(*held.values()) - held.keys())
    stuck = [rank for rank in culprits if _was_left(entered, rank)]
    if stuck:
        return "non-communication hang", [_accuse_of_hang(entered, rank, held, len(stuck)) for rank in stuck]
    # Those at the end of the chain wait among themselves, in a collective that all of them entered.
    ends = sorted({entered.last[rank].group for rank in culprits})
    among = [rank for rank in absent if any(rank in entered.members[group] for group in ends)] or absent
    where = ", ".join(f"group {group}" for group in ends)
    if among:
        text = f"it left no dump, and {where} waits with every other member present; {len(held)} ranks wait behind"
        sure = 0.9 if len(among) == 1 else 0.5
        return "non-communication hang", [Accusation(rank, "non-communication hang", sure, text) for rank in among]
    return "communication hang", []


def _was_left(entered: _Entered, rank: int) -> bool:
    """Whether somebody has gone on from what the rank did last: then that is over, and the rank waits for nobody."""
    last = _key(entered.last[rank])
    return any(_key(entered.last[other]) != last for other in entered.times[last])


def _unfinished(entered: _Entered) -> tuple[str, list[Accusation]] | None:
    """All entered their last collective: a hang only if the recorder saw others finish and these did not."""
    states = {one.state for found in entered.operations.values() for one in found}
    lasts = list(entered.last.values())
    if "completed" in states and all(one.state == "started" for one in lasts):
        return "communication hang", []
    return None


def _accuse_of_hang(entered: _Entered, rank: int, held: dict[int, set[int]], accused: int) -> Accusation:
    waiting = [other for other, on in held.items() if rank in on]
    first = min(waiting, key=lambda other: (entered.times[_key(entered.last[other])][other], other))
    wanted, own = entered.last[first], entered.last[rank]
    direct = sorted(other for other in waiting if _key(entered.last[other]) == _key(wanted))
    text = (
        f"ranks {_listed(direct)} are in {wanted.name} {wanted.sequence} of group {wanted.group}, which it never "
        f"entered; its last was {own.name} {own.sequence} of group {own.group}; {len(held)} ranks wait in all"
    )
    return Accusation(rank, "non-communication hang", 0.99 if accused == 1 else 0.8, text)


def _key(one: Operation) -> tuple[str, int]:
    return one.group, one.sequence


OwnTimes = dict[tuple[str, str, str], list[tuple[int, dict[int, float]]]]


def _slow(entered: _Entered, own: OwnTimes) -> tuple[list[Accusation], list[str]]:
    accused: dict[int, Accusation] = {}
    late: list[str] = []
    for (group, name, _after), rows in sorted(own.items()):
        ranks = sorted(set().union(*(row.keys() for _, row in rows)))
        if len(ranks) < 3:
            continue
        table = np.array([[row.get(rank, np.nan) for rank in ranks] for _, row in rows])  # (collectives, ranks), s
        excess = table - np.nanmedian(table, axis=1, keepdims=True)
        usual, typical = np.nanmedian(table), np.nanmedian(excess, axis=0)
        step = _step(entered, group, [sequence for sequence, _ in rows])
        spread = 1.4826 * np.median(np.abs(typical - np.median(typical)))
        for column, rank in enumerate(ranks):
            more = float(typical[column])
            if len(rows) >= FEWEST and more > max(SLOWER * usual, OF_STEP * step, SPREAD * spread):
                text = (
                    f"{1000 * more:.1f} ms more of its own than its {len(ranks) - 1} peers ({1000 * usual:.1f} ms) "
                    f"before {name} of group {group}, median of {len(rows)}; a step takes {1000 * step:.1f} ms"
                )
                share = float((excess[:, column] > more / 2).mean())
                if rank not in accused or share > accused[rank].confidence:
                    accused[rank] = Accusation(rank, "non-communication slow", round(share, 3), text)
        most = max(LATE_S, LATE_TIMES * max(usual, step))
        for i, column in np.argwhere(excess - np.maximum(typical, 0) > most).tolist():
            late.append(
                f"rank {ranks[column]} was {excess[i, column]:.2f} s late once, at {name} {rows[i][0]} of group {group}"
            )
    return [accused[rank] for rank in sorted(accused)], late


def _slow_without_dump(entered: _Entered, own: OwnTimes, absent: list[int]) -> list[Accusation]:
    """Who left no dump shows in what its group does next: all others of it come late from the collective they shared.

    Judged only where one rank can be meant: the only one without a dump that may be of that group.
    """
    kinds: dict[tuple[str, str], dict[str, dict[int, dict[int, float]]]] = defaultdict(dict)
    for (group, name, after), rows in own.items():
        kinds[group, name][after] = dict(rows)
    for (group, name), by_group in sorted(kinds.items()):
        for after, found_after in sorted(by_group.items()):
            stated = entered.members[after] & set(absent)
            among = sorted(stated) if stated else absent if not entered.stated else []
            beside = [found for other, found in by_group.items() if other not in (after, group)]
            if len(among) != 1 or after == group or not beside:
                continue
            gaps = []
            for sequence, row in found_after.items():
                others = [value for found in beside for value in found.get(sequence, {}).values()]
                if others and len(row) >= 2:
                    gaps.append(min(row.values()) - max(others))
            step = _step(entered, group, list(found_after))
            more = float(np.median(gaps)) if gaps else 0.0
            if len(gaps) >= FEWEST and more > max(OF_STEP * step, 1e-9):
                share = float((np.array(gaps) > more / 2).mean())
                text = (
                    f"it left no dump; every other rank of group {after} comes {1000 * more:.1f} ms later from it than "
                    f"other ranks to {name} of group {group}, median of {len(gaps)}; a step takes {1000 * step:.1f} ms"
                )
                return [Accusation(among[0], "non-communication slow", round(0.8 * share, 3), text)]
    return []


def _step(entered: _Entered, group: str, sequences: Sequence[int]) -> float:
    """Seconds from one of these collectives to the next, the median."""
    starts = sorted(min(entered.times[group, sequence].values()) for sequence in sequences)
    return float(np.median(np.diff(starts))) if len(starts) > 1 else 0.0


def _own_times(entered: _Entered) -> OwnTimes:
    """Seconds of every rank's own before each collective, by (group, name, group of the one before).

    The first entries of a ring buffer that has wrapped differ from rank to rank: a rank's own time is known only where
    the whole group's entering the one before is.
    """
    found: dict[tuple[str, str, str], dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    ended = {key: max(entering.values()) for key, entering in entered.times.items()}
    for rank, operations in entered.operations.items():
        for before, one in itertools.pairwise(operations):
            own = entered.times[_key(one)][rank] - ended[_key(before)]
            found[one.group, one.name, before.group][one.sequence][rank] = own
    return {kind: sorted(rows.items()) for kind, rows in found.items()}


def _listed(ranks: Sequence[int], most: int = 8) -> str:
    shown = ", ".join(map(str, ranks[:most]))
    return f"{shown}, ... ({len(ranks)})" if len(ranks) > most else shown
