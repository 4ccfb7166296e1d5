"""Dumps of PyTorch's Flight Recorder, one file per rank, read without running anything that stands in them.

Formats 2.1 to 2.10, as pickle or as JSON; the rank is in the file's name only. A pickle can name any function and have
it called, so ours is read by an unpickler that knows none. Source of the fields: FlightRecorder.hpp of PyTorch 2.10.
"""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAJOR, NEWEST_MINOR = 2, 10
MOST_BYTES = 1 << 30
RANK = re.compile(r"(\d+)(?:\.(?:json|pkl|pickle))?$")


class DumpError(ValueError):
    """A file that is no dump of a format we know; the message says where and why."""


class HostileDump(DumpError):
    """A pickle that asks for code to be run."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One collective that a rank entered. group: of the process group. created_ns: of the rank's own clock."""

    record: int
    group: str
    sequence: int
    name: str
    state: str
    created_ns: int


@dataclass(frozen=True, slots=True)
class Dump:
    """What one rank wrote: its collectives, oldest first; members: ranks by group, where the dump says them."""

    rank: int
    operations: list[Operation]
    members: dict[str, tuple[int, ...]] = field(default_factory=dict)


def rank_in(name: str) -> int | None:
    """The rank that a file's name ends in; None where it ends in no number."""
    found = RANK.search(name)
    return int(found[1]) if found else None


def read_dump(data: bytes, rank: int) -> Dump:
    """The dump in a file's bytes. Raises DumpError, or HostileDump."""
    if len(data) > MOST_BYTES:
        raise DumpError(f"{len(data)} bytes, more than {MOST_BYTES}")
    if not data:
        raise DumpError("the file is empty")
    head = _from_json(data) if data.lstrip()[:1] == b"{" else _from_pickle(data)
    if not isinstance(head, Mapping):
        raise DumpError(f"a dictionary is wanted, not a {type(head).__name__}")
    _check_version(head.get("version"))
    entries = head.get("entries")
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        raise DumpError("field entries: a list is wanted")
    found = [_operation(entry, i) for i, entry in enumerate(entries)]
    operations = sorted((one for one in found if one is not None), key=lambda one: one.record)
    return Dump(rank, operations, _members(head.get("pg_config")))


class _NoGlobals(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise HostileDump(f"the pickle asks for {module}.{name}, and a dump needs no code: it was not run")

    def persistent_load(self, pid: Any) -> Any:
        raise HostileDump("the pickle asks for an object from outside: a dump has none")


def _from_pickle(data: bytes) -> Any:
    try:
        return _NoGlobals(io.BytesIO(data)).load()
    except HostileDump:
        raise
    except Exception as error:  # the pickle module raises whatever its broken input makes it stumble over
        raise DumpError(
            f"neither JSON nor a whole pickle: cut short or overwritten ({type(error).__name__})"
        ) from error


def _from_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DumpError(f"broken JSON: {error}") from error


def _check_version(version: Any) -> None:
    parts = str(version).split(".")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise DumpError(f"field version: {version!r} is not MAJOR.MINOR")
    major, minor = map(int, parts)
    if major != MAJOR or not 1 <= minor <= NEWEST_MINOR:
        raise DumpError(f"field version: {version}, and 2.1 to {MAJOR}.{NEWEST_MINOR} can be read")


def _operation(entry: Any, i: int) -> Operation | None:
    """An entry; None for point-to-point, which has no group to wait in."""
    if not isinstance(entry, Mapping):
        raise DumpError(f"entries[{i}]: a dictionary is wanted, not a {type(entry).__name__}")
    if entry.get("is_p2p"):
        return None
    group = entry.get("process_group")
    named = group[0] if isinstance(group, list | tuple) and group else entry.get("pg_id")
    if not isinstance(named, str | int):
        raise DumpError(f"entries[{i}]: neither process_group nor pg_id names its group")
    whole = {key: _integer(entry, key, i) for key in ("record_id", "collective_seq_id", "time_created_ns")}
    return Operation(
        record=whole["record_id"], group=str(named), sequence=whole["collective_seq_id"],
        name=str(entry.get("profiling_name", "")).partition(":")[2] or str(entry.get("profiling_name", "")),
        state=str(entry.get("state", "")), created_ns=whole["time_created_ns"],
    )  # fmt: skip


def _integer(entry: Mapping[str, Any], key: str, i: int) -> int:
    value = entry.get(key)
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise DumpError(f"entries[{i}].{key}: a whole number is wanted, not {value!r:.40}")
    return value


def _members(config: Any) -> dict[str, tuple[int, ...]]:
    """Ranks by group name; groups whose list is empty are left out, they say nothing."""
    out = {}
    for one in config.values() if isinstance(config, Mapping) else ():
        if isinstance(one, Mapping):
            ranks = tuple(int(rank) for rank in re.findall(r"\d{1,9}", str(one.get("ranks", ""))))
            if ranks:
                out[str(one.get("name", ""))] = ranks
    return out
