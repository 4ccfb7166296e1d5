"""Dumps of PyTorch's Flight Recorder, one file per rank, read without running anything that stands in them.

Formats 2.1 to 2.10, as pickle or as JSON; the rank is in the file's name only. A pickle can name any function and have
it called, so ours is read by an unpickler that knows none; large folders by a compiled loop that knows none either
(`pickle_scan`). Source of the fields: FlightRecorder.hpp of PyTorch 2.10.
"""

from __future__ import annotations

import functools
import io
import json
import math
import pickle
import pickletools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAJOR, NEWEST_MINOR = 2, 10
MOST_BYTES = 1 << 30
RANK = re.compile(r"(\d{1,9})(?:\.(?:json|pkl|pickle))?$")
UNKNOWN, SCHEDULED, STARTED, COMPLETED = range(4)
STATES: Final = ("", "scheduled", "started", "completed")


class DumpError(ValueError):
    """A file that is no dump of a format we know; the message says where and why."""


class HostileDump(DumpError):
    """A pickle that asks for code to be run."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation that a rank entered. group: its process group. created_ns: of the rank's own clock.

    name: "all_reduce", or of a message "send 1->2" and "recv 2<-1", ranks counted in the group. state: one of STATES.
    duration_s: of its execution; NaN where the job did not measure it.
    """

    record: int
    group: str
    sequence: int
    name: str
    state: str
    created_ns: int
    is_p2p: bool = False
    duration_s: float = math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Dump:
    """What one rank wrote: its operations as columns, oldest first; row n of every array is the same operation.

    words: what the numbers in `group` and `name` stand for. sequence: within the group, messages counted apart.
    state: into STATES. duration_s: NaN where unknown. members: ranks by group, where the dump says them.
    """

    rank: int
    words: tuple[str, ...]
    group: NDArray[np.int32]
    name: NDArray[np.int32]
    sequence: NDArray[np.int64]
    created_ns: NDArray[np.int64]
    state: NDArray[np.int8]
    is_p2p: NDArray[np.bool_]
    duration_s: NDArray[np.float32]
    members: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, rank: int, operations: Iterable[Operation], members: dict[str, tuple[int, ...]] | None = None) -> Dump:
        """The dump of these operations, in the order of their records."""
        rows = sorted(operations, key=lambda one: one.record)
        numbers: dict[str, int] = {}
        group = [numbers.setdefault(one.group, len(numbers)) for one in rows]
        name = [numbers.setdefault(one.name, len(numbers)) for one in rows]
        return cls(
            rank, tuple(numbers), np.array(group, np.int32), np.array(name, np.int32),
            np.array([one.sequence for one in rows], np.int64), np.array([one.created_ns for one in rows], np.int64),
            np.array([_state(one.state) for one in rows], np.int8), np.array([one.is_p2p for one in rows], bool),
            np.array([one.duration_s for one in rows], np.float32), members or {},
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.sequence)


def rank_in(name: str) -> int | None:
    """The rank that a file's name ends in; None where it ends in no number."""
    found = RANK.search(name)
    return int(found[1]) if found else None


def read_dump(data: bytes, rank: int, *, compiled: bool = False) -> Dump:
    """The dump in a file's bytes. compiled: read it with the loop of `pickle_scan`, worth it from a few MB in all.

    Raises DumpError, or HostileDump.
    """
    if len(data) > MOST_BYTES:
        raise DumpError(f"{len(data)} bytes, more than {MOST_BYTES}")
    if not data:
        raise DumpError("the file is empty")
    is_json = data[:64].lstrip()[:1] == b"{"
    if compiled and not is_json:
        found = _scanned(data, rank)
        if found is not None:
            return found
    head = _from_json(data) if is_json else _from_pickle(data)
    if not isinstance(head, Mapping):
        raise DumpError(f"a dictionary is wanted, not a {type(head).__name__}")
    _check_version(head.get("version"))
    entries = head.get("entries")
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        raise DumpError("field entries: a list is wanted")
    return Dump.of(rank, (_operation(entry, i) for i, entry in enumerate(entries)), _members(head.get("pg_config")))


