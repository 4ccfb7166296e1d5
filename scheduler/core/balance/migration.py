"""What moving work costs: live migration of a machine's memory, a pod restarted from its checkpoint, an image pulled.

Live migration is pre-copy: round 0 sends all memory while the machine runs, every further round sends what was written
during the round before, and when little is left the machine is stopped and the rest is sent (Clark et al., "Live
Migration of Virtual Machines", NSDI 2005). With bandwidth B and bytes left X(k):

    X(0) = M,  X(k+1) = sum over write sets of what they dirtied within X(k) / B

A write set without a size never writes a page twice, so with rate D and r = D / B the sum is geometric:
X(n) = M r^n, bytes M (1 - r^(n+1)) / (1 - r). That over-estimates, because a page written twice within a round is sent
once. A set of S bytes written at random at rate D dirties S (1 - exp(-D t / S)) in t seconds (ours: the share of S
pages that no write of a Poisson stream has hit), and any number of sets add up, so "90 % of the writes on 10 % of
the memory" are two sets. From it follows that a set of S bytes leaves at most S, however fast it is written.

Live rounds end when at most `stop_bytes` are left, or after `max_rounds`. Whether so little is ever left is known
beforehand. Where it is not, the move is refused, or made with a longer stop than was asked for. Where moreover memory
is written as fast as it is sent, a live round is worth its bytes only if it leaves LEAST_GAIN less than it sent (ours);
a set without a size gets none there, so the machine is stopped at once.

Not modelled: compression, pages skipped because they are written again before their turn, throttling of the writer,
registers and devices, storage, a bandwidth that changes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from scheduler.core.errors import StowageInputError

Verdict = Literal["live", "stop-and-copy", "restart", "refused"]

MIB: Final = 1 << 20
# Where memory is written too fast, a further live round must save this share of what it sends (ours).
LEAST_GAIN: Final = 0.1
# One second of a 10 Gbit/s link, in MiB.
LINK_MIB_PER_S: Final = 10e9 / 8 / MIB


@dataclass(frozen=True, slots=True)
class WriteSet:
    """Memory that is written at random, uniformly: at which rate, and how much of it there is.

    bytes_per_s: pages written per second x page size, each write counted. size_bytes: the pages written to, together;
    None: no page is written twice. Raises StowageInputError for negative or infinite figures, or an empty set.
    """

    bytes_per_s: float
    size_bytes: float | None = None

    def __post_init__(self) -> None:
        _check(self, "a write set", "bytes_per_s")
        if self.size_bytes is not None:
            _check(self, "a write set", "size_bytes")
            if not self.size_bytes:
                raise StowageInputError("a write set has size_bytes 0; it is above 0, or None for pages never repeated")

    def dirtied_bytes(self, seconds: float) -> float:
        """Bytes of distinct pages written within so long."""
        written = self.bytes_per_s * seconds
        if self.size_bytes is None:
            return written
        return -self.size_bytes * math.expm1(-written / self.size_bytes)


@dataclass(frozen=True, slots=True)
class Channel:
    """How a machine's memory is sent.

    bandwidth_bytes_per_s: 0 is a link that is down. stop_bytes: stop the machine when so little is left. resume_s:
    from the last byte received until the machine runs again. max_rounds: live rounds at most.
    Raises StowageInputError for negative or infinite figures.
    """

    bandwidth_bytes_per_s: float
    stop_bytes: float
    resume_s: float = 0.0
    max_rounds: int = 30

    def __post_init__(self) -> None:
        _check(self, "a channel", "bandwidth_bytes_per_s", "stop_bytes", "resume_s", "max_rounds")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a pod loses and needs when it is restarted elsewhere.

    gpus: GPUs it holds. age_s: since its last checkpoint, work that is done again. restart_s: from the start of its
    process until it computes, without reading the checkpoint.
    Raises StowageInputError for negative or infinite figures.
    """

    gpus: int
    age_s: float
    restart_s: float
    size_bytes: float

    def __post_init__(self) -> None:
        _check(self, "a checkpoint", "gpus", "age_s", "restart_s", "size_bytes")


@dataclass(frozen=True, slots=True)
class Migration:
    """One move, as it would go.

    sent_bytes: over the network. total_s: until everything is as far as it was. downtime_s: of these, nothing
    runs. rounds: live rounds, before the stop. gpu_s: GPU seconds that compute nothing new. Where the verdict is
    `refused` nothing is moved and all are 0. reason: a sentence, empty for what went as wished.
    """

    verdict: Verdict
    reason: str = ""
    sent_bytes: int = 0
    total_s: float = 0.0
    downtime_s: float = 0.0
    rounds: int = 0
    gpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CostWeights:
    """What a move's parts weigh in `migration_cost`, in units of one MiB sent.

    By default a second of downtime, and of a GPU, weighs what a 10 Gbit/s link sends in it (ours: choose your own).
    """

    per_mib: float = 1.0
    per_downtime_s: float = LINK_MIB_PER_S
    per_gpu_s: float = LINK_MIB_PER_S

    def __post_init__(self) -> None:
        _check(self, "cost weights", "per_mib", "per_downtime_s", "per_gpu_s")


