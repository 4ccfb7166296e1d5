"""Balancing in the replay: the 19.65 h slice under the recording, kube-default, and every policy that migrates.

`STOWAGE_BENCH_DIR=FOLDER python -m tests.benchmarks rebalance_replay`: the runs stay in FOLDER, where a repeat finds
them, so that it can be stopped and started again. STOWAGE_BENCH_POLICIES: names apart from `recorded`, by commas.

A machine is overloaded where what is requested on it exceeds 1.25 x its CPU or 1.1 x its memory, for all alike.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from analytics.runs import read_run
from scheduler.core.policies import policy_names
from tests.benchmarks.harness import Report, slice_trace, stowage

OVERCOMMIT = ("--overcommit", "cpu=1.25", "--overcommit", "memory=1.1")
POLICIES = ("kube-default", "rebalance:greedy", "rebalance:cover", "agents", "freeness")
COUNTERS = {
    "migrations": "migrations", "failed": "migrations_failed", "overtaken": "migrations_overtaken",
    "forced": "migrations_forced", "collisions": "collisions", "messages": "messages",
}  # fmt: skip


def bench(work: Path) -> Report:
    what, trace = slice_trace(work)
    report = Report("rebalance_replay", f"Balancing in the replay, {what}")
    asked = os.environ.get("STOWAGE_BENCH_POLICIES")
    known = [name for name in POLICIES if name in policy_names()]
    for name in ("recorded", *(asked.split(",") if asked else known)):
        report.add(name, **_figures(_replay(work, trace, name)))
    report.notes += [
        "Overload: requests beyond 1.25 x CPU or 1.1 x memory, in machines, mean over time. Waits in seconds.",
        "A migration copies the memory a task requests at 1 Gbit/s; what stands for use is not in this trace.",
        "longest round: CPU seconds of the planner's longest call, without compiling or loading what is compiled.",
    ]
    return report


def _replay(work: Path, trace: Path, name: str) -> Path:
    folder = work / "rebalance-runs" / name.replace(":", "-")
    if not (folder / "run.json").exists():
        how = ("--mode", "recorded") if name == "recorded" else ("--policy", name)
        stowage("replay", trace, "-o", folder, *how, *OVERCOMMIT)
    return folder


def _figures(folder: Path) -> dict[str, Any]:
    found = read_run(folder).report()
    metrics, engine = found["metrics"], found["engine"]
    figures: dict[str, Any] = {
        "overloaded node-intervals": metrics["overloaded_node_intervals"],
        "overload": metrics["overload"]["mean"],
        "share of time": metrics["overload"]["share"],
        "tasks never placed": metrics["tasks_never_placed"],
        **{f"{tier} p99": metrics["delay_s"][tier]["p99"] for tier in ("production", "middle", "free")},
        **{label: engine.get(counter) for label, counter in COUNTERS.items()},
    }
    if "migration_bytes" in engine:
        figures["migrated TiB"] = engine["migration_bytes"] / 2**40
        figures["messages per placement"] = engine["messages"] / max(engine["placements"], 1)
    return figures | {
        "placements": engine["placements"],
        "engine CPU s": engine["cpu_s"],
        "longest round s": engine["longest_round_s"],
    }
