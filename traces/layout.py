"""What a reader says about a published table, and the SQL that turns its text into canonical rows.

A reader declares fields and rules; it does not parse. Every source, whatever its container, is first brought to columns
of text (`raw_KEY`), one per field, NULL where empty. One SQL statement per file then types them strictly (DuckDB alone
would read "1.5", "1e3" or "0x10" as whole numbers), names the first rule each row breaks (`fault`, a position in
`Query.rules` plus one; 0 = none) and computes the canonical columns. A broken rule rejects the row, or, where it shows
that the whole file is not what it says (`fatal`), stops the import.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from traces.errors import TraceFormatError
from traces.schema import DUCKDB_TYPES, TABLES, sql_text
from traces.sources import open_text

Kind = Literal["whole", "number", "text"]
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1


@dataclass(frozen=True, slots=True)
class Rule:
    """What no accepted row may match. condition: SQL over the fields' keys. fatal: the file is not what it says."""

    field: str
    text: str
    condition: str
    fatal: bool = False
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One published column.

    key: its name in our SQL. label: as messages call it. low, high: inclusive; outside, a row is rejected, or the file
    refused if `strict_range`. choices: the codes allowed. names: what the source may call it, where it names its
    columns; "column>member" is a member of an object that a column holds, as JSON or as Python prints it.
    """

    key: str
    label: str
    kind: Kind = "text"
    mandatory: bool = False
    low: int | None = None
    high: int | None = None
    strict_range: bool = False
    choices: tuple[int, ...] | None = None
    names: tuple[str, ...] = ()
    fix: str | None = None

    def rules(self) -> list[Rule]:
        """The rules the declaration implies, in the order they are tried."""
        key, found = self.key, []
        if self.mandatory:
            found.append(Rule(key, "is mandatory", f"raw_{key} IS NULL"))
        if self.kind == "whole":
            # Equal to its own print: one comparison that refuses fractions, exponents, signs, blanks, leading zeros.
            found.append(Rule(key, "must be a whole number", f"raw_{key} IS DISTINCT FROM {key}::VARCHAR"))
        elif self.kind == "number":
            condition = f"raw_{key} IS NOT NULL AND ({key} IS NULL OR NOT isfinite({key}))"
            found.append(Rule(key, "must be a number", condition))
        if self.low is not None:
            found.append(Rule(key, f"must be >= {self.low}", f"{key} < {self.low}", self.strict_range, self.fix))
        if self.high is not None and self.high < INT64_MAX:
            found.append(Rule(key, f"must be <= {self.high}", f"{key} > {self.high}", self.strict_range, self.fix))
        if self.choices is not None:
            codes = ", ".join(map(str, self.choices))
            found.append(Rule(key, f"must be one of {codes}", f"{key} NOT IN ({codes})"))
        return found


@dataclass(frozen=True, slots=True)
class Relation:
    """A file as SQL that gives `row_` (1-based, source order, header not counted) and the raw_KEY text columns.

    line: SQL for the whole row as the file has it; None = the fields joined by commas. rules: those of the container.
    """

    sql: str
    line: str | None = None
    rules: tuple[Rule, ...] = ()
    header_rows: int = 0


Opener = Callable[[Path, tuple[Field, ...]], Relation]


@dataclass(frozen=True, eq=False)
class Layout:
    """How one kind of source file becomes (part of) one canonical table.

    columns: canonical column -> SQL over the fields' keys; canonical columns left out are NULL (or 0, '' or FALSE where
    NULL is not allowed). relation: opens a file. source and where: SQL for the rows; source may turn one of the
    relation `checked` (fields and `fault`) into several, but must leave a row at fault alone. helper: column types when
    the table is not canonical (its name then starts with "_"). rejects: False when another layout reads the same file
    and reports its faults.
    """

    table: str
    fields: tuple[Field, ...]
    columns: dict[str, str]
    relation: Opener
    extra_rules: tuple[Rule, ...] = ()
    source: str = "checked"
    where: str = "TRUE"
    helper: dict[str, str] | None = None
    rejects: bool = True
    may_be_empty: bool = False

    def __post_init__(self) -> None:
        keys = [field.key for field in self.fields]
        assert len(set(keys)) == len(keys), f"two fields of one key in {self.table}"
        assert set(self.columns) <= set(self.types), f"columns that {self.table} has not"

    @functools.cached_property
    def rules(self) -> list[Rule]:
        """The rules of the fields in order, then the extra ones."""
        return [rule for field in self.fields for rule in field.rules()] + list(self.extra_rules)

    @functools.cached_property
    def types(self) -> dict[str, str]:
        """Column -> short type of the table this layout fills."""
        return self.helper if self.helper is not None else TABLES[self.table]

    def label(self, key: str) -> str:
        """What messages call a field."""
        return next((field.label for field in self.fields if field.key == key), key)

    def bind(self, file: Path) -> Query:
        """The queries for one file; TraceFormatError if it lacks a mandatory column."""
        return Query(self, self.relation(file, self.fields))


@dataclass(frozen=True, eq=False)
class Query:
    """A layout bound to a file."""

    layout: Layout
    relation: Relation

    @functools.cached_property
    def rules(self) -> list[Rule]:
        """Every rule, in the order they are tried."""
        return [*self.relation.rules, *self.layout.rules]

    @functools.cached_property
    def rows(self) -> str:
        """Rows of a file: row_, fault, then the table's columns in order."""
        output = ", ".join(f"{self._column(name, kind)} AS {name}" for name, kind in self.layout.types.items())
        return f"""{self._typed}
SELECT row_, fault, {output}
FROM {self.layout.source}
WHERE fault > 0 OR ({self.layout.where})"""

    @functools.cached_property
    def faults(self) -> str:
        """Rows that break a rule: row_, fault, the raw value of the field at fault, the whole row as text."""
        at_fault = " ".join(f"WHEN {number} THEN raw_{rule.field}" for number, rule in enumerate(self.rules, 1))
        line = self.relation.line or joined(f"raw_{field.key}" for field in self.layout.fields)
        return f"""{self._typed}
SELECT row_, fault, coalesce(CASE fault {at_fault} END, '') AS value, coalesce({line}, '') AS line
FROM checked WHERE fault > 0 ORDER BY row_"""

    @functools.cached_property
    def _typed(self) -> str:
        cast = {"whole": "TRY_CAST(raw_{0} AS BIGINT)", "number": "TRY_CAST(raw_{0} AS DOUBLE)", "text": "raw_{0}"}
        typed = ", ".join(f"{cast[field.kind].format(field.key)} AS {field.key}" for field in self.layout.fields)
        fault = " ".join(f"WHEN {rule.condition} THEN {number}" for number, rule in enumerate(self.rules, 1))
        return f"""WITH raw AS ({self.relation.sql}),
typed AS (SELECT *, {typed} FROM raw),
checked AS (SELECT *, (CASE {fault} ELSE 0 END)::UTINYINT AS fault FROM typed)"""

    def _column(self, name: str, kind: str) -> str:
        type_ = DUCKDB_TYPES[kind.rstrip("?")]
        if name in self.layout.columns:
            return f"TRY_CAST({self.layout.columns[name]} AS {type_})"  # TRY: rows at fault are computed too
        if kind.endswith("?"):
            return f"NULL::{type_}"
        return {"VARCHAR": "''", "BOOLEAN": "FALSE"}.get(type_, f"0::{type_}")


