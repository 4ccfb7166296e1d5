"""Migrations in a replay: room on both ends, time, traffic, and what happens when either end or the task goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from replays import load, placements_of
from small_traces import S, SmallTrace, ran

from analytics.load import ReplayInput
from analytics.replay import drive
from analytics.replay.migrating import Transport, migration_counters, start_migrations
from analytics.replay.running import Running
from scheduler.core.policies import Policy, get_policy
from scheduler.core.policies.parameters import MIGRATION, Settings, read_settings

pytestmark = pytest.mark.usefixtures("few_slices")
# 80 Mbit/s are 10 MB/s; 100 MiB take 10.48576 s. Nothing is written and nothing stands still, unless a test says so.
QUIET = {"bandwidth_mbit_s": "80", "dirty_mib_s": "0", "stop_mib": "0", "resume_s": "0"}
COPY_US = 10_485_760


@dataclass(slots=True)
class Scripted:
    """A planner that asks for (task, node) at fixed seconds, and shows the replay to `see` every second."""

    script: Mapping[int, Sequence[tuple[int, int]]]
    settings: Settings
    see: Callable[[Running, int], None]
    every_us: int = S
    started: list[bool] = field(default_factory=list)
    running: Running | None = None

    def act(self, running: Running, now_us: int) -> None:
        self.running = running
        if moves := self.script.get(now_us // S):
            who, targets = (np.array(column, np.int64) for column in zip(*moves, strict=True))
            self.started += start_migrations(running, who, targets, now_us, Transport(self.settings)).tolist()
        self.see(running, now_us)

    def counters(self) -> dict[str, int]:
        assert self.running is not None
        return migration_counters(self.running.progress)


def check_books(running: Running, now_us: int) -> None:
    """What each node has on its books is what runs there and what comes there; a task is in one place or waits."""
    nodes, classes, tasks = running.given.nodes, running.given.classes, running.given.tasks
    moving = running.progress.moving
    class_of = tasks.class_of_group[tasks.group]
    on_books = np.zeros_like(nodes.requested)
    runs = np.flatnonzero(tasks.node >= 0)
    np.add.at(on_books, tasks.node[runs], classes.demand[class_of[runs]])
    goes = np.flatnonzero(moving.slot_of >= 0)
    assert (tasks.node[goes] >= 0).all()
    targets = moving.slots[moving.slot_of[goes], 1]
    np.add.at(on_books, targets, classes.demand[class_of[goes]])
    assert (on_books == nodes.requested).all()
    assert nodes.up[targets].all()
    assert len(goes) == moving.counts[4]
    listed = 0
    for n in range(len(nodes.up)):
        m = moving.first_arriving[n]
        while m >= 0:
            assert moving.slots[m, 1] == n
            listed, m = listed + 1, moving.slots[m, 2]
    assert listed == len(goes)


def migrate(
    folder: Path,
    trace: SmallTrace,
    script: Mapping[int, Sequence[tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
    until: float = 1000,
    preempts: bool = False,
    **settings: str,
) -> tuple[list[tuple[float | int | None, ...]], dict[str, int], Scripted]:
    """Placements in seconds by task, the counters, and the planner; the books are checked every second."""
    given: ReplayInput = load(trace.write(folder / "trace", (0, until)), preempts)
    chosen = read_settings("test", MIGRATION, (QUIET | settings).items())
    planner = Scripted(script, chosen, check_books)
    policy: Policy = get_policy("rebalance:cover")
    monkeypatch.setattr(drive, "new_planner", lambda *_: planner)
    outcome = drive.replay(given, policy, preempts, 0, 10 * S)
    placed = placements_of(given)
    return [placed[task, 0].in_seconds() for task in range(len(trace.tasks))], outcome.counters, planner


def two_nodes(*tasks: float, cores: int = 4) -> SmallTrace:
    """Machines 1 and 2; tasks of one core and 100 MiB on machine 1 that run so many seconds from 0."""
    trace = SmallTrace()
    for machine in (1, 2):
        trace.machine(machine, cpu=1000 * cores, memory=65536)
    for job, runs in enumerate(tasks):
        trace.task(ran(0, 0, runs, on=1), job=job, cpu=1000, memory=100)
    return trace


def test_a_task_runs_on_where_it_was_until_it_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed, counters, _ = migrate(tmp_path, two_nodes(100), {20: [(0, 1)]}, monkeypatch)
    assert placed[0][:4] == (0, 0, 100, 2)
    assert (counters["migrations"], counters["migration_bytes"]) == (1, 100 << 20)


def test_what_a_task_stands_still_is_added_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed, _, _ = migrate(tmp_path, two_nodes(100), {20: [(0, 1)], 50: [(0, 0)]}, monkeypatch, resume_s="3")
    assert placed[0][2:4] == (106, 1)


def test_a_task_that_ends_first_goes_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed, counters, _ = migrate(tmp_path, two_nodes(25), {20: [(0, 1)]}, monkeypatch)
    assert placed[0][2:4] == (25, 1)
    assert (counters["migrations"], counters["migrations_overtaken"]) == (0, 1)
    assert counters["migration_bytes"] == pytest.approx(5e7, rel=1e-6)
