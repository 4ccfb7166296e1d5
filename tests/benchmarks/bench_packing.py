"""The paper's benchmark, its model beside our orders, and clusters up to 5,000 nodes.

STOWAGE_BENCH_PACKING_SEEDS: seeds per cell (default 1: a few minutes; 10 gives the README's figures, or published:10).
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.benchmarks.harness import Report, stowage

METHODS = ("paper", "no-harm", "max-pack")
SHARES = ("improved", "certified", "failed", "placement_proven", "placement_and_moves_proven")


def bench(work: Path) -> Report:
    report = Report("packing", "stowage bench packing and packing-scale: wall-clock limits, all in")
    seeds = os.environ.get("STOWAGE_BENCH_PACKING_SEEDS", "1")
    for priorities in (4, 2, 1):
        words = ("--priorities", str(priorities), "--limit", "1s", "--seeds", seeds, "--quiet")
        found, _ = stowage("bench", "packing", "--methods", ",".join(METHODS), *words)
        for method in METHODS:
            figures = found["methods"][method]
            report.add(
                f"1 s, P = {priorities}, {method}", called=figures["called"],
                **{f"{name}_pct": figures[name]["percent"] for name in SHARES},
                moved_pct=figures["moved_percent"]["mean"], worse_than_start=figures["worse_than_start"],
                slowest_s=figures["seconds"]["max"],
            )  # fmt: skip
    found, _ = stowage("bench", "packing-scale", "--quiet", "--plot", work / "packing-growth.svg")
    for run in found["runs"]:
        report.add(
            f"{run['nodes']:,} nodes, {run['usage_pct']} %", pods=run["pods"], pending_before=run["pending_before"],
            pending_after=run["pending_after"], pending_bound=run["pending_bound"],
            disturbed_pct=run["disturbed_percent"], placed_s=run["placed_s"], seconds=run["seconds"],
            peak_rss_mib=run["peak_rss_mib"],
        )  # fmt: skip
    report.notes += [
        "Shares are of the called instances: those where the default scheduler leaves a pod pending.",
        f"`paper` is the published CP-SAT model on the same machine and limit. {seeds} seeds per cell.",
        "placed_s: until the best placement was found; seconds: until the search stopped.",
    ]
    return report