def named(code: str, names: tuple[str, ...]) -> str:
    """SQL for the name of a numeric code that counts from 0."""
    cases = " ".join(f"WHEN {number} THEN {sql_text(name)}" for number, name in enumerate(names))
    return f"CASE {code} {cases} END"


def scaled(value: str, scale: float) -> str:
    """SQL for a share of the largest machine as a whole number: nearest, at least 1 where the share is above 0."""
    return f"CASE WHEN {value} > 0 THEN greatest(1, round({value} * {scale})) ELSE {value} END"


def once(relation: Opener, *keys: str) -> Opener:
    """The relation with a rule that no two rows of a file have the same values in these fields; the first is kept."""

    def opened(file: Path, fields: tuple[Field, ...]) -> Relation:
        found = relation(file, fields)
        same = ", ".join(f"raw_{key}" for key in keys)
        rows = f"""SELECT *, row_number() OVER (PARTITION BY {same} ORDER BY row_) > 1 AS is_again
FROM ({found.sql}) ORDER BY row_"""
        rule = Rule(keys[-1], "must not be in two rows of a file", "is_again")
        return Relation(rows, found.line, (*found.rules, rule), found.header_rows)

    return opened


def joined(columns: Iterable[str]) -> str:
    """SQL for columns of text put together again with commas."""
    return "concat_ws(',', " + ", ".join(f"coalesce({column}, '')" for column in columns) + ")"


def bare_csv(file: Path, fields: tuple[Field, ...]) -> Relation:
    """Comma-separated text without header or quotes, as Google published in 2011."""
    return Relation(read_csv(file, [f"raw_{field.key}" for field in fields]))


def with_names(file: Path, fields: tuple[Field, ...]) -> Relation:
    """A file that names its columns, told by its suffix: Parquet, JSON lines, or CSV with a header and quotes."""
    name = file.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet(file, fields)
    if name.endswith((".json", ".jsonl", ".ndjson")):
        return _json_lines(file, fields)
    return _headed_csv(file, fields)


