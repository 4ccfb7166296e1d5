"""`stowage diagnose` on Flight Recorder dumps of growing jobs: 2,000 operations a rank, from files to verdict."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tests.benchmarks.harness import Report, median_of, stowage
from tests.scheduler.core.gpu.dump_files import as_pickle_bytes
from tests.scheduler.core.gpu.job_simulator import Fault, Layout, Noise, dumps_of, simulate, tensor_data, world_only

RANKS = (1024, 4096)
OPERATIONS = 2000
CULPRIT = 37
REPEATS = 3


def bench(work: Path) -> Report:
    report = Report("diagnose", "stowage diagnose, 2,000 operations a rank (medians of 3, files in the page cache)")
    folder = work / "diagnose-dumps"
    for ranks in RANKS:
        for layout in (tensor_data(ranks), world_only(ranks)):
            for kind in ("stop", "slow"):
                size = write_job(folder, layout, kind)
                told, cost = median_of(REPEATS, lambda: stowage("diagnose", folder))
                if [one["rank"] for one in told["accused"]] != [CULPRIT]:
                    raise RuntimeError(f"{ranks} ranks, {layout.name}, {kind}: {told['verdict']} {told['accused']}")
                report.add(
                    f"{ranks:,} ranks, {layout.name}, one {'stops' if kind == 'stop' else 'is 50 % slower'}",
                    dumps_mib=round(size / 2**20), wall_s=cost.wall_s, cpu_s=cost.cpu_s, peak_rss_mib=cost.peak_rss_mib,
                )  # fmt: skip
                shutil.rmtree(folder)
    report.notes.append("Every row is checked: it accuses the one culprit. Clocks of nodes are up to 2 s apart.")
    return report


def write_job(folder: Path, layout: Layout, kind: str) -> int:
    """Dumps of a job with one culprit; gives their bytes."""
    rng, noise = np.random.default_rng(layout.ranks), Noise()
    steps = -(-round(1.15 * OPERATIONS) // len(layout.step))
    fault = Fault(kind, (CULPRIT,), steps - 1 if kind == "stop" else 0, share=0.5)
    job = simulate(layout, steps, noise, fault, rng)
    folder.mkdir()
    size = 0
    for dump in dumps_of(job, rng, noise, ring=OPERATIONS, wraps=False):
        data = as_pickle_bytes(dump)
        (folder / f"nccl_trace_rank_{dump.rank}").write_bytes(data)
        size += len(data)
    return size
