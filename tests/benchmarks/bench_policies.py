"""What one call of each policy's score costs, in the loop the engine calls it from."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from analytics.replay.ranking import ScoreBatch
from scheduler.core.policies import get_policy, policy_names
from tests.benchmarks.harness import Report

NODES = 12_477
CALLS = 200


def bench(work: Path) -> Report:
    report = Report("policies", f"Score of a policy, {NODES:,} nodes in one batch (median of {CALLS} batches)")
    random = np.random.default_rng(1)
    allocatable = random.choice([64_000, 128_000], (NODES, 2)).astype(np.int64)
    requested = (allocatable * random.random((NODES, 2))).astype(np.int64)
    demand = np.array([500, 1_000], np.int64)
    rows, out = np.arange(NODES, dtype=np.int64), np.zeros(NODES)
    for name in policy_names():
        batch: Any = ScoreBatch(get_policy(name).score)._batch
        spans = []
        for draw in range(CALLS):
            began = time.process_time_ns()
            batch(demand, demand, allocatable, requested, requested, rows, NODES, draw, out)
            spans.append((time.process_time_ns() - began) / NODES)
        report.add(name, ns_per_score=statistics.median(spans))
    report.notes.append("CPU time of the process; two resources.")
    return report
