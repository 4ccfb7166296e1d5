"""Who or what slows a job down, from the finished operations of NCCL Inspector.

In a collective everybody waits for the last to come, and nobody goes before all are served. So its execution time is
that of the transfer plus the wait for the last, each by the process's own clock: the rank that comes last has the
shortest, and by how much it is shorter is how late it is. That needs no common clock. Where ranks of one host say when
they started, their starts must tell the same.

What the transfer takes is then the shortest execution time of each operation; a communicator whose transfers of one
kind and size take longer than they used to is slow itself. Which link of it cannot be told from a collective: that
takes point-to-point records, see `point_to_point`. Operations never finished are not in these records, so they show no
hang.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.gpu.findings import Culprit, Findings
from scheduler.core.gpu.telemetry.inspector import Operations

FEWEST: Final = 10
"""Operations that a verdict on speed needs."""
FEWEST_RANKS: Final = 3
"""Of two ranks one always comes last."""
KNOWN_SHARE: Final = 0.75
"""Of a communicator's ranks: with fewer records of an operation its last one may be unknown."""
WAIT_SHARE: Final = 0.20
"""Of the others' time in the operation, the part that they wait: less is of no interest."""
STEADY: Final = 0.80
SPREAD: Final = 6.0
DEVIATION: Final = 1.4826
SLOWER: Final = math.log(1.20)
MEDIAN_ERROR: Final = 1.2533
INHERITED: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class PointToPoint:
    """Timed sends (or receives, where only those were recorded), row n of every array the same one.

    src, dst: (N,) int64 ranks in the job. seconds: (N,). bytes: (N,) int64.
    """

    src: NDArray[np.int64]
    dst: NDArray[np.int64]
    seconds: NDArray[np.float64]
    bytes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """One communicator's collectives. taken_s, start_s: (steps, ranks), NaN where a record is missing."""

    code: int
    ranks: NDArray[np.int32]
    process: NDArray[np.int32]
    op: NDArray[np.int32]
    size_bytes: NDArray[np.int64]
    sequence: NDArray[np.int64]
    taken_s: NDArray[np.float64]
    start_s: NDArray[np.float64]


def diagnose_operations(operations: Operations) -> Findings:
    """Ranks that the others wait for, and communicators slower than they were."""
    notes: list[str] = []
    if operations.dropped:
        notes.append(f"NCCL Inspector dropped {operations.dropped} operations: its ring was full")
    late: dict[int, tuple[float, Culprit]] = {}
    waits: dict[int, list[tuple[int, float]]] = {}
    slow: list[str] = []
    judged = 0
    for steps in _communicators(operations):
        if len(steps.taken_s) >= FEWEST:
            judged += 1
            _judge_late(operations, steps, late, waits)
        slow += _slower_than_before(operations, steps)
    accused = [
        culprit for process, (gap_s, culprit) in sorted(late.items())
        if not _inherits(process, gap_s, late, waits)
    ]  # fmt: skip
    verdict = "non-communication slow" if accused else "communication slow" if slow else "healthy"
    if not judged and not accused and not slow:
        verdict = "undecided"
        if len(operations):
            notes.append(
                f"no communicator has {FEWEST} collectives with records of three quarters of its ranks and "
                f"of {FEWEST_RANKS}"
            )
    order = sorted(accused, key=lambda one: (one.rank if one.rank is not None else -1, one.host or ""))
    return Findings(verdict, order, [*notes, *slow])


def point_to_point(operations: Operations) -> PointToPoint:
    """Who sent how much to whom, and how long it took, in ranks of the job; an unknown peer is left out."""
    rows = operations.rows(operations.is_p2p)
    is_send = np.array([name.lower().startswith("send") for name in rows.ops] or [False])[rows.op]
    if is_send.any():
        rows, is_send = rows.rows(is_send), is_send[is_send]
    job_rank = np.array([one.job_rank for one in operations.processes] or [-1])
    widest = max((one.job_ranks for one in operations.processes), default=0)
    where = {
        (int(c), int(r)): int(job_rank[p])
        for c, r, p in set(zip(operations.communicator, operations.rank, operations.process, strict=True))
    }
    peer = np.array([
        where.get((int(c), int(p)), int(p) if operations.sizes[c] == widest else -1)
        for c, p in zip(rows.communicator, rows.peer, strict=True)
    ], np.int64)  # fmt: skip
    own = job_rank[rows.process].astype(np.int64)
    src, dst = np.where(is_send, own, peer), np.where(is_send, peer, own)
    keep = (src >= 0) & (dst >= 0) & (src != dst)
    return PointToPoint(src[keep], dst[keep], rows.exec_s[keep], rows.size_bytes[keep])


def _communicators(operations: Operations) -> Iterator[_Steps]:
    """Collectives of each communicator of enough ranks; operations with too few records are left out."""
    rows = operations.rows(~operations.is_p2p)
    for code in map(int, np.unique(rows.communicator)):
        own = rows.rows(rows.communicator == code)
        common = np.bincount(own.timing).argmax()  # times of unlike sources do not compare
        own = own.rows(own.timing == common)
        ranks, column = np.unique(own.rank, return_inverse=True)
        size = max(operations.sizes[code], len(ranks))
        if len(ranks) < max(FEWEST_RANKS, KNOWN_SHARE * size):
            continue
        key = np.stack([own.sequence, own.op.astype(np.int64)])
        steps, first, row = np.unique(key, axis=1, return_index=True, return_inverse=True)
        taken_s = np.full((steps.shape[1], len(ranks)), np.nan)
        start_s = taken_s.copy()
        taken_s[row.ravel(), column] = own.exec_s
        start_s[row.ravel(), column] = own.start_s
        known = np.isfinite(taken_s).sum(axis=1) >= max(FEWEST_RANKS, KNOWN_SHARE * size)
        process = np.zeros(len(ranks), np.int32)
        process[column] = own.process
        if known.any():
            yield _Steps(
                code, ranks, process, steps[1].astype(np.int32)[known], own.size_bytes[first][known],
                steps[0][known], taken_s[known], start_s[known],
            )  # fmt: skip


