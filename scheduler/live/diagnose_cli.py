"""`stowage diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def mount(app: typer.Typer) -> None:
    """Add the command to the top level of `app`."""
    app.command()(diagnose)


def diagnose(
    folder: Path = typer.Argument(
        help="Folder of PyTorch's Flight Recorder dumps, a file per rank, and of telemetry; or a Parquet file of timed "
        "operations."
    ),
    ranks: int = typer.Option(0, "--ranks", min=0, help="Ranks of the job; else as many as the dumps speak of."),
    waited: float | None = typer.Option(
        None, "--waited", min=0,
        help="Seconds since the job last moved. Below 25, or twice its longest pause, nothing is called a hang. "
        "Without it the dumps are taken to be of a job that stopped.",
    ),
    follow: bool = typer.Option(
        False, "--follow", help="Look again and again, and report whenever the verdict or the accused change."
    ),
    every: float = typer.Option(5.0, "--every", min=0.1, help="Seconds from one look to the next, with --follow."),
    as_json: bool = typer.Option(
        False, "--json", help="One JSON object on standard output; with --follow one a line and report."
    ),
) -> None:
    """Find the rank that holds a job up: who never entered a collective, or takes longer before each; or nobody.

    Nothing in a dump is run: a pickle that asks for code is refused and named. A dump that is missing or cannot be read
    is evidence like the others. Telemetry is known by its contents: NCCL Inspector and RAS, kernel logs, dcgm-exporter,
    NVSentinel, GPUd, `kubectl get nodes -o json`. A Parquet file has the columns stage, dp_rank, rank, step, optype,
    duration (seconds): workers that compute slower than the others of their stage are accused.
    """
    if folder.suffix == ".parquet":
        _report(_of_operations(folder), as_json)
        return
    if follow:
        _follow(folder, ranks, every, as_json)
    else:
        _report(_look(folder, ranks, waited), as_json)


def _look(folder: Path, ranks: int, waited_s: float | None) -> dict[str, Any]:
    """The report on a folder as it is now."""
    from scheduler.core.errors import StowageInputError
    from scheduler.live.dump_folder import files_by_rank
    from scheduler.live.telemetry_files import read_telemetry

    if not folder.is_dir():
        raise StowageInputError(f"{folder}: no such folder")
    telemetry = read_telemetry(folder)
    files = files_by_rank(path for path in folder.iterdir() if path.is_file() and path not in telemetry.files)
    if files:
        return telemetry.added_to(_of_dumps(files, ranks, waited_s))
    if telemetry.files:
        return telemetry.report()
    raise StowageInputError(f"{folder}: no file's name ends in a rank, as in nccl_trace_rank_0; nor is any telemetry")


def _follow(folder: Path, ranks: int, every_s: float, as_json: bool) -> None:
    """Report on a folder that is written to, until interrupted. A job has waited since its files changed last."""
    import time

    from scheduler.core.errors import StowageInputError

    last_files: dict[Path, int] = {}
    last_told: object = None
    moved_s = time.monotonic()
    while True:
        try:
            files = {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
            if files != last_files:
                last_files, moved_s = files, time.monotonic()
            report = _look(folder, ranks, time.monotonic() - moved_s)
            told = report["verdict"], [(one["rank"], one["host"], one["link"]) for one in report["accused"]]
            if told != last_told:
                last_told = told
                _report(report, as_json, on_one_line=True)
        except (StowageInputError, FileNotFoundError) as error:  # nothing there yet, or a file replaced meanwhile
            if str(error) != last_told:
                last_told = str(error)
                typer.echo(str(error), err=True)
        time.sleep(every_s)


def _of_dumps(files: dict[int, Path], ranks: int, waited_s: float | None) -> dict[str, Any]:
    """The report on Flight Recorder dumps, by rank."""
    from scheduler.core.errors import StowageInputError
    from scheduler.core.gpu.syndromes import diagnose as judge
    from scheduler.live.dump_folder import read_dumps
    from scheduler.live.telemetry_files import ACCUSED

    last = max(files)
    if ranks and last >= ranks:
        raise StowageInputError(f"{files[last]}: rank {last} of a job of {ranks} ranks")
    dumps, unreadable = read_dumps(files)
    known = {dump.rank for dump in dumps}
    found = judge(dumps, sorted({*range(ranks), *unreadable} - known), waited_s)
    return {
        "verdict": found.verdict,
        "accused": [{name: getattr(one, name) for name in ACCUSED} for one in found.accused],
        "missing_ranks": found.missing, "late": found.late, "notes": found.notes,
        "unreadable": [{"file": str(files[rank]), "rank": rank, "why": why} for rank, why in unreadable.items()],
        "ranks": len(dumps),
    }  # fmt: skip


def _of_operations(file: Path) -> dict[str, Any]:
    """The report on a table of timed operations; only what a worker computes counts, not what it waits for."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from scheduler.core.errors import StowageInputError
    from scheduler.core.gpu.stragglers import slow_workers

    names = ("stage", "dp_rank", "rank", "step", "duration")
    try:
        if missing := {*names, "optype"} - set(pq.read_schema(file).names):
            raise StowageInputError(f"{file}: no column {', '.join(sorted(missing))}")
        table = pq.read_table(file, columns=[*names, "optype"])
        columns = {name: table[name].to_numpy().astype(float if name == "duration" else np.int64) for name in names}
    except StowageInputError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        raise StowageInputError(f"{file}: {error}") from error
    if not np.isfinite(columns["duration"]).all():
        raise StowageInputError(f"{file}: column duration holds a value that is no number")
    kinds = np.array(table["optype"].to_pylist(), dtype=str)
    accused: dict[tuple[int, int], dict[str, Any]] = {}
    for kind in sorted(one for one in set(kinds.tolist()) if "compute" in one):
        stage, worker, rank, step, duration = (columns[name][kinds == kind] for name in names)
        for one in slow_workers(stage, worker, step, duration):
            first = int(rank[(stage == one.stage) & (worker == one.worker)].min())
            text = (
                f"{kind} of stage {one.stage}: worker {one.worker} takes {100 * one.slower:.0f} % longer than others "
                f"({one.peers_s:.3f} s), in {100 * one.steady:.0f} % of {one.steps} steps"
            )
            entry = accused.setdefault((one.stage, one.worker), {
                "rank": first, "host": None, "gpu": None, "syndrome": "non-communication slow",
                "confidence": round(one.steady, 3), "evidence": text, "dp": one.worker, "stage": one.stage,
            })  # fmt: skip
            if entry["evidence"] != text:
                entry["evidence"] += f"; {text}"
    return {
        "verdict": "non-communication slow" if accused else "healthy",
        "accused": [accused[key] for key in sorted(accused)],
        "missing_ranks": [], "late": [], "notes": [], "unreadable": [], "ranks": len(set(columns["rank"].tolist())),
    }  # fmt: skip


