"""What a run says about itself: `RunFacts` (deterministic, inside the run folder) and `RunCost` (beside it)."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from analytics.errors import InputError
from traces.schema import Tier, read_meta


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """Which trace a run replayed, by content and not by place. checksum: the digest of the trace's tables."""

    format: str
    checksum: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything about a run that is the same whenever and wherever it is repeated.

    options: `ReplayOptions.facts()`. resources: columns of the resource axis, as in `series` ("cpu_milli", ...).
    window_us: start and end. counters: what the engine counted; metrics are computed from the tables instead.
    illegal_transitions: by kind, and under "with_missing_info" how many of them the trace itself marks as incomplete.
    """

    mode: str
    policy: str
    seed: int
    trace: TraceFacts
    window_us: tuple[int, int]
    resources: tuple[str, ...]
    tiers: tuple[Tier, ...]
    options: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    illegal_transitions: dict[str, int] = field(default_factory=dict)
    overcommit: dict[str, float] = field(default_factory=dict)
    units: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.window_us[0] >= self.window_us[1]:
            raise InputError(f"a run's window must end after it starts, not {self.window_us}")
        if not self.resources:
            raise InputError("a run has at least one resource")


@dataclass(frozen=True, slots=True)
class RunCost:
    """What the run took on one machine on one day.

    engine_cpu_s: the loop and the policy's planner alone, without reading, writing, and compiling or loading what has
    been compiled. longest_round_s: of it, the planner's longest call.
    """

    wall_s: float
    cpu_s: float
    engine_cpu_s: float
    events_per_cpu_s: float
    peak_rss_mib: float
    longest_round_s: float = 0.0
    machine: str = ""


def trace_facts(trace: Path) -> TraceFacts:
    """Identify an imported trace. Raises TraceFormatError if the folder is not one."""
    meta = read_meta(trace)
    return TraceFacts(meta.format, meta.digest)


def installed_versions(packages: Sequence[str] = ("stowage", "numba", "numpy", "duckdb", "pyarrow")) -> dict[str, str]:
    """Versions of what decides a run's bytes; "source" for our own tree when it is not installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "source"
    return found


def describe_machine() -> str:
    """CPU model and number of cores this process may use."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {usable_cores()} cores"


def usable_cores() -> int:
    """Cores this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
