"""Writing canonical tables, the same bytes for the same rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from traces.schema import arrow_schema

ROW_GROUP = 131_072
# Columns that grow or repeat slowly; the rest have few values and take a dictionary. (Halves the size of task_events.)
DELTA = {
    "time_us",
    "start_us",
    "end_us",
    "submit_us",
    "schedule_us",
    "first_submit_us",
    "task_index",
    "task",
    "attempt",
    "row",
}


def open_writer(path: Path, table: str, schema: pa.Schema | None = None) -> pq.ParquetWriter:
    """A Parquet writer for a table; give the schema for one that is not canonical."""
    schema = arrow_schema(table) if schema is None else schema
    delta = [field.name for field in schema if field.name in DELTA and pa.types.is_integer(field.type)]
    lists = [field.name for field in schema if pa.types.is_nested(field.type)]
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=1,
        use_dictionary=[name for name in schema.names if name not in delta and name not in lists],
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
    )  # fmt: skip


def digest_of(folder: Path) -> str:
    """SHA-256 over the names and bytes of all Parquet files of a trace."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.parquet")):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()
