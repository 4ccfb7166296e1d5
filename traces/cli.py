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
    format_name: str = typer.Argument(..., metavar="FORMAT", help="google2011, google2019 or openb."),
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
    format_name: str = typer.Argument(..., metavar="FORMAT", help="google2011."),
    out: Path = typer.Option(..., "-o", "--out", metavar="DIR", help="Folder of the published layout, to be made."),
    machines: int = typer.Option(..., "--machines", help="Machines at the start; the published cell has 12,477."),
    days: float = typer.Option(..., "--days", help="Length; the published trace has 29 days."),
    seed: int = typer.Option(0, "--seed", help="The same seed gives the same files."),
    usage: float = typer.Option(0.0, "--usage", help="Share of tasks that get task_usage rows."),
    threads: int | None = typer.Option(None, "--threads", min=1, help="Writers [default: all cores, at most 4]."),
    force: bool = typer.Option(False, "--force", help="Replace the synthetic trace that is there."),
    as_json: bool = AS_JSON,
) -> None:
    """Write a synthetic trace in a published format, with the published statistics.

    Its schedule is a real one: tasks run on machines that are up, within the recorded over-commit.
    """
    import time

    from traces.report import print_synth, show_progress
    from traces.synth import synthesise

    start = time.monotonic()
    with show_progress() as progress:
        rows = synthesise(
            out,
            format_name=format_name,
            machines=machines,
            days=days,
            seed=seed,
            usage=usage,
            threads=threads,
            force=force,
            progress=progress,
        )
    print_synth(rows, time.monotonic() - start, out, as_json)
