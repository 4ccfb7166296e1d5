"""`stowage bench packing-scale`: how the packing grows, 100 to 5,000 nodes with 10 pods each.

The start is the default scheduler's placement without preemption; the plan is compared with that start. One run a row:
pods pending before and after, the bound, what is moved, the time until every pod that can be found a place has one
(`placed_s`), the whole time (what is left of the limit goes into fewer moves), and the peak memory of both processes.
"""

from __future__ import annotations

import csv
import json
import re
import resource
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analytics.packing_bench import Answer, describe_machine, find_breaches, make_case, select_methods
from analytics.packing_default import PENDING
from analytics.packing_instances import Cell
from analytics.plot import draw_lines

PODS_PER_NODE = 10
LIMITS_S = {100: 0.4, 500: 1.0, 1000: 5.0, 5000: 60.0}


@dataclass(frozen=True, slots=True)
class ScaleRun:
    """One method on one instance; times in seconds, memory in MiB of this process and the solver's together."""

    nodes: int
    pods: int
    usage_pct: int
    seed: int
    method: str
    limit_s: float
    pending_before: int
    pending_after: int
    pending_bound: int
    proven: bool
    moved: int
    evicted: int
    disturbed_percent: float
    placed_s: float
    seconds: float
    peak_rss_mib: int
    breaches: tuple[str, ...]


def run_one(cell: Cell, seed: int, method: str, limit_s: float, workers: int) -> ScaleRun:
    """Pack one large instance."""
    case = make_case(cell, seed, with_baseline=False)
    answer = select_methods([method])[method](case.instance, case.start, limit_s, workers)
    plan = case.start if answer.node_of is None else answer.node_of
    pods, ran = len(case.start), case.start != PENDING
    moved = int((ran & (plan != case.start) & (plan != PENDING)).sum())
    evicted = int((ran & (plan == PENDING)).sum())
    return ScaleRun(
        nodes=cell.nodes,
        pods=pods,
        usage_pct=cell.usage_pct,
        seed=seed,
        method=method,
        limit_s=limit_s,
        pending_before=case.pending[1],
        pending_after=int((plan == PENDING).sum()),
        pending_bound=pods - sum(answer.bound) if answer.bound else 0,
        proven=answer.placement_proven,
        moved=moved,
        evicted=evicted,
        disturbed_percent=100 * (moved + evicted) / pods,
        placed_s=read_placed_s(answer),
        seconds=answer.seconds,
        peak_rss_mib=peak_rss_mib(),
        breaches=find_breaches(case.instance, case.start, plan, method),
    )


def read_placed_s(answer: Answer) -> float:
    """The time until the last tier was packed, from the solver's own account of its stages; all of it without one."""
    total, placed = 0.0, 0.0
    for stage in answer.stages.split("; "):
        seconds = re.search(r"^(tier|disruption).* seconds=([\d.]+)", stage)
        if seconds:
            total += float(seconds[2])
            if seconds[1] == "tier":
                placed = total
    return placed or answer.seconds


def peak_rss_mib() -> int:
    """The largest resident memory so far, of this process and the solver process."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    from scheduler.core.packing.child import shared_solver

    process = shared_solver().process
    if process is None:
        return own
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return own
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return own + (int(found[1]) // 1024 if found else 0)


def run_scale(
    nodes: Sequence[int],
    usages: Sequence[int],
    seeds: Sequence[int],
    methods: Sequence[str],
    limit_s: float | None,
    workers: int,
    quiet: bool,
) -> list[ScaleRun]:
    """Every size, usage, seed and method in turn."""
    runs = []
    for usage in usages:
        for size in nodes:
            limit = limit_s or LIMITS_S.get(size) or max(1.0, size / 100)
            for seed in seeds:
                for method in methods:
                    runs.append(run_one(Cell(size, PODS_PER_NODE, 4, usage), seed, method, limit, workers))
                    if not quiet:
                        print(render_run(runs[-1]), file=sys.stderr, flush=True)
    return runs


def report_scale(runs: Sequence[ScaleRun], as_json: bool, csv_path: Path | None, plot: Path | None) -> None:
    """Print the runs, and write the CSV and the plot if asked for."""
    machine = describe_machine()
    if csv_path is not None:
        with csv_path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(runs[0])))
            writer.writeheader()
            writer.writerows(asdict(run) for run in runs)
    if plot is not None:
        plot.write_text(draw_growth(runs))
    if as_json:
        print(json.dumps({"machine": machine, "runs": [asdict(run) for run in runs]}))
        return
    print(f"{machine['cpu']}, {machine['cores']} cores, ortools {machine['ortools']}, load {machine['load_1min']:.1f}")
    print(render_head())
    print("\n".join(render_run(run) for run in runs))


def render_head() -> str:
    heads = ("usage", "nodes", "pods", "method", "limit", "pending", "after", "bound", "moved+ev", "%", "placed", "all")
    return "".join(f"{head:>10}" for head in heads) + f"{'MiB':>8}"


def render_run(run: ScaleRun) -> str:
    cells: tuple[Any, ...] = (
        f"{run.usage_pct} %", run.nodes, run.pods, run.method, f"{run.limit_s:g} s", run.pending_before,
        run.pending_after, run.pending_bound, f"{run.moved}+{run.evicted}", f"{run.disturbed_percent:.2f}",
        f"{run.placed_s:.2f} s", f"{run.seconds:.2f} s",
    )  # fmt: skip
    return "".join(f"{cell:>10}" for cell in cells) + f"{run.peak_rss_mib:>8}" + "".join(f"  {b}" for b in run.breaches)


def draw_growth(runs: Sequence[ScaleRun]) -> str:
    """An SVG of the median time until packed over nodes, both logarithmic, one line per method and usage."""
    times: dict[str, dict[int, list[float]]] = {}
    for run in sorted(runs, key=lambda run: (run.method, run.usage_pct, run.nodes)):
        line = times.setdefault(f"{run.method}, {run.usage_pct} %", {})
        line.setdefault(run.nodes, []).append(max(run.placed_s, 0.001))
    lines = {name: [(float(n), statistics.median(found)) for n, found in line.items()] for name, line in times.items()}
    x_label = f"nodes ({PODS_PER_NODE} pods each)"
    return draw_lines(lines, x_label, "seconds until packed", log_x=True, log_y=True)
