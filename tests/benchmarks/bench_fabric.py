"""Flow placement beside ECMP and a greedy choice: the load of the most loaded link, against the ideal."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np

from scheduler.core.gpu.flows import Fabric, ecmp, greedy, ideal_load, place
from tests.benchmarks.harness import Report
from tests.scheduler.core.gpu.patterns import ring

SEEDS = range(20)
FABRICS = {
    "8 leaves x 16 ports, 16 spines": (8, 16, 16, ()),
    "16 x 32, 32 spines": (16, 32, 32, ()),
    "32 x 32, 16 spines (2:1)": (32, 32, 16, ()),
    "8 x 16, one of 16 spines lost": (8, 16, 16, (15,)),
    "32 x 32, 32 spines: 1,024 ports": (32, 32, 32, ()),
}


def bench(work: Path) -> Report:
    report = Report("fabric", "Load of the most loaded link / ideal, random rings over all ports (mean, worst of 20)")
    for name, (leaves, ports, spines, lost) in FABRICS.items():
        fabric = Fabric.uniform(leaves, spines, lost)
        ratios: dict[str, list[float]] = {}
        seconds = []
        for seed in SEEDS:
            flows = ring(fabric, ports, seed)
            ideal = ideal_load(fabric, flows)
            rng = np.random.default_rng(seed)
            began = time.process_time()
            found = {"split": place(fabric, flows, may_split=True)}
            seconds.append(time.process_time() - began)
            found["whole"] = place(fabric, flows, may_split=False)
            found["greedy"] = greedy(fabric, flows)
            found |= {f"ecmp_{pairs}": ecmp(fabric, flows, pairs, rng) for pairs in (1, 2, 4, 8)}
            for kind, one in found.items():
                ratios.setdefault(kind, []).append(one.max_load(fabric, flows) / ideal)
        row = {kind: f"{statistics.mean(every):.3f}, {max(every):.3f}" for kind, every in ratios.items()}
        report.add(name, **row, split_cpu_s=statistics.median(seconds))
    one_link(report)
    report.notes.append("ecmp_N: N queue pairs per flow, each hashed by itself; split_cpu_s: to place all flows")
    return report


def one_link(report: Report) -> None:
    """1,024 ports with one link down: exchanges, and a linear programme for what they leave."""
    capacity = np.ones((32, 32))
    capacity[3, 7] = 0.0
    fabric = Fabric.of(capacity)
    ratios, split, seconds = [], [], []
    for seed in SEEDS:
        flows = ring(fabric, 32, seed)
        began = time.process_time()
        found = place(fabric, flows, may_split=True)
        seconds.append(time.process_time() - began)
        ratios.append(found.max_load(fabric, flows) / ideal_load(fabric, flows))
        split.append(found.split)
    report.add(
        "32 x 32, 32 spines, one link down", split=f"{statistics.mean(ratios):.3f}, {max(ratios):.3f}",
        flows_split=max(split), split_cpu_s=max(seconds),
    )  # fmt: skip
