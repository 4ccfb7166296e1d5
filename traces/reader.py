"""What the importer must know of a trace format, and where it finds the formats."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from traces.errors import TraceFormatError
from traces.layout import Layout
from traces.schema import Gap, Tier, Units
from traces.serverless import Assembly
from traces.sources import Place, SourceFile, find_files

# Format -> module that holds its READER. A new format is one module and one line here.
FORMATS = {
    "azure2019": "traces.azure2019",
    "azure2021": "traces.azure2021",
    "google2011": "traces.google2011",
    "google2019": "traces.google2019",
    "huawei2023": "traces.huawei2023",
    "huawei2025": "traces.huawei2025",
    "infinitehbd": "traces.infinitehbd",
    "openb": "traces.openb",
}


@dataclass(frozen=True, slots=True)
class Reader:
    """A trace format. tables: published table -> what its files become. claim: the table of a file whose name hides it.

    choose: last word on which of the files found are meant, with notes for meta.json. fleet: as `Meta` says, of files.
    place, deep: as `find_files` says. holes: what is missing inside the files. finish: makes canonical tables out of
    helper tables when all files are read.
    """

    format: str
    units: Units
    tiers: tuple[Tier, ...]
    tables: dict[str, tuple[Layout, ...]]
    suffixes: tuple[str, ...]
    claim: Callable[[Path], str | None] = lambda path: None
    choose: Callable[[Sequence[Path]], tuple[Sequence[Path], list[str]]] = lambda sources: (sources, [])
    fleet: Callable[[Sequence[SourceFile]], int | None] = lambda files: None
    place: Place = lambda table, path: None
    holes: Callable[[Sequence[SourceFile]], list[Gap]] = lambda files: []
    finish: Callable[[Assembly], None] | None = None
    deep: bool = False

    def find(self, sources: Sequence[Path]) -> tuple[list[SourceFile], list[str]]:
        """The files to import, by table and part, and notes on the choice; TraceFormatError as `find_files`."""
        chosen, notes = self.choose(sources)
        return find_files(chosen, self.tables, self.suffixes, self.claim, self.place, self.deep), notes


def get_reader(name: str) -> Reader:
    """The reader of a format; TraceFormatError names the known ones."""
    if name not in FORMATS:
        raise TraceFormatError(f"unknown format {name!r}", fix=f"Known formats: {', '.join(sorted(FORMATS))}")
    reader = importlib.import_module(FORMATS[name]).READER
    assert isinstance(reader, Reader)
    return reader
