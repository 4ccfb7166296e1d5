"""`stowage bench packing`: reads its options, shows progress, prints the table, JSON and CSV."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from analytics.packing_bench import ResultsFile, describe_machine, run_grid, select_methods
from analytics.packing_instances import Cell, parse_seeds
from analytics.packing_report import Outcome, report

CSV_COLUMNS = (
    "nodes", "pods_per_node", "priorities", "usage_pct", "seed", "method", "limit_s", "klass", "status",
    "placement_proven", "moves_proven", "baseline", "start", "placed", "bound", "moved", "evicted", "seconds",
    "load", "breaches", "stages",
)  # fmt: skip


HEADINGS = ("improved", "certified", "failed", "proven", "proven+moves", "moved %", "evicted %", "s max")


class BenchUsageError(ValueError):
    """An option that cannot be used."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The command's options, read and checked."""

    methods: tuple[str, ...]
    limit_s: float
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    workers: int
    baseline: bool
    preempting_start: bool
    results: Path | None
    csv: Path | None
    as_json: bool
    quiet: bool

    @classmethod
    def parse(
        cls,
        *,
        methods: str,
        limit: str,
        nodes: str,
        pods_per_node: str,
        priorities: str,
        usage: str,
        seeds: str,
        results: Path | None,
        force: bool,
        csv: Path | None,
        **rest: Any,
    ) -> BenchOptions:
        """Raises BenchUsageError, naming the option, for values that cannot be used."""
        names = tuple(name.strip() for name in methods.split(",") if name.strip())
        try:
            select_methods(names)
            chosen = tuple(parse_seeds(seeds))
        except ValueError as error:
            raise BenchUsageError(str(error)) from error
        sides = [
            _read_numbers("--nodes", nodes),
            _read_numbers("--pods-per-node", pods_per_node),
            _read_numbers("--priorities", priorities),
            _read_numbers("--usage", usage),
        ]
        if csv is not None and csv.exists() and not force:
            raise BenchUsageError(f"{csv} exists; --force overwrites it")
        if results is not None and force:
            results.unlink(missing_ok=True)
        cells = tuple(Cell(*sides) for sides in product(*sides))
        return cls(names, parse_limit_s(limit), cells, chosen, results=results, csv=csv, **rest)


