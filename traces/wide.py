"""Tables that publish one column per minute or per function: their lines, split once, with the cells as a list.

DuckDB would make thousands of columns of them first; a line split into a list costs a third of that. The columns that
say what a row is stand to the left and may come in any order; all the others are cells. A row that is shorter or longer
than the header, or has a cell that is not what the table holds, is at fault as a whole: a minute left out silently
would be a minute without traffic.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from traces.errors import TraceFormatError
from traces.layout import Field, Relation, Rule, read_csv
from traces.schema import sql_text
from traces.sources import open_text

ANY_CELL = "[^,]*"
WHOLE = ("must be whole numbers >= 0", "[0-9]{1,15}")  # what a cell must be: in words, as a regular expression


def read_header(file: Path) -> list[str]:
    """The names in the first row; TraceFormatError where two columns have one name."""
    first = next(open_text(file), b"").decode(errors="replace")
    header = next(csv.reader([first]), [])
    twice = sorted({name for name in header if header.count(name) > 1}) if len(set(header)) < len(header) else []
    if twice:
        raise TraceFormatError(
            f"two columns are called {twice[0]!r}", file=file, row=1, fix="Export or download the file again"
        )
    return header


def wide_csv(
    file: Path,
    fields: tuple[Field, ...],
    *,
    labels: Callable[[Path, Sequence[str]], Sequence[int | str]],
    cell: tuple[str, str],
    unique: Sequence[str] = (),
    constants: dict[str, int | str] | None = None,
) -> Relation:
    """The rows of a wide table: raw_KEY of each field, and lists `labels` and `cells` (text) of equal length.

    labels: from the names of the cell columns to what stands for them, TraceFormatError if they are not right. cell:
    such as WHOLE. unique: keys of fields that no two rows share. constants: further columns, the same in every row.
    Raises TraceFormatError where the left columns are not the fields'.
    """
    header = read_header(file)
    at = {field.key: header.index(name) for field in fields for name in field.names if name in header}
    missing = [field for field in fields if field.mandatory and field.key not in at]
    first = max(at.values(), default=-1) + 1
    if missing or sorted(at.values()) != list(range(first)):
        wanted = ", ".join(field.names[0] for field in fields)
        raise TraceFormatError(
            f"the columns must begin with {wanted}; found {', '.join(header[: len(fields)])[:160]}",
            file=file, row=1, fix="Export the whole table, names unchanged",
        )  # fmt: skip
    names = header[first:]
    marks = labels(file, names)
    texts = ", ".join(f"{_part(at.get(field.key))} AS raw_{field.key}" for field in fields)
    more = "".join(f", {_literal(value)} AS {key}" for key, value in (constants or {}).items())
    lines = f"""SELECT row_, replace(raw_line, '"', '') AS raw_line
      FROM ({read_csv(file, ["raw_line"], header=True, delim=chr(1))}) WHERE raw_line <> ''"""
    is_again = _is_again(lines, first, [at[key] for key in unique]) if unique else "FALSE"
    rows = f"""SELECT row_, raw_line, len(parts) AS width, len(parts)::VARCHAR AS raw_width, {texts}{more},
  {is_again} AS is_again, {_list(marks)} AS labels, parts[{first + 1}:] AS cells,
  {_bad_cell(header, first, cell[1])} AS raw_cells
FROM (SELECT row_, raw_line, string_split(raw_line, ',') AS parts FROM ({lines}))"""
    shape = f"({ANY_CELL},){{{first}}}{cell[1]}(,{cell[1]})*"
    rules = [
        Rule("width", f"must be {len(header)} columns, as in the header", f"width <> {len(header)}"),
        Rule("cells", cell[0], f"NOT regexp_full_match(raw_line, {sql_text(shape)})"),
    ]
    if unique:
        rules.append(Rule(unique[-1], "must not be in two rows of a file", "is_again"))
    return Relation(rows, "raw_line", tuple(rules), header_rows=1)


def _part(position: int | None) -> str:
    return "NULL::VARCHAR" if position is None else f"nullif(parts[{position + 1}], '')"


def _literal(value: int | str) -> str:
    return sql_text(value) if isinstance(value, str) else str(value)


def _list(values: Sequence[int | str]) -> str:
    return f"[{', '.join(map(_literal, values))}]"


def _is_again(lines: str, first: int, positions: Sequence[int]) -> str:
    """SQL for whether an earlier row has the same values at these positions; looks at the left columns only."""
    key = ", ".join(f"left_[{position + 1}]" for position in positions)
    return f"""row_ IN (SELECT row_ FROM (
    SELECT row_, row_number() OVER (PARTITION BY {key} ORDER BY row_) AS nth FROM (
      SELECT row_, string_split(regexp_extract(raw_line, '({ANY_CELL},){{{first}}}'), ',') AS left_ FROM ({lines})))
    WHERE nth > 1)"""


def _bad_cell(header: Sequence[str], first: int, pattern: str) -> str:
    """SQL for the first cell that does not match, with the name of its column."""
    shown = f"({_list(header)})[i] || ' = ' || coalesce(parts[i], '')"
    is_bad = f"NOT regexp_full_match(coalesce(parts[i], ''), {sql_text(pattern)})"
    return f"""list_filter(list_transform(range({first + 1}, {len(header) + 1}),
    lambda i: CASE WHEN {is_bad} THEN {shown} END), lambda found: found IS NOT NULL)[1]"""
