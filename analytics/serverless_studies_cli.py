"""`stowage serverless analyse|bounds`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

_REGION = typer.Option([], "--region", help="Only functions of this region; repeatable.")
_JSON = typer.Option(False, "--json", help="One JSON object on stdout, nothing else.")


def mount(app: typer.Typer) -> None:
    """Add the commands to `stowage serverless`."""
    app.command()(analyse)
    app.command()(bounds)


def analyse(
    trace: Path = typer.Argument(help="An imported serverless trace."),
    region: list[str] = _REGION,
    table: list[str] = typer.Option([], "--table", help="Only this table, as in 'by runtime'; repeatable."),
    out: Path | None = typer.Option(None, "-o", "--out", help="Folder to write: a CSV per table and plots as SVG."),
    force: bool = typer.Option(False, "--force", help="Replace the folder."),
    as_json: bool = _JSON,
) -> None:
    """Say where cold starts come from: components by region, runtime, trigger, size and hour, load, laws, pod utility.

    Every table says whether it is measured, estimated, or not in the input.
    """
    from analytics.report import show_progress
    from analytics.runs import to_json
    from analytics.serverless.analyse import analyse as run_analysis
    from analytics.serverless.analysis_report import print_tables, select_tables, to_objects, write_tables
    from traces.schema import open_trace

    opened = open_trace(trace)
    with show_progress(None) as tick:
        tables = select_tables(run_analysis(opened, tuple(region), tick), table)
    if out is not None:
        write_tables(out, tables, force)
    if as_json:
        print(to_json(to_objects(tables)), end="")
    else:
        print_tables(tables)


def bounds(
    trace: Path = typer.Argument(help="An imported serverless trace."),
    between: str = typer.Option("100ms", "--between-regions", help="Time that running in another region adds."),
    region: str = typer.Option("R2", "--region", help="Whose running pods are looked at."),
    trigger: str = typer.Option("OBS-A", "--trigger", help="The asynchronous trigger whose work may wait."),
    running_pods: Path | None = typer.Option(
        None, "--running-pods", metavar="CSV", help="Running pods from here: columns hour and trigger:NAME."
    ),
    wait: str = typer.Option("2,4,6,12", "--wait-hours", help="How long it may wait, in hours, with commas."),
    as_json: bool = _JSON,
) -> None:
    """Say what joining regions and letting asynchronous work wait could save, and what rules that know no future do."""
    from analytics.errors import InputError
    from analytics.options import parse_duration_us
    from analytics.runs import to_json
    from analytics.serverless.bounds import pool_regions, read_hours, read_running, read_running_csv, shave_peaks
    from analytics.serverless.bounds_report import pooling_object, print_pooling, print_shaving, shaving_objects
    from traces.schema import open_trace

    hours = _hours(wait)
    opened = open_trace(trace)
    found: dict[str, Any] = {}
    missing = []
    try:
        regions, counts, means = read_hours(opened)
        pooling = pool_regions(counts, means, parse_duration_us(between) / 1e6)
        found["pooling"] = pooling_object(regions, pooling)
    except InputError as error:
        missing.append(str(error))
    try:
        running = read_running_csv(running_pods, trigger) if running_pods else read_running(opened, region, trigger)
        shaving = shave_peaks(*running, hours)
        found["shaving"] = shaving_objects(region, trigger, shaving)
    except InputError as error:
        missing.append(str(error))
    if not found:
        raise InputError("; ".join(missing))
    if as_json:
        print(to_json(found | {"missing": missing}), end="")
        return
    if "pooling" in found:
        print_pooling(regions, pooling)
    if "shaving" in found:
        print_shaving(region, trigger, shaving)
    for words in missing:
        print(f"not in the input: {words}")


def _hours(text: str) -> tuple[int, ...]:
    from analytics.errors import InputError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 1 <= int(word) <= 744 for word in words):
        raise InputError(f"--wait-hours is whole hours from 1 to 744 with commas between, not {text!r}")
    return tuple(int(word) for word in words)