def run_scale_bench(
    *,
    nodes: str,
    usage: str,
    methods: str,
    limit: str | None,
    seeds: str,
    workers: int,
    csv: Path | None,
    plot: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Read the options of the scale runs, run and print them."""
    from analytics.packing_scale import report_scale, run_scale

    names = [name.strip() for name in methods.split(",") if name.strip()]
    try:
        select_methods(names)
        chosen = parse_seeds(seeds)
    except ValueError as error:
        raise BenchUsageError(str(error)) from error
    if "paper" in names:
        raise BenchUsageError("the paper's model has millions of booleans at these sizes; use `stowage bench packing`")
    for path in (csv, plot):
        if path is not None and path.exists() and not force:
            raise BenchUsageError(f"{path} exists; --force overwrites it")
    runs = run_scale(
        _read_numbers("--nodes", nodes),
        _read_numbers("--usage", usage),
        chosen,
        names,
        None if limit is None else parse_limit_s(limit),
        workers,
        quiet,
    )
    report_scale(runs, as_json, csv, plot)


def parse_limit_s(text: str) -> float:
    """Seconds of `1s`, `0.5s`, `500ms` or a bare number. Raises BenchUsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|)", text.strip())
    if not match or float(match[1]) <= 0:
        raise BenchUsageError(f"--limit takes a time such as 1s or 500ms, got {text!r}")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def _read_numbers(option: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BenchUsageError(f"{option} takes whole numbers separated by commas, got {text!r}") from error
    if min(numbers) < 1:
        raise BenchUsageError(f"{option} must be at least 1, got {text!r}")
    return numbers


def run_packing_bench(options: BenchOptions) -> None:
    """Run what is not done yet, then print the figures."""
    machine = describe_machine()
    outcomes = _run_with_progress(options)
    result = report(outcomes, options.cells, options.limit_s)
    loads = [outcome.load for outcome in outcomes]
    result["machine"] = {**machine, "load_mean": sum(loads) / len(loads), "load_max": max(loads)}
    result["seeds"] = len(options.seeds)
    result["cells"] = len(options.cells)
    if options.csv is not None:
        _write_csv(options.csv, outcomes)
    if options.as_json:
        print(json.dumps(result))
    else:
        print(render(result))


def _run_with_progress(options: BenchOptions) -> list[Outcome]:
    results = ResultsFile(options.results)
    total, begun, outcomes = len(options.cells) * len(options.seeds), time.monotonic(), []
    shown = begun
    grid = run_grid(
        options.cells,
        options.seeds,
        select_methods(options.methods),
        options.limit_s,
        results,
        workers=options.workers,
        with_baseline=options.baseline,
        preempting_start=options.preempting_start,
    )
    for number, found in enumerate(grid, start=1):
        outcomes += found
        now = time.monotonic()
        if not options.quiet and (now - shown > 5 or number == total):
            shown = now
            left = (now - begun) / number * (total - number)
            print(f"{number}/{total} instances, about {left:.0f} s left", file=sys.stderr, flush=True)
    return outcomes


def _write_csv(path: Path, outcomes: Sequence[Outcome]) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for outcome in outcomes:
            writer.writerow([_cell_text(outcome, column) for column in CSV_COLUMNS])
    partial.replace(path)


def _cell_text(outcome: Outcome, column: str) -> Any:
    value = getattr(outcome.cell, column) if hasattr(outcome.cell, column) else getattr(outcome, column)
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def render(result: dict[str, Any]) -> str:
    """The report as text: the paper's row, ours under it, with 95 % intervals, then the sides of the grid."""
    machine = result["machine"]
    methods: dict[str, Any] = result["methods"]
    called = next(iter(methods.values()))["called"]
    lines = [
        f"limit {result['limit_s']:g} s, {result['cells']} cells, {result['seeds']} seeds, {called} called instances",
        f"{machine['cpu']}, {machine['cores']} cores, ortools {machine['ortools']}, Python {machine['python']},"
        f" load {machine['load_mean']:.1f} (max {machine['load_max']:.1f})",
        "",
        _row("% of called", *HEADINGS),
    ]
    published = result["published"]
    if published:
        shares = [f"{published[name]:.1f}" for name in ("improved", "certified", "failed")]
        lines.append(_row("published", *shares, "-", f"{published['placement_and_moves_proven']:.1f}", "-", "-", "-"))
    for name, figures in methods.items():
        shares = [
            _share(figures[key])
            for key in ("improved", "certified", "failed", "placement_proven", "placement_and_moves_proven")
        ]
        moves = [_mean(figures[key]) for key in ("moved_percent", "evicted_percent")]
        slowest = figures["seconds"]["max"]
        lines.append(_row(name, *shares, *moves, "-" if slowest is None else f"{slowest:.2f}"))
    for name, figures in methods.items():
        notes = [
            f"{figures[key]} {key.replace('_', ' ')}"
            for key in ("worse_than_start", "worse_than_baseline", "over_deadline", "breaches")
        ]
        if "against_paper" in figures:
            rival = figures["against_paper"]
            notes.append(f"against paper: {rival['more']} more, {rival['equal']} equal, {rival['fewer']} fewer")
        lines.append(f"{name}: {', '.join(notes)}")
    for side in ("nodes", "usage_pct", "pods_per_node", "priorities"):
        lines += ["", *_render_side(result, side)]
    return "\n".join(lines)


def _render_side(result: dict[str, Any], side: str) -> list[str]:
    methods: dict[str, Any] = result["methods"]
    values = list(next(iter(methods.values()))[f"by_{side}"])
    lines = [_row(f"improved/proven by {side}", *values)]
    published = result.get(f"published_by_{side}")
    if published and any(published.values()):
        texts = [f"{published[v]['improved']:.0f}" if published[v] else "-" for v in values]
        lines.append(_row("published", *texts))
    for name, figures in methods.items():
        texts = []
        for value in values:
            cell = figures[f"by_{side}"][value]
            both = [cell[key]["percent"] for key in ("improved", "placement_proven")]
            texts.append("-" if both[0] is None else f"{both[0]:.0f}/{both[1]:.0f} of {cell['called']}")
        lines.append(_row(name, *texts))
    return lines


def _row(head: str, *cells: str) -> str:
    return f"{head:<30}" + "".join(f"{cell:>18}" for cell in cells)


def _share(figure: dict[str, Any]) -> str:
    if figure["percent"] is None:
        return "-"
    return f"{figure['percent']:.1f} [{figure['low']:.0f}-{figure['high']:.0f}]"


def _mean(figure: dict[str, Any]) -> str:
    return "-" if figure["mean"] is None else f"{figure['mean']:.1f} [{figure['low']:.1f}-{figure['high']:.1f}]"
