"""Finding the files of a published trace, and making sure of them before anything is believed.

Nothing here knows a format: which tables there are and which suffixes they come in is told by the reader.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from traces.errors import TraceFormatError
from traces.schema import Gap

PART_OF = re.compile(r"part-(\d{5})-of-(\d{5})(?=\.|$)")
SHARD = re.compile(r"(\d{4,})(?=\.[a-z])")
SUMS_NAMES = ("SHA256SUMS", "SHA256SUM", "sha256sums.txt")
SUMS_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
GZIP_MAGIC = b"\x1f\x8b"
BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source table.

    part counts from `first`; parts: the length of the series, None where the name hides it. group: what tells the
    series of one table apart (a region), "" where a table is one series.
    """

    path: Path
    table: str
    part: int = 0
    parts: int | None = 1
    group: str = ""
    first: int = 0

    @property
    def name(self) -> str:
        """What the file's output is called: unique among the files of its table."""
        return f"{self.group.replace('/', '-')}-part-{self.part:05}" if self.group else f"part-{self.part:05}"


Place = Callable[[str, Path], "SourceFile | None"]  # table and path -> its place in a series, None to go by the name


def find_files(
    sources: Sequence[Path],
    tables: Iterable[str],
    suffixes: tuple[str, ...],
    claim: Callable[[Path], str | None] = lambda path: None,
    place: Place = lambda table, path: None,
    deep: bool = False,
) -> list[SourceFile]:
    """The files of the sources (folders as published, table folders or files themselves) by table and part.

    A file belongs to the table its name or its folder's name starts with, else to the one `claim` says. deep: the table
    may also be named by a folder further up, and a table's folder has folders of its own. Raises
    TraceFormatError for a path that does not exist, a file of no table, names that make no series, or no file at all.
    """
    names = sorted(tables, key=len, reverse=True)
    found: dict[str, dict[Path, None]] = {}
    for source in sources:
        if not source.exists():
            raise TraceFormatError("no such file or folder", file=source, fix="Check the path")
        for path, table in _candidates(source, names, suffixes, claim, deep):
            found.setdefault(table, {})[path] = None
    if not found:
        raise TraceFormatError(
            f"no input files: expected tables {', '.join(sorted(names))} as {' or '.join(suffixes)}",
            file=", ".join(map(str, sources)),
            fix="Give the folder that holds a subfolder per table, or the files themselves",
        )
    return [file for table in sorted(found) for file in _series(table, list(found[table]), place)]


def _candidates(
    source: Path, names: list[str], suffixes: tuple[str, ...], claim: Callable[[Path], str | None], deep: bool
) -> Iterator[tuple[Path, str]]:
    above = _named_above(source, names) if deep else None
    if source.is_file():
        table = _table_of(source.name, names) or _table_of(source.parent.name, names) or above or claim(source)
        if table is None:
            raise TraceFormatError(
                f"cannot tell its table: neither its name nor its folder's starts with {', '.join(sorted(names))}",
                file=source,
                fix="Name the folder after the table, as published",
            )
        yield source, table
        return
    own = _table_of(source.name, names) or above
    if own is not None and deep:
        yield from ((part, own) for part in _inside(source, suffixes, deep))
        return
    for path in sorted(source.iterdir()):
        if path.is_dir():
            if path.name in names and own is None:
                yield from ((part, path.name) for part in _inside(path, suffixes, deep))
        elif path.name.endswith(suffixes):
            table = _table_of(path.name, names) or own or claim(path)
            if table is not None:
                yield path, table


def _inside(folder: Path, suffixes: tuple[str, ...], deep: bool) -> list[Path]:
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(path for path in found if path.name.endswith(suffixes))


def _named_above(path: Path, names: list[str]) -> str | None:
    """The table that one of the three folders above is named after."""
    return next((folder.name for folder in list(path.absolute().parents)[:3] if folder.name in names), None)


def _table_of(name: str, names: list[str]) -> str | None:
    """The table a name starts with: "task_events", "task_events-part-00000-of-00500.csv", "job_events_full_month"."""
    for table in names:
        if name == table or re.match(rf"{table}([-.]|_?\d|_full)", name):
            return table
    return None


def _series(table: str, paths: list[Path], place: Place) -> list[SourceFile]:
    files = [place(table, path) or _numbered(table, path, alone=len(paths) == 1) for path in paths]
    files.sort(key=lambda file: (file.group, file.part, str(file.path)))
    lengths = {file.parts for file in files}
    if len(lengths) > 1:
        raise TraceFormatError(
            f"parts of different series of {table}: of {' and of '.join(str(n) for n in sorted(map(str, lengths)))}",
            file=files[0].path.parent,
            fix="Import one series at a time",
        )
    for before, after in itertools.pairwise(files):
        if before.name == after.name:
            raise TraceFormatError(
                f"part {after.part} of {table} is there twice: also as {before.path}",
                file=after.path,
                fix="Give each part once",
            )
    return files


