"""Write a synthetic trace in a published format: Google's ClusterData 2011 v2, faults of servers (see `faults`), Azure
Functions 2019 (see `azure`) or Huawei's serverless release (see `huawei`).

Google's files look like the published ones (folders, part names, columns, 4-digit decimals, snapshot at time 0, first
event after 600 s), the statistics come from `calibration`, and the schedule is a real one: tasks run only on machines
that are up, within the recorded over-commit, and every life is legal.

How it works. Jobs are drawn in windows of one part (`jobs`), the cell lives through them in a compiled event loop
(`engine`, `world`), and every part's rows are turned to text and compressed by threads (`text`, `write`) while the
simulation goes on. A day is simulated before the trace begins; long-running jobs then fill the cell to the recorded
level. Only the simulation is sequential, and it alone draws random numbers, so the bytes do not depend on the number
of threads. They do depend on the compressor: with `isal` installed the files differ from zlib's, their rows do not.

What it leaves out: changing requests (UPDATE_*), LOST, dependencies between jobs, and the reasons behind evictions
(they come at a rate, not from preemption).
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

FORMATS = ("azure2019", "google2011", "huawei2025", "infinitehbd")
MOST_MACHINES, MOST_FUNCTIONS, MOST_DAYS = 200_000, 1_000_000, 366.0
SERVERLESS_DAYS = {"azure2019": 14.0, "huawei2025": 31.0}


class SynthError(ValueError):
    """An impossible wish: the message says which bound it breaks."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. machines: of google2011 and infinitehbd. functions: of azure2019. usage: share of tasks that
    get task_usage rows, one per 5 minutes (google2011). scale: share of the published functions and cold starts; like:
    folder with the published numbers of cold starts, which are then met exactly where scale is 1 (huawei2025).
    """

    format_name: str
    days: float
    machines: int | None = None
    seed: int = 0
    usage: float = 0.0
    functions: int | None = None
    scale: float = 1.0
    like: Path | None = None

    def faults(self) -> list[str]:
        """Every bound that the wish breaks."""
        if self.format_name not in FORMATS:
            return [f"format is {self.format_name!r}, known are: {', '.join(FORMATS)}"]
        sizes = {"azure2019": "functions", "huawei2025": "scale"}
        size = sizes.get(self.format_name, "machines")
        wrong = [
            f"{self.format_name} takes no {name}"
            for name, given in (
                ("machines", size != "machines" and self.machines is not None),
                ("functions", size != "functions" and self.functions is not None),
                ("scale", size != "scale" and self.scale != 1),
                ("like", size != "scale" and self.like is not None),
                ("usage", self.format_name != "google2011" and self.usage != 0),
            )
            if given
        ]
        count = self.functions if size == "functions" else self.machines
        if size != "scale" and count is None:
            wrong.append(f"--{size} is missing")
        most = MOST_FUNCTIONS if size == "functions" else MOST_MACHINES
        if count is not None and not 1 <= count <= most:
            wrong.append(f"{size} must be 1 to {most:,}, not {count:,}")
        days = SERVERLESS_DAYS.get(self.format_name, MOST_DAYS)
        if not 0 < self.days <= days:
            wrong.append(f"days must be above 0 and at most {days:g}, not {self.days:g}")
        elif self.format_name in SERVERLESS_DAYS and self.days != round(self.days):
            wrong.append(f"{self.format_name} has whole days, not {self.days:g}")
        if not 0 <= self.usage <= 1:
            wrong.append(f"usage is a share of tasks, 0 to 1, not {self.usage:g}")
        if not 0 < self.scale <= 1:
            wrong.append(f"scale is a share of the published trace, above 0 and at most 1, not {self.scale:g}")
        if self.like is not None and not self.like.is_dir():
            wrong.append(f"{self.like} is not a folder")
        if self.seed < 0:
            wrong.append(f"seed must be 0 or more, not {self.seed}")
        return wrong


def synthesise(
    folder: Path,
    wish: Wish,
    *,
    threads: int | None = None,
    force: bool = False,
    progress: Callable[[str, int, int], None] = lambda step, done, of: None,
) -> dict[str, int]:
    """Write the trace into `folder` and return the number of rows per table.

    progress: called with a step, parts done, and parts in all.
    Everything is written beside `folder` first and renamed at the end.
    Raises SynthError on an impossible wish or if the folder exists and `force` is not set.
    """
    wrong = wish.faults() + _taken(folder, force)
    if wrong:
        raise SynthError("; ".join(wrong))
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        rows = _write(partial, wish, threads or min(4, os.cpu_count() or 1), progress)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return rows


def _taken(folder: Path, force: bool) -> list[str]:
    if folder.exists() and not force:
        return [f"{folder} exists; --force replaces it"]
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / "synth.json").exists())):
        return [f"{folder} is not a synthetic trace, so --force does not replace it"]
    return []


def _write(folder: Path, wish: Wish, threads: int, progress: Callable[[str, int, int], None]) -> dict[str, int]:
    if wish.format_name == "huawei2025":
        from traces.synth.huawei.write import write_release

        return write_release(
            folder, days=round(wish.days), scale=wish.scale, seed=wish.seed, like=wish.like, progress=progress
        )
    if wish.format_name == "azure2019":
        from traces.synth.azure import write_azure

        return write_azure(folder, wish.functions or 0, round(wish.days), wish.seed, progress)
    assert wish.machines is not None
    if wish.format_name == "infinitehbd":
        from traces.synth.faults import write_faults

        return write_faults(folder, wish.machines, wish.days, wish.seed)
    return _write_trace(folder, wish.machines, wish.days, wish.seed, wish.usage, threads, progress)


def _write_trace(
    folder: Path,
    machines: int,
    days: float,
    seed: int,
    usage: float,
    threads: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, int]:
    import numpy as np

    from traces.synth import calibration as cal
    from traces.synth import tables
    from traces.synth.jobs import draw_arrivals, draw_residents, find_targets, join
    from traces.synth.machines import draw_cell
    from traces.synth.text import ConstraintTexts, JobTexts
    from traces.synth.world import World
    from traces.synth.write import PartWriter, Written

    start_us = cal.TRACE_START_US
    end_us = start_us + max(1, round(days * cal.DAY_US))
    parts = -(-(end_us - start_us) // cal.PART_US)
    cell = draw_cell(machines, end_us, seed)
    world, texts = World(cell, seed), JobTexts(seed)
    files: list[Written] = [tables.write_machine_events(folder, cell)]
    files.append(tables.write_machine_attributes(folder, cell, seed))
    classes = len(cell.classes)

    seen = []
    for window in range(cal.WARM_UP_PARTS):
        since_us = start_us - (cal.WARM_UP_PARTS - window) * cal.PART_US
        jobs = draw_arrivals(window, since_us, since_us + cal.PART_US, machines, classes, seed)
        texts.add(jobs)
        world.add(jobs)
        for _ in world.run(since_us + cal.PART_US):
            pass
        seen.append(world.requested())
    # Between now and usual: time 0 is as full as recorded, and a small cell's giant job does not displace residents.
    usual = (seen[-1] + np.mean(seen[len(seen) // 3 :], axis=0)) / 2
    targets = find_targets(usual, cell.cpu[cell.present].sum(), cell.memory[cell.present].sum())
    residents, successors = draw_residents(targets, machines, end_us, classes, seed)
    texts.add(residents)
    world.settle(residents, start_us)
    blank = np.random.default_rng([seed, 6])
    chunks = [world.snapshot(lambda count: blank.random(count) < cal.SNAPSHOT_INCOMPLETE)]

    writer = PartWriter(folder, parts, texts, ConstraintTexts(cell.classes, seed), cell.id)
    sampler = tables.UsageSampler(folder, texts, cell, usage, seed) if usage else None
    waiting: deque[Future[list[Written]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for part in range(parts):
            since_us = start_us + part * cal.PART_US
            until_us = min(since_us + cal.PART_US, end_us)
            arrivals = draw_arrivals(cal.WARM_UP_PARTS + part, since_us, until_us, machines, classes, seed)
            due = np.flatnonzero((successors.submit_us >= since_us) & (successors.submit_us < until_us))
            jobs = join([arrivals, successors.take(due)])
            texts.add(jobs)
            world.add(jobs)
            if sampler:
                chunks += sampler.run(world, since_us, until_us)
                files.append(sampler.write(writer.name(part)))
            else:
                chunks += world.run(until_us)
            waiting.append(pool.submit(writer.write, part, chunks))
            chunks = []
            while len(waiting) > 2 * threads or (waiting and waiting[0].done()):
                files += waiting.popleft().result()
            progress("parts", part + 1, parts)
        for future in waiting:
            files += future.result()
    return tables.finish(folder, files, {"machines": machines, "days": days, "seed": seed, "usage": usage})
