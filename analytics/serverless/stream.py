"""The calls of a trace in order of time, a batch at a time: memory is bounded by a batch, not by the trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analytics.errors import InputError
from traces.schema import Trace

Ints = NDArray[np.int64]
BATCH_ROWS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """Rows of `invocations` as columns, sorted by start_us. duration_us: 0 where the row does not say."""

    start_us: Ints
    window_us: Ints
    function: NDArray[np.int32]
    count: Ints
    duration_us: Ints


@dataclass(frozen=True, slots=True)
class Recording:
    """start_us, end_us: when the first window of calls begins and the last ends. is_mixed: some calls stand there
    one by one and others counted by window; in a window the former come first, and the two are not in order of time.
    """

    start_us: int
    end_us: int
    is_mixed: bool


def find_recording(trace: Trace) -> Recording:
    """What the statistics of the files say of the calls; InputError without calls."""
    low, high, files = 2**62, -1, trace.files("invocations")
    shortest, widest = 2**62, 0
    for file in files:
        found = pq.ParquetFile(file)
        schema = found.schema_arrow
        start, window = schema.get_field_index("start_us"), schema.get_field_index("window_us")
        for group in range(found.num_row_groups):
            meta = found.metadata.row_group(group)
            starts, windows = meta.column(start).statistics, meta.column(window).statistics
            if starts is None or windows is None or not starts.has_min_max or not windows.has_min_max:
                columns = found.read_row_group(group, columns=["start_us", "window_us"])
                first, last = pc.min(columns[0]).as_py(), pc.max(columns[0]).as_py()
                least, longest = pc.min(columns[1]).as_py(), pc.max(columns[1]).as_py()
            else:
                first, last, least, longest = starts.min, starts.max, windows.min, windows.max
            if first is not None:
                low, high = min(low, first), max(high, last + max(longest, 1))
                shortest, widest = min(shortest, least), max(widest, longest)
    if high < 0:
        raise InputError(f"{trace.folder} has no invocations: a serverless replay needs functions and invocations")
    if trace.meta.time_range_us is not None:
        low, high = min(low, trace.meta.time_range_us[0]), max(high, trace.meta.time_range_us[1])
    return Recording(low, high, shortest == 0 < widest)


def read_calls(trace: Trace, window_us: tuple[int, int], *, with_duration: bool = False) -> Iterator[Calls]:
    """Batches of the calls that begin in [from, to)."""
    names = ["start_us", "window_us", "function", "count"] + (["duration_us"] if with_duration else [])
    low, high = window_us
    for file in trace.files("invocations"):
        for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            start = _numbers(batch, "start_us")
            if not len(start) or start[0] >= high or start[-1] < low:
                continue
            rows = slice(*np.searchsorted(start, [low, high]))
            columns = [_numbers(batch, name)[rows] for name in names]
            if len(columns[0]):
                start_us, windows_us, function, count = columns[:4]
                duration_us = columns[4] if with_duration else np.zeros(0, np.int64)
                yield Calls(start_us, windows_us, function, count, duration_us)


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[Any]:
    """A column without copying it; Arrow's own way imports pandas."""
    column = batch.column(name)
    filled = column.fill_null(0) if column.null_count else column
    if not len(filled):
        return np.frombuffer(b"", filled.type.to_pandas_dtype())
    values = np.frombuffer(filled.buffers()[1], filled.type.to_pandas_dtype())
    return values[filled.offset : filled.offset + len(filled)]
