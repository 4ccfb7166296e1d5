"""The tables of `stowage serverless analyse` for people, for scripts, and as files."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analytics.errors import InputError
from analytics.plot import draw_lines, draw_stacks
from analytics.report import number, print_table
from analytics.runs import to_json
from analytics.serverless.analyse import Row, Table

SHOWN_ROWS = 30
_MARK = "tables.json"
_COMPONENTS = ("pod_allocation", "deploy_code", "deploy_dependency", "scheduling")


def select_tables(tables: list[Table], names: list[str]) -> list[Table]:
    """Those named, all without names. Raises InputError for a name that is none."""
    known = [table.name for table in tables]
    for name in names:
        if name not in known:
            raise InputError(f"no table is called {name!r}; there are {', '.join(known)}")
    return [table for table in tables if not names or table.name in names]


def to_objects(tables: list[Table]) -> dict[str, Any]:
    """By name: basis, why and rows."""
    return {"tables": {table.name: {"basis": table.basis, "why": table.why, "rows": table.rows} for table in tables}}


def print_tables(tables: list[Table]) -> None:
    """One table after the other; of a long one the first rows."""
    for table in tables:
        print(f"\n{table.name} ({table.basis}: {table.why})")
        if not table.rows:
            continue
        columns = _columns(table.rows)
        shown = [[_cell(row.get(column)) for column in columns] for row in table.rows[:SHOWN_ROWS]]
        print_table("", [column.replace("_", " ") for column in columns], shown)
        if len(table.rows) > SHOWN_ROWS:
            print(f"... {len(table.rows) - SHOWN_ROWS} more rows (--json or -o has them)")


def write_tables(folder: Path, tables: list[Table], force: bool) -> None:
    """All tables as JSON, a CSV per table, and a plot where one says more; the folder appears whole or not at all."""
    _refuse(folder, force)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / _MARK).write_text(to_json(to_objects(tables)))
    for table in tables:
        stem = re.sub(r"\W+", "_", table.name)
        if table.rows:
            (partial / f"{stem}.csv").write_text(_csv(table.rows))
        for name, svg in _plots(table).items():
            (partial / f"{stem}_{name}.svg").write_text(svg)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)


def _refuse(folder: Path, force: bool) -> None:
    if folder.exists() and not force:
        raise InputError(f"{folder} exists; --force replaces it")
    if folder.exists() and not (folder / _MARK).is_file():
        raise InputError(f"{folder} exists and is not an analysis, so --force does not replace it")


def _plots(table: Table) -> dict[str, str]:
    if table.name == "by hour" and table.rows:
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in table.rows:
            lines.setdefault(row["region"], []).append((row["hour"], row["cold_starts"]))
        return {"cold_starts": draw_lines(lines, "hour of the trace", "cold starts per hour")}
    if table.name.startswith("by ") and table.rows:
        key, plots = table.name.removeprefix("by "), {}
        for region in sorted({row["region"] for row in table.rows}):
            bars = {
                str(row[key]): {name: row[f"{name}_mean_s"] or 0.0 for name in _COMPONENTS}
                for row in table.rows
                if row["region"] == region
            }
            plots[f"components_{region}"] = draw_stacks(bars, "mean seconds of a cold start", title=region)
        return plots
    return {}


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return number(value) if isinstance(value, int | float) else str(value)


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
