"""Published files in, canonical trace out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Cost, Report, median_of, slice_sources, stowage


def bench(work: Path) -> Report:
    what, sources = slice_sources(work)
    report = Report("import", f"stowage trace import google2011: {what} (median of 3)")
    for row, options in (("import, all cores", []), ("import --threads 1", ["--threads", "1"])):

        def step(options: list[str] = options) -> tuple[dict[str, Any], Cost]:
            words = ("trace", "import", "google2011", *sources, "-o", work / "imported", "--force", *options)
            return stowage(*words)

        found, cost = median_of(3, step)
        rows = sum(found["rows"][name] for name in ("task_events", "job_events", "machines"))
        report.add(
            row, rows=rows, rows_per_wall_s=rows / cost.wall_s, rows_per_cpu_s=rows / cost.cpu_s,
            wall_s=cost.wall_s, cpu_s=cost.cpu_s, peak_rss_mib=cost.peak_rss_mib, target=">= 400,000 rows/s",
        )  # fmt: skip
    _, cost = median_of(3, lambda: stowage("trace", "check", work / "imported"))
    report.add("check", wall_s=cost.wall_s, cpu_s=cost.cpu_s, peak_rss_mib=cost.peak_rss_mib)
    report.notes.append("Rows are those of the source files; the wall time holds the start of Python.")
    return report
