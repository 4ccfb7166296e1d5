"""Answers of NCCL's RAS subsystem: STATUS (which rank has done how many collectives) and MONITOR (who died).

JSON since NCCL 2.28.7, MONITOR since 2.29. Source: NCCL 2.30.7, docs/userguide, troubleshooting/ras. Any number of JSON
objects one after another is read: a file of polls, or one answer. Times have no zone, and are only
compared with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from scheduler.core.gpu.telemetry.rejects import Rejects, json_documents
from scheduler.core.gpu.telemetry.times import unix_time

MOST_RANKS: Final = 1 << 20


class _Status(msgspec.Struct, frozen=True):
    async_error: int = 0
    abort_flag: bool = False
    considered_dead: bool = False


class _Rank(msgspec.Struct, frozen=True):
    rank: int
    host: str = ""
    pid: int = 0
    cuda_dev: int | None = None
    nvml_dev: int | None = None
    status: _Status = msgspec.field(default_factory=_Status)
    collective_counts: dict[str, int] | None = None


class _Communicator(msgspec.Struct, frozen=True):
    hash: str | int
    secondary_hash: str | int = ""
    size: int = 0
    ranks: list[Any] | None = None
    missing_ranks: list[Any] | None = None


class _Answer(msgspec.Struct, frozen=True):
    communicators: list[Any]
    timestamp: object = None


class _Peer(msgspec.Struct, frozen=True):
    host: str = ""
    pid: int = 0
    cuda_devs: list[int] | None = None
    nvml_devs: list[int] | None = None


class _Event(msgspec.Struct, frozen=True):
    event: str
    peer: _Peer
    timestamp: object = None
    details: str = ""


@dataclass(frozen=True, slots=True)
class RasRank:
    """A rank of a communicator at one poll.

    gpu: NVML index on its host. counts: collectives entered, by kind; None for a rank that did not answer.
    """

    rank: int
    host: str
    pid: int
    gpu: int | None
    counts: tuple[tuple[str, int], ...] | None
    is_dead: bool = False
    async_error: int = 0
    is_aborted: bool = False

    @property
    def process(self) -> tuple[str, int]:
        """What is the same in all communicators that the process is in."""
        return self.host, self.pid

    @property
    def entered(self) -> int:
        """Collectives entered, of all kinds."""
        return sum(count for _, count in self.counts or ())


@dataclass(frozen=True, slots=True)
class RasCommunicator:
    """A communicator at one poll; ranks by number, those that did not answer among them. size: ranks it has."""

    name: str
    size: int
    ranks: dict[int, RasRank]


@dataclass(frozen=True, slots=True)
class RasPoll:
    """One answer to STATUS. time_s: by the clock of whoever answered, without a zone; 0 where it is not said."""

    time_s: float
    communicators: dict[str, RasCommunicator]


@dataclass(frozen=True, slots=True)
class RasEvent:
    """One message of MONITOR. gpus: NVML indices."""

    time_s: float
    event: str
    host: str
    pid: int
    gpus: tuple[int, ...]
    details: str


def read_ras(text: str, rejects: Rejects) -> tuple[list[RasPoll], list[RasEvent]]:
    """The polls and events of a text, in its order; what is neither is rejected."""
    polls: list[RasPoll] = []
    events: list[RasEvent] = []
    for line, document in json_documents(text, rejects):
        try:
            if isinstance(document, dict) and "communicators" in document:
                answer = msgspec.convert(document, _Answer, strict=False)
                polls.append(RasPoll(unix_time(answer.timestamp), _communicators(answer.communicators, line, rejects)))
            else:
                event = msgspec.convert(document, _Event, strict=False)
                gpus = tuple(one for one in event.peer.nvml_devs or event.peer.cuda_devs or () if 0 <= one < 1 << 16)
                time_s, peer = unix_time(event.timestamp), event.peer
                events.append(RasEvent(time_s, event.event, peer.host, peer.pid, gpus, event.details))
        except msgspec.ValidationError as error:
            rejects.add(line, f"neither an answer of RAS nor a message of its monitor: {error}")
    return polls, events


def _communicators(found: list[Any], line: int, rejects: Rejects) -> dict[str, RasCommunicator]:
    out: dict[str, RasCommunicator] = {}
    for one in found:
        try:
            raw = msgspec.convert(one, _Communicator, strict=False)
        except msgspec.ValidationError as error:
            rejects.add(line, f"communicator: {error}")
            continue
        name = f"{raw.hash}/{raw.secondary_hash}" if raw.secondary_hash else str(raw.hash)
        if name in out:
            rejects.add(line, f"communicator {name} is there twice")
            continue
        ranks: dict[int, RasRank] = {}
        for answered, entries in ((True, raw.ranks), (False, raw.missing_ranks)):
            for entry in entries or ():
                _add_rank(ranks, entry, answered, name, raw.size or MOST_RANKS, line, rejects)
        out[name] = RasCommunicator(name, raw.size or len(ranks), ranks)
    return out


def _add_rank(
    ranks: dict[int, RasRank], entry: Any, answered: bool, name: str, size: int, line: int, rejects: Rejects
) -> None:
    try:
        raw = msgspec.convert(entry, _Rank, strict=False)
    except msgspec.ValidationError as error:
        rejects.add(line, f"rank of communicator {name}: {error}")
        return
    if not 0 <= raw.rank < size:
        rejects.add(line, f"rank {raw.rank} of communicator {name}, which has {size}")
        return
    if raw.rank in ranks:
        rejects.add(line, f"rank {raw.rank} of communicator {name} is there twice: the first is used")
        return
    counts = raw.collective_counts if answered else None
    if counts is not None and any(not 0 <= count < 1 << 62 for count in counts.values()):
        rejects.add(line, f"rank {raw.rank} of communicator {name}: a count of collectives is out of range")
        return
    gpu = raw.nvml_dev if raw.nvml_dev is not None else raw.cuda_dev
    ranks[raw.rank] = RasRank(
        raw.rank, raw.host, raw.pid, gpu if gpu is not None and 0 <= gpu < 1 << 16 else None,
        tuple(sorted(counts.items())) if counts is not None else None, raw.status.considered_dead,
        raw.status.async_error, raw.status.abort_flag,
    )  # fmt: skip
