"""Records of NCCL Inspector: one JSON object per finished operation, per process.

Formats v4 and v5 (NCCL 2.28 to 2.30), plain and verbose. Source: plugins/profiler/inspector of NCCL 2.30.7. What a
reader must know: `rank` is the rank in the communicator, not in the job; sequence numbers count per communicator and
kind of operation; execution times are the process's own, so they need no common clock, start times do.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.core.gpu.telemetry.rejects import Rejects, decode_records

MAJORS: Final = (4, 5)
VERSION: Final = re.compile(r"v?(\d{1,3})\.(\d{1,3})$")
MICRO: Final = 1e-6
MOST_RANKS: Final = 1 << 20
LONGEST_S: Final = 1e7
MOST_TEXT: Final = 256


class _Header(msgspec.Struct, frozen=True):
    id: str | int
    rank: int
    n_ranks: int = 0


class _Metadata(msgspec.Struct, frozen=True):
    inspector_output_format_version: str = ""
    dump_timestamp_us: float = 0
    hostname: str = ""
    pid: int = 0


class _Times(msgspec.Struct, frozen=True):
    coll_start_ts: float = 0
    p2p_start_ts: float = 0


class _Collective(msgspec.Struct, frozen=True):
    coll: str
    coll_sn: int
    coll_exec_time_us: float
    coll_msg_size_bytes: int = 0
    coll_busbw_gbs: float | None = None
    coll_timing_source: str = ""
    event_trace_ts: _Times | None = None


class _PointToPoint(msgspec.Struct, frozen=True):
    p2p: str
    p2p_sn: int
    p2p_peer: int
    p2p_exec_time_us: float
    p2p_msg_size_bytes: int = 0
    p2p_busbw_gbs: float | None = None
    p2p_timing_source: str = ""
    event_trace_ts: _Times | None = None


class _Record(msgspec.Struct, frozen=True):
    header: _Header
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    coll_perf: _Collective | None = None
    p2p_perf: _PointToPoint | None = None
    dump_stats: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the job: what it is called, and the widest communicator it is in.

    job_rank: its rank there, which is its rank in the job where one communicator spans the job.
    """

    host: str
    pid: int
    job_rank: int
    job_ranks: int


@dataclass(frozen=True, slots=True, eq=False)
class Operations:
    """Finished operations as columns; row n of every array is the same one, in the order they were read.

    communicator, op, timing, process: (N,) int32, indices into the tables of the same name; sizes: ranks of each
    communicator. rank, peer: (N,) int32, in the communicator; peer is -1 for a collective. sequence, size_bytes: (N,)
    int64. exec_s: (N,) seconds from the process's own start to its end. busbw_gbs: (N,) GB/s, NaN where it is not
    said. start_s, dump_s: (N,) Unix time by the host's clock; NaN where it is not said (start_s needs verbose
    records). dropped: operations that NCCL says it could not keep.
    """

    communicators: tuple[str, ...]
    sizes: tuple[int, ...]
    ops: tuple[str, ...]
    timings: tuple[str, ...]
    processes: tuple[Process, ...]
    communicator: NDArray[np.int32]
    op: NDArray[np.int32]
    timing: NDArray[np.int32]
    process: NDArray[np.int32]
    rank: NDArray[np.int32]
    peer: NDArray[np.int32]
    sequence: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    exec_s: NDArray[np.float64]
    busbw_gbs: NDArray[np.float64]
    start_s: NDArray[np.float64]
    dump_s: NDArray[np.float64]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.rank)

    def rows(self, keep: NDArray[np.bool_]) -> Operations:
        """The rows where `keep` holds, with the same tables."""
        columns = {name: getattr(self, name)[keep] for name in COLUMNS}
        return replace(self, **columns)

    @property
    def is_p2p(self) -> NDArray[np.bool_]:
        """(N,), True for a send or a receive."""
        return self.peer >= 0


COLUMNS: Final = (
    "communicator", "op", "timing", "process", "rank", "peer", "sequence", "size_bytes", "exec_s", "busbw_gbs",
    "start_s", "dump_s",
)  # fmt: skip
TYPES: Final = dict(zip(COLUMNS, "iiiiiiqqdddd", strict=True))


