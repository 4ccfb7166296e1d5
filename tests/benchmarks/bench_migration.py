"""The model of live migration beside memory that really moves over loopback TCP, at a set bandwidth.

Predicted from what was set (sizes, write rates, bandwidth) and one time measured apart: how long a process whose memory
is not written to is stopped.
STOWAGE_BENCH_REPEATS: how often each case is run (default 3).
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from scheduler.core.balance.migration import (
    MIB,
    Channel,
    Migration,
    WriteSet,
    migrate_live,
)
from tests.benchmarks.harness import Report
from tests.benchmarks.live_copy import PAGE, Measured, migrate_writer

BANDWIDTH = 48 * MIB
STOP_BYTES = 4 * MIB
SIZES_MIB = (24, 64)
# Write rate / bandwidth and share of the memory, per set.
PATTERNS = {
    **{f"uniform {ratio}": ((ratio, 1.0),) for ratio in (0.1, 0.3, 0.5, 0.7, 0.9, 1.5)},
    "hot 10 % at 0.5": ((0.5, 0.1),),
    "hot 10 % at 2": ((2.0, 0.1),),
    "hot 10 % at 0.72, rest at 0.08": ((0.72, 0.1), (0.08, 0.9)),
}


def bench(work: Path) -> Report:
    report = Report("migration", "Memory moved live, predicted and measured")
    repeats = int(os.environ.get("STOWAGE_BENCH_REPEATS", "3"))
    idle = [migrate_writer(16 * MIB, [], BANDWIDTH, STOP_BYTES, 30, seed)[0] for seed in range(5)]
    channel = Channel(BANDWIDTH, STOP_BYTES, statistics.median(one.downtime_s for one in idle))
    errors = [
        live_row(report, f"{mib} MiB, {name}", mib * MIB, pattern, channel, repeats)
        for mib in SIZES_MIB for name, pattern in PATTERNS.items()
    ]  # fmt: skip
    for what, worst in zip(("bytes", "total", "downtime"), map(max, zip(*errors, strict=True)), strict=True):
        report.notes.append(f"worst error of the medians, {what}: {worst:.1f} %")
    report.notes += [
        f"{BANDWIDTH // MIB} MiB/s by token bucket, stop at {STOP_BYTES // MIB} MiB; medians of {repeats}; each "
        f"received image is its source; resume {channel.resume_s:.4f} s measured apart",
        "name: rate of writes / bandwidth, a page written twice counted twice. spread: of the measured total",
        "constant rate: the same prediction if no page were written twice; - where that never converges",
        "verdict stop-and-copy: the sender was given the number of rounds that the model chose",
    ]
    return report


def live_row(
    report: Report, name: str, memory: int, pattern: tuple[tuple[float, float], ...], channel: Channel, repeats: int
) -> tuple[float, float, float]:
    """Add a row; gives the errors of bytes, total and downtime in per cent."""
    sizes = [int(share * memory) // PAGE for _, share in pattern]
    writes = tuple(WriteSet(ratio * BANDWIDTH, size * PAGE) for (ratio, _), size in zip(pattern, sizes, strict=True))
    model = migrate_live(memory, writes, channel, may_stop_long=True)
    constant = migrate_live(memory, tuple(WriteSet(one.bytes_per_s) for one in writes), channel)
    max_rounds = channel.max_rounds if model.verdict == "live" else model.rounds
    rates = [(one.bytes_per_s / PAGE, size) for one, size in zip(writes, sizes, strict=True)]
    runs = [migrate_writer(memory, rates, BANDWIDTH, STOP_BYTES, max_rounds, seed) for seed in range(repeats)]
    moved = [one for one, _ in runs]
    errors = (
        error_pct(model.sent_bytes, median(moved, "wire_bytes")), error_pct(model.total_s, median(moved, "total_s")),
        error_pct(model.downtime_s, median(moved, "downtime_s")),
    )  # fmt: skip
    totals = [one.total_s for one in moved]
    report.add(
        name, verdict=model.verdict, mib=model.sent_bytes / MIB, mib_measured=median(moved, "wire_bytes") / MIB,
        rounds=model.rounds, rounds_measured=" ".join(str(one.rounds) for one in moved),
        total_s=model.total_s, total_s_measured=median(moved, "total_s"), spread=f"{min(totals):.2f}-{max(totals):.2f}",
        downtime_s=model.downtime_s, downtime_s_measured=median(moved, "downtime_s"),
        error_mib_pct=errors[0], error_total_pct=errors[1], error_downtime_pct=errors[2],
        constant_rate_error_mib_pct=_constant_error(constant, median(moved, "wire_bytes")),
        written_per_wanted=statistics.median(rate for _, rate in runs) / max(1.0, sum(rate for rate, _ in rates)),
    )  # fmt: skip
    return errors


def median(runs: list[Measured], name: str) -> float:
    return float(statistics.median(getattr(one, name) for one in runs))


def error_pct(predicted: float, measured: float) -> float:
    return 100 * abs(predicted - measured) / measured


def _constant_error(constant: Migration, measured_bytes: float) -> float | None:
    return None if constant.verdict == "refused" else error_pct(constant.sent_bytes, measured_bytes)
