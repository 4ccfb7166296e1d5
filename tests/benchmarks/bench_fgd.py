"""FGD's protocol on the published lists: ours through an extender's points, FGD's replica, and the published figures.

STOWAGE_BENCH_FGD names the lists to run (default,cpu250); all of them by default. With STOWAGE_BENCH_DIR a list that is
done is not run again. Ours was tuned on seeds 52-59; the seeds here are 42-51.
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
REPLICATED = ("default", "cpu250", "gpuspec33", "gpushare100", "multigpu50")


def bench(work: Path) -> Report:
    report = Report("fgd", "GPUs allocated, % at 100 % and 130 % asked for, mean of seeds 42-51")
    if not OPENB.exists():
        report.notes.append(f"not measured: {OPENB} is not there")
        return report
    cluster = read_cluster(OPENB / "openb_node_list_gpu_node.csv")
    names = [path.stem.removeprefix(PREFIX) for path in sorted(OPENB.glob(f"{PREFIX}*.parquet"))]
    for name in os.environ.get("STOWAGE_BENCH_FGD", ",".join(names)).split(","):
        path = OPENB / f"{PREFIX}{name}.parquet"
        done = work / f"fgd-{name}.json"
        if not done.exists():
            done.write_text(json.dumps(measure(cluster, path)))
        figures = json.loads(done.read_text())
        if note := figures.pop("note", None):
            report.notes.append(note)
        report.add(name, **figures)
    report.notes.append("our_fgd: the replica, ties by node order; cpu_s: ours, ten seeds; no figure: not published")
    return report


def measure(cluster: Cluster, path: Path) -> dict[str, Any]:
    """One list: ours, what was published, and for the lists of the targets our replica of FGD."""
    pods = read_pods(path, cluster.models)
    published = read_expected(OPENB / "fgd_expected", path.stem).get("allocated_pct", {}).get(FGD, {})
    ours = run_fgd(cluster, pods, "stowage", "scores10", SEEDS, 2)
    mean = ours.mean("allocated_pct")
    figures: dict[str, Any] = {f"stowage_{share}": round(mean[share], 2) for share in SHARES}
    figures["sd_100"] = round(statistics.stdev(run.allocated_pct[100] for run in ours.runs), 2)
    figures |= {f"published_fgd_{share}": rounded(published.get(share)) for share in SHARES}
    if path.stem.removeprefix(PREFIX) in REPLICATED:
        replica = run_fgd(cluster, pods, "fgd", "exact", SEEDS, 2).mean("allocated_pct")
        figures |= {f"our_fgd_{share}": round(replica[share], 2) for share in SHARES}
    figures["cpu_s"] = round(ours.cpu_s, 1)
    if path.stem == f"{PREFIX}default":
        figures["note"] = time_decisions(cluster, pods)
    return figures


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def time_decisions(cluster: Cluster, pods: Pods) -> str:
    """Every decision of one seed on its own, learning and placing included."""
    rng = np.random.default_rng(42)
    order = draw_workload(pods, cluster.gpu_milli, rng)
    board = new_board(cluster, pods, "stowage", 42, rng)
    seconds = []
    for row in order.tolist():
        kind, group, memory_mib = int(pods.kind[row]), int(pods.group[row]), int(pods.memory_mib[row])
        began = time.perf_counter()
        learn(board, kind, group, memory_mib)
        node = choose(board, STOWAGE, SCORES10, kind, group, memory_mib)
        if node != NOWHERE:
            place(board, STOWAGE, node, kind, memory_mib)
        seconds.append(time.perf_counter() - began)
    half, most = (1000 * float(np.quantile(seconds[100:], share)) for share in (0.5, 0.99))
    return (
        f"one decision, {len(cluster.names):,} nodes, wall time, after 100 to compile: {half:.2f} ms, p99 {most:.2f} ms"
    )
