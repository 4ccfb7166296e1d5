"""The cell: machines, what happens to them, and the attributes that task constraints ask about."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.synth import calibration as cal

ADD, REMOVE, UPDATE = 0, 1, 2
EQUAL, NOT_EQUAL, LESS, GREATER = 0, 1, 2, 3

# What a constrained task may ask for, as (attribute, operator, value) that must all hold. The attributes are columns of
# `draw_attributes`; each class is met by a third to nine tenths of the machines.
CONSTRAINTS: tuple[tuple[tuple[str, int, str], ...], ...] = (
    (("clock", EQUAL, "fast"),),
    (("clock", NOT_EQUAL, "slow"),),
    (("disks", GREATER, "3"),),
    (("kernel", LESS, "130"),),
    (("kernel", GREATER, "110"), ("disks", GREATER, "1")),
    (("external_address", EQUAL, "1"),),
)


def hash_text(seed: int, *words: object) -> str:
    """Stand in for the trace's string hashes: 44 characters of base64, the same for the same words."""
    digest = hashlib.sha256(":".join(map(str, (seed, *words))).encode()).digest()
    return base64.b64encode(digest).decode()


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """Machines as columns, sorted by id; row m of every array is the same machine.

    cpu, memory: share of the largest machine, 0 where the capacity is unknown. first_seen: row is absent until its ADD.
    events_*: every ADD, REMOVE and UPDATE after time 0, in time order; machine is a row number.
    candidates[c]: rows that meet constraint class c; class 0 is no constraint, and only classes met by a fifth of the
    machines or more are offered.
    """

    id: NDArray[np.int64]
    cpu: NDArray[np.float64]
    memory: NDArray[np.float64]
    platform: NDArray[np.str_]
    present: NDArray[np.bool_]
    event_us: NDArray[np.int64]
    event_machine: NDArray[np.int32]
    event_code: NDArray[np.int8]
    attributes: dict[str, NDArray[Any]]
    classes: list[int]
    candidates: list[NDArray[np.int32]]


