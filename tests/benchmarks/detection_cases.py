"""Simulated jobs with a fault or without, one per seed, and what the diagnosis made of them.

Jobs are of 64 ranks on 8 nodes, by turns in four layouts (see `job_simulator`); clocks of nodes are up to 2 s apart,
rings have wrapped by rank, rank 0 writes a checkpoint for 2.5 to 7.5 s every 20 steps, one step in 200 of a rank pauses
for 0.3 s on average (garbage collection), and one operation in 50 scatters four times as widely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from scheduler.core.gpu.delay_matrix import delay_matrix, slow_connections
from scheduler.core.gpu.syndromes import diagnose
from tests.scheduler.core.gpu.job_simulator import GPUS, LAYOUTS, Fault, Noise, Recording, dumps_of, simulate
from tests.scheduler.core.gpu.message_simulator import PATTERNS, messages, what_shows

RANKS: Final = 64
RING: Final = 2000
WAITED_S: Final = 25.0
"""After the last operation was entered. Looked at every 5 s, a hang is found within 30 s."""
ROUGH: Final = Noise(jitter=0.15, uneven=0.05, pause=0.005, checkpoint_every=20, is_heavy=True)
SMOOTH: Final = replace(ROUGH, jitter=0.05, uneven=0.03)


@dataclass(frozen=True, slots=True)
class Outcome:
    """culprits: there were; right: of them named; wrong: accusations of anybody or anything else. is_exact: the
    syndrome and all that is accused. sample: of the fault, for the curious."""

    culprits: int
    right: int
    wrong: int
    is_exact: bool
    sample: str


def stopped(seed: int, *, without: str = "", whole_node: bool = False, has_states: bool = True) -> Outcome:
    """Ranks that never enter an operation, or never start what they have queued. without: whose dump is missing."""
    rng = np.random.default_rng(seed)
    layout = LAYOUTS[seed % len(LAYOUTS)](RANKS)
    first = int(rng.integers(RANKS))
    ranks = tuple(range(first - first % GPUS, first - first % GPUS + GPUS)) if whole_node else (first,)
    kind = "queue" if has_states and rng.random() < 0.3 else "stop"
    fault = Fault(kind, ranks, int(rng.integers(3, 9)), int(rng.integers(len(layout.step))))
    job = simulate(layout, 10, ROUGH, fault, rng)
    missing = {"": (), "culprit": ranks, "other": (int((first + rng.integers(1, RANKS)) % RANKS),)}[without]
    dumps = dumps_of(job, rng, ROUGH, ring=RING, has_states=has_states, without=missing)
    found = diagnose(dumps, missing, WAITED_S)
    named = [one.rank for one in found.accused]
    right = len(set(ranks) & set(named))
    is_exact = found.verdict == "non-communication hang" and set(ranks) == set(named)
    return Outcome(len(ranks), right, len(named) - right, is_exact, f"{layout.name}, {fault}, {found.accused[:2]}")


def stuck(seed: int) -> Outcome:
    """The connections of a rank end: what its group enters does not finish. Right is the rank, or ranks that hold it
    and are no more than the group that does not finish."""
    rng = np.random.default_rng(seed)
    layout = LAYOUTS[seed % len(LAYOUTS)](RANKS)
    culprit = int(rng.integers(RANKS))
    fault = Fault("network", (culprit,), int(rng.integers(3, 9)), int(rng.integers(len(layout.step))))
    job = simulate(layout, 10, ROUGH, fault, rng)
    found = diagnose(dumps_of(job, rng, ROUGH, ring=RING), (), WAITED_S)
    group = _stuck_group(job)
    right = [
        one for one in found.accused
        if one.rank == culprit or (culprit in one.among and set(one.among) <= group and one.rank is None)
    ]  # fmt: skip
    is_exact = found.verdict == "communication hang" and len(right) == len(found.accused) == 1
    sample = f"{layout.name}, {fault}, {found.verdict}, {found.accused[:2]}"
    return Outcome(1, min(len(right), 1), len(found.accused) - len(right), is_exact, sample)


def _stuck_group(job: Recording) -> set[int]:
    operation, group = job.stuck[0]
    kind = job.layout.step[operation % len(job.layout.step)][0]
    return set(np.flatnonzero(job.layout.groups[kind] == group).tolist())


def slower(seed: int, *, share: float = 0.15, jitter: float = 0.05, without: bool = False) -> Outcome:
    """A rank that computes slower for the last 20 of 60 steps."""
    rng = np.random.default_rng(seed)
    layout = LAYOUTS[seed % len(LAYOUTS)](RANKS)
    culprit, noise = int(rng.integers(RANKS)), replace(SMOOTH, jitter=jitter)
    job = simulate(layout, 60, noise, Fault("slow", (culprit,), 40, share=share), rng)
    missing = (int((culprit + rng.integers(1, RANKS)) % RANKS),) if without else ()
    found = diagnose(dumps_of(job, rng, noise, ring=RING, without=missing), missing)
    named = [one.rank for one in found.accused]
    return Outcome(
        1, int(culprit in named), len(named) - (culprit in named), named == [culprit],
        f"{layout.name}, rank {culprit}, {found.verdict}, {found.accused[:2]}",
    )  # fmt: skip


def slow_port(
    seed: int, *, kinds: tuple[str, ...], factor: float, jitter: float = 0.15, patterns: tuple[str, ...] = ()
) -> Outcome:
    """A row, column, node or cell of the delay matrix; by turns in these (or all) patterns of who talks to whom.

    Where the pattern shows no more than a connection, connections of the culprit are right and a rank is wrong."""
    rng = np.random.default_rng(seed)
    patterns = patterns or tuple(PATTERNS)
    pairs = PATTERNS[patterns[seed % len(patterns)]](RANKS)
    kind = kinds[seed // len(patterns) % len(kinds)]
    source, target = pairs[rng.integers(len(pairs))].tolist()
    rank = target if kind == "column" else source
    window = messages(pairs, 20, jitter, rng, (kind, source if kind != "column" else rank, target), factor)
    accused = slow_connections(delay_matrix(*window))
    shows = "cell" if kind == "cell" else what_shows(pairs, kind, rank)
    if shows == "cell":
        is_right = [one.link is not None and (one.link == (source, target) if kind == "cell" else rank in one.link)
                    for one in accused]  # fmt: skip
    else:
        is_right = [one.rank == rank for one in accused]
    right, wrong = min(sum(is_right), 1), sum(not one for one in is_right)
    return Outcome(1, right, wrong, bool(right) and not wrong, f"{kind} {source} {target}: {accused[:2]}")


def healthy_job(seed: int, *, ranks: int = 512) -> Outcome:
    """A job without a fault, looked at while it runs. Operations scatter by 5, 15 or 30 %, a rank's steps by up to 30 %
    with its data."""
    rng = np.random.default_rng(seed)
    layout = LAYOUTS[seed % len(LAYOUTS)](ranks)
    noise = replace(ROUGH, jitter=(0.05, 0.15, 0.30)[seed % 3], uneven=float(rng.uniform(0, 0.3)), pause=0.01)
    job = simulate(layout, 30, noise, None, rng)
    at = float(rng.uniform(0.7, 1.0)) * float(job.ended_s.max())
    waited = at - float(job.entered_s[job.entered_s <= at].max())
    found = diagnose(dumps_of(job, rng, noise, ring=RING, seen_at_s=at), (), waited)
    nodes = {one.rank // GPUS for one in found.accused if one.rank is not None}
    wrong = len(nodes) + (found.verdict not in ("healthy", "non-communication slow"))
    return Outcome(0, 0, wrong, not wrong, f"{layout.name}, {noise}, {found.verdict}, {found.accused[:2]}")


def healthy_messages(seed: int, *, ranks: int = 64) -> Outcome:
    """Messages of a network without a fault; their times scatter by 15 or 30 %."""
    rng = np.random.default_rng(seed)
    pairs = PATTERNS[tuple(PATTERNS)[seed % len(PATTERNS)]](ranks)
    accused = slow_connections(delay_matrix(*messages(pairs, 20, (0.15, 0.30)[seed % 2], rng, None, 1.0)))
    return Outcome(0, 0, len(accused), not accused, str(accused[:2]))


Case = Callable[[int], Outcome]
