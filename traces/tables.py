"""Writing canonical tables, the same bytes for the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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


def to_numpy(column: pa.Array | pa.ChunkedArray) -> NDArray[Any]:
    """An Arrow array of integers without NULLs as a numpy array, not copied. (pyarrow's way imports pandas.)"""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    assert array.null_count == 0
    dtype = np.dtype(str(array.type))
    if not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def from_numpy(values: NDArray[Any], is_null: NDArray[np.bool_] | None = None) -> pa.Array:
    """A numpy array of numbers or truth values as an Arrow array. (pa.array would import pandas first.)"""
    validity = None if is_null is None else _bits(~is_null)
    data = _bits(values) if values.dtype == bool else pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [validity, data])


def _bits(flags: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def strings(values: Sequence[str]) -> pa.Array:
    """Words as an Arrow array."""
    offsets = np.cumsum([0, *(len(value.encode()) for value in values)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer("".join(values).encode()))
