"""Why a job stands still: who is waited for and waits for nobody, or between whom a collective does not finish.

A rank waits in its oldest operation that has not completed, where the job recorded that; else in the last it entered.
It waits for the members of its group that have not come there: have not entered it, still are in an earlier one, or
have it queued behind a computation (`scheduled` where others have `started`). Who is waited for and waits for nobody is
where progress stopped, however many groups chain behind. If everybody known waits, it is somebody who left no dump; and
if all of a group have come and it does not finish, it is the network between them.

A message (send or receive) is between two: with both in it, the connection between them is at fault.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from scheduler.core.gpu.findings import Culprit, Findings, listed
from scheduler.core.gpu.flight_recorder import COMPLETED, SCHEDULED, STARTED
from scheduler.core.gpu.job_record import JobRecord

NO_COMMUNICATION: Final = "non-communication hang"
COMMUNICATION: Final = "communication hang"
MESSAGE: Final = re.compile(r"(send|recv) (\d+)\s*(->|<-)\s*(\d+)")
MOST_PENDING: Final = 256  # operations that a rank may have queued


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """Where ranks wait for each other: a collective, or the messages from `source` to `target` of a group."""

    group: int
    sequence: int
    source: int = -1
    target: int = -1

    @property
    def is_message(self) -> bool:
        return self.source >= 0


@dataclass(frozen=True, slots=True)
class _Waits:
    """place: where each rank (by position) waits; entry: the operation. at: who waits in each place. awaited: who has
    not come there. queued: of those awaited, who has the operation queued, not started."""

    place: dict[int, _Place]
    entry: dict[int, int]
    at: dict[_Place, list[int]]
    awaited: dict[_Place, set[int]]
    queued: set[int]


def find_hang(job: JobRecord, absent: list[int]) -> Findings | None:
    """Why the job stands still, or None where it does not. absent: ranks without a dump."""
    has_states = bool((job.state >= STARTED).any())
    waits = _waits(job, has_states)
    held = {one for place, ranks in waits.at.items() if waits.awaited[place] for one in ranks} - waits.queued
    if not held and not (has_states and len(waits.place) == len(job.rank)):
        return None
    if unlike := [text for place in sorted(waits.at) if (text := _unlike(job, waits, place))]:
        return Findings("mismatched collectives", [], unlike)
    culprits = sorted(set().union(*waits.awaited.values()) - held)
    stuck = [one for one in culprits if _goes_on(job, waits, one, has_states)]
    if stuck:
        return Findings(NO_COMMUNICATION, [_accuse(job, waits, one, len(held), len(stuck)) for one in stuck])
    # Those at the end of the chain wait among themselves, in operations that all of them entered.
    ends = sorted({waits.place[one] for one in culprits} or {p for p in waits.at if not waits.awaited[p]})
    among = _without_dump(job, ends, absent)
    if among and not (has_states and any(_is_over_for_some(job, waits, place) for place in ends)):
        groups = sorted({job.groups[place.group] for place in ends})
        where = ", ".join(f"group {group}" for group in groups) or "a chain"
        text = f"it left no dump, and {where} waits with every other member present; {len(held)} ranks wait behind"
        sure = 0.9 if len(among) == 1 else 0.5
        return Findings(NO_COMMUNICATION, [Culprit(rank, None, None, NO_COMMUNICATION, sure, text) for rank in among])
    if not ends:
        text = "ranks wait for each other in different collectives: the program, not a machine"
        return Findings("deadlock", [], [text])
    return Findings(COMMUNICATION, _between(job, waits, ends))


def _waits(job: JobRecord, has_states: bool) -> _Waits:
    waits = _Waits({}, {}, {}, {}, set())
    behind: dict[_Place, list[int]] = {}
    has_starts = bool((job.state == STARTED).any())  # a job may record only that operations completed
    for one in range(len(job.rank)):
        pending = _pending(job, one) if has_states else [int(job.last[one])]
        places = [(entry, place) for entry in pending if (place := _place(job, entry)) is not None]
        for n, (entry, place) in enumerate(places):
            if n:
                behind.setdefault(place, []).append(one)
            else:
                waits.entry[one], waits.place[one] = entry, place
                waits.at.setdefault(place, []).append(one)
    for place, ranks in waits.at.items():
        waits.awaited[place] = _not_there(job, place, ranks) | set(behind.get(place, ())) - set(ranks)
        if has_starts and not place.is_message:
            queued = {one for one in ranks if job.state[waits.entry[one]] == SCHEDULED}
            waits.awaited[place] |= queued
            waits.queued.update(queued)
    return waits


def _unlike(job: JobRecord, waits: _Waits, place: _Place) -> str:
    """What the fewest call, where ranks call a collective of one group and number by different names; else nothing."""
    if place.is_message:
        return ""
    by_name: dict[str, list[int]] = {}
    for one in waits.at[place]:
        by_name.setdefault(job.names[job.name[waits.entry[one]]], []).append(int(job.rank[one]))
    if len(by_name) < 2:
        return ""
    usual, *others = sorted(by_name, key=lambda name: (-len(by_name[name]), name))
    told = "; ".join(f"ranks {listed(sorted(by_name[name]))} call {name}" for name in others)
    where = f"{place.sequence} of group {job.groups[place.group]}"
    return f"{told} where {len(by_name[usual])} others call {usual} {where}: the program, not a machine"


def _pending(job: JobRecord, one: int) -> list[int]:
    """The operations that a rank has not completed, oldest first: those after the last completed one of their kind."""
    begin, end = int(job.start[one]), int(job.start[one + 1])
    is_open = job.state[begin:end] != COMPLETED
    if not is_open.any():
        return []
    # Collectives of a group run in order, so do the messages of one direction.
    kind = np.where(job.is_p2p[begin:end], job.name[begin:end].astype(np.int64) + 1, 0) * len(job.groups)
    kind += job.group[begin:end]
    found: list[int] = []
    for of in np.unique(kind[is_open]).tolist():
        is_kind = kind == of
        done = np.flatnonzero(is_kind & ~is_open)
        after = int(done[-1]) + 1 if len(done) else 0
        found += (begin + after + np.flatnonzero(is_kind[after:])).tolist()
    return sorted(found)[:MOST_PENDING]


def _place(job: JobRecord, entry: int) -> _Place | None:
    """Where the entry waits; None for a message that does not say between whom."""
    group = int(job.group[entry])
    if not job.is_p2p[entry]:
        return _Place(group, int(job.sequence[entry]))
    found = MESSAGE.match(job.names[job.name[entry]])
    if found is None:
        return None
    source, target = int(found[2]), int(found[4])
    if found[3] == "<-":
        source, target = target, source
    stated = sorted(job.stated[group])  # a message counts the ranks within its group
    if stated and max(source, target) < len(stated):
        source, target = stated[source], stated[target]
    return _Place(group, -1, source, target)


def _not_there(job: JobRecord, place: _Place, ranks: list[int]) -> set[int]:
    """Who of the ranks with a dump has not entered the operation at a place."""
    if place.is_message:
        return set(_positions(job, (place.source, place.target))) - set(ranks)
    seen, furthest = job.seen[place.group], job.furthest[place.group]
    never = set(_positions(job, job.stated[place.group])) - set(seen.tolist())
    return never | set(seen[furthest < place.sequence].tolist())


def _positions(job: JobRecord, ranks: Collection[int]) -> list[int]:
    """Where those of the ranks stand that left a dump."""
    return np.flatnonzero(np.isin(job.rank, list(ranks))).tolist()


def _goes_on(job: JobRecord, waits: _Waits, one: int, has_states: bool) -> bool:
    """Whether an awaited rank waits for nobody: what it did last is over, or it has not started what it queued."""
    if has_states:
        return one in waits.queued or one not in waits.place
    place = waits.place.get(one)
    if place is None or place.is_message:
        return True
    seen, furthest = job.seen[place.group], job.furthest[place.group]
    return any(waits.place.get(other) != place for other in seen[furthest >= place.sequence].tolist())


def _is_over_for_some(job: JobRecord, waits: _Waits, place: _Place) -> bool:
    """Whether some rank has completed what others wait in: then everybody has entered it."""
    return not place.is_message and bool(_done(job, waits, place))


def _done(job: JobRecord, waits: _Waits, place: _Place) -> list[int]:
    seen, furthest = job.seen[place.group], job.furthest[place.group]
    return sorted(set(seen[furthest >= place.sequence].tolist()) - set(waits.at[place]) - waits.awaited[place])


def _without_dump(job: JobRecord, ends: list[_Place], absent: list[int]) -> list[int]:
    """Who of those without a dump may be waited for: where the dumps say the members of a group, only these."""
    groups = {place.group for place in ends if not place.is_message}
    named = {rank for place in ends if place.is_message for rank in (place.source, place.target)}
    if ends and all(job.stated[group] for group in groups):
        return [rank for rank in absent if rank in named or any(rank in job.stated[group] for group in groups)]
    return absent


def _between(job: JobRecord, waits: _Waits, ends: list[_Place]) -> list[Culprit]:
    """Whose connections do not finish what everybody entered: a rank that all unfinished operations share, the one
    connection of a message, else the set of ranks between which it lies."""
    at = {place: set(job.rank[waits.at[place]].tolist()) for place in ends}
    shared = set.intersection(*at.values())
    texts = []
    for place in ends[:4]:
        done = _done(job, waits, place) if not place.is_message else []
        finished = f", which {len(done)} others have completed" if done else ""
        texts.append(f"ranks {listed(sorted(at[place]))} are in {_named(job, waits, place)}{finished}")
    text = "; ".join(texts) + (f"; and {len(ends) - 4} more" if len(ends) > 4 else "")
    if len(shared) == 1:
        (rank,) = shared
        others = "all that do not finish share it" if len(ends) > 1 else "it alone has not completed it"
        return [Culprit(rank, None, None, COMMUNICATION, 0.9, f"{text}: {others}")]
    found = []
    for place in ends if not shared else ends[:1]:
        ranks = tuple(sorted(shared or at[place]))
        link = (place.source, place.target) if place.is_message and len(ends) == 1 else None
        found.append(Culprit(None, None, None, COMMUNICATION, 0.8 if link or len(ends) > 1 else 0.6, text, link, ranks))
    return found


def _named(job: JobRecord, waits: _Waits, place: _Place) -> str:
    entry = waits.entry[waits.at[place][0]]
    if place.is_message:
        return f"messages from {place.source} to {place.target} of group {job.groups[place.group]}"
    return _operation(job, entry)


def _operation(job: JobRecord, entry: int) -> str:
    return f"{job.names[job.name[entry]]} {job.sequence[entry]} of group {job.groups[job.group[entry]]}"


def _accuse(job: JobRecord, waits: _Waits, one: int, held: int, accused: int) -> Culprit:
    places = [place for place, awaited in waits.awaited.items() if one in awaited]
    waiting = [other for place in places for other in waits.at[place] if other not in waits.queued]
    last = _operation(job, int(job.last[one]))
    never = "which it has queued and not started" if one in waits.queued else "which it never entered"
    if waiting:
        first = min(waiting, key=lambda other: (job.time_s[waits.entry[other]], other))
        direct = sorted(other for other in waits.at[waits.place[first]] if other not in waits.queued)
        text = f"ranks {listed(job.rank[direct].tolist())} are in {_named(job, waits, waits.place[first])}, {never}"
    else:
        text = f"it has queued {_named(job, waits, waits.place[one])} and not started it, as all of its group"
    text += f"; its last was {last}; {held} ranks wait in all"
    return Culprit(int(job.rank[one]), None, None, NO_COMMUNICATION, 0.99 if accused == 1 else 0.8, text)
