"""Scale-down by freeness: machines that could have been switched off over the 19.65 h slice, and what that costs.

`STOWAGE_BENCH_DIR=FOLDER python -m tests.benchmarks scale_down`: the runs stay in FOLDER, where a repeat finds them.
The slice itself asks for more than is installed, so there is nothing to switch off; here half of its jobs run on all of
its machines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analytics.runs import read_run
from tests.benchmarks.harness import Report, slice_trace, stowage

OPTIONS = ("--scale-load", "0.5", "--overcommit", "cpu=1.25", "--overcommit", "memory=1.1")
WAYS: dict[str, tuple[str, ...]] = {
    "kube-default": ("--policy", "kube-default"),
    "freeness": ("--policy", "freeness"),
    "freeness, drain=3 fill=1": ("--policy", "freeness", "--set", "drain=3", "--set", "fill=1"),
    "freeness, drain=1 fill=0.3": ("--policy", "freeness", "--set", "drain=1", "--set", "fill=0.3"),
}
SECONDS_PER_HOUR = 3600


def bench(work: Path) -> Report:
    what, trace = slice_trace(work)
    report = Report("scale_down", f"Machines switched off by freeness, {what} with half of its jobs")
    for number, (name, words) in enumerate(WAYS.items()):
        folder = work / "scale-down" / str(number)
        if not (folder / "run.json").exists():
            stowage("replay", trace, "-o", folder, *words, *OPTIONS)
        report.add(name, **_figures(folder))
    report.notes += [
        "Off: drained and empty at two rounds in a row, five minutes apart. Migrations at 1 Gbit/s; nothing restarts.",
        "Booting takes no time here, and a machine that is off for minutes counts like one that is off for hours.",
    ]
    return report


def _figures(folder: Path) -> dict[str, Any]:
    found = read_run(folder).report()
    metrics, engine = found["metrics"], found["engine"]
    return {
        "off node-hours": engine.get("off_node_seconds", 0) / SECONDS_PER_HOUR,
        "drained": engine.get("drained", 0),
        "taken back": engine.get("taken_back", 0),
        "tasks never placed": metrics["tasks_never_placed"],
        **{f"{tier} p99 wait s": metrics["delay_s"][tier]["p99"] for tier in ("production", "middle", "free")},
        "migrations": engine.get("migrations", 0),
        "migrated TiB": engine.get("migration_bytes", 0) / 2**40,
        "overloaded node-intervals": metrics["overloaded_node_intervals"],
        "engine CPU s": engine["cpu_s"],
    }
