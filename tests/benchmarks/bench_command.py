"""How long the command takes before it does anything."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.harness import ROOT, Report, measure, median_of


def bench(work: Path) -> Report:
    report = Report("command", "The command itself (median of 7)")
    for row, words in (
        ("python -c pass", ["-c", "pass"]),
        ("import stowage", ["-c", "import stowage"]),
        ("stowage --help", [ROOT / "stowage.py", "--help"]),
    ):
        _, cost = median_of(7, lambda words=words: measure([sys.executable, *words]))  # type: ignore[misc]
        target = "< 0.5 CPU s" if row == "import stowage" else None
        report.add(row, cpu_s=cost.cpu_s, wall_s=cost.wall_s, peak_rss_mib=cost.peak_rss_mib, target=target)
    return report
