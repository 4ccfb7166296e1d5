"""The model of a restart from a checkpoint beside a process that is killed and goes on elsewhere, over loopback TCP.

Predicted from what was set (size, age, bandwidth) and one time measured apart: how long a process with a checkpoint of
1 MiB takes to start. STOWAGE_BENCH_REPEATS: how often each case is run (default 3).
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from scheduler.core.balance.migration import MIB, Checkpoint, restart_pod
from tests.benchmarks.bench_migration import BANDWIDTH, error_pct
from tests.benchmarks.checkpointed import move_once
from tests.benchmarks.harness import Report

CASES = [(mib, age_s) for mib in (16, 96) for age_s in (0.5, 2.0, 4.0)]


def bench(work: Path) -> Report:
    report = Report("restart", "A process restarted elsewhere from its checkpoint, predicted and measured")
    repeats = int(os.environ.get("STOWAGE_BENCH_REPEATS", "3"))
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        starts = [move_once(folder, MIB, 0.2, BANDWIDTH) for _ in range(5)]
        restart_s = statistics.median(one.downtime_s - one.moved_bytes / BANDWIDTH for one in starts)
        errors = [row(report, folder, mib, age_s, restart_s, repeats) for mib, age_s in CASES]
    for what, worst in zip(("total", "downtime"), map(max, zip(*errors, strict=True)), strict=True):
        report.notes.append(f"worst error of the medians, {what}: {worst:.1f} %")
    report.notes.append(
        f"{BANDWIDTH // MIB} MiB/s by token bucket; medians of {repeats}; each second process ended with the state "
        f"that one process would have; restart {restart_s:.3f} s measured apart; spread: of the measured total"
    )
    return report


def row(report: Report, folder: Path, mib: int, age_s: float, restart_s: float, repeats: int) -> tuple[float, float]:
    """Add a row; gives the errors of total and downtime in per cent."""
    runs = [move_once(folder, mib * MIB, age_s, BANDWIDTH) for _ in range(repeats)]
    model = restart_pod(Checkpoint(1, age_s, restart_s, mib * MIB), BANDWIDTH)
    totals = [one.total_s for one in runs]
    total_s, downtime_s = statistics.median(totals), statistics.median(one.downtime_s for one in runs)
    errors = error_pct(model.total_s, total_s), error_pct(model.downtime_s, downtime_s)
    report.add(
        f"{mib} MiB, {age_s:g} s old", total_s=model.total_s, total_s_measured=total_s,
        spread=f"{min(totals):.2f}-{max(totals):.2f}", downtime_s=model.downtime_s, downtime_s_measured=downtime_s,
        error_total_pct=errors[0], error_downtime_pct=errors[1],
    )  # fmt: skip
    return errors
