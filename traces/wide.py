"""Text tables read line by line: headers first, cells as lists, a row of another width at fault alone.

Serverless traces publish one column per minute or per function, thousands of them. DuckDB would make vectors of all of
these first; a line split into a list costs a third of that. The columns that say what a row is stand to the left, in
any order; all the others are cells. Their narrow tables are read the same way, so that a line cut short by a
download is one rejected row and not a file refused. Quotes are dropped: no published table needs them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from traces.errors import TraceFormatError
from traces.layout import Field, Opener, Relation, Rule, read_csv
from traces.schema import sql_text
from traces.sources import open_text

ANY_CELL = "[^,]*"
WHOLE = ("must be whole numbers >= 0", "[0-9]{1,15}")  # what a cell must be: in words, as a regular expression
Label = int | str
Labels = Callable[[Path, Sequence[str]], Sequence[Label]]
Constants = Mapping[str, int | float | str | None]


def read_header(file: Path) -> list[str]:
    """The names in the first row; TraceFormatError where two columns have one name."""
    first = next(open_text(file), b"").decode(errors="replace")
    header = next(csv.reader([first]), [])
    if len(set(header)) < len(header):
        twice = next(name for position, name in enumerate(header) if name in header[:position])
        raise TraceFormatError(
            f"two columns are called {twice!r}", file=file, row=1, fix="Export or download the file again"
        )
    return header


def lines_csv(file: Path, fields: tuple[Field, ...], constants: Constants | None = None) -> Relation:
    """A narrow table with a header: raw_KEY of each field; the other columns are left alone.

    constants: further columns, the same in every row. Raises TraceFormatError if a mandatory column is missing.
    """
    header = read_header(file)
    at = _positions(file, fields, header)
    rows = f"SELECT row_, raw_line, {_width()}, {_texts(fields, at)}{_constants(constants)} FROM ({_split(file)})"
    return Relation(rows, "raw_line", (_width_rule(header),), header_rows=1)


def wide_csv(
    file: Path,
    fields: tuple[Field, ...],
    *,
    labels: Labels,
    cell: tuple[str, str],
    unique: Sequence[str],
    constants: Constants | None = None,
) -> Relation:
    """The rows of a wide table: raw_KEY of each field, and lists `labels` and `cells` (text) of equal length.

    A cell that is not what the table holds puts its whole row at fault: a minute left out silently would be a minute
    without traffic. labels: from the names of the cell columns to what stands for them, TraceFormatError if they are
    not right. cell: such as WHOLE. unique: keys of fields that no two rows share. constants: as in `lines_csv`.
    """
    header, at, first = _left_columns(file, fields)
    marks = labels(file, header[first:])
    again = _is_again(file, first, [at[key] for key in unique])
    rows = f"""SELECT row_, raw_line, {_width()}, {_texts(fields, at)}{_constants(constants)}, {again} AS is_again,
  {_list(marks)} AS labels, parts[{first + 1}:] AS cells, {_bad_cell(header, first, cell[1])} AS raw_cells
FROM ({_split(file)})"""
    shape = f"({ANY_CELL},){{{first}}}{cell[1]}(,{cell[1]})*"
    rules = (
        _width_rule(header),
        Rule("cells", cell[0], f"NOT regexp_full_match(raw_line, {sql_text(shape)})"),
        Rule(unique[-1], "must not be in two rows of a file", "is_again"),
    )
    return Relation(rows, "raw_line", rules, header_rows=1)


def long_csv(
    file: Path, fields: tuple[Field, ...], *, labels: Labels, sound: str, constants: Constants | None = None
) -> Relation:
    """A wide table turned long: a row per cell that holds anything, with raw_label and raw_cell; NaN is nothing.

    Here a cell stands for itself and is at fault alone. sound: SQL over the raw_KEY for a row whose left columns are
    right; one that is not stays one row, without label and cell. labels, constants: as in `wide_csv`.
    """
    header, at, first = _left_columns(file, fields)
    marks = labels(file, header[first:])
    kept = [field for field in fields if field.key in at]
    keys = "".join(f", raw_{field.key}" for field in kept)
    unknown = "".join(f", NULL::VARCHAR AS raw_{field.key}" for field in fields if field not in (*kept, LABEL, CELL))
    is_sound = f"width = {len(header)} AND coalesce({sound}, FALSE)"
    rows = f"""SELECT * FROM (
  SELECT row_, raw_line, width, raw_width{keys}{unknown}{_constants(constants)},
    unnest(CASE WHEN {is_sound} THEN {_list(list(map(str, marks)))} ELSE [NULL] END) AS raw_label,
    unnest(CASE WHEN {is_sound} THEN cells ELSE [NULL] END) AS raw_cell
  FROM (SELECT row_, raw_line, {_width()}, {_texts(kept, at)}, parts[{first + 1}:] AS cells FROM ({_split(file)})))
