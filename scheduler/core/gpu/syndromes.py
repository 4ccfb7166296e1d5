"""Which rank or connection holds a job up, from the operations that every rank entered and when (after C4D, arXiv
2406.04594): somebody who never comes, who always comes late, or a network that does not finish what all have entered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from scheduler.core.gpu.clocks import compare_clocks
from scheduler.core.gpu.findings import Diagnosis, listed
from scheduler.core.gpu.flight_recorder import Dump
from scheduler.core.gpu.hangs import find_hang
from scheduler.core.gpu.job_record import JobRecord, join
from scheduler.core.gpu.slow_ranks import Extremes, Speeds, judge_kinds, own_times, slow_without_dump

PATIENCE_S: Final = 25.0  # without any progress, before it is called a hang: found within 30, looked at every 5
PATIENCE_TIMES: Final = 2.0  # of the longest pause that the record shows

__all__ = ["Diagnosis", "diagnose"]


def diagnose(dumps: Sequence[Dump], missing: Sequence[int] = (), waited_s: float | None = None) -> Diagnosis:
    """What holds the job up. missing: ranks whose dump is known to be absent, besides the gaps in the numbers.

    waited_s: what has passed since the last operation was entered, where known: a job that waits for a moment does not
    hang. Without it the dumps are taken to be those of a job that stopped. Raises ValueError for two dumps of one rank.
    """
    job = join(dumps)
    known = {dump.rank for dump in dumps}
    expected = {*range(max([*known, *missing], default=-1) + 1), *missing, *job.all_stated}
    absent = sorted(expected - known)
    empty = sorted(dump.rank for dump in dumps if not len(dump))
    notes = [f"ranks {listed(empty)} recorded nothing"] if empty else []
    if not len(job):
        return Diagnosis("undecided", missing=absent, notes=[*notes, "no operations in any dump"])
    entries, begin = job.by_group()
    clocks = compare_clocks(job, entries, begin)
    job.time_s -= clocks.ahead_s[job.position]
    if clocks.is_asynchronous:
        notes.append("some ranks enter collectives before those before have ended: their times say less")
    if waited_s is None or waited_s >= _patience_s(job):
        hang = find_hang(job, absent)
        if hang is not None:
            return Diagnosis(hang.verdict, hang.accused, [*notes, *hang.notes], absent)
    speeds = Speeds()
    extremes = []
    for kinds in own_times(job, entries, begin):
        judge_kinds(job, kinds, clocks, speeds)
        extremes += [Extremes.of(kind) for kind in kinds] if absent else []
    accused = speeds.accused()
    if absent and not accused:
        accused = slow_without_dump(job, extremes, absent)
    return Diagnosis("non-communication slow" if accused else "healthy", accused, notes, absent, speeds.late)


def _patience_s(job: JobRecord) -> float:
    within = job.position[1:] == job.position[:-1]
    return max(PATIENCE_S, PATIENCE_TIMES * float(np.diff(job.time_s)[within].max(initial=0.0)))