@dataclass(slots=True)
class InspectorReader:
    """Takes any number of files or pieces of a stream, in any order; `operations` is what they hold together."""

    rejects: Rejects = field(default_factory=Rejects)
    dropped: int = 0
    _columns: dict[str, array[float]] = field(default_factory=lambda: {name: array(TYPES[name]) for name in COLUMNS})
    _communicators: dict[str, int] = field(default_factory=dict)
    _ops: dict[str, int] = field(default_factory=dict)
    _timings: dict[str, int] = field(default_factory=dict)
    _processes: dict[tuple[str, int, str], int] = field(default_factory=dict)
    _ranks: dict[int, int] = field(default_factory=dict)  # of each communicator, as its records say
    _owner: dict[tuple[int, int], int] = field(default_factory=dict)  # process by communicator and rank
    _twice: int = 0

    def read(self, lines: Iterable[bytes], host: str = "") -> int:
        """Add the records of these lines; how many operations were new. host: of a record that names none."""
        before = len(self._columns["rank"])
        for number, record in decode_records(lines, self.rejects, DECODER):
            rule = self._add(record, host)
            if rule is not None:
                self.rejects.add(number, rule)
        return len(self._columns["rank"]) - before

    def operations(self) -> Operations:
        """All that was read so far; an operation that was read twice, as when logs overlap, is there once."""
        columns = {name: np.array(values, TYPES[name]) for name, values in self._columns.items()}
        found = Operations(
            tuple(self._communicators), tuple(self._ranks.get(code, 0) for code in self._communicators.values()),
            tuple(self._ops), tuple(self._timings), self._job_ranks(), **columns, dropped=self.dropped,
        )  # fmt: skip
        # a rank may send to many peers under one number, and sends and receives are numbered apart
        key = np.stack([columns[name].astype(np.int64) for name in ("communicator", "rank", "op", "peer", "sequence")])
        first = np.zeros(len(found), np.bool_)
        first[np.unique(key, axis=1, return_index=True)[1]] = True
        if (twice := int((~first).sum())) > self._twice:
            self.rejects.add(0, f"{twice} operations were there twice")
            self._twice = twice
        return found if first.all() else found.rows(first)

    def _add(self, record: _Record, host: str) -> str | None:
        """Append a record's operation; the rule it breaks, None where it is used."""
        header, meta = record.header, record.metadata
        if (rule := _version_rule(meta.inspector_output_format_version)) is not None:
            return rule
        if record.dump_stats is not None:
            lost = (count for key, count in record.dump_stats.items() if key.endswith("dropped_since_last_dump"))
            self.dropped += sum(max(0, count) for count in lost)
            return None
        p2p, collective = record.p2p_perf, record.coll_perf
        if p2p is not None:
            name, sequence, peer = p2p.p2p, p2p.p2p_sn, p2p.p2p_peer
            size, took_us, busbw, timing = (
                p2p.p2p_msg_size_bytes, p2p.p2p_exec_time_us, p2p.p2p_busbw_gbs, p2p.p2p_timing_source,
            )  # fmt: skip
            start_us = p2p.event_trace_ts.p2p_start_ts if p2p.event_trace_ts else 0.0
        elif collective is not None:
            name, sequence, peer = collective.coll, collective.coll_sn, -1
            size, took_us, busbw, timing = (
                collective.coll_msg_size_bytes, collective.coll_exec_time_us, collective.coll_busbw_gbs,
                collective.coll_timing_source,
            )  # fmt: skip
            start_us = collective.event_trace_ts.coll_start_ts if collective.event_trace_ts else 0.0
        else:
            return "neither coll_perf nor p2p_perf nor dump_stats"
        ranks = header.n_ranks or MOST_RANKS
        if not 0 <= header.rank < ranks <= MOST_RANKS:
            return f"header.rank {header.rank} of {header.n_ranks} ranks"
        if p2p is not None and not 0 <= peer < ranks:
            return f"p2p_peer {peer} of {header.n_ranks} ranks"
        if not 0 < took_us * MICRO < LONGEST_S:
            return f"an operation took {took_us:g} us"
        if not (0 <= size < 1 << 62 and 0 <= sequence < 1 << 62):
            return f"size {size} bytes, sequence {sequence}: out of range"
        where = (meta.hostname or host)[:MOST_TEXT]
        communicator = self._code(self._communicators, str(header.id)[:MOST_TEXT])
        unnamed = "" if meta.pid else f"{header.id}/{header.rank}"
        process = self._processes.setdefault((where, meta.pid, unnamed), len(self._processes))
        owner = self._owner.setdefault((communicator, header.rank), process)
        if owner != process:
            return f"rank {header.rank} of communicator {header.id} is another process already: {self._name(owner)}"
        op = self._code(self._ops, name[:MOST_TEXT])
        self._ranks[communicator] = max(self._ranks.get(communicator, 0), header.n_ranks, header.rank + 1)
        row = (
            communicator, op, self._code(self._timings, timing[:MOST_TEXT]), process, header.rank, peer, sequence, size,
            took_us * MICRO, _positive(busbw or 0.0), _positive(start_us * MICRO),
            _positive(meta.dump_timestamp_us * MICRO),
        )  # fmt: skip
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        return None

    def _job_ranks(self) -> tuple[Process, ...]:
        widest: dict[int, tuple[int, int, int]] = {}
        for (communicator, rank), process in self._owner.items():
            ours = (self._ranks.get(communicator, 0), -communicator, rank)
            widest[process] = max(widest.get(process, ours), ours)
        return tuple(
            Process(host, pid, widest[code][2] if code in widest else -1, widest[code][0] if code in widest else 0)
            for (host, pid, _), code in self._processes.items()
        )

    def _name(self, process: int) -> str:
        host, pid, _ = next(key for key, code in self._processes.items() if code == process)
        return f"pid {pid} of {host or 'an unnamed host'}"

    @staticmethod
    def _code(table: dict[str, int], name: str) -> int:
        return table.setdefault(name, len(table))


DECODER: Final = msgspec.json.Decoder(_Record, strict=False)


def _positive(value: float) -> float:
    """The value, or NaN where it says nothing."""
    return value if 0 < value < math.inf else math.nan


def _version_rule(version: str) -> str | None:
    if not version:
        return None
    found = VERSION.match(version)
    if found is None:
        return f"inspector_output_format_version {version[:40]!r} is not vMAJOR.MINOR"
    if int(found[1]) not in MAJORS:
        return f"inspector_output_format_version {version}, and v{MAJORS[0]} to v{MAJORS[-1]} can be read"
    return None
