"""One source file to Parquet: streamed, strictly typed, what breaks a rule set aside with its row number.

The common case costs one pass. Only when some row is at fault is the file read a second time, to say which rows, which
rule and which value.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from traces.errors import TraceFormatError
from traces.layout import Layout, Query, Rule
from traces.schema import AFTER_END_US, DUCKDB_TYPES, arrow_schema
from traces.sources import open_text
from traces.tables import ROW_GROUP, open_writer, to_numpy

ARROW_TYPES = {"BIGINT": pa.int64(), "INTEGER": pa.int32(), "DOUBLE": pa.float64(), "VARCHAR": pa.string()}
SHOWN = 80  # characters of a value in a message
KEPT = 4000  # characters of a rejected row that are kept
CSV_ERROR = re.compile(r"CSV Error on Line: (\d+).*Expected Number of Columns: (\d+) Found: (\d+)", re.DOTALL)


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What one file gave to one table. first_us, last_us: of its time column, AFTER_END_US left out of the last."""

    table: str
    file: str
    rows: int
    source_rows: int
    rejected: int
    first_us: int | None = None
    last_us: int | None = None
    latest_us: int | None = None
    is_sorted: bool = True


def convert_file(
    file: Path, layouts: Sequence[Layout], folder: Path, name: str, *, strict: bool, memory_mib: int
) -> list[Output]:
    """Write what a file holds to `folder/TABLE/NAME.parquet` per layout, its rejected rows to `folder/_rejected/`.

    Raises TraceFormatError when a fatal rule is broken, when any is under `strict`, when more than half of the rows
    break one, or when the file cannot be read at all.
    """
    outputs = []
    with duckdb.connect(config={"threads": 1, "memory_limit": f"{memory_mib}MiB"}) as con:
        for layout in layouts:
            query = layout.bind(file)
            target = folder / layout.table / f"{name}.parquet"
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                outputs.append(_convert(con, file, query, target, strict))
            except duckdb.OutOfMemoryException:
                raise
            except (duckdb.Error, UnicodeDecodeError) as error:
                raise explain(file, query, error) from error
    return outputs


def table_schema(layout: Layout) -> pa.Schema:
    """The Arrow schema of the table a layout fills."""
    if layout.helper is None:
        return arrow_schema(layout.table)
    types = {
        name: (ARROW_TYPES[DUCKDB_TYPES[kind.rstrip("?")]], kind.endswith("?")) for name, kind in layout.helper.items()
    }
    return pa.schema([pa.field(name, type_, nullable) for name, (type_, nullable) in types.items()])


def _convert(con: duckdb.DuckDBPyConnection, file: Path, query: Query, target: Path, strict: bool) -> Output:
    schema = table_schema(query.layout)
    clock = _Clock(clock_of(schema))
    broken = np.zeros(len(query.rules) + 1, np.int64)
    fatal = np.array([False, *(rule.fatal for rule in query.rules)])
    with open_writer(target, query.layout.table, schema) as writer:
        for batch in con.sql(query.rows).to_arrow_reader(ROW_GROUP):
            fault = batch.column(1)
            found = np.bincount(to_numpy(fault), minlength=broken.size)
            broken += found
            if found[1:].any():
                if (found[fatal] > 0).any() or strict:
                    _stop(con, file, query, strict)
                batch = batch.filter(pc.equal(fault, 0))
            kept = pa.RecordBatch.from_arrays(
                [_as(column, field) for column, field in zip(batch.columns[2:], schema, strict=True)], schema=schema
            )
            clock.see(kept)
            writer.write_batch(kept)
    rejected = int(broken[1:].sum())
    if broken.sum() == 0 and not query.layout.may_be_empty:
        raise TraceFormatError("holds no rows", file=file, fix="Download the file again")
    if rejected:
        _set_aside(con, file, query, target, rejected, int(broken.sum()))
    return Output(
        table=query.layout.table, file=target.name, rows=int(broken[0]), source_rows=int(broken.sum()),
        rejected=rejected if query.layout.rejects else 0, first_us=clock.first, last_us=clock.last,
        latest_us=clock.previous, is_sorted=clock.is_sorted,
    )  # fmt: skip


def _as(column: pa.Array, field: pa.Field) -> pa.Array:
    return column if column.type == field.type else column.cast(field.type)


def clock_of(schema: pa.Schema) -> str | None:
    """The column that a table is in order of; None if it has none."""
    return next((name for name in ("time_us", "start_us") if name in schema.names), None)


class _Clock:
    """Follows a time column: its range, and whether it ever goes back. Where rows have an end, the range covers it."""

    def __init__(self, column: str | None) -> None:
        self.column, self.is_sorted = column, True
        self.first: int | None = None
        self.last: int | None = None
        self.previous: int | None = None

    def see(self, batch: pa.RecordBatch) -> None:
        if self.column is None or not batch.num_rows:
            return
        times = to_numpy(batch.column(self.column))
        self.is_sorted &= bool((times[1:] >= times[:-1]).all()) and (
            self.previous is None or int(times[0]) >= self.previous
        )
        self.previous = max(int(times.max()), self.previous or 0)
        self.first = int(times.min()) if self.first is None else min(self.first, int(times.min()))
        if "end_us" in batch.schema.names:
            times = np.concatenate([times, to_numpy(batch.column("end_us").drop_null())])
        elif "window_us" in batch.schema.names:
            times = times + to_numpy(batch.column("window_us"))
        inside = times[times != AFTER_END_US]
        if inside.size:
            self.last = max(int(inside.max()), self.last or 0)


