"""`stowage trace ...`"""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True)

AS_JSON = typer.Option(False, "--json", help="One JSON object on stdout instead of a table.")


@app.callback()
def trace() -> None:
    """Import, check, make and fetch cluster traces."""


@app.command("import")
def import_(
    format_name: str = typer.Argument(
        ...,
        metavar="FORMAT",
        help="azure2019, azure2021, google2011, google2019, huawei2023, huawei2025, infinitehbd or openb.",
    ),
    sources: list[Path] = typer.Argument(..., metavar="SRC...", help="Folders as published, or the files themselves."),
    out: Path = typer.Option(..., "-o", "--out", metavar="DIR", help="Folder of the canonical trace, to be made."),
    force: bool = typer.Option(False, "--force", help="Replace the trace that is there."),
    strict: bool = typer.Option(False, "--strict", help="Stop at the first row that breaks a rule."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="Files read at once [default: all cores]."),
    as_json: bool = AS_JSON,
) -> None:
    """Read published trace files into a canonical trace.

    Whole or not at all; an import that was stopped goes on where it was.
    """
    from traces.importer import import_trace
    from traces.report import print_import, show_progress

    with show_progress() as progress:
        report = import_trace(format_name, sources, out, force=force, strict=strict, threads=threads, progress=progress)
    print_import(report, out, as_json)


@app.command()
def info(
    folder: Path = typer.Argument(..., metavar="DIR", help="A canonical trace."),
    as_json: bool = AS_JSON,
) -> None:
    """Say what a trace is and where it came from, at once: what meta.json holds."""
    from traces.report import print_info
    from traces.schema import open_trace

    print_info(open_trace(folder).meta, as_json)


@app.command()
def check(
    folder: Path = typer.Argument(..., metavar="DIR", help="A canonical trace."),
    as_json: bool = AS_JSON,
) -> None:
    """Report the quality of a trace: rows kept and dropped, gaps, illegal transitions, units, times, shapes, delays."""
    from traces.check import check_trace
    from traces.report import print_check

    print_check(check_trace(folder), as_json)


@app.command()
def synth(
    format_name: str = typer.Argument(
        ..., metavar="FORMAT", help="google2011, infinitehbd (faults of servers), azure2019 or huawei2025 (serverless)."
    ),
    out: Path = typer.Option(..., "-o", "--out", metavar="DIR", help="Folder of the published layout, to be made."),
    machines: int | None = typer.Option(
        None, "--machines", help="Machines at the start; google2011 has 12,477 and infinitehbd 400."
    ),
    days: float = typer.Option(..., "--days", help="Length; those published have 29, 345, 14 and 31 days."),
    seed: int = typer.Option(0, "--seed", help="The same seed gives the same files."),
    usage: float = typer.Option(0.0, "--usage", help="Share of tasks that get task_usage rows (google2011)."),
    functions: int | None = typer.Option(None, "--functions", help="Functions (azure2019; some 50,000 are published)."),
    scale: float = typer.Option(1.0, "--scale", help="Share of the functions and cold starts (huawei2025)."),
    like: Path | None = typer.Option(
        None, "--like", metavar="DIR", help="Take the published cold starts per minute from there (huawei2025)."
    ),
    threads: int | None = typer.Option(None, "--threads", min=1, help="Writers [default: all cores, at most 4]."),
    force: bool = typer.Option(False, "--force", help="Replace the synthetic trace that is there."),
    as_json: bool = AS_JSON,
) -> None:
    """Write a synthetic trace in a published format, with the published statistics.

    The schedule of google2011 is a real one: tasks run on machines that are up, within the recorded over-commit.
    """
    import time

    from traces.report import print_synth, show_progress
    from traces.synth import Wish, synthesise

    start = time.monotonic()
    wish = Wish(format_name, days, machines, seed, usage, functions, scale, like)
    with show_progress() as progress:
        rows = synthesise(out, wish, threads=threads, force=force, progress=progress)
    print_synth(rows, time.monotonic() - start, out, as_json)


@app.command()
def fetch(
    format_name: str = typer.Argument(..., metavar="FORMAT", help="google2011."),
    out: Path = typer.Option(..., "-o", "--out", metavar="DIR", help="Folder of the published layout."),
    base_url: str | None = typer.Option(None, "--base-url", help="Address of a mirror [default: the public one]."),
    tables: str | None = typer.Option(None, "--tables", help="Names with commas between [default: all]."),
    parts: str | None = typer.Option(None, "--parts", help="Parts to fetch, such as 0-13,20 [default: all]."),
    connections: int = typer.Option(4, "--connections", min=1, max=16, help="Downloads at once."),
    tries: int = typer.Option(5, "--tries", min=1, help="Tries in a row without progress before a file is given up."),
    force: bool = typer.Option(False, "--force", help="Fetch again what is there."),
    as_json: bool = AS_JSON,
) -> None:
    """Download published trace parts: resumed, verified by SHA-256 and as gzip, each whole or not there."""
    from traces.fetch import fetch as fetch_parts
    from traces.fetch import parse_parts
    from traces.report import print_fetch, show_progress

    with show_progress() as progress:
        report = fetch_parts(
            format_name,
            out,
            base_url=base_url,
            tables=None if tables is None else [name.strip() for name in tables.split(",")],
            parts=None if parts is None else parse_parts(parts),
            connections=connections,
            tries=tries,
            force=force,
            progress=progress,
        )
    print_fetch(report, out, as_json)
