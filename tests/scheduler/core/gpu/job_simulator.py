"""A training job as its Flight Recorder would see it: ranks in process groups, steps of collectives, noise, a fault.

Every rank follows the same program: before each collective it computes for a while (its own time), then waits for the
last of its group. What a fault stops stays stopped, and all who wait for it wait behind. Each rank's recorder keeps its
last operations only, by the rank's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scheduler.core.gpu.flight_recorder import COMPLETED, SCHEDULED, STARTED, Dump

GPUS = 8  # per node
EPOCH_NS = 1_795_000_000_000_000_000


@dataclass(frozen=True)
class Layout:
    """groups: by kind, the group of each rank. step: kind, operation and own seconds before it, in the order run."""

    name: str
    groups: dict[str, NDArray[np.int64]]
    step: tuple[tuple[str, str, float], ...]

    @property
    def ranks(self) -> int:
        return len(self.groups["world"])


def world_only(ranks: int) -> Layout:
    """Data parallel: gradients in four buckets while the backward pass runs, then the norm and the loss."""
    return Layout("data parallel", {"world": np.zeros(ranks, int)}, (
        ("world", "all_reduce", 0.16), *3 * (("world", "all_reduce", 0.04),),
        ("world", "all_reduce", 0.002), ("world", "all_reduce", 0.002), ("world", "all_gather", 0.002),
    ))  # fmt: skip


def sharded(ranks: int, size: int = 8) -> Layout:
    """Sharded within a node and replicated across: parameters gathered for each block, gradients reduced twice."""
    every = np.arange(ranks)
    return Layout("sharded x replicated", {"world": every * 0, "shard": every // size, "replica": every % size}, (
        *6 * (("shard", "all_gather", 0.02),), *6 * (("shard", "reduce_scatter", 0.03),),
        ("replica", "all_reduce", 0.004), ("world", "all_reduce", 0.003), ("shard", "all_gather", 0.003),
    ))  # fmt: skip


def tensor_data(ranks: int, size: int = 8) -> Layout:
    """Tensor parallel within a node, data parallel across."""
    every = np.arange(ranks)
    return Layout("tensor x data parallel", {"world": every * 0, "tensor": every // size, "data": every % size}, (
        *24 * (("tensor", "all_reduce", 0.01),), ("data", "reduce_scatter", 0.005),
        ("world", "all_reduce", 0.003), ("data", "all_gather", 0.003), ("tensor", "broadcast", 0.002),
    ))  # fmt: skip


def halves(ranks: int) -> Layout:
    """As the recorded sample of ../shared/data/gpu: each half of the world, then all."""
    every = np.arange(ranks)
    return Layout("two halves", {"world": every * 0, "half": (every >= ranks // 2).astype(int)}, (
        ("half", "all_reduce", 0.03), ("world", "all_reduce", 0.0005), ("world", "all_gather", 0.0005),
        ("half", "all_reduce", 0.0005),
    ))  # fmt: skip


LAYOUTS = (world_only, sharded, tensor_data, halves)


@dataclass(frozen=True)
class Noise:
    """jitter: of each own time (log-normal). uneven: of a rank's whole step, as from uneven data. pause: chance of a
    rank's step to have one of `pause_s` on average (exponential). checkpoint_every: steps; rank 0 writes for
    checkpoint_s meanwhile. clock_s: how far a node's clock may be off."""

    jitter: float = 0.05
    uneven: float = 0.0
    pause: float = 0.0
    pause_s: float = 0.3
    checkpoint_every: int = 0
    checkpoint_s: float = 5.0
    clock_s: float = 2.0
    is_heavy: bool = False


@dataclass(frozen=True)
class Fault:
    """Of these ranks, from this step on.

    kind: stop (never enter the operation at `place` of the step), queue (enter it and never start), slow (own time
    longer by `share`), network (what groups of the first enter never ends, where they reach over nodes).
    """

    kind: str
    ranks: tuple[int, ...]
    step: int
    place: int = 0
    share: float = 0.0


@dataclass
class Recording:
    """What happened. entered_s, ended_s, queued: (operations, ranks), inf for never. stuck: the collectives, as
    operation and group, that did not end for the network."""

    layout: Layout
    entered_s: NDArray[np.float64]
    ended_s: NDArray[np.float64]
    queued: NDArray[np.bool_]
    stuck: list[tuple[int, int]] = field(default_factory=list)


