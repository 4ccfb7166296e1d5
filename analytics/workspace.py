"""What lies in the folders a person points at: runs, reports, snapshots, traces, journals; each named, or its fault.

Nothing is loaded here but what tells one thing from another, and whole from broken. A run is a folder with a run.json;
a trace one with a meta.json; a journal one with Parquet segments; a report is the one JSON object that a command prints
with `--json`, known by its keys; a snapshot is kubectl's List or our own file. A folder named `X.partial` is being
written.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from analytics.errors import InputError
from analytics.runs import read_run, result_columns

Kind = Literal[
    "replay", "serverless", "trace", "journal", "snapshot", "plan", "auction", "diagnosis", "fgd", "gangs",
    "balance", "bounds", "analysis", "capacity", "packing", "drain", "broken",
]  # fmt: skip

# A report is of the first kind all of whose keys it has.
REPORTS: Final[Mapping[Kind, frozenset[str]]] = {
    "plan": frozenset({"verdict", "placed", "moves", "placements", "unplaced"}),
    "auction": frozenset({"mechanism", "efficiency", "satisfaction", "welfare", "bound"}),
    "diagnosis": frozenset({"accused", "verdict", "missing_ranks"}),
    "fgd": frozenset({"allocated_pct", "per_seed"}),
    "gangs": frozenset({"gang_nodes", "fleet", "outages"}),
    "balance": frozenset({"method", "before", "after", "gap_of", "moves"}),
    "capacity": frozenset({"nodes", "searched"}),
    "drain": frozenset({"nodes_before", "nodes_after", "drained"}),
    "analysis": frozenset({"tables"}),
    "bounds": frozenset({"missing", "shaving"}),
}
# What the values of some of these keys begin with in JSON; another version may have meant something else by them.
OBJECT, LIST, TEXT, NUMBER = (b"{", "an object"), (b"[", "a list"), (b'"', "a text"), (b"-0123456789", "a number")
TYPES: Final = {
    "placed": OBJECT, "placements": OBJECT, "allocated_pct": OBJECT, "per_seed": OBJECT, "tables": OBJECT,
    "unplaced": LIST, "accused": LIST, "missing_ranks": LIST, "gang_nodes": LIST, "searched": LIST,
    "verdict": TEXT, "mechanism": TEXT,
    "efficiency": NUMBER, "satisfaction": NUMBER, "welfare": NUMBER, "bound": NUMBER,
    "fleet": NUMBER, "outages": NUMBER,
}  # fmt: skip
Value = TypeVar("Value", dict[str, Any], list[Any])
# Columns that runs have had for a short while only: a page that needs them says so itself.
LATER: Final = {"series": "overload", "nodes": "capacity_"}  # by table, how they begin
# How kubectl and we name a snapshot, as it stands in the file.
SNAPSHOT_KINDS: Final = (b'"List"', b'"StowageSnapshot"')
MOST_ITEMS: Final = 500
MOST_ENTRIES: Final = 10_000
DEEPEST: Final = 4
MOST_REPORT_BYTES: Final = 64 << 20
MOST_SNAPSHOT_BYTES: Final = 512 << 20
PARTIAL: Final = ".partial"
OLD: Final = ".replaced.partial"  # what a new run takes the place of steps aside under this name, for a moment
_OUTERMOST: Final = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw] | str | float | bool | None)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be looked at. key: changes when its content does; caches go by it.

    name: unique among the items found together. problem: why it cannot be read, with what to do; kind is then `broken`.
    is_partial: somebody is writing it now.
    """

    kind: Kind
    name: str
    path: Path
    key: str
    problem: str = ""
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, by name. skipped: how many more there were than `MOST_ITEMS`.

    is_cut: there were more than `MOST_ENTRIES` files and folders to look through; the rest was not.
    """

    items: tuple[Item, ...]
    skipped: int = 0
    is_cut: bool = False

    def of(self, *kinds: Kind) -> tuple[Item, ...]:
        """The items of these kinds, finished and whole, by name."""
        return tuple(item for item in self.items if item.kind in kinds and not item.is_partial)

    @property
    def partial(self) -> tuple[Item, ...]:
        """Those that are being written, or were left so."""
        return tuple(item for item in self.items if item.is_partial)


def find_items(paths: Iterable[Path]) -> Found:
    """Look at the given files and folders, and into folders that are nothing by themselves; never into a run.

    A path that is not there is an item with a problem: it may have been deleted while somebody looked. A folder that
    is reached twice, as through a link to one above it, is looked at once.
    """
    walk = _Walk()
    found: list[tuple[Path, Path]] = []
    for path in paths:
        base = path.parent if _is_item(path) or not os.path.isdir(path) else path
        found += [(base, each) for each in walk.items(path, 0)]
    items = [_describe(base, path) for base, path in found[:MOST_ITEMS]]
    whole = tuple(_with_distinct_names([item for item in items if item]))
    return Found(whole, max(len(found) - MOST_ITEMS, 0), walk.is_cut)


def last_written_s(item: Item) -> float:
    """When the item, or what is directly inside, was last written: seconds since 1970; 0 if it is gone."""
    try:
        return max(each.stat().st_mtime for each in _with_inside(item.path))
    except OSError:
        return 0.0


def read_report(item: Item) -> dict[str, Any]:
    """The JSON object of a report. Raises InputError if it is gone, too large, or not what it was."""
    return read_json(item.path, dict)


def read_json(path: Path, expected: type[Value]) -> Value:
    """A JSON file of ours, an object or a list. Raises InputError if it is gone, too large, cut, or of another type."""
    value = _read(path, MOST_REPORT_BYTES)
    if not isinstance(value, expected):
        raise InputError(f"{path} holds no JSON {'object' if expected is dict else 'list'}, so it is not ours")
    return value


class _Walk:
    """One look through folders: remembers where it has been, and stops at `MOST_ENTRIES`."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._left = MOST_ENTRIES

    @property
    def is_cut(self) -> bool:
        return self._left < 0

    def items(self, path: Path, depth: int) -> Iterator[Path]:
        if not self._is_new(path):
            return
        if not os.path.isdir(path) or _is_item(path):
            yield path
            return
        try:
            inside = sorted(path.iterdir())
        except OSError:
            yield path  # to be described by its fault
            return
        for entry in inside:
            self._left -= 1
            if self.is_cut:
                return
            if entry.name.startswith(".") or entry.name.endswith((".cost.json", OLD)):
                continue
            if os.path.isdir(entry) and depth < DEEPEST:
                yield from self.items(entry, depth + 1)
            elif entry.suffix == ".json" and os.path.isfile(entry) and self._is_new(entry):
                yield entry

    def _is_new(self, path: Path) -> bool:
        try:
            about = path.stat()
        except OSError:
            return True
        place = (about.st_dev, about.st_ino)
        is_new = place not in self._seen
        self._seen.add(place)
        return is_new


