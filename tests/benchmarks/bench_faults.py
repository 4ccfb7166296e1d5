"""Faults of a fleet: what they cost a job, how many spares are enough, how many hits placement avoids.

On InfiniteHBD-Trace where it is, and on a fitted fleet of its size, which needs no data. STOWAGE_BENCH_SEEDS: seeds of
each comparison (default 20).
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from analytics.faults.history import History, find_history
from analytics.faults.hits import HitsStudy, compare_hits
from analytics.faults.recovery import PARTS, PRESETS
from analytics.faults.report import GangReplay, replay_gangs
from scheduler.core.gpu.spares import cover_of_history, fit_down_model, spares_for
from tests.benchmarks.harness import ROOT, Report
from traces.importer import import_trace

DATA = ROOT.parent / "shared" / "data" / "gpu" / "infinitehbd"
SEEDS = int(os.environ.get("STOWAGE_BENCH_SEEDS", "20"))
JOB = 300


def bench(work: Path) -> Report:
    report = Report("faults", "Faults of 400 nodes over 345 days: a job of 300 nodes, spares, hits avoided")
    for name, history in histories(work).items():
        ettr(report, name, history)
        spares(report, name, history)
        hits(report, name, history)
    report.notes += [
        f"ettr and parts: means of {SEEDS} seeds, which draw the nodes of the job and of the spares",
        "formula: MTBF / (MTBF + loss per fault), as if every fault of 300 of the 400 nodes hit the job",
        "enough: share of the time in which a random pool of 128 + k nodes has 128 that work",
        "aware, quarantine: how many fewer faults hit running gangs than under blind placement at the same allocation, "
        f"95 % interval over {SEEDS} seeds; where 95 % of single seeds lie",
        "learnt: the rate of faults since repair comes from the first half of the time, or from half of the nodes, and "
        "is tested on the rest; in-sample: both are all",
        "resampled: each seed draws its nodes with replacement: the spread of single seeds is a bootstrap over nodes",
    ]
    return report


def histories(work: Path) -> dict[str, History]:
    found = {"fitted": find_history("fitted", None, 0)}
    if DATA.exists():
        folder = work / "infinitehbd"
        if not folder.exists():
            import_trace("infinitehbd", [DATA], folder)
        found = {"infinitehbd": find_history(str(folder), None, 0), **found}
    return found


def ettr(report: Report, name: str, history: History) -> None:
    for spare in (30, history.fleet - JOB):
        for placement in ("blind", "aware"):
            began = time.process_time()
            answers = [
                replay_gangs(history, GangReplay((JOB,), PRESETS, placement, spare, seed))["recoveries"]
                for seed in range(SEEDS)
            ]
            seconds = time.process_time() - began
            for recovery in PRESETS:
                found = [answer[recovery] for answer in answers]
                lost = {part: statistics.mean(one["lost"][part] for one in found) for part in PARTS}
                report.add(
                    f"{name}, {JOB} + {spare} nodes, {placement}, {recovery}",
                    ettr=statistics.mean(one["ettr"] for one in found),
                    ettr_worst=min(one["ettr"] for one in found), formula=found[0]["formula_ettr"],
                    stops=statistics.mean(one["stops"] for one in found), **lost, cpu_s=seconds,
                )  # fmt: skip


def spares(report: Report, name: str, history: History) -> None:
    down, hours = history.down()
    for nodes, counts in ((128, (2, 4, 6, 8, 10, 12)), (JOB, (10, 20, 26, 30))):
        enough = {f"k={k}": cover_of_history(down, hours, history.fleet, nodes, k) for k in counts}
        model = fit_down_model(down, hours, history.fleet)
        report.add(f"{name}, enough for {nodes} + k", **enough, model_99=spares_for(model, nodes, 0.99))


def hits(report: Report, name: str, history: History) -> None:
    for share in (0.75, 0.9) if name == "infinitehbd" else (0.75,):
        others = (("time", True), ("nodes", True), ("in-sample", False)) if share == 0.75 else ()
        for split, is_resampled in (("time", False), ("nodes", False), *others):
            began = time.process_time()
            found = compare_hits(history, HitsStudy(share, SEEDS, split, is_resampled))["placements"]  # type: ignore[arg-type]
            shown = {
                placement: "{cut:.3f} [{cut_low:.3f}, {cut_high:.3f}]; {cut_of_one_seed[0]:.3f} to "
                "{cut_of_one_seed[1]:.3f}".format(**one)
                for placement, one in found.items()
                if placement != "blind"
            }
            report.add(
                f"{name}, {share:.0%} held, learnt from {split}{', resampled' if is_resampled else ''}", **shown,
                blind_hits=found["blind"]["hits"], aware_hits=found["aware"]["hits"],
                blind_allocation=found["blind"]["allocation"], aware_allocation=found["aware"]["allocation"],
                cpu_s=time.process_time() - began,
            )  # fmt: skip
