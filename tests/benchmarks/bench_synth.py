"""A synthetic cell in the 2011 format."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.harness import Report, stowage


def bench(work: Path) -> Report:
    report = Report("synth", "stowage trace synth google2011 --seed 1")
    for machines, days in ((200, 0.5), (1_000, 1.0), (12_500, 0.25)):
        words = ("--machines", str(machines), "--days", str(days), "--seed", "1", "--force")
        found, cost = stowage("trace", "synth", "google2011", *words, "-o", work / "synthetic")
        rows = sum(found["rows"].values())
        report.add(
            f"{machines:,} machines, {days:g} days", rows=rows, rows_per_cpu_s=rows / cost.cpu_s,
            rows_per_wall_s=rows / cost.wall_s, wall_s=cost.wall_s, cpu_s=cost.cpu_s, peak_rss_mib=cost.peak_rss_mib,
        )  # fmt: skip
    report.notes.append("Every trace is preceded by a day that is simulated and not written.")
    return report