def _is_item(path: Path) -> bool:
    """Whether this folder is one thing, whatever is inside. (os.path: what may not be read is not there for it.)"""
    marks = ("run.json", "meta.json")
    return path.name.endswith(PARTIAL) or any(os.path.isfile(path / mark) for mark in marks) or _is_journal(path)


def _is_journal(path: Path) -> bool:
    return os.path.isdir(path) and any(path.glob("segment-*.parquet"))


def _describe(base: Path, path: Path) -> Item | None:
    """The item at this path; None for a JSON file that is none of ours."""
    name = str(path.relative_to(base)) if path != base else path.name
    try:
        if path.name.endswith(PARTIAL):
            return Item(_partial_kind(path), name.removesuffix(PARTIAL), path, _stamp(path), is_partial=True)
        if not os.path.lexists(path):
            raise InputError(f"{path} is not there (any more): give a folder that holds runs, or make it again")
        if os.path.isdir(path):
            return _describe_folder(path, name)
        return _describe_file(path, name)
    except InputError as error:
        return Item("broken", name, path, _stamp(path), str(error))
    except OSError as error:
        return Item("broken", name, path, _stamp(path), f"{path}: {error.strerror or error}")


def _describe_folder(path: Path, name: str) -> Item | None:
    if os.path.isfile(path / "run.json"):
        facts = _read_object(path / "run.json", MOST_REPORT_BYTES)
        kind: Kind = "serverless" if "policies" in facts else "replay"
        if not isinstance(facts.get("digest"), str) or not isinstance(facts.get("files"), dict):
            raise InputError(f"{path}/run.json has no digest and files: not a run of this version; replay it again")
        lost = sorted(file for file in facts["files"] if not os.path.exists(path / file))
        if lost:
            raise InputError(f"{path} lacks {', '.join(lost)}, which its run.json lists: replay it again")
        key = f"{facts['digest']}-{_stamp(path)}"
        if fault := _fault_of_run(path, kind, key):
            raise InputError(f"{path}{fault}: replay it again")
        return Item(kind, name, path, key)
    if os.path.isfile(path / "meta.json"):
        return Item("trace", name, path, _stamp(path / "meta.json"))
    if _is_journal(path):
        return Item("journal", name, path, _stamp(path))
    os.listdir(path)  # raises why it cannot be looked into
    return None


