"""Append-only Parquet segments: rows are gathered in memory, written whole to a temporary name, then renamed.

A reader sees a segment whole or not at all; a crash loses what was not flushed, never what was.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from scheduler.live.journal_schema import COLUMNS, SEGMENT_GLOB, SNAPSHOT_FOLDER


class Journal:
    """Rows of one process. folder: shared by any number of writers and readers. Safe to use from many threads."""

    def __init__(self, folder: Path, writer: str) -> None:
        self.folder, self.writer = folder, writer
        self._rows: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._number = 0
        folder.mkdir(parents=True, exist_ok=True)

    def append(self, kind: str, time_s: float, *, details: Any = None, **columns: str) -> None:
        """Note a decision; columns as in journal_schema."""
        unknown = columns.keys() - COLUMNS.keys()
        if unknown:
            raise ValueError(f"the journal has no columns {sorted(unknown)}")
        row: dict[str, Any] = {name: columns.get(name, "") for name in COLUMNS}
        row |= {"time_us": int(time_s * 1e6), "writer": self.writer, "kind": kind}
        row["details"] = msgspec.json.encode(details).decode() if details is not None else ""
        with self._lock:
            self._rows.append(row)

    def keep_snapshot(self, digest: str, data: bytes) -> None:
        """Keep what decisions were made from; the same snapshot once."""
        folder = self.folder / SNAPSHOT_FOLDER
        folder.mkdir(exist_ok=True)
        path = folder / f"{digest}.json"
        if not path.exists():
            _write_whole(path, data)

    def flush(self) -> Path | None:
        """Write what was gathered as one segment; None if there was nothing. Rows survive a failed write."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._lock:
            rows, self._rows = self._rows, []
            self._number += 1
            number = self._number
        if not rows:
            return None
        table = pa.table(
            {name: pa.array([row[name] for row in rows], getattr(pa, kind)()) for name, kind in COLUMNS.items()}
        )
        path = self.folder / f"segment-{rows[0]['time_us']:017d}-{self.writer}-{number:06d}.parquet"
        partial = path.with_suffix(".partial")
        try:
            pq.write_table(table, partial, compression="zstd")
            os.replace(partial, path)
        except OSError:
            with self._lock:
                self._rows = rows + self._rows
            partial.unlink(missing_ok=True)
            raise
        return path

    def retain(self, keep_s: float, most_bytes: int, now_s: float | None = None) -> list[Path]:
        """Delete segments older than `keep_s`, and the oldest beyond `most_bytes`; and snapshots as old. What went."""
        now = time.time() if now_s is None else now_s
        gone: list[Path] = []
        kept = 0
        for path, size, changed in sorted(self._files(), key=lambda f: -f[2]):
            kept += size
            if now - changed > keep_s or kept > most_bytes:
                path.unlink(missing_ok=True)
                gone.append(path)
        return gone

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        for pattern in (SEGMENT_GLOB, f"{SNAPSHOT_FOLDER}/*.json"):
            for path in self.folder.glob(pattern):
                try:
                    found = path.stat()
                except FileNotFoundError:  # another writer's retention was faster
                    continue
                yield path, found.st_size, found.st_mtime


def _write_whole(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)
