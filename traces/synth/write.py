"""Gzipped parts, written side by side and checked in by SHA-256."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from traces.synth.engine import Rows
from traces.synth.text import ConstraintTexts, JobTexts

_fast: Any
try:
    from isal import isal_zlib as _fast  # several times as fast as zlib's fastest level
except ImportError:  # pragma: no cover
    _fast = zlib


class Written(NamedTuple):
    """One finished file of a table."""

    table: str
    path: str
    rows: int
    sha256: str


def write_gzip(folder: Path, table: str, name: str, rows: int, pieces: Iterable[Any]) -> Written:
    """Write pieces of bytes as one gzip member without name and time, so that the same rows give the same file."""
    path = folder / table / name
    path.parent.mkdir(exist_ok=True)
    deflate = _fast.compressobj(1, zlib.DEFLATED, 31)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in pieces:
            data = deflate.compress(piece)
            digest.update(data)
            file.write(data)
        data = deflate.flush()
        digest.update(data)
        file.write(data)
    return Written(table, f"./{table}/{name}", rows, digest.hexdigest())


class PartWriter:
    """Turns the rows of one part into its files; called from several threads, which the compiled loops let run."""

    def __init__(self, folder: Path, parts: int, texts: JobTexts, terms: ConstraintTexts, machine_id: Any) -> None:
        self._folder, self._parts, self._texts, self._terms, self._machine_id = folder, parts, texts, terms, machine_id

    def name(self, part: int) -> str:
        return f"part-{part:05d}-of-{self._parts:05d}.csv.gz"

    def write(self, part: int, chunks: list[Rows]) -> list[Written]:
        name = self.name(part)
        tasks = sum(len(rows.us) for rows in chunks)
        jobs = sum(len(rows.job_us) for rows in chunks)
        constraints = [self._texts.format_constraints(rows, self._terms) for rows in chunks]
        return [
            write_gzip(
                self._folder,
                "task_events",
                name,
                tasks,
                (self._texts.format_tasks(rows, self._machine_id) for rows in chunks),
            ),
            write_gzip(self._folder, "job_events", name, jobs, (self._texts.format_jobs(rows) for rows in chunks)),
            write_gzip(
                self._folder,
                "task_constraints",
                name,
                sum(count for _, count in constraints),
                (text for text, _ in constraints),
            ),
        ]