def draw_cell(machines: int, end_us: int, seed: int) -> Cell:
    """Draw `machines` machines present at time 0, those that join later, and all their events up to `end_us`."""
    rng = np.random.default_rng([seed, 1])
    days = (end_us - cal.TRACE_START_US) / cal.DAY_US
    joining = rng.poisson(cal.NEW_PER_MACHINE_DAY * machines * days)
    total = machines + joining
    ids = np.sort(_distinct_ids(rng, total))
    shapes = _spread_shapes(rng, total)
    known = rng.random(total) >= cal.UNKNOWN_CAPACITY
    platforms = {name: hash_text(seed, "platform", name) for name in "ABC?"}
    present = np.ones(total, bool)
    present[rng.choice(total, joining, replace=False)] = False
    attributes = draw_attributes(rng, total, shapes)
    usable = known if known.any() else ~known
    classes, candidates = [0], [np.flatnonzero(usable).astype(np.int32)]
    for number, terms in enumerate(CONSTRAINTS, start=1):
        rows = np.flatnonzero(usable & _meets(attributes, terms)).astype(np.int32)
        if len(rows) >= max(2, total // 5):
            classes.append(number)
            candidates.append(rows)
    event_us, event_machine, event_code = _draw_events(rng, present, days, end_us)
    return Cell(
        id=ids,
        cpu=_column(shapes, 0, usable),
        memory=_column(shapes, 1, usable),
        platform=np.array([platforms[cal.SHAPES[s][2] if k else "?"] for s, k in zip(shapes, usable, strict=True)]),
        present=present,
        event_us=event_us,
        event_machine=event_machine,
        event_code=event_code,
        attributes=attributes,
        classes=classes,
        candidates=candidates,
    )


def _column(shapes: NDArray[np.int64], field: int, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(usable, np.array([shape[field] for shape in cal.SHAPES])[shapes], 0.0)


def _distinct_ids(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Machine ids as in the trace: small ones and ten-digit ones."""
    pool = np.unique(np.concatenate([rng.integers(5, 8_000_000, count), rng.integers(10**7, 4_900_000_000, 2 * count)]))
    return rng.choice(pool, count, replace=False)


def _spread_shapes(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Shapes in their shares, not drawn one by one: a small cell gets the common shapes in proportion."""
    weight = np.array([shape[3] for shape in cal.SHAPES], float)
    edges = np.cumsum(weight) / weight.sum()
    return rng.permutation(np.searchsorted(edges, (np.arange(count) + 0.5) / count))


def draw_attributes(rng: np.random.Generator, count: int, shapes: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Attribute values per machine row; -1 and "" stand for a machine that lacks the attribute."""
    rack = np.arange(count) // 40
    return {
        "clock": np.where(shapes == 4, "slow", np.where(rng.random(count) < 0.6, "fast", "base")),
        "disks": rng.choice([1, 2, 3, 4, 6, 12], count, p=[0.05, 0.10, 0.15, 0.40, 0.20, 0.10]),
        "kernel": rng.integers(100, 140, count),
        "external_address": np.where(rng.random(count) < 0.4, 1, -1),
        "rack": np.char.add("rack", rack.astype(str)),
        "chassis": np.char.add("chassis", (np.arange(count) // 8).astype(str)),
    }


def _meets(attributes: dict[str, NDArray[Any]], terms: tuple[tuple[str, int, str], ...]) -> NDArray[np.bool_]:
    met = np.ones(len(attributes["clock"]), bool)
    for name, operator, value in terms:
        column = attributes[name]
        wanted = int(value) if column.dtype.kind == "i" else value
        present = column != (-1 if column.dtype.kind == "i" else "")
        if operator == EQUAL:
            met &= column == wanted
        elif operator == NOT_EQUAL:
            met &= column != wanted
        elif operator == LESS:
            met &= present & (column < wanted)
        else:
            met &= present & (column > wanted)
    return met


def _draw_events(
    rng: np.random.Generator, present: NDArray[np.bool_], days: float, end_us: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int8]]:
    """Draw removals with their returns, updates and newcomers. A machine is down from REMOVE to its next ADD."""
    total = len(present)
    start_us = cal.TRACE_START_US
    joined_us = np.where(present, 0, start_us + (rng.random(total) * days * cal.DAY_US).astype(np.int64))
    rows: list[tuple[int, int, int]] = [(int(joined_us[m]), int(m), ADD) for m in np.flatnonzero(~present)]
    trouble = rng.gamma(cal.REMOVE_GAMMA_SHAPE, 1 / cal.REMOVE_GAMMA_SHAPE, total)
    removals = rng.poisson(trouble * cal.REMOVES_PER_MACHINE_DAY * days)
    for machine in np.flatnonzero(removals):
        clock = int(joined_us[machine])
        for when in np.sort(rng.random(removals[machine])):
            at = start_us + int(when * days * cal.DAY_US)
            gap = quantile(rng.random(), cal.GAP_U, cal.GAP_S) * 1e6
            if at <= clock + 1_000_000:
                continue
            rows.append((at, int(machine), REMOVE))
            if rng.random() < cal.NEVER_BACK:
                break
            clock = at + max(int(gap), 1_000_000)
            rows.append((clock, int(machine), ADD))
    updated = rng.random(total) < cal.UPDATED_MACHINES
    rate = cal.UPDATES_PER_MACHINE_DAY / cal.UPDATED_MACHINES
    for machine in np.flatnonzero(updated):
        for when in rng.random(rng.poisson(rate * days)):
            rows.append((start_us + int(when * days * cal.DAY_US), int(machine), UPDATE))
    rows = _drop_updates_while_down(sorted(row for row in rows if row[0] < end_us), present)
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return columns[:, 0], columns[:, 1].astype(np.int32), columns[:, 2].astype(np.int8)


def _drop_updates_while_down(
    rows: list[tuple[int, int, int]], present: NDArray[np.bool_]
) -> list[tuple[int, int, int]]:
    up = present.copy()
    kept = []
    for row in rows:
        _, machine, code = row
        if code == UPDATE and not up[machine]:
            continue
        up[machine] = code != REMOVE
        kept.append(row)
    return kept


def quantile(u: Any, grid: tuple[float, ...], values: tuple[float, ...]) -> Any:
    """Invert a distribution given by quantiles: logarithmic between positive values, else linear."""
    if min(values) > 0:
        return np.exp(np.interp(u, grid, np.log(values)))
    return np.interp(u, grid, values)
