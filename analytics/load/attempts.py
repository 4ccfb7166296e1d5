"""What the tasks of a trace demand, freed of what the recorded scheduler decided.

An attempt that the recorded scheduler evicted, and the one that followed it, are one piece of work, whose run time is
that of the attempt that was let finish. A task evicted and never seen again would have gone on. A task that left before
it was ever scheduled has no known run time: it leaves at its recorded time, run or not.

Attempts are streamed and carried from batch to batch, so that a month is never in memory twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.load.machines import position_in_repeat
from analytics.replay.state import ALIVE, CANCELLED, ENDS, EXPECTED, FOREVER, NOWHERE, Attempts
from traces.schema import AFTER_END_US, Trace

BATCH_ROWS = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class AttemptStack:
    """The demand: attempts of each kept task in a row, as `Attempts` wants them."""

    task_rows: NDArray[np.int64]  # (T,)
    first: NDArray[np.int64]  # (T + 1,)
    submit_us: NDArray[np.int64]  # of a task's first attempt as recorded, perhaps before the window; then gaps
    until_us: NDArray[np.int64]
    node: NDArray[np.int32]
    end: NDArray[np.int8]
    initial: NDArray[np.bool_]

    def repeated(self, copies: NDArray[np.int64]) -> tuple[AttemptStack, NDArray[np.int16]]:
        """Every task `copies` times (0 drops it); copies beyond the first start on no recorded node."""
        copy_of = position_in_repeat(copies).astype(np.int16)
        if (copies == 1).all():
            return self, copy_of
        tasks = np.repeat(np.arange(len(copies)), copies)
        if not len(tasks):
            raise InputError("--scale-load leaves no task")
        lengths = np.diff(self.first)[tasks]
        rows = np.repeat(self.first[tasks], lengths) + position_in_repeat(lengths)
        node = np.where(np.repeat(copy_of, lengths) == 0, self.node[rows], NOWHERE).astype(np.int32)
        first = np.concatenate([[0], np.cumsum(lengths)])
        stack = AttemptStack(
            self.task_rows[tasks],
            first,
            self.submit_us[rows],
            self.until_us[rows],
            node,
            self.end[rows],
            self.initial[rows],
        )
        return stack, copy_of

    def attempts(self, from_us: int) -> Attempts:
        """As the engine wants them; what was submitted before the window arrives as it opens (changed in place)."""
        count, first = len(self.submit_us), self.first[:-1]
        self.submit_us[first] = np.maximum(self.submit_us[first], from_us)
        return Attempts(
            submit_us=self.submit_us,
            start_us=np.full(count, -1, np.int64),
            restart_ms=np.zeros(count, np.uint32),
            until_us=self.until_us,
            node=self.node,
            status=np.full(count, EXPECTED, np.int8),
            end=self.end,
            initial=self.initial,
            evictions=np.zeros(count, np.uint8),
            preemptions=np.zeros(count, np.uint8),
        )


class _Chain(NamedTuple):
    """What `_collapse` carries from batch to batch, in one array each."""

    # task, is open, submit, first of its task, node, begun at (initial) or -1, end of the last emitted, emitted, tasks
    value: NDArray[np.int64]


TASK, OPEN, SUBMIT, IS_FIRST, NODE, BEGUN, LAST_END, EMITTED, TASKS = range(9)
_NULL = np.iinfo(np.int64).min


def read_attempts(trace: Trace, window: tuple[int, int], machines: NDArray[np.int64], initial: bool) -> AttemptStack:
    files = trace.files("attempts")
    if not files:
        raise InputError(f"{trace.folder} has no table of attempts")
    room = sum(pq.read_metadata(file).num_rows for file in files)
    stack = AttemptStack(
        task_rows=np.empty(room, np.int64),
        first=np.empty(room + 1, np.int64),
        submit_us=np.empty(room, np.int64),
        until_us=np.empty(room, np.int64),
        node=np.empty(room, np.int32),
        end=np.empty(room, np.int8),
        initial=np.empty(room, np.bool_),
    )
    chain = _Chain(np.zeros(9, np.int64))
    chain.value[TASK] = -1
    for batch in batches(files, ["task", "submit_us", "schedule_us", "end_us", "end", "machine"]):
        task, submit, schedule, end_us, machine = (
            _integers(batch[name]) for name in ("task", "submit_us", "schedule_us", "end_us", "machine")
        )
        end_us[end_us == AFTER_END_US] = _NULL
        row = np.searchsorted(machines, machine)
        known = (row < len(machines)) & (machines[np.minimum(row, len(machines) - 1)] == machine)
        node = np.where(known & initial, row, NOWHERE)
        _collapse(chain, task, submit, schedule, end_us, _end_codes(batch["end"]), node, *window, *_columns(stack))
    _close_chain(chain, window[0], *_columns(stack))
    attempts, tasks = int(chain.value[EMITTED]), int(chain.value[TASKS])
    stack.first[tasks] = attempts
    return AttemptStack(
        stack.task_rows[:tasks].copy(),
        stack.first[: tasks + 1].copy(),
        stack.submit_us[:attempts],
        stack.until_us[:attempts],
        stack.node[:attempts],
        stack.end[:attempts],
        stack.initial[:attempts],
    )


def _columns(stack: AttemptStack) -> tuple[NDArray[Any], ...]:
    return stack.task_rows, stack.first, stack.submit_us, stack.until_us, stack.node, stack.end, stack.initial


@njit(cache=True)
def _collapse(  # type: ignore[no-untyped-def]
    chain, task, submit, schedule, end_us, end, node, from_us, to_us,
    task_rows, first, out_submit, out_until, out_node, out_end, out_initial,
):  # fmt: skip
    """Turn recorded attempts into demanded ones, see the module."""
    state = chain.value
    for i in range(task.shape[0]):
        if task[i] != state[TASK]:
            _emit_open(state, from_us, task_rows, first, out_submit, out_until, out_node, out_end, out_initial)
            state[TASK] = task[i]
            state[IS_FIRST] = 1
        if submit[i] > to_us or (end_us[i] != _NULL and end_us[i] <= from_us):
            continue
        if not state[OPEN]:
            state[OPEN] = 1
            state[SUBMIT] = submit[i]
            state[NODE] = NOWHERE
        state[BEGUN] = schedule[i]
        if schedule[i] != _NULL and schedule[i] <= from_us:
            state[BEGUN] = from_us
            state[NODE] = node[i]
        if end[i] == 3:  # EVICT: the scheduler's doing; the next attempt carries the same work on
            continue
        if end_us[i] == _NULL:
            until = FOREVER
        elif state[BEGUN] == _NULL:
            until = -(end_us[i] + 1)
        else:
            until = max(end_us[i] - state[BEGUN], 0)
        _emit(
            state,
            from_us,
            until,
            end[i],
            end_us[i],
            task_rows,
            first,
            out_submit,
            out_until,
            out_node,
            out_end,
            out_initial,
        )


@njit(cache=True)
def _emit(state, from_us, until, end, end_us, task_rows, first, out_submit, out_until, out_node, out_end, out_initial):  # type: ignore[no-untyped-def]
    row = state[EMITTED]
    if state[IS_FIRST]:
        task_rows[state[TASKS]] = state[TASK]
        first[state[TASKS]] = row
        state[TASKS] += 1
        out_submit[row] = state[SUBMIT]
    else:
        out_submit[row] = max(state[SUBMIT] - state[LAST_END], 0)
    out_until[row] = until
    out_node[row] = state[NODE] if state[IS_FIRST] else NOWHERE
    out_end[row] = end
    out_initial[row] = state[SUBMIT] <= from_us
    state[EMITTED] += 1
    state[IS_FIRST] = 0
    state[OPEN] = 0
    state[LAST_END] = end_us


@njit(cache=True)
def _emit_open(state, from_us, task_rows, first, out_submit, out_until, out_node, out_end, out_initial):  # type: ignore[no-untyped-def]
    """A task last seen evicted would have gone on."""
    if state[OPEN]:
        _emit(
            state,
            from_us,
            FOREVER,
            ALIVE,
            _NULL,
            task_rows,
            first,
            out_submit,
            out_until,
            out_node,
            out_end,
            out_initial,
        )


def _close_chain(chain: _Chain, from_us: int, *columns: NDArray[Any]) -> None:
    _emit_open(chain.value, from_us, *columns)


def _end_codes(column: pa.Array) -> NDArray[np.int8]:
    """Rows of ENDS; NULL is ALIVE."""
    codes = {name: code for code, name in enumerate(ENDS) if name is not None and code != CANCELLED}
    encoded = column.dictionary_encode()
    lookup = np.array([codes[name] for name in encoded.dictionary.to_pylist()] + [ALIVE], np.int8)
    return lookup[encoded.indices.fill_null(len(lookup) - 1).to_numpy(zero_copy_only=False)]


def _integers(column: pa.Array) -> NDArray[np.int64]:
    """int64 with NULL as `_NULL`; a copy of our own."""
    return np.array(column.fill_null(_NULL).to_numpy(zero_copy_only=False), dtype=np.int64)


def batches(files: list[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for file in files:
        with pq.ParquetFile(file) as source:
            yield from source.iter_batches(BATCH_ROWS, columns=columns)
