"""What the trace commands print: tables for people, one JSON object for programs, progress on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from traces.schema import Gap, Meta

if TYPE_CHECKING:
    from traces.check import CheckReport
    from traces.fetch import FetchReport
    from traces.importer import ImportReport


@contextlib.contextmanager
def show_progress() -> Iterator[Callable[[str, int, int], None]]:
    """What goes on, on stderr: a bar on a terminal, else a line each tenth of a step that takes over two seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        steps: dict[str, Any] = {}

        def report(step: str, done: int, of: int) -> None:
            if step not in steps:
                steps[step] = bars.add_task(step, total=of)
            bars.update(steps[step], completed=done, total=of)

        yield report


def _lines() -> Callable[[str, int, int], None]:
    began: dict[str, float] = {}
    told: dict[str, int] = {}

    def report(step: str, done: int, of: int) -> None:
        tenth = 10 * done // max(of, 1)
        is_long = time.monotonic() - began.setdefault(step, time.monotonic()) > 2
        if is_long and tenth > told.get(step, 0):
            told[step] = tenth
            print(f"{step}: {10 * tenth} %", file=sys.stderr, flush=True)

    return report


def print_json(content: Any) -> None:
    """One object on stdout, and nothing else."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n")


def _console() -> Console:
    """Plain and never wrapped where stdout is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=200, highlight=False)


def _grid(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table whose numbers stand to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    cells = [[_cell(value) for value in row] for row in rows]
    for position, name in enumerate(columns):
        is_text = all(row[position][:1].isalpha() or not row[position] for row in cells)
        table.add_column(name, justify="left" if is_text else "right")
    for row in cells:
        table.add_row(*row)
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _defects(gaps: Sequence[Gap], notes: Sequence[str], rejected: int) -> list[str]:
    lines = [
        f"gap: {gap.table} has {gap.present} of {gap.parts} parts; missing {', '.join(gap.missing)}" for gap in gaps
    ]
    lines += [f"note: {note}" for note in notes]
    if rejected:
        lines.append(f"{rejected:,} rejected rows are in rejected.parquet with file, row and reason")
    return lines


def _rows(rows: dict[str, int], rejected: dict[str, int]) -> Table:
    names = [*rows, *(name for name in rejected if name not in rows)]
    return _grid(
        "", ("table", "rows", "rejected"), [(name, rows.get(name, 0), rejected.get(name, 0)) for name in names]
    )


def print_import(report: ImportReport, out: Path, as_json: bool) -> None:
    """What an import did."""
    if as_json:
        print_json(report)
        return
    console = _console()
    console.print(_rows(report.rows, report.rejected))
    for line in _defects(report.gaps, report.notes, sum(report.rejected.values())):
        console.print(line)
    console.print(f"{out}: {report.seconds:.1f} s, {report.rows_per_s:,.0f} rows/s")


def print_info(meta: Meta, as_json: bool) -> None:
    """What meta.json says."""
    if as_json:
        print_json(meta)
        return
    console = _console()
    verified = sum(source.verified for source in meta.sources)
    console.print(f"format {meta.format}, digest {meta.digest}")
    console.print(f"{len(meta.sources)} source files, {verified} of them checked against published checksums")
    console.print(_span(meta.time_range_us))
    console.print(_rows(meta.rows, meta.rejected))
    for line in _defects(meta.gaps, meta.notes, sum(meta.rejected.values())):
        console.print(line)


def _span(time_range_us: tuple[int, int] | None) -> str:
    if time_range_us is None:
        return "no events"
    first, last = (time / 1e6 for time in time_range_us)
    return f"time {first:,.0f} s to {last:,.0f} s ({(last - first) / 3600:,.2f} h)"


def print_check(report: CheckReport, as_json: bool) -> None:
    """The data-quality report."""
    if as_json:
        print_json(report)
        return
    console = _console()
    console.print(f"{report.format}: {_size(report)}; {_span(report.time_range_us)}")
    console.print(_rows(report.rows, report.rejected))
    counted = (
        ("task events", report.task_events),
        ("job events", report.job_events),
        ("machine events", report.machine_events),
    )
    for title, events in counted:
        if events:
            console.print(_grid(title, ("event", "rows"), events.items()))
    illegal = [(name, *split.values()) for name, split in report.illegal_transitions.items()]
    if illegal:
        console.print(_grid("illegal transitions", ("state and event", "with missing info", "without"), illegal))
    elif report.task_events:
        console.print("no illegal transition")
    for table in _measures(report):
        console.print(table)
    if report.over_commitment:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in report.over_commitment.items())
        console.print(f"running at time 0: requests are {shares} of the capacity")
    for rule, count in report.rejected_reasons.items():
        console.print(f"rejected {count:,}: {rule}")
    for line in _defects(report.gaps, report.notes, sum(report.rejected.values())):
        console.print(line)