def _numbered(table: str, path: Path, alone: bool) -> SourceFile:
    if match := PART_OF.search(path.name):
        part, parts = int(match[1]), int(match[2])
        if part >= parts:
            raise TraceFormatError(
                f"part {part} of {parts} cannot be: parts count from 0", file=path, fix="Restore the published name"
            )
        return SourceFile(path, table, part, parts)
    if "part-" in path.name or not alone:
        if (shard := SHARD.search(path.name)) and "part-" not in path.name:
            return SourceFile(path, table, int(shard[1]), None)
        raise TraceFormatError(
            "the name must say which part it is, as part-00000-of-00500 does",
            file=path,
            fix="Restore the published name",
        )
    return SourceFile(path, table)


def find_gaps(files: Sequence[SourceFile]) -> list[Gap]:
    """What is missing from each table's series; for shards whose total is not in the name, holes below the last one."""
    gaps = []
    for (table, group), series in itertools.groupby(files, key=lambda file: (file.table, file.group)):
        present = {file.part: file for file in series}
        one = next(iter(present.values()))
        parts = one.parts or max(present) + 1 - one.first
        missing = [part for part in range(one.first, one.first + parts) if part not in present]
        if missing:
            name = f"{table} {group}".rstrip()
            gaps.append(Gap(table=name, parts=parts, present=len(present), missing=list(ranges(missing))))
    return gaps


def ranges(numbers: list[int]) -> Iterator[str]:
    for _, run in itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}"


def read_checksums(path: Path) -> dict[Path, str]:
    """The published SHA-256 of the files that a checksum list beside or up to three folders above `path` names."""
    for folder in list(path.resolve().parents)[:4]:
        for name in SUMS_NAMES:
            if (folder / name).is_file():
                return _parse_sums(folder / name)
    return {}


def _parse_sums(path: Path) -> dict[Path, str]:
    sums = {}
    for row, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = SUMS_LINE.fullmatch(line.rstrip())
        if match is None and line.strip():
            raise TraceFormatError(
                "must be a SHA-256 in hex, two blanks and a file name", file=path, row=row,
                fix="Make the list again with sha256sum, or remove it",
            )  # fmt: skip
        if match:
            sums[(path.parent / match[2]).resolve()] = match[1].lower()
    return sums


def check_file(path: Path, published: str | None) -> str:
    """The SHA-256 of a file that is whole: equal to the published one or, without one, gzip intact to the end.

    Raises TraceFormatError for an empty file, a wrong checksum, a gzip stream that is cut, damaged, none at all or
    hidden under another name, a Git LFS pointer, and a web page saved in place of data.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        head = stream.read(512)
        _check_head(path, head)
        inflate = _Inflater(path) if path.name.endswith(".gz") and published is None else None
        block = head
        while block:
            digest.update(block)
            if inflate:
                inflate.feed(block)
            block = stream.read(BLOCK)
    if inflate:
        inflate.close()
    if published is not None and digest.hexdigest() != published:
        raise TraceFormatError(
            f"SHA-256 is {digest.hexdigest()}, the published list says {published}",
            file=path,
            fix="Download the file again",
        )
    return digest.hexdigest()


def _check_head(path: Path, head: bytes) -> None:
    if not head:
        raise TraceFormatError("the file is empty", file=path, fix="Download the file again")
    if head.startswith(b"version https://git-lfs"):
        raise TraceFormatError(
            "is a Git LFS pointer, not the data it points to", file=path, fix="Run `git lfs pull` in its repository"
        )
    is_gzip = head.startswith(GZIP_MAGIC)
    if path.name.endswith(".gz") and not is_gzip:
        raise TraceFormatError(
            "is not gzip although its name ends in .gz", file=path, fix="Drop .gz from the name, or download it again"
        )
    if is_gzip and not path.name.endswith(".gz"):
        raise TraceFormatError("is gzip although its name does not end in .gz", file=path, fix="Add .gz to the name")
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise TraceFormatError("is a web page, not data: the download failed", file=path, fix="Download the file again")


class _Inflater:
    """Inflates a gzip file of one or more members to nowhere, so that its length and CRC are checked."""

    def __init__(self, path: Path) -> None:
        self.path, self.stream, self.fresh = path, zlib.decompressobj(31), True

    def feed(self, block: bytes) -> None:
        try:
            while block:
                self.fresh = False
                self.stream.decompress(block)
                block = self.stream.unused_data
                if self.stream.eof:
                    self.stream, self.fresh = zlib.decompressobj(31), True
        except zlib.error as error:
            raise TraceFormatError(
                f"the gzip stream is damaged ({error})", file=self.path, fix="Download the file again"
            ) from error

    def close(self) -> None:
        if not self.fresh:
            raise TraceFormatError(
                "the gzip stream ends early: the file is truncated", file=self.path, fix="Download the file again"
            )


def open_text(path: Path) -> Iterator[bytes]:
    """The lines of a file, gzip or not, without their ends."""
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
        for line in stream:
            yield line.rstrip(b"\r\n")
