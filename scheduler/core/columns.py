"""Checked columns: what `cluster` builds its tables from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scheduler.core.errors import StowageInputError

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Mask = NDArray[np.bool_]
MIB: Final = 1 << 20
IN_BYTES: Final = frozenset({"memory", "ephemeral-storage"})


@dataclass(frozen=True, slots=True, eq=False)
class Interned:
    """A column of text: row n has `values[code[n]]`, or nothing where the code is -1."""

    values: tuple[str, ...]
    code: Codes

    def __post_init__(self) -> None:
        check_codes("code", self.code, len(self.code), len(self.values), lowest=-1)

    def get(self, row: int) -> str | None:
        """The text of that row; None where it has none."""
        code = int(self.code[row])
        return None if code < 0 else self.values[code]


def intern(texts: Iterable[str | None]) -> Interned:
    """Each distinct text once, sorted, and a code per row."""
    rows = list(texts)
    values = tuple(sorted({text for text in rows if text is not None}))
    at = {text: code for code, text in enumerate(values)}
    return Interned(values, np.array([-1 if text is None else at[text] for text in rows], np.int32))


def row_of(what: str, names: NDArray[np.str_], name: str) -> int:
    """The row of that name in a sorted column; StowageInputError, saying what it is, if there is none."""
    row = int(np.searchsorted(names, name))
    if row == len(names) or names[row] != name:
        raise StowageInputError(f"there is no {what} named {name!r}")
    return row


def check_names(what: str, names: NDArray[np.str_]) -> None:
    """Refuse names that are not a sorted column of distinct, non-empty text."""
    if names.ndim != 1 or names.dtype.kind != "U":
        raise StowageInputError(f"{what} names are not a column of text: shape {names.shape}, type {names.dtype}")
    for row in np.flatnonzero(names[1:] <= names[:-1])[:1]:
        first, second = str(names[row]), str(names[row + 1])
        rule = "unique" if first == second else "sorted"
        raise StowageInputError(f"{what} names are not {rule}: {second!r} follows {first!r}")
    if len(names) and not names[0]:
        raise StowageInputError(f"a {what} has no name")


def check_column(what: str, values: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    """Refuse an array of another shape, type or layout."""
    if values.shape != shape:
        raise StowageInputError(f"{what} has shape {values.shape}; the table needs {shape}")
    if values.dtype != dtype or not values.flags.c_contiguous:
        raise StowageInputError(f"{what} is not a contiguous array of {np.dtype(dtype)}: {values.dtype}")


def check_amounts(what: str, values: Ints, shape: tuple[int, ...]) -> None:
    """Refuse amounts that are not whole, not of that shape, or below zero."""
    check_column(what, values, shape, np.int64)
    if values.size and values.min() < 0:
        raise StowageInputError(f"{what} is negative in row {int(np.argwhere(values < 0)[0][0])}: {values.min()}")


def check_codes(what: str, codes: Codes, rows: int, values: int, lowest: int) -> None:
    """Refuse codes outside lowest..values-1."""
    check_column(what, codes, (rows,), np.int32)
    if rows and not (lowest <= codes.min() and codes.max() < values):
        raise StowageInputError(f"{what} has codes from {codes.min()} to {codes.max()}; there are {values} values")


def amounts_of(rows: Sequence[Mapping[str, int]], resources: Sequence[str], *, up: bool) -> Ints:
    """(rows, R), bytes as whole MiB, so that no amount is a billion times another: demands rounded up, room down."""
    out = np.zeros((len(rows), len(resources)), np.int64)
    column = {name: r for r, name in enumerate(resources)}
    for i, amounts in enumerate(rows):
        for name, amount in amounts.items():
            if (r := column.get(name)) is not None:
                in_mib = -(-amount // MIB) if up else amount // MIB
                out[i, r] = in_mib if name in IN_BYTES else amount
    return out