def _judge_late(
    operations: Operations,
    steps: _Steps,
    late: dict[int, tuple[float, Culprit]],
    waits: dict[int, list[tuple[int, float]]],
) -> None:
    """Add the ranks that come last to `late`, and how long everybody waits to `waits`, by process."""
    taken = steps.taken_s
    typical = np.nanmedian(taken, axis=1)
    gap = np.nanmedian(typical[:, None] - taken, axis=0)  # (ranks,), how much later than the typical rank it comes
    noise = DEVIATION * np.nanmedian(np.abs(gap - np.nanmedian(gap)))
    own = np.nanmedian(taken, axis=0)
    waited = np.nanmedian(taken - np.nanmin(taken, axis=1)[:, None], axis=0)
    for column, process in enumerate(steps.process):
        waits.setdefault(int(process), []).append((steps.code, float(waited[column])))
    is_ahead = taken < typical[:, None] * (1 - WAIT_SHARE / 2)
    ahead = is_ahead.mean(axis=0) / np.isfinite(taken).mean(axis=0)
    center = float(np.median(typical))
    is_late = (gap > WAIT_SHARE * center) & (gap > SPREAD * noise) & (ahead >= STEADY)
    for column in np.flatnonzero(is_late).tolist():
        process = int(steps.process[column])
        if gap[column] <= late.get(process, (0.0, None))[0]:
            continue
        who = operations.processes[process]
        confidence = 0.7 + 0.2 * float(ahead[column])
        evidence = (
            f"the others wait for it in communicator {operations.communicators[steps.code]}: it spends "
            f"{1e3 * own[column]:.3g} ms in an operation, they {1e3 * center:.3g} ms, "
            f"in {100 * ahead[column]:.0f} % of {len(taken)}"
        )
        if (by_start := _later_on_its_host(operations, steps, column)) is not None:
            if by_start > 0.5 * gap[column]:
                confidence += 0.05
            evidence += f"; it starts {1e3 * by_start:.3g} ms after the others of its host"
        late[process] = (
            float(gap[column]),
            Culprit(
                who.job_rank if who.job_rank >= 0 else None, who.host or None, None, "non-communication slow",
                round(confidence, 3), evidence,
            ),
        )  # fmt: skip


def _later_on_its_host(operations: Operations, steps: _Steps, column: int) -> float | None:
    """How much later it starts than the other ranks of its host, which share its clock; None where that is unknown."""
    host = operations.processes[steps.process[column]].host
    same = [
        other for other, process in enumerate(steps.process)
        if other != column and host and operations.processes[process].host == host
    ]  # fmt: skip
    if not same:
        return None
    others = steps.start_s[:, same]
    known = np.isfinite(steps.start_s[:, column]) & np.isfinite(others).any(axis=1)
    if known.sum() < FEWEST:
        return None
    return float(np.median(steps.start_s[known, column] - np.nanmedian(others[known], axis=1)))


def _inherits(
    process: int, gap_s: float, late: dict[int, tuple[float, Culprit]], waits: dict[int, list[tuple[int, float]]]
) -> bool:
    """Whether it comes late because it waits for somebody accused in another communicator."""
    ours = dict(waits.get(process, ()))
    for other, (other_gap_s, _) in late.items():
        if other != process and other_gap_s >= INHERITED * gap_s:
            shared = {code for code, _ in waits.get(other, ())} & ours.keys()
            if any(ours[code] >= INHERITED * gap_s for code in shared):
                return True
    return False


def _slower_than_before(operations: Operations, steps: _Steps) -> list[str]:
    """Kinds and sizes of operation whose transfers take longer in the last quarter than they did in the first half."""
    found = []
    transfer = np.log(np.nanmin(steps.taken_s, axis=1))
    kinds = np.stack([steps.op.astype(np.int64), steps.size_bytes])
    for op, size in np.unique(kinds, axis=1).T:
        of_kind = np.flatnonzero((steps.op == op) & (steps.size_bytes == size))
        if len(of_kind) < 4 * FEWEST:
            continue
        ordered = transfer[of_kind[np.argsort(steps.sequence[of_kind], kind="stable")]]
        before, now = ordered[: len(ordered) // 2], ordered[-(len(ordered) // 4) :]
        noise = DEVIATION * float(np.median(np.abs(before - np.median(before))))
        error = SPREAD * MEDIAN_ERROR * noise * math.sqrt(1 / len(before) + 1 / len(now))
        rise = float(np.median(now) - np.median(before))
        if rise > max(SLOWER, error):
            hosts = sorted({operations.processes[process].host for process in steps.process} - {""})
            listed = ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")
            found.append(
                f"communicator {operations.communicators[steps.code]} ({len(steps.ranks)} ranks on "
                f"{listed or 'unnamed hosts'}): {operations.ops[op]} of {size} bytes takes {math.exp(rise):.2f} times "
                f"what it took: {1e3 * math.exp(float(np.median(now))):.3g} ms; collectives do not tell which link"
            )
    return found
