"""Outages of a fleet as columns: which node was down when, and what follows from that alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from scheduler.core.gpu.hazard import Hazard, fit_hazard
from traces.schema import Trace, open_trace
from traces.synth.faults import draw_faults

FITTED, FITTED_NODES, FITTED_DAYS = "fitted", 400, 345.0
HOUR_US = 3_600_000_000
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Outages of a fleet within [0, length_h), times in hours since its start.

    name: (N,) of the nodes, quiet ones included. node: (M,) row of each outage's node. start_h, end_h: (M,), sorted by
    start; outages of one node do not overlap, and the last may end after length_h. age_h: (N,) hours since the last
    repair when the history begins, infinity where none is known.
    """

    name: NDArray[np.str_]
    node: Rows
    start_h: Floats
    end_h: Floats
    length_h: float
    age_h: Floats

    @property
    def fleet(self) -> int:
        """Nodes there are."""
        return len(self.name)

    def down(self) -> tuple[Rows, Floats]:
        """How many nodes are down, and for how long: a row per stretch of time without a change."""
        end_h = np.minimum(self.end_h, self.length_h)
        times = np.concatenate([[0.0], self.start_h, end_h])
        steps = np.concatenate([[0], np.ones(self.node.size, np.int64), -np.ones(self.node.size, np.int64)])
        order = np.argsort(times, kind="stable")
        lengths = np.diff(times[order], append=self.length_h)
        return np.cumsum(steps[order])[lengths > 0], lengths[lengths > 0]

    def spans(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Every stretch of work: hours since the repair before it (infinity: none known), length, ended in a fault."""
        rows = [span for node in range(self.fleet) for span in self._spans_of(node)]
        age_h, length_h, has_failed = zip(*rows, strict=True) if rows else ((), (), ())
        return np.array(age_h, float), np.array(length_h, float), np.array(has_failed, bool)

    def _spans_of(self, node: int) -> Iterator[tuple[float, float, bool]]:
        since_h, age_h = 0.0, float(self.age_h[node])
        mine = self.node == node
        for start_h, end_h in zip(self.start_h[mine].tolist(), self.end_h[mine].tolist(), strict=True):
            if start_h > 0:  # a node that is down when the history begins did not work before
                yield age_h, start_h - since_h, True
            since_h, age_h = end_h, 0.0
        if since_h < self.length_h:
            yield age_h, self.length_h - since_h, False

    def hazard(self) -> Hazard:
        """The rate of faults by time since repair that this history shows."""
        return fit_hazard(*self.spans())

    def between(self, from_h: float, to_h: float) -> History:
        """The part of the history in [from_h, to_h). Nodes down at its start are down from 0 on."""
        inside = (self.end_h > from_h) & (self.start_h < to_h)
        age_h = self.age_h + from_h
        for node, end_h in zip(self.node[self.end_h <= from_h], self.end_h[self.end_h <= from_h], strict=True):
            age_h[node] = min(age_h[node], from_h - end_h)
        return History(
            self.name, self.node[inside], np.maximum(self.start_h[inside] - from_h, 0.0), self.end_h[inside] - from_h,
            to_h - from_h, age_h,
        )  # fmt: skip

    def draw(self, rows: Rows) -> History:
        """A fleet of these nodes with their whole lives, a node more than once where `rows` has it more than once."""
        copies: dict[int, list[int]] = {}
        for new, old in enumerate(rows.tolist()):
            copies.setdefault(old, []).append(new)
        which = [(i, new) for i, old in enumerate(self.node.tolist()) for new in copies.get(old, ())]
        outage = np.array([i for i, _ in which], np.int64)
        node = np.array([new for _, new in which], np.int64)
        width = len(str(max(rows.size - 1, 0)))
        names = np.array([f"{i:0{width}}-{self.name[old]}" for i, old in enumerate(rows.tolist())])
        return History(names, node, self.start_h[outage], self.end_h[outage], self.length_h, self.age_h[rows])


def find_history(faults: str, fleet: int | None, seed: int) -> History:
    """The history that an option means: the folder of an imported trace, or `fitted`: drawn anew from the seed."""
    return (
        fitted_history(fleet or FITTED_NODES, FITTED_DAYS * 24, seed)
        if faults == FITTED
        else read_history(Path(faults), fleet)
    )


def fitted_history(fleet: int, length_h: float, seed: int) -> History:
    """A history with the statistics of the published trace; no data needed."""
    if fleet < 1:
        raise InputError(f"a fleet has at least one node, not {fleet}")
    faults = draw_faults(fleet, length_h, seed)
    width = len(str(fleet - 1))
    return History(
        np.array([f"node-{i:0{width}}" for i in range(fleet)]),
        np.array([fault.node for fault in faults], np.int64),
        np.array([fault.start_h for fault in faults], float),
        np.array([fault.end_h for fault in faults], float),
        length_h,
        np.full(fleet, np.inf),
    )


def read_history(trace: Trace | Path, fleet: int | None = None) -> History:
    """The outages of a trace's `faults`, those of one node that overlap or touch merged.

    fleet: nodes there are; by default what meta.json says, else the nodes that had a fault. Nodes without any are
    named `quiet-000` and so on. A fault that does not end lasts to the end of the recording. Raises InputError when the
    trace has no faults, TraceFormatError when it is none.
    """
    found = trace if isinstance(trace, Trace) else open_trace(trace)
    if not found.has("faults") or found.meta.time_range_us is None:
        raise InputError(f"{found.folder} has no table of faults: import one, or make one with stowage trace synth")
    first_us, last_us = found.meta.time_range_us
    rows = duckdb.sql(f"SELECT node, start_us, coalesce(end_us, {last_us}) FROM {found.scan('faults')}").fetchall()
    named = sorted({node for node, _, _ in rows})
    count = fleet or found.meta.fleet or len(named)
    if count < len(named):
        raise InputError(f"a fleet of {count} nodes, but {len(named)} had faults")
    names = [*named, *(f"quiet-{i:03}" for i in range(count - len(named)))]
    number = {node: i for i, node in enumerate(named)}
    intervals = sorted((number[node], start - first_us, end - first_us) for node, start, end in rows)
    outages = np.array(list(_merged(intervals)), np.int64).reshape(-1, 3)
    outages = outages[np.lexsort([outages[:, 0], outages[:, 1]])]
    return History(
        np.array(names), outages[:, 0], outages[:, 1] / HOUR_US, outages[:, 2] / HOUR_US,
        (last_us - first_us) / HOUR_US, np.full(count, np.inf),
    )  # fmt: skip


def _merged(intervals: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """(node, start, end), sorted, those of one node that overlap or touch made one."""
    current: tuple[int, int, int] | None = None
    for node, start, end in intervals:
        if current is not None and node == current[0] and start <= current[2]:
            current = (node, current[1], max(current[2], end))
            continue
        if current is not None:
            yield current
        current = (node, start, end)
    if current is not None:
        yield current
