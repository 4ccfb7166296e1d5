"""Migrations in a replay: room on both ends, time, traffic, and what happens when either end or the task goes."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from naive_migrations import NaiveMigrations
from random_traces import Case, random_case
from replays import Placed, Placements, load, placements_of, run_engine
from small_traces import S, SmallTrace, ran

from analytics.errors import InputError
from analytics.load import ReplayInput
from analytics.replay import drive
from analytics.replay.migrating import Transport, migration_counters, start_migrations
from analytics.replay.running import Running
from scheduler.core.policies import get_policy
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


def replayed(
    given: ReplayInput,
    script: Mapping[int, Sequence[tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
    preempts: bool = False,
    **settings: str,
) -> tuple[Placements, dict[str, int], Scripted]:
    """What became of everybody, the counters, and the planner; the books are checked every second."""
    planner = Scripted(script, read_settings("test", MIGRATION, (QUIET | settings).items()), check_books)
    policy = get_policy("rebalance:cover")
    monkeypatch.setattr(drive, "new_planner", lambda *_: planner)
    outcome = drive.replay(given, policy, preempts, 0, 10 * S)
    return placements_of(given), outcome.counters, planner


def migrate(
    folder: Path,
    trace: SmallTrace,
    script: Mapping[int, Sequence[tuple[int, int]]],
    monkeypatch: pytest.MonkeyPatch,
    preempts: bool = False,
    **settings: str,
) -> tuple[list[tuple[float | int | None, ...]], dict[str, int], Scripted]:
    """(submit, start, end, node, evictions, preemptions) by task, in seconds."""
    given = load(trace.write(folder / "trace", (0, 1000)), preempts)
    placed, counters, planner = replayed(given, script, monkeypatch, preempts, **settings)
    return [placed[task, 0].in_seconds() for task in range(len(trace.tasks))], counters, planner


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


def test_a_node_sends_or_receives_one_task_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = two_nodes(100, 100)
    placed, counters, _ = migrate(tmp_path, trace, {20: [(0, 1), (1, 1)]}, monkeypatch, resume_s="50")
    # the second is sent from 80.5 s on and would stop at 91 s: both ends are later by what they stood still
    assert [one[2] for one in placed] == [150, 150]
    trace = two_nodes(80, 80)
    placed, counters, _ = migrate(tmp_path / "b", trace, {20: [(0, 1), (1, 1)]}, monkeypatch, resume_s="50")
    assert [one[2] for one in placed] == [130, 80]  # the second was not sent before 80.5 s
    assert (counters["migrations"], counters["migrations_overtaken"]) == (1, 1)


def test_room_is_held_on_both_nodes_while_a_task_is_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = two_nodes(100, cores=1)
    trace.task(ran(25, 26, 35, on=1), job=8, cpu=1000)
    placed, _, _ = migrate(tmp_path, trace, {20: [(0, 1)]}, monkeypatch)
    assert placed[1][1] == pytest.approx(20 + COPY_US / S)  # node 1 was full until then, node 2 from the start


def test_a_move_without_room_has_failed_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = two_nodes(100, 100, cores=2)
    trace.task(ran(0, 0, 100, on=2), job=8, cpu=1000)
    placed, counters, planner = migrate(tmp_path, trace, {20: [(0, 1), (1, 1), (0, 0), (2, 1)]}, monkeypatch)
    assert planner.started == [True, False, False, False]  # no room; on its way already; is there
    assert [one[3] for one in placed] == [2, 1, 2]
    assert (counters["migrations"], counters["migrations_failed"]) == (1, 3)


def test_a_target_that_goes_leaves_the_task_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = two_nodes(100)
    trace.machine(2, 25, "REMOVE")
    placed, counters, _ = migrate(tmp_path, trace, {20: [(0, 1)]}, monkeypatch)
    assert placed[0][:5] == (0, 0, 100, 1, 0)
    assert (counters["migrations"], counters["migrations_failed"]) == (0, 1)


def test_a_source_that_goes_loses_the_work_but_not_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = two_nodes(100)
    trace.machine(1, 25, "REMOVE")
    placed, counters, _ = migrate(tmp_path, trace, {20: [(0, 1)]}, monkeypatch)
    assert placed[0][:5] == (0, 0, 125, 2, 1)
    assert (counters["migrations"], counters["migrations_failed"]) == (0, 1)


def test_a_task_preempted_on_its_way_gives_both_rooms_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = two_nodes(100, cores=1)
    trace.task(ran(22, 22, 32, on=1), job=8, cpu=1000, priority=9)
    placed, counters, _ = migrate(tmp_path, trace, {20: [(0, 1)]}, monkeypatch, preempts=True)
    assert placed[1][:4] == (22, 22, 32, 1)
    assert (placed[0][2], placed[0][3], placed[0][5]) == (122, 2, 1)  # from nothing, where its room was held
    assert counters["migrations_overtaken"] == 1


def test_tasks_that_keep_apart_do_so_on_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = two_nodes()
    trace.machine(3, cpu=4000, memory=65536)
    for index in range(2):
        trace.task(ran(0, 0, 100, on=1 + index), job=1, index=index, cpu=1000, memory=100, different_machines=True)
    trace.task(ran(25, 26, 100, on=3), job=1, index=2, cpu=1000, memory=100, different_machines=True)
    placed, _, planner = migrate(tmp_path, trace, {20: [(0, 1), (0, 2)]}, monkeypatch)
    assert planner.started == [False, True]
    assert placed[2][1] == pytest.approx(20 + COPY_US / S)  # all three were taken until the first had left
    assert [one[3] for one in placed] == [3, 2, 1]


def test_a_restart_loses_the_work_since_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"migration": "restart", "checkpoint_age_s": "5", "resume_s": "2"}
    placed, counters, _ = migrate(tmp_path, two_nodes(100), {20: [(0, 1)]}, monkeypatch, **how)
    assert placed[0][2] == pytest.approx(100 + COPY_US / S + 2 + 5)
    assert counters["migration_bytes"] == 100 << 20


def test_memory_that_is_written_meanwhile_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, still, _ = migrate(tmp_path / "a", two_nodes(100), {20: [(0, 1)]}, monkeypatch)
    _, busy, _ = migrate(tmp_path / "b", two_nodes(100), {20: [(0, 1)]}, monkeypatch, dirty_mib_s="5", stop_mib="1")
    assert busy["migration_bytes"] > still["migration_bytes"]


def test_a_planner_that_moves_nothing_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3000, 3012):
        case, preempts = random_case(seed), seed % 2 == 0
        opens, closes = case.window_us
        trace = case.trace.write(tmp_path / str(seed), (0, 130))
        try:
            given = load(trace, preempts, from_us=opens, to_us=closes, **case.options)
        except InputError:  # nobody is alive in the window
            continue
        with monkeypatch.context() as patched:
            quiet = replayed(copy.deepcopy(given), {}, patched, preempts)[0]
        assert quiet == run_engine(given, "kube-default", preempts)[0], seed


# against the reference

RATE = {"bandwidth_mbit_s": str(64 * 8 * (1 << 20) / 1e6), "resume_s": "0.7"}


def a_script(dice: random.Random, given: ReplayInput) -> dict[int, list[tuple[int, int]]]:
    """Moves at whole seconds, most of them possible."""
    script: dict[int, list[tuple[int, int]]] = {}
    opens = given.window_us[0] // S
    for _ in range(dice.randint(20, 120)):
        move = (dice.randrange(len(given.task_rows)), dice.randrange(len(given.machines)))
        script.setdefault(opens + dice.randint(1, 60), []).append(move)
    return script


def run_naively(
    case: Case, script: dict[int, list[tuple[int, int]]], preempts: bool, age_s: int | None
) -> tuple[Placements, dict[str, int]]:
    options = case.options | {"overcommit": dict(case.options.get("overcommit", ()))}
    naive = NaiveMigrations(
        case.trace, case.window_us, "kube-default", preempts, **options,
        script={at * S: moves for at, moves in script.items()}, stops=tuple(sorted(at * S for at in script)),
        resume_us=700_000, checkpoint_age_us=None if age_s is None else age_s * S,
    )  # fmt: skip
    naive.run()
    found = {
        (life.row, number): Placed(
            work.submit_us, work.start_us, work.ended_us, work.last_node, work.evictions, work.preemptions
        )
        for life in naive.lives
        for number, work in enumerate(life.works)
        if work.submit_us is not None
    }
    return found, naive.counts


@pytest.mark.parametrize("block", range(5))
def test_engine_migrates_as_the_reference_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    moved = 0
    for seed in range(2000 + 24 * block, 2024 + 24 * block):
        case, dice = random_case(seed), random.Random(seed)
        preempts, age_s = dice.random() < 0.4, dice.choice([None, None, 3])
        opens, closes = case.window_us
        trace = case.trace.write(tmp_path / str(seed), (0, 130))
        try:
            given = load(trace, preempts, from_us=opens, to_us=closes, **case.options)
        except InputError:  # nobody is alive in the window
            continue
        script = {at: moves for at, moves in a_script(dice, given).items() if at * S < closes}
        how = RATE if age_s is None else RATE | {"migration": "restart", "checkpoint_age_s": str(age_s)}
        placed, counters, _ = replayed(given, script, monkeypatch, preempts, **how)
        wanted, counts = run_naively(case, script, preempts, age_s)
        found = {name: counters[f"migrations{'' if name == 'arrived' else '_' + name}"] for name in counts}
        assert (placed, found) == (wanted, counts), seed
        moved += counts["arrived"]
    assert moved > 10
