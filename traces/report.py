"""What the trace commands print: tables for people, one JSON object for programs, progress on stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from traces.importer import ImportReport


@contextlib.contextmanager
def show_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr while a step goes on; silent where stderr is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        steps: dict[str, Any] = {}

        def report(step: str, done: int, of: int) -> None:
            if step not in steps:
                steps[step] = bars.add_task(step, total=of)
            bars.update(steps[step], completed=done, total=of)

        yield report


def print_json(content: Any) -> None:
    """One object on stdout, and nothing else."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n")


def print_import(report: ImportReport, out: Path, as_json: bool) -> None:
    """What an import did."""
    if as_json:
        print_json(report)
        return
    table = Table("table", "rows", "rejected", title=f"{out}", title_justify="left")
    for name, rows in report.rows.items():
        table.add_row(name, f"{rows:,}", f"{report.rejected.get(name, 0):,}")
    console = Console()
    console.print(table)
    for gap in report.gaps:
        console.print(f"gap: {gap.table} has {gap.present} of {gap.parts} parts; missing {', '.join(gap.missing)}")
    for note in report.notes:
        console.print(f"note: {note}")
    if report.rejected:
        console.print("rejected rows are in rejected.parquet with file, row and reason")
    console.print(f"{report.seconds:.1f} s, {report.rows_per_s:,.0f} rows/s")


def print_synth(rows: dict[str, int], seconds: float, out: Path, as_json: bool) -> None:
    """What a synthetic trace holds."""
    if as_json:
        print_json({"rows": rows, "seconds": round(seconds, 3)})
        return
    table = Table("table", "rows", title=f"{out}", title_justify="left")
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    console = Console()
    console.print(table)
    console.print(f"{seconds:.1f} s, {sum(rows.values()) / max(seconds, 1e-9):,.0f} rows/s")