class _Rows:
    """Physical row numbers of a file: rows as DuckDB counts them, plus the header and the blank lines it skips."""

    def __init__(self, file: Path, query: Query) -> None:
        self.header = query.relation.header_rows
        self.is_text = not file.name.endswith(".parquet") and not self.header
        self.blank = [row for row, line in enumerate(open_text(file), 1) if not line] if self.is_text else []

    def physical(self, ordinal: int) -> int:
        row = ordinal + self.header
        for blank in self.blank:
            if blank > row:
                break
            row += 1
        return row


def _faults(con: duckdb.DuckDBPyConnection, file: Path, query: Query) -> Iterator[tuple[int, Rule, str, str]]:
    """Every row at fault, in order: its physical number, the rule, the value, the row's text."""
    rows = _Rows(file, query)
    # The fields joined again are not the text of a row that has one comma too many.
    source = enumerate(open_text(file), 1) if rows.is_text and query.relation.line is None else None
    for batch in con.cursor().sql(query.faults).to_arrow_reader(ROW_GROUP):  # con may still be reading the rows
        for ordinal, fault, value, joined in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            row = rows.physical(ordinal)
            line = joined if source is None else _at(source, row)
            yield row, query.rules[fault - 1], value, line


def _at(lines: Iterator[tuple[int, bytes]], row: int) -> str:
    """The text of a row further on."""
    return next(text for number, text in lines if number == row).decode(errors="replace")


def _reason(query: Query, rule: Rule, value: str) -> str:
    return f"field {query.layout.label(rule.field)}: {_broken(rule, value)}"


def _broken(rule: Rule, value: str) -> str:
    shown = repr(value[:SHOWN]) if value else "nothing"
    return f"{rule.text}, found {shown}"


def _stop(con: duckdb.DuckDBPyConnection, file: Path, query: Query, strict: bool) -> None:
    for row, rule, value, line in _faults(con, file, query):
        _refuse_header(file, query, row, line)
        if rule.fatal or strict:
            fix = rule.fix or ("Without --strict the row is set aside and reported" if strict else None)
            raise TraceFormatError(
                _broken(rule, value), file=file, row=row, field=query.layout.label(rule.field), fix=fix
            )


def _refuse_header(file: Path, query: Query, row: int, line: str) -> None:
    """A first row in which every number is a word is a header that the format does not have."""
    if row != 1 or query.relation.line is not None:
        return
    cells = dict(zip(query.layout.fields, line.split(","), strict=False))
    numbers = [cell for field, cell in cells.items() if field.kind != "text" and cell]
    if numbers and not any(character.isdigit() for cell in numbers for character in cell):
        raise TraceFormatError(
            f"must hold data, found what looks like a header: {line[:SHOWN]!r}",
            file=file,
            row=1,
            fix="Remove the header row",
        )


def _set_aside(
    con: duckdb.DuckDBPyConnection, file: Path, query: Query, target: Path, rejected: int, rows: int
) -> None:
    """Write the rejected rows, unless another layout does; refuse the file if they are most of it."""
    if not query.layout.rejects:
        return
    faults = _faults(con, file, query)
    first = next(faults)
    _refuse_header(file, query, first[0], first[3])
    if rejected * 2 > rows:
        row, rule, value, _ = first
        raise TraceFormatError(
            f"{rejected} of {rows} rows break a rule, so this is not what it says; the first: {_broken(rule, value)}",
            file=file, row=row, field=query.layout.label(rule.field), fix="Check the format and the table",
        )  # fmt: skip
    folder = target.parent.parent / "_rejected"
    folder.mkdir(exist_ok=True)
    schema = arrow_schema("rejected")
    with open_writer(folder / f"{target.parent.name}-{target.name}", "rejected") as writer:
        for batch in _batched(itertools.chain([first], faults), ROW_GROUP):
            columns = [
                [str(file)] * len(batch),
                [row for row, *_ in batch],
                [_reason(query, rule, value) for _, rule, value, _ in batch],
                [line[:KEPT] for *_, line in batch],
            ]
            writer.write_batch(
                pa.RecordBatch.from_arrays(
                    [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
                )
            )


def _batched(rows: Iterator[tuple[int, Rule, str, str]], size: int) -> Iterator[list[tuple[int, Rule, str, str]]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch


def explain(file: Path, query: Query, error: Exception) -> TraceFormatError:
    """Why DuckDB could not read a file, in terms of the file."""
    fields = len(query.layout.fields)
    if query.relation.line is None and not file.name.endswith(".parquet"):
        for row, line in enumerate(open_text(file), 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return TraceFormatError("is not text in UTF-8", file=file, row=row, fix="Download the file again")
            if line and line.count(b",") != fields - 1:
                found = line.count(b",") + 1
                return TraceFormatError(
                    f"{query.layout.table} has {fields} columns, found {found}", file=file, row=row,
                    fix="Check the format and the table, or download the file again",
                )  # fmt: skip
    told = CSV_ERROR.search(str(error))
    if told:
        return TraceFormatError(
            f"the header names {told[2]} columns, found {told[3]}", file=file, row=int(told[1]),
            fix="Export or download the file again",
        )  # fmt: skip
    first_line = " ".join(str(error).split())[:300]
    return TraceFormatError(f"cannot be read ({first_line})", file=file, fix="Export or download the file again")