def migrate_live(
    memory_bytes: float, writes: tuple[WriteSet, ...], channel: Channel, *, may_stop_long: bool = False
) -> Migration:
    """Pre-copy live migration of a machine with so much memory, written to like this while it moves.

    writes: sets that do not overlap. may_stop_long: where the rounds never get down to `stop_bytes`, stop the machine
    and copy what is left, instead of refusing.
    Raises StowageInputError for negative memory, and where the sets are larger than it.
    """
    if not 0 <= memory_bytes < math.inf:
        raise StowageInputError(f"memory_bytes is {memory_bytes}; it is 0 or more, and finite")
    if sum(one.size_bytes or 0 for one in writes) > memory_bytes:
        raise StowageInputError(f"the write sets are larger than the memory of {memory_bytes:.0f} bytes")
    bandwidth = channel.bandwidth_bytes_per_s
    if not bandwidth:
        return Migration("refused", "the link has no bandwidth")
    left = _bytes_left(memory_bytes, writes, channel)
    if left[-1] <= channel.stop_bytes:
        return _sent("live", "", left, channel)
    reason = f"{left[-1]:.0f} bytes are left after {channel.max_rounds} rounds, and {channel.stop_bytes:.0f} may be"
    rate = sum(one.bytes_per_s for one in writes)
    if rate >= bandwidth:
        reason = f"memory is written at {rate:.0f} bytes/s and sent at {bandwidth:.0f}: {reason}"
        left = _worth_sending(left)
    return _sent("stop-and-copy", reason, left, channel) if may_stop_long else Migration("refused", reason)


def _bytes_left(memory_bytes: float, writes: tuple[WriteSet, ...], channel: Channel) -> list[float]:
    """What each round has to send, the last after the stop."""
    left = [memory_bytes]
    while left[-1] > channel.stop_bytes and len(left) <= channel.max_rounds:
        round_s = left[-1] / channel.bandwidth_bytes_per_s
        left.append(min(memory_bytes, sum(one.dirtied_bytes(round_s) for one in writes)))
    return left


def _worth_sending(left: list[float]) -> list[float]:
    """The rounds up to the last that leaves clearly less than it sent."""
    rounds = 0
    while rounds + 1 < len(left) and left[rounds + 1] <= (1 - LEAST_GAIN) * left[rounds]:
        rounds += 1
    return left[: rounds + 1]


def _sent(verdict: Verdict, reason: str, sent: list[float], channel: Channel) -> Migration:
    bandwidth = channel.bandwidth_bytes_per_s
    total_s = sum(sent) / bandwidth + channel.resume_s
    return Migration(verdict, reason, round(sum(sent)), total_s, sent[-1] / bandwidth + channel.resume_s, len(sent) - 1)


def restart_pod(pod: Checkpoint, bandwidth_bytes_per_s: float, missing_image_bytes: float = 0) -> Migration:
    """A pod stopped here and started there, from its last checkpoint.

    bandwidth_bytes_per_s: at which the checkpoint is read, and the image pulled. missing_image_bytes: what the new node
    lacks, from `missing_layer_bytes`. The pod holds its GPUs from its binding on, so they wait for the image and
    the checkpoint as well. A pod without a checkpoint has one of 0 bytes, as old as the pod.
    Raises StowageInputError for negative or infinite figures.
    """
    _check_figure("restart_pod", "bandwidth_bytes_per_s", bandwidth_bytes_per_s)
    _check_figure("restart_pod", "missing_image_bytes", missing_image_bytes)
    size_bytes = pod.size_bytes + missing_image_bytes
    if size_bytes and not bandwidth_bytes_per_s:
        return Migration("refused", "the link has no bandwidth")
    transfer_s = size_bytes / bandwidth_bytes_per_s if size_bytes else 0.0
    downtime_s = transfer_s + pod.restart_s
    total_s = downtime_s + pod.age_s
    return Migration("restart", "", round(size_bytes), total_s, downtime_s, 0, pod.gpus * total_s)


def missing_layer_bytes(layers: Mapping[str, int], present: Collection[str]) -> int:
    """Bytes to pull of an image, given its layers (digest: compressed bytes) and the digests that the node has."""
    for digest, size in layers.items():
        _check_figure(f"layer {digest}", "bytes", size)
    return sum(size for digest, size in layers.items() if digest not in present)


def migration_cost(move: Migration, weights: CostWeights | None = None) -> int | None:
    """One integer for solvers, at least 1, so that no move is free; None where the move is refused."""
    if move.verdict == "refused":
        return None
    weights = weights or CostWeights()
    cost = (
        weights.per_mib * move.sent_bytes / MIB
        + weights.per_downtime_s * move.downtime_s
        + weights.per_gpu_s * move.gpu_s
    )
    return max(1, math.ceil(cost))


def _check(owner: object, what: str, *names: str) -> None:
    for name in names:
        _check_figure(what, name, getattr(owner, name))


def _check_figure(what: str, name: str, value: float) -> None:
    if not 0 <= value < math.inf:  # False for nan
        raise StowageInputError(f"{what} has {name} {value}; it is 0 or more, and finite")