WHERE raw_cell IS NULL OR (raw_cell <> '' AND lower(raw_cell) <> 'nan')"""
    return Relation(rows, "raw_line", (_width_rule(header),), header_rows=1)


LABEL = Field("label", "the column's name")
CELL = Field("cell", "cell", "number", low=0)


def absent(relation: Opener, *words: str) -> Opener:
    """The relation with these words read as nothing."""

    def opened(file: Path, fields: tuple[Field, ...]) -> Relation:
        found = relation(file, fields)
        listed = ", ".join(map(sql_text, words))
        raw = [f"raw_{field.key}" for field in fields]
        texts = ", ".join(f"CASE WHEN {text} NOT IN ({listed}) THEN {text} END AS {text}" for text in raw)
        return Relation(f"SELECT * REPLACE ({texts}) FROM ({found.sql})", found.line, found.rules, found.header_rows)

    return opened


def _split(file: Path) -> str:
    return f"SELECT row_, raw_line, string_split(raw_line, ',') AS parts FROM ({_lines(file)})"


def _lines(file: Path) -> str:
    text = read_csv(file, ["raw_line"], header=True, delim=chr(1))
    return f"""SELECT row_, replace(raw_line, '"', '') AS raw_line FROM ({text}) WHERE raw_line <> ''"""


def _width() -> str:
    return "len(parts) AS width, len(parts)::VARCHAR AS raw_width"


def _width_rule(header: Sequence[str]) -> Rule:
    return Rule("width", f"must be {len(header)} columns, as in the header", f"width <> {len(header)}")


def _positions(file: Path, fields: Sequence[Field], header: Sequence[str]) -> dict[str, int]:
    at = {field.key: header.index(name) for field in fields for name in field.names if name in header}
    for field in fields:
        if field.mandatory and field.names and field.key not in at:
            raise TraceFormatError(
                f"lacks the column {' or '.join(field.names)}; it has {', '.join(header)[:200]}",
                file=file, row=1, fix="Export the whole table, names unchanged",
            )  # fmt: skip
    return at


def _left_columns(file: Path, fields: Sequence[Field]) -> tuple[list[str], dict[str, int], int]:
    """(header, positions of the fields, how many columns they take); TraceFormatError if they are not the first."""
    header = read_header(file)
    at = _positions(file, fields, header)
    first = len(at)
    if sorted(at.values()) != list(range(first)):
        wanted = ", ".join(field.names[0] for field in fields if field.names)
        raise TraceFormatError(
            f"the columns must begin with {wanted}; found {', '.join(header[:first])[:200]}",
            file=file, row=1, fix="Export the whole table, names unchanged",
        )  # fmt: skip
    return header, at, first


def _texts(fields: Sequence[Field], at: Mapping[str, int]) -> str:
    return ", ".join(
        f"nullif(parts[{at[field.key] + 1}], '') AS raw_{field.key}"
        if field.key in at
        else f"NULL::VARCHAR AS raw_{field.key}"
        for field in fields
    )


def _constants(constants: Constants | None) -> str:
    return "".join(f", {_literal(value)} AS {key}" for key, value in (constants or {}).items())


def _literal(value: float | str | None) -> str:
    return "NULL" if value is None else sql_text(value) if isinstance(value, str) else repr(value)


def _list(values: Sequence[Label]) -> str:
    return f"[{', '.join(map(_literal, values))}]"


def _is_again(file: Path, first: int, positions: Sequence[int]) -> str:
    """SQL for whether an earlier row has the same values at these positions; looks at the left columns only."""
    key = ", ".join(f"left_[{position + 1}]" for position in positions)
    return f"""row_ IN (SELECT row_ FROM (
    SELECT row_, row_number() OVER (PARTITION BY {key} ORDER BY row_) AS nth FROM (
      SELECT row_, string_split(regexp_extract(raw_line, '({ANY_CELL},){{{first}}}'), ',') AS left_
      FROM ({_lines(file)})))
    WHERE nth > 1)"""


def _bad_cell(header: Sequence[str], first: int, pattern: str) -> str:
    """SQL for the first cell that does not match, with the name of its column."""
    shown = f"({_list(header)})[i] || ' = ' || coalesce(parts[i], '')"
    is_bad = f"NOT regexp_full_match(coalesce(parts[i], ''), {sql_text(pattern)})"
    return f"""list_filter(list_transform(range({first + 1}, {len(header) + 1}),
    lambda i: CASE WHEN {is_bad} THEN {shown} END), lambda found: found IS NOT NULL)[1]"""