def simulate(
    layout: Layout, steps: int, noise: Noise, fault: Fault | None, rng: np.random.Generator
) -> Recording:
    """A run of so many steps, or until everybody waits."""
    program, ranks = layout.step, layout.ranks
    total = steps * len(program)
    out = Recording(layout, *(np.full((total, ranks), np.inf) for _ in range(2)), np.zeros((total, ranks), bool))
    own = np.array([seconds for _, _, seconds in program])[np.arange(total) % len(program), None] * np.ones(ranks)
    own *= np.exp(_scatter(noise, rng, own.shape) * noise.jitter)
    if noise.uneven:
        own *= np.repeat(np.exp(noise.uneven * rng.standard_normal((steps, ranks))), len(program), axis=0)
    first = np.arange(steps) * len(program)
    if noise.pause:
        own[first] += (rng.random((steps, ranks)) < noise.pause) * rng.exponential(noise.pause_s, (steps, ranks))
    if noise.checkpoint_every:
        own[first[:: noise.checkpoint_every], 0] += noise.checkpoint_s * rng.uniform(0.5, 1.5)
    if fault is not None and fault.kind == "slow":
        own[fault.step * len(program) :, list(fault.ranks)] *= 1 + fault.share
    at = np.zeros(ranks)
    for n in range(total):
        kind, _, _ = program[n % len(program)]
        entered = at + own[n]
        hit = fault is not None and fault.kind != "slow" and n >= fault.step * len(program) + fault.place
        if hit and fault.kind == "stop":
            entered[list(fault.ranks)] = np.inf
        out.entered_s[n] = entered
        group = layout.groups[kind]
        arrived = entered.copy()
        if hit and fault.kind == "queue":
            out.queued[n, list(fault.ranks)] = np.isfinite(entered[list(fault.ranks)])
            arrived[list(fault.ranks)] = np.inf
        if hit and fault.kind == "network":
            mine = group == group[fault.ranks[0]]
            if len(set((np.flatnonzero(mine) // GPUS).tolist())) > 1:  # within a node there is no network
                if np.isfinite(arrived[mine]).all():
                    out.stuck.append((n, int(group[fault.ranks[0]])))
                arrived[fault.ranks[0]] = np.inf
        last = np.full(int(group.max()) + 1, -np.inf)
        np.maximum.at(last, group, arrived)
        at = out.ended_s[n] = last[group] + 0.001
    return out


def _scatter(noise: Noise, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard deviations of a log-normal; heavy: one in fifty is four times as wide."""
    out = rng.standard_normal(shape)
    return out * np.where(rng.random(shape) < 0.02, 4.0, 1.0) if noise.is_heavy else out


def dumps_of(
    job: Recording,
    rng: np.random.Generator,
    noise: Noise,
    *,
    ring: int = 2000,
    wraps: bool = True,
    has_states: bool = True,
    has_durations: bool = False,
    without: tuple[int, ...] = (),
    seen_at_s: float = np.inf,
) -> list[Dump]:
    """The dumps of all ranks but those `without`; seen_at_s: when they were taken. wraps: rings wrap differently, some
    ranks have room for fewer operations, as if others of their own had pushed them out."""
    layout, program = job.layout, job.layout.step
    total = len(job.entered_s)
    kinds, names = sorted(layout.groups), sorted({name for _, name, _ in program})
    of_kind = np.array([kinds.index(kind) for kind, _, _ in program])[np.arange(total) % len(program)]
    of_name = np.array([names.index(name) for _, name, _ in program])[np.arange(total) % len(program)]
    sequence = np.zeros(total, np.int64)
    for kind in range(len(kinds)):
        sequence[of_kind == kind] = np.arange((of_kind == kind).sum())
    offsets = np.repeat(rng.uniform(-noise.clock_s, noise.clock_s, -(-layout.ranks // GPUS)), GPUS)
    found = []
    for rank in range(layout.ranks):
        if rank in without:
            continue
        rows = np.flatnonzero(job.entered_s[:, rank] <= min(seen_at_s, 1e18))
        rows = rows[-int(ring * (rng.uniform(0.9, 1.0) if wraps else 1)) :]
        entered, ended = job.entered_s[rows, rank], job.ended_s[rows, rank]
        is_over = ended <= min(seen_at_s, 1e18)
        state = np.where(is_over, COMPLETED, np.where(job.queued[rows, rank], SCHEDULED, STARTED))
        groups = [f"{kind}-{layout.groups[kind][rank]}" for kind in kinds]
        duration = np.where(is_over, ended - entered, np.nan) if has_durations else np.full(len(rows), np.nan)
        found.append(Dump(
            rank, (*groups, *names), of_kind[rows].astype(np.int32), (of_name[rows] + len(kinds)).astype(np.int32),
            sequence[rows], EPOCH_NS + (1e9 * (entered + offsets[rank])).astype(np.int64),
            state.astype(np.int8) if has_states else np.full(len(rows), SCHEDULED, np.int8),
            np.zeros(len(rows), bool), duration.astype(np.float32),
            {name: tuple(np.flatnonzero(layout.groups[kind] == layout.groups[kind][rank]).tolist())
             for name, kind in zip(groups, kinds, strict=True)},
        ))  # fmt: skip
    return found
