"""The packing policy in a replay: where kube-default refuses, running tasks move, and everything still adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from small_traces import SmallTrace, ran

from analytics.options import ReplayOptions
from analytics.replay import run_replay
from analytics.runs import read_run


def fragmented(folder: Path, *, apart: bool = False) -> Path:
    """Two nodes of 4 cores, each half full; a task of 3 cores arrives at 100 s: it fits only if one moves."""
    trace = SmallTrace()
    for machine in (1, 2):
        trace.machine(machine, cpu=4000, memory=8192)
    for machine in (1, 2):
        trace.task(
            ran(0, 1, 3000, on=machine), job=10 if apart else machine, index=machine - 1, cpu=2000, memory=1024,
            different_machines=apart,
        )  # fmt: skip
    trace.task(ran(100, 101, 1100, on=1), job=99, cpu=3000, memory=1024)
    trace.write(folder, (0, 10_000))
    return folder


def replayed(trace: Path, policy: str, name: str) -> tuple[list[dict[str, Any]], dict[str, int]]:
    out = run_replay(ReplayOptions(trace, trace.parent / name, policy=policy))
    return pq.read_table(out / "placements.parquet").to_pylist(), read_run(out).facts.counters


def test_the_planner_moves_a_running_task_to_make_room(tmp_path: Path) -> None:
    trace = fragmented(tmp_path / "trace")
    waits, _ = replayed(trace, "kube-default", "without")
    moved, counters = replayed(trace, "packing", "with")
    assert waits[2]["start_us"] >= 3000 * 10**6 - 10**6
    assert moved[2]["start_us"] == 300 * 10**6
    assert (counters["plans_applied"], counters["plan_moves"], counters["plan_placed"]) == (1, 1, 1)


def test_a_moved_task_starts_again_from_nothing(tmp_path: Path) -> None:
    moved, _ = replayed(fragmented(tmp_path / "trace"), "packing", "with")
    ends = sorted(row["end_us"] for row in moved[:2])
    assert ends[0] < ends[1] == 300 * 10**6 + 2999 * 10**6


def test_tasks_that_keep_apart_are_never_moved_together(tmp_path: Path) -> None:
    waits, counters = replayed(fragmented(tmp_path / "trace", apart=True), "packing", "with")
    assert counters["plans_applied"] == 0
    assert waits[2]["start_us"] >= 2999 * 10**6


def test_the_same_replay_plans_the_same(tmp_path: Path) -> None:
    trace = fragmented(tmp_path / "trace")
    first = run_replay(ReplayOptions(trace, tmp_path / "a", policy="packing"))
    second = run_replay(ReplayOptions(trace, tmp_path / "b", policy="packing"))
    assert read_run(first).digest == read_run(second).digest
