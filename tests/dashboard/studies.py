"""Small runs of one pretended trace under several policies, for the pages that compare and replay."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.analytics.builders import a_run, a_sample, an_attempt

HOURS = 12
WINDOW = (0, HOURS * 3_600_000_000)
# Names that a page must show as text: HTML, Markdown, a link, formulae.
HOSTILE = ("<script>alert(1)</script>", "**bold** [x](javascript:alert(1))", "$\\alpha$ :material/home:", "x" * 10_000)


def some_attempts(slowness: float, seed: int = 1) -> list[dict[str, Any]]:
    """Attempts of 80 jobs over the window, the same ones for every slowness; delays grow with it."""
    drawn = random.Random(seed)
    rows = []
    for task in range(480):
        submit_s = drawn.uniform(0, HOURS * 3600 - 1800)
        wait_s = drawn.choice((0, 0, 0.5, 30, 300)) * drawn.random()
        gives_up = drawn.random() < 0.05
        set_back = drawn.random() < 0.1
        priority = drawn.choice((0, 4, 9))
        wait_s *= slowness * (1 + priority) / 4
        start_s = None if gives_up else submit_s + wait_s
        end_s = submit_s + wait_s + drawn.uniform(60, 900)
        changes: dict[str, Any] = {
            "job": task % 80, "priority": priority, "tenant": (*HOSTILE, "shop", "lab")[task % 6],
            "cpu_milli": drawn.choice((20, 150, 900, 2000)), "memory_mib": 8,
        }  # fmt: skip
        if set_back and start_s is not None:
            changes |= {"evictions": 1, "last_start_us": round((start_s + 30) * 1e6)}
        rows.append(an_attempt(task, submit_s, start_s, end_s, **changes))
    return rows


def some_samples(stranded: int) -> list[dict[str, Any]]:
    """A sample every five minutes."""
    return [
        a_sample(
            300 * n, nodes=10, pending=n % 7, running=20 + n % 5, capacity_cpu_milli=40_000, capacity_memory_mib=40_960,
            requested_cpu_milli=20_000, stranded_cpu_milli=stranded + n % 3,
        )
        for n in range(HOURS * 12)
    ]  # fmt: skip


def a_studied_run(folder: Path, slowness: float, stranded: int = 1000, **facts: Any) -> Path:
    """One run; its policy is its folder's name."""
    given = {"policy": folder.name, "window_us": WINDOW} | facts
    return a_run(folder, some_attempts(slowness), some_samples(stranded), **given)


def some_runs(folder: Path) -> Path:
    """Three runs: recorded, quick, and slow with more stranded."""
    a_studied_run(folder / "recorded", 1.0, mode="recorded")
    a_studied_run(folder / "quick", 0.2)
    a_studied_run(folder / "slow", 5.0, stranded=3000)
    return folder