def _size(report: CheckReport) -> str:
    found = report.serverless
    if found is None:
        return f"{report.jobs:,} jobs, {report.tasks:,} tasks, {report.machines:,} machines"
    counts = [
        (found["functions"], "functions"), (found["invocations"], "invocations per window"),
        (found["single_invocations"], "single invocations"), (found["cold_starts"], "cold starts"),
    ]  # fmt: skip
    return ", ".join(f"{count:,} {what}" for count, what in counts if count) or "no functions"


def _serverless(found: dict[str, Any]) -> Iterator[Table]:
    for title, name, few in (
        ("functions by region and trigger", "groups", 40), ("published series", "series", 20),
        ("hours without anything", "quiet", 12),
    ):  # fmt: skip
        rows = found[name]
        if rows:
            more = f", {few} of {len(rows)}" if len(rows) > few else ""
            yield _grid(title + more, tuple(rows[0]), [tuple(row.values()) for row in rows[:few]])
    lacks = ("silent", "without_duration", "of_no_duration", "without_memory")
    if any(found[name] for name in lacks):
        yield _grid("functions that lack something", lacks, [tuple(found[name] for name in lacks)])


def _measures(report: CheckReport) -> Iterator[Table]:
    if report.snapshot and (report.snapshot["running"] or report.snapshot["pending"]):
        yield _grid("tasks at time 0 (millicores, MiB)", tuple(report.snapshot), [tuple(report.snapshot.values())])
    if report.capacity:
        yield _grid("machines at time 0 (millicores, MiB)", tuple(report.capacity), [tuple(report.capacity.values())])
    for title, key, rows in (
        ("wait from SUBMIT to SCHEDULE, s", "tier", report.delay_s), ("asked at SUBMIT", "resource", report.requests),
    ):  # fmt: skip
        if rows:
            columns = (key, *next(iter(rows.values())))
            yield _grid(title, columns, [(name, *row.values()) for name, row in rows.items()])
    if report.tasks_per_job:
        yield _grid("tasks per job", tuple(report.tasks_per_job), [tuple(report.tasks_per_job.values())])
    if report.shapes:
        shown = report.shapes[:12]
        yield _grid("machine shapes (millicores, MiB)", tuple(shown[0]), [tuple(shape.values()) for shape in shown])
    if report.machine_outage_s and report.machine_outage_s["n"]:
        yield _grid("machine away, s", tuple(report.machine_outage_s), [tuple(report.machine_outage_s.values())])
    if report.serverless:
        yield from _serverless(report.serverless)
    if report.faults:
        yield _grid("faults, hours", tuple(report.faults[0]), [tuple(row.values()) for row in report.faults])


def print_synth(rows: dict[str, int], seconds: float, out: Path, as_json: bool) -> None:
    """What a synthetic trace holds."""
    if as_json:
        print_json({"rows": rows, "seconds": round(seconds, 3)})
        return
    console = _console()
    console.print(_grid("", ("table", "rows"), rows.items()))
    console.print(f"{out}: {seconds:.1f} s, {sum(rows.values()) / max(seconds, 1e-9):,.0f} rows/s")


def print_fetch(report: FetchReport, out: Path, as_json: bool) -> None:
    """What a download brought."""
    if as_json:
        print_json(report)
        return
    checks = ", ".join(f"{count} by {how}" for how, count in report.verified.items() if count)
    console = _console()
    console.print(f"{out}: {report.fetched} files fetched, {report.kept} were there; verified {checks}")
    console.print(
        f"{report.bytes:,} bytes in {report.seconds:.1f} s, {report.resumed} resumed, {report.retries} retries"
    )