def read_csv(file: Path, columns: list[str], *, header: bool = False, quote: str = "", delim: str = ",") -> str:
    """SQL for the rows of a text file, numbered from 1 (`row_`), as columns of text."""
    types = ", ".join(f"{sql_text(column)}: 'VARCHAR'" for column in columns)
    return (
        f"SELECT row_number() OVER () AS row_, * FROM read_csv({sql_text(str(file))}, columns={{{types}}}, "
        f"header={header}, auto_detect=false, delim={sql_text(delim)}, quote={sql_text(quote)}, "
        f"escape={sql_text(quote)}, buffer_size=8388608, max_line_size=4194304)"
    )


def _pick(file: Path, fields: tuple[Field, ...], texts: dict[str, str]) -> str:
    """SQL for raw_KEY of every field out of the columns that are there (name -> SQL for its text)."""
    picked = []
    for field in fields:
        found = []
        for name in field.names:
            column, _, member = name.partition(">")
            if column in texts:
                found.append(_member(texts[column], member))
        if not found and field.mandatory:
            raise TraceFormatError(
                f"lacks the column {' or '.join(field.names)}", file=file, fix="Export the whole table, names unchanged"
            )
        picked.append(f"{'coalesce(' + ', '.join(found) + ')' if found else 'NULL::VARCHAR'} AS raw_{field.key}")
    return ", ".join(picked)


def _member(text: str, member: str) -> str:
    if not member:
        return f"nullif({text}, '')"
    python = f"""replace(replace({text}, '''', '"'), 'None', 'null')"""
    cases = " ".join(
        f"WHEN json_valid({json}) THEN json_extract_string({json}, '$.{member}')" for json in (text, python)
    )
    return f"CASE {cases} ELSE nullif({text}, '') END"


def _headed_csv(file: Path, fields: tuple[Field, ...]) -> Relation:
    first = next(open_text(file), b"").decode(errors="replace")
    header = next(csv.reader([first]), [])
    if not any(name.partition(">")[0] in header for field in fields for name in field.names):
        raise TraceFormatError(
            f"must name the columns, found {first[:80]!r}", file=file, row=1, fix="Add the publisher's header"
        )
    columns = [f"c{position}" for position in range(len(header))]
    texts = dict(zip(reversed(header), reversed(columns), strict=True))  # of two columns of one name, the first
    rows = read_csv(file, columns, header=True, quote='"')
    return Relation(
        f"SELECT row_, {joined(columns)} AS raw_line, {_pick(file, fields, texts)} FROM ({rows})",
        "raw_line",
        header_rows=1,
    )


def _json_lines(file: Path, fields: tuple[Field, ...]) -> Relation:
    return _json_objects(file, fields, read_csv(file, ["raw_line"], delim=chr(1)))


def json_array(file: Path, fields: tuple[Field, ...]) -> Relation:
    """A file that is one JSON array of objects; rows are its elements."""
    objects = f"read_json_objects({sql_text(str(file))}, format='array', maximum_object_size=16777216)"
    return _json_objects(
        file, fields, f"SELECT row_number() OVER () AS row_, json::VARCHAR AS raw_line FROM {objects}"
    )


def _json_objects(file: Path, fields: tuple[Field, ...], lines: str) -> Relation:
    """Columns out of lines (row_, raw_line) of JSON text."""
    names = {name.partition(">")[0] for field in fields for name in field.names}
    texts = {name: f"""json_extract_string(object, '$."{name}"')""" for name in names}
    rows = f"""SELECT row_, raw_line, is_json, object, {_pick(file, fields, texts)} FROM (
  SELECT *, CASE WHEN is_json AND json_type(raw_line) = 'OBJECT' THEN raw_line END AS object FROM (
    SELECT *, coalesce(json_valid(raw_line), FALSE) AS is_json
    FROM ({lines})))"""
    no_object = "Export as newline-delimited JSON, one object per line"
    return Relation(
        rows,
        "raw_line",
        (
            Rule("line", "must be JSON", "NOT is_json"),
            Rule("line", "must be a JSON object", "object IS NULL", fatal=True, fix=no_object),
        ),
    )


def _parquet(file: Path, fields: tuple[Field, ...]) -> Relation:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise TraceFormatError(
            f"is not readable Parquet ({error})", file=file, fix="Export or download it again"
        ) from error
    texts = {}
    for column in schema:
        name = '"' + column.name.replace('"', '""') + '"'
        texts[column.name] = f"{name}::VARCHAR"
        if pa.types.is_nested(column.type):
            texts[column.name] = f"to_json({name})::VARCHAR"
        elif pa.types.is_floating(column.type):  # a whole number that an export made a float prints whole again
            whole = f"{name} = trunc({name}) AND abs({name}) < 1e15"
            texts[column.name] = f"CASE WHEN {whole} THEN {name}::BIGINT::VARCHAR ELSE {name}::VARCHAR END"
    rows = f"read_parquet({sql_text(str(file))}, file_row_number=true)"
    return Relation(f"SELECT file_row_number + 1 AS row_, {_pick(file, fields, texts)} FROM {rows}")
