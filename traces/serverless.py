"""What serverless readers share: from the parts of their files to functions by number, and tables in order of time.

Their files name functions by text, in several tables and on every day anew. Each file becomes a helper table first
(`_minutes`, `_durations`, ...); when all are there, the reader's `finish` numbers the functions of all of them in order
of (region, owner, app, name) and writes the canonical tables with SQL over the helpers.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa

from traces.convert import Output
from traces.layout import Layout
from traces.schema import Gap, arrow_schema, empty_sql, sql_text
from traces.sources import ranges
from traces.tables import ROW_GROUP, open_writer

# The helper table of what came summed up: as `series`, functions by name.
SERIES = {
    "time_us": "i64", "window_us": "i64", "region": "str?", "name": "str?", "metric": "str", "quantile": "f64?",
    "value": "f64",
}  # fmt: skip


@cache
def sql_of(name: str) -> str:
    """The text of `sql/NAME.sql`."""
    return (files("traces") / "sql" / f"{name}.sql").read_text()


def synthetic_days(file: Path) -> int | None:
    """How many days a generator noted beside or above a file that it made; None for a published one."""
    for folder in list(file.parents)[:4]:
        try:
            return int(json.loads((folder / "synth.json").read_bytes())["days"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


@dataclass(slots=True, eq=False)
class Assembly:
    """The helper tables of an import, and the trace they become. rows: of the tables written so far, for meta.json."""

    con: duckdb.DuckDBPyConnection
    parts: Path
    trace: Path
    outputs: dict[str, list[Output]]
    rows: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def has(self, helper: str) -> bool:
        """Whether any file gave rows to a helper table."""
        return any(output.rows for output in self.outputs.get(helper, ()))

    def scan(self, helper: str, outputs: Sequence[Output] | None = None) -> str:
        """A DuckDB table function over a helper table, or over some of its parts."""
        chosen = self.outputs[helper] if outputs is None else outputs
        names = ", ".join(sql_text(str(self.parts / helper / output.file)) for output in chosen)
        return f"read_parquet([{names}], filename=true, file_row_number=true)"

    def view(self, layout: Layout) -> None:
        """Make a view of a layout's helper table; an empty one where no file gave it."""
        helper = layout.table
        if helper in self.outputs:
            source = self.scan(helper)
        else:
            source = f"({empty_sql({**layout.types, 'filename': 'str', 'file_row_number': 'i64'})})"
        self.con.execute(f"CREATE OR REPLACE VIEW {helper} AS SELECT * FROM {source}")

    def number(self, mentions: Sequence[str], key: Sequence[str] = ("owner", "app", "name")) -> int:
        """Make the table `numbered`: a number per function that any of the tables mentions, in order of its key."""
        names = ", ".join(key)
        known = " UNION ".join(f"SELECT DISTINCT {names} FROM {mention}" for mention in mentions)
        self.con.execute(f"""CREATE TABLE numbered AS
            SELECT (row_number() OVER (ORDER BY {names}) - 1)::INTEGER AS function, {names} FROM ({known})""")
        return self.count("SELECT count(*) FROM numbered")

    def spans(self, *helpers: str) -> Iterator[dict[str, list[Output]]]:
        """Parts of helper tables in order of time; those that overlap in time come together, by helper."""
        timed = [output for helper in helpers for output in self.outputs.get(helper, ()) if output.rows]
        timed.sort(key=lambda output: (output.first_us or 0, output.table, output.file))
        group: dict[str, list[Output]] = {}
        end = -1
        for output in timed:
            if group and (output.first_us or 0) > end:
                yield group
                group = {}
            group.setdefault(output.table, []).append(output)
            end = max(end, output.latest_us or 0, (output.last_us or 0) - 1)  # the last includes its window
        if group:
            yield group

    def write_timed(self, table: str, query: str, *helpers: str) -> None:
        """Write a canonical table from the helper tables that `sql/QUERY.sql` calls {_name}, a span at a time.

        Nothing is written where no file gave rows.
        """
        spans = list(self.spans(*helpers))
        if spans:
            self.write(table, (sql_of(query).format(**self._scans(span, helpers)) for span in spans))

    def _scans(self, span: dict[str, list[Output]], helpers: Sequence[str]) -> dict[str, str]:
        return {
            helper: self.scan(helper, span[helper]) if helper in span else f"(FROM {helper} WHERE FALSE)"
            for helper in helpers
        }

    def write(self, table: str, queries: Iterable[str]) -> None:
        """Write the rows of the queries, in their order, as a canonical table: a part per query that gives any."""
        schema = arrow_schema(table)
        (self.trace / table).mkdir()
        self.rows[table] = 0
        number = itertools.count()
        for query in queries:
            batches = self.con.sql(query).to_arrow_reader(ROW_GROUP)
            first = next(iter(batches), None)
            if first is None:
                continue
            with open_writer(self.trace / table / f"part-{next(number):05}.parquet", table) as writer:
                for batch in itertools.chain([first], batches):
                    writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
                    self.rows[table] += batch.num_rows

    def find_holes(self) -> None:
        """Add a gap for each series of a region, or of the platform, that lacks windows."""
        for metric, region, window_us, parts, present, numbers in self.con.sql(sql_of("series_holes")).fetchall():
            whose = f"{metric} of {region}" if region else metric
            name = f"series {whose}, windows of {window_us // 1_000_000} s"
            self.gaps.append(Gap(table=name, parts=parts, present=present, missing=list(ranges(numbers))))

    def write_functions(self, query: str) -> None:
        """Write `functions` by `sql/QUERY.sql`, on one thread: sums of fractions depend on the order of adding."""
        [[threads]] = self.con.sql("SELECT current_setting('threads')").fetchall()
        self.con.execute("SET threads = 1")
        self.write("functions", [sql_of(query)])
        self.con.execute(f"SET threads = {threads}")

    def count(self, query: str) -> int:
        """The one number a query gives."""
        return int(self.con.sql(query).fetchall()[0][0])

    def remark(self, count: int, text: str) -> None:
        """Note something that was found `count` times; nothing where it was not."""
        if count:
            self.notes.append(f"{count:,} {text}")
