"""Serverless replays: the real sample of 500 functions, and generated traces of 14 days at 1x, 10x and 100x.

STOWAGE_BENCH_FUNCTIONS: functions of the largest generated trace (default 5,000; 50,000 is the published size and takes
3 GB of memory and 1 GB of disk to make).
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.benchmarks.harness import ROOT, Report, stowage
from tests.benchmarks.serverless_trace import make_trace

SIZES = (500, 5_000, 50_000)
POLICIES = ("fixed", "hybrid", "hybrid-iat", "hazard", "greedy-dual:memory=1Ti")
SAMPLE = ROOT.parent / "shared" / "data" / "azure_functions" / "2019_invitro_sample" / "500"
TWENTY = (
    *(f"fixed:keep-alive={minutes}m" for minutes in (1, 2, 5, 10, 20, 30, 60, 120, 180, 240)),
    "per-trigger", "hybrid", "hybrid-iat", "timers", "hazard", "hazard:price=3", "hazard:price=100", "oracle",
    "oracle-pre-warm", "greedy-dual:memory=24Gi",
)  # fmt: skip


def bench(work: Path) -> Report:
    largest = int(os.environ.get("STOWAGE_BENCH_FUNCTIONS", "5000"))
    report = Report("serverless", "stowage serverless replay: seconds after loading, and of the whole process")
    if SAMPLE.exists():
        _sample(report, work)
    else:
        report.notes.append(f"{SAMPLE} is not there: no rows of the real sample")
    for functions in [size for size in SIZES if size <= largest]:
        trace = make_trace(work / f"azure-{functions}", functions)
        for policy in POLICIES:
            _add(report, f"{functions:,} functions, 14 days, {policy}", trace, "--policy", policy)
            report.write()  # what is known, should a larger one be stopped
    return report


def _sample(report: Report, work: Path) -> None:
    trace = work / "azure-sample-500"
    if not trace.exists():
        stowage("trace", "import", "azure2019", SAMPLE, "-o", trace)
    _add(report, "sample 500, 8 h, one policy", trace, "--keep-alive", "10m", target="0.3 CPU s")
    words = [word for policy in TWENTY for word in ("--policy", policy)]
    _add(report, "sample 500, 8 h, 20 policies in one pass", trace, *words, target="10 CPU s")
    for policy in ("fixed", "hybrid", "hazard"):
        name = f"sample 500, call by call, {policy}"
        _add(report, name, trace, "--policy", policy, "--grain", "event", target="1 M calls/s")


def _add(report: Report, row: str, trace: Path, *words: str, target: str | None = None) -> None:
    found, cost = stowage("serverless", "replay", trace, *words)
    calls = found["policies"][0]["invocations"]
    report.add(
        row, calls=calls, replay_cpu_s=found["cpu_s"], calls_per_cpu_s=calls / max(found["cpu_s"], 1e-9),
        cpu_s=cost.cpu_s, wall_s=cost.wall_s, peak_rss_mib=cost.peak_rss_mib, cold_starts=found.get("cold_starts"),
        idle_gb_h=found.get("idle_gb_h"), target=target,
    )  # fmt: skip
