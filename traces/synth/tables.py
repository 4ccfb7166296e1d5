"""The small tables: machine_events, machine_attributes, task_usage; and the checksums."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from traces.synth import calibration as cal
from traces.synth.engine import Rows
from traces.synth.machines import ADD, Cell, hash_text
from traces.synth.text import JobTexts, attribute_text, decimal
from traces.synth.world import World
from traces.synth.write import Written, write_gzip

_ONE_PART = "part-00000-of-00001.csv.gz"


def write_machine_events(folder: Path, cell: Cell) -> Written:
    """Write ADD for every machine at time 0, then what happens to them. A row repeats the machine's capacity."""
    shape = [
        f"{platform},{decimal(cpu)},{decimal(memory)}" if cpu else f"{platform},,"
        for platform, cpu, memory in zip(cell.platform, cell.cpu.tolist(), cell.memory.tolist(), strict=True)
    ]
    ids = cell.id.tolist()
    lines = [f"0,{ids[m]},{ADD},{shape[m]}\n" for m in np.flatnonzero(cell.present)]
    events = zip(cell.event_us.tolist(), cell.event_machine.tolist(), cell.event_code.tolist(), strict=True)
    lines += [f"{us},{ids[m]},{code},{shape[m]}\n" for us, m, code in events]
    return write_gzip(folder, "machine_events", _ONE_PART, len(lines), ["".join(lines).encode()])


def write_machine_attributes(folder: Path, cell: Cell, seed: int) -> Written:
    """Write each machine's attributes when it is first seen; they do not change."""
    newcomers = cell.event_machine[(cell.event_code == ADD) & ~cell.present[cell.event_machine]]
    first_us = np.zeros(len(cell.id), np.int64)
    # Backwards, so that a newcomer's first ADD is written last.
    added = np.flatnonzero((cell.event_code == ADD) & ~cell.present[cell.event_machine])[::-1]
    first_us[cell.event_machine[added]] = cell.event_us[added]
    seen = np.concatenate([np.flatnonzero(cell.present), np.unique(newcomers)])
    columns = [(name, hash_text(seed, "attribute", name), column.tolist()) for name, column in cell.attributes.items()]
    lines = []
    for machine in seen[np.argsort(first_us[seen], kind="stable")].tolist():
        for name, hashed, values in columns:
            if values[machine] not in (-1, ""):
                value = attribute_text(seed, name, values[machine])
                lines.append(f"{first_us[machine]},{cell.id[machine]},{hashed},{value},0\n")
    return write_gzip(folder, "machine_attributes", _ONE_PART, len(lines), ["".join(lines).encode()])


class UsageSampler:
    """Samples running tasks at the end of every 5-minute window and writes what they may have used.

    Usage is a steady share of the request per task with noise per window. A task is in the sample for good or not at
    all; one that starts and ends within a window is missed.
    """

    def __init__(self, folder: Path, texts: JobTexts, cell: Cell, share: float, seed: int) -> None:
        self._folder, self._texts, self._cell, self._share = folder, texts, cell, share
        self._random = np.random.default_rng([seed, 7])
        self._lines: list[str] = []

    def run(self, world: World, since_us: int, until_us: int) -> Iterator[Rows]:
        """Advance the world window by window, sampling at each end that lies before `until_us`."""
        window = cal.USAGE_WINDOW_US
        for end_us in range(since_us // window * window + window, until_us, window):
            yield from world.run(end_us)
            self._sample(world, end_us)
        yield from world.run(until_us)

    def write(self, name: str) -> Written:
        lines, self._lines = self._lines, []
        return write_gzip(self._folder, "task_usage", name, len(lines), ["".join(lines).encode()])

    def _sample(self, world: World, end_us: int) -> None:
        job, index, machine, start_us = world.running_tasks()
        kept = _unit_hash(job, index) < self._share
        job, index, machine, start_us = job[kept], index[kept], machine[kept], start_us[kept]
        start_us = np.maximum(start_us, end_us - cal.USAGE_WINDOW_US)
        order = np.lexsort((index, job, start_us))
        job, index, machine, start_us = job[order], index[order], machine[order], start_us[order]
        steady = _unit_hash(index, job + 1)
        cpu = world.state.job_cpu[job] / 1e6 * (0.05 + 0.6 * steady) * self._random.lognormal(0, 0.3, len(job))
        memory = world.state.job_memory[job] / 1e6 * (0.2 + 0.7 * steady) * self._random.lognormal(0, 0.03, len(job))
        peak = self._random.lognormal(0.4, 0.4, len(job))
        rare = self._random.lognormal(0, 0.4, (4, len(job)))
        for k in range(len(job)):
            page, most = memory[k] * 0.03, memory[k] * (1 + 0.02 * peak[k])
            values = (
                cpu[k], memory[k], memory[k] * 1.1, page, page * 1.3, most, 3e-6 * rare[0, k], 2e-4 * rare[1, k],
                min(cpu[k] * (1 + peak[k]), 1.0), 4e-4 * rare[1, k], 1.5 + rare[2, k], 0.005 * rare[3, k],
            )  # fmt: skip
            numbers = ",".join(decimal(float(f"{value:.4g}")) for value in values)
            self._lines.append(
                f"{start_us[k]},{end_us},{self._texts.id[job[k]]},{index[k]},{self._cell.id[machine[k]]},{numbers},"
                f"0,1,{decimal(float(f'{cpu[k] * rare[0, k]:.4g}'))}\n"
            )


def _unit_hash(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Map pairs of integers to [0, 1) evenly."""
    mixed = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def finish(folder: Path, files: list[Written], options: dict[str, float]) -> dict[str, int]:
    """Write SHA256SUMS and synth.json; return rows per table."""
    rows: Counter[str] = Counter()
    for file in files:
        rows[file.table] += file.rows
    sums = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))
    (folder / "SHA256SUMS").write_text(sums)
    note = {"format": "google2011", "synthetic": True, **options, "rows": dict(sorted(rows.items()))}
    (folder / "synth.json").write_text(json.dumps(note, indent=1) + "\n")
    return dict(sorted(rows.items()))