def _report(report: dict[str, Any], as_json: bool, on_one_line: bool = False) -> None:
    if as_json:
        import json

        typer.echo(json.dumps(report, indent=None if on_one_line else 2))
        return
    print(f"{report['verdict']} ({report['ranks']} ranks)", flush=True)
    for one in report["accused"]:
        print(f"  {_place(one)}: {one['syndrome']}, confidence {one['confidence']:g}: {one['evidence']}")
    if not report["accused"]:
        print("  nobody is accused")
    for line in (*report["late"], *report["notes"]):
        print(f"  {line}")
    for one in report.get("signals", ()):
        where = one["node"] if one["gpu"] is None else f"{one['node']} GPU {one['gpu']}"
        print(
            f"  {one['severity']} {one['code']} on {where} by {one['source']}, {one['count']}x: {one['message']}"
        )
    if report["missing_ranks"]:
        print(f"  no dump of ranks {', '.join(map(str, report['missing_ranks']))}")
    for one in report["unreadable"]:
        typer.echo(f"{one['file']}: {one['why']}", err=True)


def _place(accused: dict[str, Any]) -> str:
    if accused.get("link"):
        return "the connection from rank {} to rank {}".format(*accused["link"])
    if accused.get("among"):
        return f"a connection between {len(accused['among'])} ranks"
    named = ((name, accused[name]) for name in ("rank", "host", "gpu"))
    return ", ".join(f"{name} {value}" for name, value in named if value is not None)
