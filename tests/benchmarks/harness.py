"""Runs the real command, measures it, and keeps what came out with the machine it came from.

Every step is a process of its own: its CPU seconds (user and system, all threads) and peak memory are the kernel's
account of that process. CPU seconds repeat on a busy machine; wall seconds do not, which is why the load average stands
beside them. (Linux counts the parent's memory before exec as the child's: keep the parent small.)
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).resolve().parent / "results"
REAL = ROOT.parent / "shared" / "data" / "google2011"
LIBRARIES = ("numpy", "numba", "duckdb", "pyarrow")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_rss_mib: float


@dataclass(slots=True)
class Report:
    """One bench: rows of equal meaning, each a name and its figures, and what a reader must know."""

    name: str
    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    load_before: tuple[float, ...] = field(default_factory=os.getloadavg)

    def add(self, row: str, **figures: Any) -> None:
        self.rows.append({"row": row, **figures})
        shown = ", ".join(f"{name} {show(value)}" for name, value in figures.items())
        print(f"  {row}: {shown}", file=sys.stderr, flush=True)

    def write(self) -> Path:
        """Write RESULTS/name.json, in place of what stood there."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        machine = describe_machine() | {"load_average_before": self.load_before, "load_average_after": os.getloadavg()}
        content = {"bench": self.name, "title": self.title, "machine": machine, "notes": self.notes, "rows": self.rows}
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path

    def print(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [[show(row.get(name)) for name in columns] for row in self.rows]
        widths = [max(len(line[n]) for line in [columns, *cells]) for n in range(len(columns))]
        print(f"\n{self.title}")
        for line in [columns, *cells]:
            first, *others = (f"{text:>{width}}" for text, width in zip(line, widths, strict=True))
            print("  ".join([first.strip().ljust(widths[0]), *others]))
        for note in self.notes:
            print(note)


def show(value: Any) -> str:
    """A figure for people: four significant digits, thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def describe_machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def measure(command: Sequence[str | Path]) -> tuple[str, Cost]:
    """Run a command to its end; gives its stdout. Raises RuntimeError with its stderr when it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=err, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: exit {process.returncode}\n{err.read().decode()}")
        # ru_maxrss is in KiB on Linux.
        return out.read().decode(), Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def stowage(*words: str | Path) -> tuple[dict[str, Any], Cost]:
    """Run `stowage ... --json`; gives its object and its cost."""
    text, cost = measure([sys.executable, ROOT / "stowage.py", *words, "--json"])
    return json.loads(text), cost


def median_of(repeats: int, step: Callable[[], tuple[Any, Cost]]) -> tuple[Any, Cost]:
    """The last result, and the median of each cost."""
    found = [step() for _ in range(repeats)]
    costs = [cost for _, cost in found]
    return found[-1][0], Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__slots__))


def warm_up() -> None:
    """Have the loops compiled before anything is timed."""
    subprocess.run([sys.executable, ROOT / "tests" / "warm_up.py"], cwd=ROOT, check=True)


def slice_sources(work: Path) -> tuple[str, list[Path]]:
    """What stands for Google's first 19.65 h: the real files where they are, else a synthetic cell of the same size."""
    if REAL.exists():
        return "the real 19.65 h slice", [REAL / name for name in ("task_events", "job_events", "machine_events")]
    raw = work / "synthetic-slice"
    if not raw.exists():
        stowage("trace", "synth", "google2011", "--machines", "12477", "--days", "0.819", "--seed", "1", "-o", raw)
    return "a synthetic cell of the slice's size (../shared/data/google2011 is not there)", [raw]


def slice_trace(work: Path) -> tuple[str, Path]:
    """The same, imported once."""
    what, sources = slice_sources(work)
    trace = work / "slice"
    if not trace.exists():
        stowage("trace", "import", "google2011", *sources, "-o", trace)
    return what, trace


def migrates(policy: str) -> bool:
    """Whether bench_rebalance_replay measures that policy. By name: to load it would make this process large."""
    return policy.startswith("rebalance:") or policy in ("agents", "freeness")
