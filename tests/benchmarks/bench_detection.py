"""Faults put into simulated telemetry: how often the right culprit is named, and how often somebody innocent is.

Runs in parts that are kept in the work folder (STOWAGE_BENCH_DIR): a run that was cut short goes on where it stopped.
STOWAGE_BENCH_SEED: the first seed (0); rules were mended on the first 2,880.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import detection_cases as cases
from tests.benchmarks.detection_cases import Case, Outcome
from tests.benchmarks.harness import Report

EACH_PART: Final = 50
FIRST_SEED: Final = int(os.environ.get("STOWAGE_BENCH_SEED", "0"))
HEALTHY_RANKS: Final = 512
LOOKED_EVERY_H: Final = 1 / 6
NODE_HOURS: Final = HEALTHY_RANKS / cases.GPUS * LOOKED_EVERY_H  # of operation that one healthy window stands for
LINES: Final = ("row", "column", "node")
ALL_TO_ALL: Final = ("all to all", "all to all in groups of 8")

CASES: Final[dict[str, tuple[int, Case]]] = {
    "non-communication hang": (1000, cases.stopped),
    "non-communication hang, no states recorded": (1000, functools.partial(cases.stopped, has_states=False)),
    "non-communication hang, culprit's dump missing": (1000, functools.partial(cases.stopped, without="culprit")),
    "non-communication hang, another dump missing": (1000, functools.partial(cases.stopped, without="other")),
    "non-communication hang, whole node": (1000, functools.partial(cases.stopped, whole_node=True)),
    "communication hang": (1000, cases.stuck),
    "non-communication slow, 15 %, jitter 5 %": (1000, cases.slower),
    "non-communication slow, 15 %, jitter 5 %, another dump missing": (
        1000, functools.partial(cases.slower, without=True)),
    "non-communication slow, 15 %, jitter 15 %": (1000, functools.partial(cases.slower, jitter=0.15)),
    "non-communication slow, 10 %, jitter 5 %": (1000, functools.partial(cases.slower, share=0.10)),
    "communication slow, row / column / node, 1.5x": (
        1500, functools.partial(cases.slow_port, kinds=LINES, factor=1.5)),
    "communication slow, row / column / node, 1.25x, all to all": (
        1500, functools.partial(cases.slow_port, kinds=LINES, factor=1.25, patterns=ALL_TO_ALL)),
    "communication slow, row / column / node, 1.5x, jitter 30 %, all to all": (
        1500, functools.partial(cases.slow_port, kinds=LINES, factor=1.5, jitter=0.30, patterns=ALL_TO_ALL)),
    "communication slow, one link, 1.5x": (1000, functools.partial(cases.slow_port, kinds=("cell",), factor=1.5)),
    "communication slow, one link, 2x": (1000, functools.partial(cases.slow_port, kinds=("cell",), factor=2.0)),
    "healthy jobs": (2880, functools.partial(cases.healthy_job, ranks=HEALTHY_RANKS)),
    "healthy networks": (6000, cases.healthy_messages),
}  # fmt: skip


def bench(work: Path) -> Report:
    report = Report("detection", "Injected faults, simulated telemetry; 95 % intervals (Wilson)")
    folder = work / f"detection-{FIRST_SEED}"
    folder.mkdir(exist_ok=True)
    parts = [(name, at) for name, (count, _) in CASES.items() for at in range(0, count, EACH_PART)]
    todo = [part for part in parts if not _file(folder, *part).exists()]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        for _ in pool.map(run_part, *zip(*((folder, *part) for part in todo), strict=True)) if todo else ():
            pass
    for name, (count, _) in CASES.items():
        found = [json.loads(_file(folder, name, at).read_text()) for at in range(0, count, EACH_PART)]
        sums = {key: sum(part[key] for part in found) for key in found[0] if key != "samples"}
        report.add(name, **_figures(name, sums))
        for sample in [sample for part in found for sample in part["samples"]][:3]:
            print(f"    missed: {sample}")
    report.notes += [
        "64 ranks on 8 nodes, layouts by turns; see tests/benchmarks/detection_cases.py for the noise.",
        f"healthy jobs: {HEALTHY_RANKS} ranks, looked at every {60 * LOOKED_EVERY_H:.0f} minutes: one look stands for "
        f"{NODE_HOURS:.2f} node-hours; healthy networks: 64 ranks, one look for {_node_hours('healthy networks'):.2f}.",
        "hangs are looked at 25 s after the last operation was entered.",
    ]
    return report


def _node_hours(name: str) -> float:
    return NODE_HOURS if name == "healthy jobs" else cases.RANKS / cases.GPUS * LOOKED_EVERY_H


def run_part(folder: Path, name: str, at: int) -> None:
    """Run EACH_PART cases and keep the sums."""
    count, case = CASES[name]
    seeds = range(FIRST_SEED + at, FIRST_SEED + min(at + EACH_PART, count))
    outcomes = [case(seed) for seed in seeds]
    sums: dict[str, Any] = {"cases": len(outcomes), "exact": sum(one.is_exact for one in outcomes)}
    sums |= {key: _sum(outcomes, key) for key in ("culprits", "right", "wrong")}
    missed = [(seed, one.sample) for seed, one in zip(seeds, outcomes, strict=True) if not one.is_exact]
    sums["samples"] = [f"seed {seed}: {sample}" for seed, sample in missed[:3]]
    _file(folder, name, at).write_text(json.dumps(sums))


def _sum(outcomes: Iterable[Outcome], key: str) -> int:
    return sum(getattr(one, key) for one in outcomes)


def _file(folder: Path, name: str, at: int) -> Path:
    return folder / f"{sum(ord(c) * 31**i for i, c in enumerate(name)) % 10**12}-{at}.json"


def _figures(name: str, sums: dict[str, int]) -> dict[str, Any]:
    if name.startswith("healthy"):
        hours = sums["cases"] * _node_hours(name)
        high = _poisson_high(sums["wrong"])
        return {"cases": sums["cases"], "wrongly accused": sums["wrong"], "node_hours": round(hours),
                "per 10,000 node-hours, at most": round(1e4 * high / hours, 3)}  # fmt: skip
    named = sums["right"] + sums["wrong"]
    return {
        "cases": sums["cases"],
        "precision": _share(sums["right"], named), "recall": _share(sums["right"], sums["culprits"]),
        "exact": _share(sums["exact"], sums["cases"]),
    }  # fmt: skip


def _share(part: int, whole: int, z: float = 1.96) -> str:
    """A share and its interval (Wilson)."""
    if not whole:
        return "-"
    share = part / whole
    middle = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * math.sqrt(share * (1 - share) / whole + z * z / (4 * whole * whole)) / (1 + z * z / whole)
    return f"{share:.4f} ({max(middle - half, 0):.4f}-{min(middle + half, 1):.4f})"


def _poisson_high(events: int) -> float:
    """The largest mean of which so few events are seen in 5 % of all cases."""
    low, high = 0.0, events + 20.0 + 5 * math.sqrt(events)
    for _ in range(60):
        mean = (low + high) / 2
        term = total = math.exp(-mean)
        for n in range(1, events + 1):
            term *= mean / n
            total += term
        low, high = (mean, high) if total > 0.05 else (low, mean)
    return high
