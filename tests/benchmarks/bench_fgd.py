"""FGD's protocol on the published lists: ours through an extender's points, FGD's replica, and the published figures.

STOWAGE_BENCH_FGD names the lists to run (default,cpu250); by default those with published figures. With
STOWAGE_BENCH_DIR a seed that is done is not run again. Ours was tuned on seeds 52-59; the seeds here are 42-51.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from analytics.fgd import PUBLISHED_NAMES, draw_workload, new_board, run_fgd
from analytics.fgd_files import Cluster, Pods, read_cluster, read_expected, read_pods
from scheduler.core.gpu.fragmentation_choice import NOWHERE, SCORES10, STOWAGE, choose, learn, place
from tests.benchmarks.harness import ROOT, Report

OPENB = ROOT.parent / "shared" / "data" / "gpu" / "openb"
SEEDS = range(42, 52)
FGD = PUBLISHED_NAMES["fgd"]
PREFIX = "openb_pod_list_"
SHARES = (100, 130)
REPLICATED = ("default",)


def bench(work: Path) -> Report:
    report = Report("fgd", "GPUs allocated, % at 100 % and 130 % asked for, mean of seeds 42-51")
    if not OPENB.exists():
        report.notes.append(f"not measured: {OPENB} is not there")
        return report
    cluster = read_cluster(OPENB / "openb_node_list_gpu_node.csv")
    paths = sorted(OPENB.glob(f"{PREFIX}*.parquet"))
    published = {path: read_expected(OPENB / "fgd_expected", path.stem) for path in paths}
    wanted = os.environ.get("STOWAGE_BENCH_FGD", "").split(",")
    for path in paths:
        name = path.stem.removeprefix(PREFIX)
        if name in wanted or (wanted == [""] and published[path]):
            report.add(name, **measure(cluster, path, published[path].get("allocated_pct", {}).get(FGD, {}), work))
    pods = read_pods(OPENB / f"{PREFIX}default.parquet", cluster.models)
    report.notes.append(time_decisions(cluster, pods))
    report.notes.append(
        "our_fgd: the replica, ties by node order; cpu_s: ours, ten seeds; -: not published, or not run"
    )
    return report


def measure(cluster: Cluster, path: Path, published: dict[int, float], work: Path) -> dict[str, Any]:
    """One list: ours, what was published, and our replica of FGD where it is run."""
    pods = read_pods(path, cluster.models)
    name = path.stem.removeprefix(PREFIX)
    ours = [one_seed(cluster, pods, name, "stowage", "scores10", seed, work) for seed in SEEDS]
    figures: dict[str, Any] = {f"stowage_{share}": mean_of(ours, share) for share in SHARES}
    figures["sd_100"] = round(statistics.stdev(one["100"] for one in ours), 2)
    figures |= {f"published_fgd_{share}": round(published[share], 2) for share in SHARES if published}
    if name in REPLICATED:
        replica = [one_seed(cluster, pods, name, "fgd", "exact", seed, work) for seed in SEEDS]
        figures |= {f"our_fgd_{share}": mean_of(replica, share) for share in SHARES}
    return figures | {"cpu_s": round(sum(one["cpu_s"] for one in ours), 1)}


def one_seed(
    cluster: Cluster, pods: Pods, name: str, policy: str, path: str, seed: int, work: Path
) -> dict[str, float]:
    """Allocated % by share asked for, and CPU seconds; from the work folder if it is there."""
    done = work / f"fgd-{name}-{policy}-{seed}.json"
    if not done.exists():
        result = run_fgd(cluster, pods, policy, path, [seed])
        curve = result.runs[0].allocated_pct
        done.write_text(json.dumps({**{str(share): curve[share] for share in SHARES}, "cpu_s": result.cpu_s}))
    found: dict[str, float] = json.loads(done.read_text())
    return found


def mean_of(runs: list[dict[str, float]], share: int) -> float:
    return round(statistics.mean(run[str(share)] for run in runs), 2)


def time_decisions(cluster: Cluster, pods: Pods) -> str:
    """Every decision of one seed on its own, learning and placing included."""
    rng = np.random.default_rng(42)
    order = draw_workload(pods, cluster.gpu_milli, rng)
    board = new_board(cluster, pods, "stowage", 42, rng)
    seconds = []
    for row in order.tolist():
        kind, group, memory_mib = int(pods.kind[row]), int(pods.group[row]), int(pods.memory_mib[row])
        began = time.thread_time()
        learn(board, kind, group, memory_mib)
        node = choose(board, STOWAGE, SCORES10, kind, group, memory_mib)
        if node != NOWHERE:
            place(board, STOWAGE, node, kind, memory_mib)
        seconds.append(time.thread_time() - began)
    # the first one compiles
    half, most, worst = (1000 * float(np.quantile(seconds[1:], share)) for share in (0.5, 0.99, 1.0))
    nodes = f"{len(cluster.names):,} nodes"
    return f"one decision, {nodes}, CPU ms of its thread: median {half:.2f}, p99 {most:.2f}, most {worst:.2f}"
