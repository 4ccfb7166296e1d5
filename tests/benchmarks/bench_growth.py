"""From one day of a 12,500-machine cell to a month: make, import, check, replay. STOWAGE_BENCH_DAYS says how far."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.benchmarks.harness import Report, stowage

MACHINES = 12_500
DAYS = (1, 3, 10, 29)


def bench(work: Path) -> Report:
    longest = float(os.environ.get("STOWAGE_BENCH_DAYS", "1"))
    report = Report("growth", f"stowage trace synth, import, replay: {MACHINES:,} machines, seed 1")
    for days in [days for days in DAYS if days <= longest] or [longest]:
        raw, trace, run = work / "growth-raw", work / "growth-trace", work / "growth-run"
        size = ("--machines", str(MACHINES), "--days", f"{days:g}", "--seed", "1")
        steps = (
            ("synth", ("trace", "synth", "google2011", *size, "-o", raw, "--force")),
            ("import", ("trace", "import", "google2011", raw, "-o", trace, "--force")),
            ("recorded", ("replay", trace, "--mode", "recorded", "-o", run, "--force")),
            ("best-fit", ("replay", trace, "--policy", "best-fit", "-o", run, "--force")),
        )
        for step, words in steps:
            found, cost = stowage(*words)
            events = found["engine"]["events"] if "engine" in found else found["rows"]["task_events"]
            engine = found.get("engine", {}).get("events_per_cpu_s")
            report.add(
                f"{days:g} days, {step}", events=events, wall_s=cost.wall_s, cpu_s=cost.cpu_s,
                events_per_wall_s=events / cost.wall_s, engine_events_per_cpu_s=engine, peak_rss_mib=cost.peak_rss_mib,
                target="29 days: 30 minutes, 4,096 MiB" if step == "best-fit" else None,
            )  # fmt: skip
            if step == "import":
                shutil.rmtree(raw)
        shutil.rmtree(trace)
        report.write()  # what is known, should a longer one be stopped
    report.notes.append("Events of synth and import are rows of task_events. best-fit runs without over-commitment.")
    return report