def _describe_file(path: Path, name: str) -> Item | None:
    if path.stat().st_size > MOST_SNAPSHOT_BYTES:
        raise InputError(f"{path} has {path.stat().st_size >> 20} MiB; at most {MOST_SNAPSHOT_BYTES >> 20} are read")
    key = _stamp(path)
    kind = _kind_of_file(path, key)
    return Item(kind, name, path, key) if kind else None


@functools.lru_cache(maxsize=2 * MOST_ITEMS)
def _fault_of_run(path: Path, kind: Kind, key: str) -> str:
    """Why its files are not those of a run of this version, or nothing; looked at once for every time it was written.

    A Parquet file says at its end what it holds, so one that was cut is known without reading it.
    """
    needed: Mapping[str, Iterable[str]] = {"subjects": ("policy", "subject", "invocations", "cold_starts", "idle_s")}
    if kind == "replay":
        needed = result_columns(read_run(path).facts.resources) | {"tenants": ("tenant", "attempts")}
        read_json(path / "summary.json", dict)
    else:
        read_json(path / "summary.json", list)
    for table, columns in needed.items():
        file = f"{table}.parquet"
        try:
            lost = sorted(set(columns) - set(pq.read_schema(path / file).names))
        except (pa.ArrowException, OSError, ValueError):
            return f"/{file} is no whole Parquet file"
        lost = [column for column in lost if table not in LATER or not column.startswith(LATER[table])]
        if lost:
            return f"/{file} was written by another version, it lacks {', '.join(lost)}"
    return ""


@functools.lru_cache(maxsize=2 * MOST_ITEMS)
def _kind_of_file(path: Path, key: str) -> Kind | None:
    """A file is read once for every time that it was written. key: its stamp.

    Only the outermost keys are made into objects: the values of a large cluster's snapshot would be gigabytes.
    """
    value = _read(path, MOST_SNAPSHOT_BYTES, _OUTERMOST.decode)
    kind = _kind_of(value)
    for name in sorted(REPORTS.get(kind, frozenset()) & TYPES.keys()) if kind else ():
        begins, what = TYPES[name]
        if bytes(value[name])[:1] not in begins:
            raise InputError(f"{path}: its {name} is not {what}, so another version wrote it; make it again")
    return kind


def _kind_of(value: object) -> Kind | None:
    if not isinstance(value, dict):
        return None
    if bytes(value.get("kind", b"")) in SNAPSHOT_KINDS or ("nodes" in value and "pods" in value):
        return "snapshot"
    return next((kind for kind, keys in REPORTS.items() if keys <= value.keys()), None)


def _partial_kind(path: Path) -> Kind:
    return "trace" if os.path.exists(path / "meta.json") else "replay"


def _read_object(path: Path, most: int) -> dict[str, Any]:
    value = _read(path, most)
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a JSON object, so no report of ours")
    return value


def _read(path: Path, most: int, decode: Callable[[bytes], Any] = json.loads) -> Any:
    try:
        size = path.stat().st_size
        if size > most:
            raise InputError(f"{path} has {size >> 20} MiB; at most {most >> 20} are read")
        return decode(path.read_bytes())
    except FileNotFoundError as gone:
        raise InputError(f"{path} is not there any more: make it again") from gone
    except OSError as unreadable:
        raise InputError(f"{path}: {unreadable.strerror or unreadable}") from unreadable
    except (ValueError, RecursionError) as broken:
        raise InputError(f"{path} is not whole JSON ({broken}): make it again") from broken


def _stamp(path: Path) -> str:
    """Changes when the file, or what is directly inside the folder, is written."""
    digest = hashlib.sha256(str(path).encode())
    try:
        for each in _with_inside(path):
            about = each.stat()
            digest.update(f"{each.name} {about.st_size} {about.st_mtime_ns}".encode())
    except OSError:
        digest.update(b"gone")
    return digest.hexdigest()[:16]


def _with_inside(path: Path) -> list[Path]:
    return [path, *sorted(path.iterdir())] if os.path.isdir(path) else [path]


def _with_distinct_names(items: list[Item]) -> Iterator[Item]:
    """Sorted by name; of equal names the later ones are given by their whole path."""
    seen: set[str] = set()
    for item in sorted(items, key=lambda one: (one.name, str(one.path))):
        name = str(item.path) if item.name in seen else item.name
        seen.add(name)
        yield Item(item.kind, name, item.path, item.key, item.problem, item.is_partial)
