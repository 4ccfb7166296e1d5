"""Who holds a job up, from polls of NCCL's RAS.

Counts differ in every snapshot of a job that works, so a poll alone accuses nobody. What has not moved from one poll to
the next, while ranks differ, hangs: those behind never entered what the others wait in. RAS itself lists the minority,
which is the victims when few are ahead (NCCL issue 1911); we name those behind. A rank that is behind in one
communicator because it waits in another (it is ahead there) is a victim too, so only who waits nowhere is accused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scheduler.core.gpu.findings import Culprit, Findings
from scheduler.core.gpu.telemetry.ras import RasCommunicator, RasEvent, RasPoll, RasRank

FEWEST_S: Final = 1.0
"""Polls closer than this are one: RAS gives whole seconds."""
IDLE_S: Final = 60.0
"""Equal counts that stand still for this long are told; RAS itself declares a silent process dead after as long."""
NAMED: Final = 8

Process = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Behind:
    """A rank that has entered least; ahead: ranks that have entered more; furthest: what the first has entered."""

    communicator: RasCommunicator
    rank: RasRank
    ahead: int
    furthest: int


def diagnose_ras(polls: Sequence[RasPoll], events: Sequence[RasEvent] = ()) -> Findings:
    """What the last two polls that differ in time show, and who died."""
    findings = Findings("healthy" if polls else "undecided")
    ordered = sorted(polls, key=lambda poll: poll.time_s)  # stable: polls without a time stay in their order
    gone = _gone(ordered, events, findings.notes)
    job_rank = _job_ranks(ordered)
    for process, (gpu, confidence, why) in sorted(gone.items()):
        findings.accused.append(
            Culprit(job_rank.get(process), process[0] or None, gpu, "non-communication hang", confidence, why)
        )
    pair = _last_two(ordered)
    if pair is None:
        if ordered and _mismatches(ordered[-1]):
            findings.verdict = "undecided"
            findings.notes.append("ranks differ in one poll of RAS, as they do in a job that works: poll again")
    else:
        _hang(*pair, set(gone), job_rank, findings)
    _errors(ordered, findings.notes)
    if findings.accused:
        findings.verdict = "non-communication hang"
    return findings


def _last_two(polls: Sequence[RasPoll]) -> tuple[RasPoll, RasPoll] | None:
    """The newest poll, and the newest before it at least FEWEST_S older; without times, the last two."""
    if len(polls) < 2:
        return None
    last = polls[-1]
    if not last.time_s:
        return polls[-2], last
    before = [poll for poll in polls[:-1] if poll.time_s and last.time_s - poll.time_s >= FEWEST_S]
    return (before[-1], last) if before else None


def _mismatches(poll: RasPoll) -> bool:
    return any(
        len({rank.counts for rank in one.ranks.values() if rank.counts is not None}) > 1
        for one in poll.communicators.values()
    )


Gone = tuple[int | None, float, str]
"""GPU, confidence, evidence."""


def _gone(polls: Sequence[RasPoll], events: Sequence[RasEvent], notes: list[str]) -> dict[Process, Gone]:
    """Processes that died or do not answer."""
    gone: dict[Process, Gone] = {}
    missing: dict[Process, list[RasRank]] = defaultdict(list)
    answering: set[Process] = set()
    polls_of: dict[Process, set[int]] = defaultdict(set)
    for number, poll in enumerate(polls):
        answering = set()
        for one in poll.communicators.values():
            for rank in one.ranks.values():
                if rank.counts is None:
                    missing[rank.process].append(rank)
                    polls_of[rank.process].add(number)
                else:
                    answering.add(rank.process)
    for process, found in missing.items():
        if process in answering:  # it answered the last poll: RAS was only late to hear of it
            continue
        name = f"rank {found[-1].rank} (pid {process[1]} of {process[0] or 'an unnamed host'})"
        if any(rank.is_dead for rank in found):
            gone[process] = found[-1].gpu, 0.95, f"RAS considers {name} dead"
        elif len(polls_of[process]) > 1:
            gone[process] = found[-1].gpu, 0.8, f"{name} answered none of {len(polls_of[process])} polls of RAS"
        else:
            notes.append(f"{name} did not answer one poll of RAS: dead or only slow")
    for event in events:
        if event.event == "PEER_DEAD":
            process = (event.host, event.pid)
            gpu = event.gpus[0] if len(event.gpus) == 1 else None
            why = f"RAS reports PEER_DEAD for pid {event.pid} of {event.host or 'an unnamed host'}"
            gone[process] = gpu, 0.95, f"{why}: {event.details[:200]}" if event.details else why
    return gone


def _hang(
    before: RasPoll, last: RasPoll, gone: set[Process], job_rank: dict[Process, int], findings: Findings
) -> None:
    """Accuse who is behind in a communicator that stands still, and waits nowhere itself."""
    span_s = last.time_s - before.time_s
    waits: set[Process] = set()
    behind: dict[Process, _Behind] = {}
    still = []
    for name, now in sorted(last.communicators.items()):
        then = before.communicators.get(name)
        if then is None or not _stands_still(then, now):
            continue
        counted = {rank: one for rank, one in now.ranks.items() if one.counts is not None}
        furthest = max((one.entered for one in counted.values()), default=0)
        if furthest == 0:
            continue
        still.append(now)
        least = min(one.entered for one in counted.values())
        has_gone = any(rank.process in gone for rank in now.ranks.values())
        for one in counted.values():
            if has_gone or one.entered > least:
                waits.add(one.process)
            elif least < furthest:
                ahead = sum(other.entered > least for other in counted.values())
                known = behind.get(one.process)
                if known is None or furthest - least > known.furthest - known.rank.entered:
                    behind[one.process] = _Behind(now, one, ahead, furthest)
    for process in sorted(behind.keys() - waits - gone):
        found = behind[process]
        rank = found.rank
        findings.accused.append(
            Culprit(
                job_rank.get(process),
                rank.host or None,
                rank.gpu,
                "non-communication hang",
                0.9 if span_s else 0.7,
                f"has entered {rank.entered} collectives of communicator {found.communicator.name}, "
                f"{found.ahead} of {found.communicator.size} ranks are ahead, up to {found.furthest}, "
                f"unchanged over {_span(span_s)}",
            )
        )
    if behind and not behind.keys() - waits - gone and not gone:
        findings.verdict = "undecided"
        findings.notes.append(
            f"{len(behind)} ranks are behind in a communicator and wait in another, in a circle: nobody is accused"
        )
    if still and not behind and not gone and len(still) == len(last.communicators):
        text = f"every rank has entered the same collectives, unchanged over {_span(span_s)}"
        if span_s >= IDLE_S:
            findings.verdict = "communication hang"
            findings.notes.append(f"{text}: the last collective does not end, or the job is idle; RAS shows no culprit")
        else:
            findings.notes.append(f"{text}: too short to tell a hang from computing")


def _stands_still(then: RasCommunicator, now: RasCommunicator) -> bool:
    """Whether no rank entered anything from one poll to the next; at least two ranks must be known in both."""
    both = [
        (then.ranks[rank].counts, one.counts) for rank, one in now.ranks.items()
        if one.counts is not None and rank in then.ranks and then.ranks[rank].counts is not None
    ]  # fmt: skip
    return len(both) > 1 and all(a == b for a, b in both)


def _job_ranks(polls: Sequence[RasPoll]) -> dict[Process, int]:
    """Each process's rank in the widest communicator it was ever in: its rank in the job, where one spans the job."""
    widest: dict[Process, tuple[int, int]] = {}
    for poll in polls:
        for one in poll.communicators.values():
            for rank in one.ranks.values():
                if one.size > widest.get(rank.process, (0, 0))[0]:
                    widest[rank.process] = one.size, rank.rank
    return {process: rank for process, (_, rank) in widest.items()}


def _errors(polls: Sequence[RasPoll], notes: list[str]) -> None:
    if not polls:
        return
    for one in sorted(polls[-1].communicators.values(), key=lambda c: c.name):
        bad = sorted(rank.rank for rank in one.ranks.values() if rank.async_error or rank.is_aborted)
        if bad:
            listed = ", ".join(map(str, bad[:NAMED])) + (f" and {len(bad) - NAMED} more" if len(bad) > NAMED else "")
            notes.append(f"communicator {one.name}: ranks {listed} report an asynchronous error or were aborted")


def _span(span_s: float) -> str:
    return f"{span_s:.0f} s" if span_s else "two polls without a time"