def _scanned(data: bytes, rank: int) -> Dump | None:
    from scheduler.core.gpu.pickle_scan import scan  # numba takes most of a second to import

    found = scan(data)
    if found is None:
        return None

    def text(place: NDArray[np.int64]) -> str:
        return data[place[0] : place[0] + place[1]].decode("ascii")

    _check_version(text(found.version))
    order = np.argsort(found.numbers[:, 0], kind="stable")
    texts = [text(place) for place in found.words]
    words = {"": 0}  # for an operation without a name
    numbers = np.array([0, *(words.setdefault(_without_backend(one), len(words)) for one in texts)], np.int32)
    groups = np.array([0, *(words.setdefault(one, len(words)) for one in texts)], np.int32)
    states = np.array([UNKNOWN, *map(_state, texts)], np.int8)
    group, name, state = found.texts[order].T + 1
    members = {text(one[0]): ranks for one in found.groups if (ranks := _ranks(text(one[1])))}
    return Dump(
        rank, tuple(words), groups[group], numbers[name], found.numbers[order, 1], found.numbers[order, 2],
        states[state], found.is_p2p[order], (found.duration_ms[order] / 1000).astype(np.float32), members,
    )  # fmt: skip


class _NoGlobals(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise HostileDump(f"the pickle asks for {module}.{name}, and a dump needs no code: it was not run")

    def persistent_load(self, pid: Any) -> Any:
        raise HostileDump("the pickle asks for an object from outside: a dump has none")


def _from_pickle(data: bytes) -> Any:
    try:
        _check_sizes(data)
        return _NoGlobals(io.BytesIO(data)).load()
    except DumpError:
        raise
    except Exception as error:  # the pickle module raises whatever its broken input makes it stumble over
        raise DumpError(
            f"neither JSON nor a whole pickle: cut short or overwritten ({type(error).__name__})"
        ) from error


def _check_sizes(data: bytes) -> None:
    """Refuse numbers that would have the unpickler reserve memory without end: it trusts what the file says."""
    for code, argument, at in pickletools.genops(data):
        if code.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise DumpError(f"byte {at}: the pickle numbers a value {argument}, more than it has bytes")


def _from_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DumpError(f"broken JSON: {error}") from error


def _check_version(version: Any) -> None:
    parts = str(version).split(".")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise DumpError(f"field version: {version!r:.40} is not MAJOR.MINOR")
    major, minor = map(int, parts)
    if major != MAJOR or not 1 <= minor <= NEWEST_MINOR:
        raise DumpError(f"field version: {version}, and 2.1 to {MAJOR}.{NEWEST_MINOR} can be read")


def _operation(entry: Any, i: int) -> Operation:
    if not isinstance(entry, Mapping):
        raise DumpError(f"entries[{i}]: a dictionary is wanted, not a {type(entry).__name__}")
    group = entry.get("process_group")
    named = group[0] if isinstance(group, list | tuple) and group else entry.get("pg_id")
    if not isinstance(named, str | int):
        raise DumpError(f"entries[{i}]: neither process_group nor pg_id names its group")
    is_p2p = bool(entry.get("is_p2p"))
    sequence = "p2p_seq_id" if is_p2p else "collective_seq_id"
    whole = {key: _integer(entry, key, i) for key in ("record_id", sequence, "time_created_ns")}
    duration_ms = entry.get("duration_ms")
    if duration_ms is not None and (not isinstance(duration_ms, int | float) or isinstance(duration_ms, bool)):
        raise DumpError(f"entries[{i}].duration_ms: a number is wanted, not {duration_ms!r:.40}")
    return Operation(
        record=whole["record_id"], group=str(named), sequence=whole[sequence],
        name=_without_backend(str(entry.get("profiling_name", ""))), state=str(entry.get("state", "")),
        created_ns=whole["time_created_ns"], is_p2p=is_p2p,
        duration_s=math.nan if duration_ms is None else duration_ms / 1000,
    )  # fmt: skip


def _without_backend(name: str) -> str:
    """ "nccl:all_reduce" is "all_reduce"."""
    return name.partition(":")[2] or name


def _state(text: str) -> int:
    return STATES.index(text) if text in STATES else UNKNOWN


def _integer(entry: Mapping[str, Any], key: str, i: int) -> int:
    value = entry.get(key)
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise DumpError(f"entries[{i}].{key}: a whole number is wanted, not {value!r:.40}")
    return value


def _members(config: Any) -> dict[str, tuple[int, ...]]:
    """Ranks by group name; groups whose list is empty are left out, they say nothing."""
    out = {}
    for one in config.values() if isinstance(config, Mapping) else ():
        if isinstance(one, Mapping):
            ranks = _ranks(str(one.get("ranks", "")))
            if ranks:
                out[str(one.get("name", ""))] = ranks
    return out


@functools.lru_cache(maxsize=256)
def _ranks(text: str) -> tuple[int, ...]:
    """The ranks in "[0, 1]". All ranks of a group write the same text, which may be long: read once."""
    return tuple(int(rank) for rank in re.findall(r"\d{1,9}", text))
