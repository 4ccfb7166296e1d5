"""The engine against the naive reference on random traces, and each of its rules on a trace of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive_simulator import SCORES
from random_traces import random_case
from replays import decide, load, run_engine, run_naively
from small_traces import SmallTrace, ran

from analytics.errors import InputError
from analytics.load import ReplayInput
from analytics.replay import drive
from analytics.replay.state import WAITING, fits

pytestmark = pytest.mark.usefixtures("few_slices")
CASES, BLOCK = 320, 20


@pytest.mark.parametrize("block", range(CASES // BLOCK))
def test_engine_decides_what_the_naive_reference_decides(tmp_path: Path, block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        case = random_case(seed)
        trace = case.trace.write(tmp_path / str(seed), (0, 130))
        opens, closes = case.window_us
        for preempts in (False, True):
            try:
                given = load(trace, preempts, from_us=opens, to_us=closes, **case.options)
            except InputError:  # nobody is alive in the window
                assert not run_naively(case.trace, case.window_us, "first-fit", preempts, **case.options), seed
                continue
            shared = load(trace, preempts, True, from_us=opens, to_us=closes, **case.options)
            for policy in SCORES:
                placed, _, _ = run_engine(shared if policy == "drf" else given, policy, preempts)
                wanted = run_naively(case.trace, case.window_us, policy, preempts, **case.options)
                assert placed == wanted, f"seed {seed}, {policy}, preemption {preempts}"


def check_state(given: ReplayInput) -> None:
    """What must hold after any instant, for a replay that began with nothing running."""
    nodes, classes, tasks = given.nodes, given.classes, given.tasks
    assert (nodes.requested <= nodes.allocatable).all()
    assert (nodes.devices >= 0).all()
    class_of = tasks.class_of_group[tasks.group]
    running = tasks.node >= 0
    held = np.zeros_like(nodes.requested)
    np.add.at(held, tasks.node[running], classes.demand[class_of[running]])
    assert (held == nodes.requested).all()
    for c in set(class_of[tasks.node == WAITING].tolist()):
        assert not any(fits(nodes, classes, c, n) for n in range(len(given.machines)))


@pytest.mark.parametrize("preempts", [False, True])
@pytest.mark.parametrize("policy", ["best-fit", "random"])
def test_nothing_is_over_committed_and_nothing_that_fits_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, preempts: bool
) -> None:
    monkeypatch.setattr(drive, "SLICES", 130)  # one per second
    for seed in range(1000, 1012):
        case = random_case(seed)
        for row in case.trace.machines:  # a machine that shrinks may be left with too much
            row["event"] = "ADD" if row["event"] == "UPDATE" else row["event"]
        if not any(row["event"] == "ADD" for row in case.trace.machines):
            continue
        sizes = {row["machine"]: row for row in case.trace.machines if row["event"] == "ADD"}
        for row in case.trace.machines:
            if row["event"] == "ADD":
                row |= {name: sizes[row["machine"]][name] for name in ("cpu_milli", "memory_mib", "gpus")}
        trace = case.trace.write(tmp_path / str(seed), (0, 130))
        run_engine(load(trace, preempts, initial="empty"), policy, preempts, tick=check_state)


@pytest.mark.parametrize("preempts", [False, True])
def test_everything_is_given_back_when_all_has_ended(tmp_path: Path, preempts: bool) -> None:
    trace = SmallTrace()
    for machine in range(1, 5):
        trace.machine(machine, cpu=4000, memory=4096, gpus=2, model="A")
    trace.machine(2, 30, "REMOVE")
    trace.machine(2, 35, cpu=4000, memory=4096, gpus=2, model="A")
    for number in range(80):
        trace.task(
            ran(number % 20, number % 20, number % 20 + 7), job=number // 4, index=number % 4, gpus=number % 3,
            gpu_milli=(0, 500, 1000)[number % 3], different_machines=number % 8 < 4, priority=number % 5,
            cpu=300 * (number % 4), memory=700,
        )  # fmt: skip
    placed, given, _ = run_engine(load(trace.write(tmp_path / "t", (0, 1000)), preempts), "best-fit", preempts)
    assert all(one.end_us is not None for one in placed.values())
    assert sum(one.evictions for one in placed.values()) > 0
    for left in (given.nodes.requested, given.nodes.requested_nonzero, given.nodes.by_level, given.classes.occupied):
        assert not left.any()
    assert (given.nodes.devices == 1000).all()
    assert (given.nodes.first_task == -1).all()


def test_cutting_a_replay_into_slices_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = load(random_case(7).trace.write(tmp_path / "t", (0, 130)))
    whole = run_engine(given, "best-fit")
    monkeypatch.setattr(drive, "SLICES", 1000)
    fine = run_engine(given, "best-fit")
    assert whole[0] == fine[0]
    assert whole[2].counters == fine[2].counters
    for one, other in zip(whole[2].samples, fine[2].samples, strict=True):
        assert np.array_equal(one, other)


# one rule each; a machine has 4 cores, a task asks for one


def a_cluster(*cores: int) -> SmallTrace:
    trace = SmallTrace()
    for number, cpu in enumerate(cores or (4,), start=1):
        trace.machine(number, cpu=1000 * cpu, memory=65536)
    return trace


def seconds(placed: Any, task: int, attempt: int = 0) -> tuple[Any, ...]:
    found: tuple[Any, ...] = placed[task, attempt].in_seconds()
    return found


def test_task_starts_at_once_where_there_is_room(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(5, 50, 60))
    assert seconds(decide(tmp_path, trace), 0) == (5, 5, 15, 1, 0, 0)


def test_priority_goes_before_arrival_and_arrival_before_the_rest(tmp_path: Path) -> None:
    trace = a_cluster(1)
    trace.task(ran(0, 0, 10))
    for submit, priority in ((1, 0), (2, 9), (3, 9)):
        trace.task(ran(submit, submit, submit + 10), priority=priority)
    placed = decide(tmp_path, trace)
    assert [seconds(placed, task)[1] for task in range(4)] == [0, 30, 10, 20]


def test_small_task_passes_a_large_one_that_does_not_fit(tmp_path: Path) -> None:
    trace = a_cluster(2)
    trace.task(ran(0, 0, 10), cpu=1000)
    trace.task(ran(1, 1, 11), cpu=2000, priority=9)
    trace.task(ran(2, 2, 4), cpu=1000)
    placed = decide(tmp_path, trace)
    assert [seconds(placed, task)[1] for task in range(3)] == [0, 10, 2]


def test_room_freed_at_an_instant_is_used_in_that_instant(tmp_path: Path) -> None:
    trace = a_cluster(1)
    trace.task(ran(0, 0, 10))
    trace.task(ran(10, 10, 20))
    assert seconds(decide(tmp_path, trace), 1)[1] == 10


def test_lost_machine_sends_its_tasks_back_to_start_from_nothing(tmp_path: Path) -> None:
    trace = a_cluster(4, 4)
    trace.machine(1, 8, "REMOVE")
    trace.task(ran(0, 0, 10))
    assert seconds(decide(tmp_path, trace), 0) == (0, 0, 18, 2, 1, 0)


def test_machine_that_comes_back_at_the_instant_it_goes_still_evicts(tmp_path: Path) -> None:
    trace = a_cluster(4)
    trace.machine(1, 8, "REMOVE")
    trace.machine(1, 8, "ADD")
    trace.task(ran(0, 0, 10))
    assert seconds(decide(tmp_path, trace), 0) == (0, 0, 18, 1, 1, 0)


def test_machine_that_shrinks_keeps_its_tasks_and_takes_no_more(tmp_path: Path) -> None:
    trace = a_cluster(2)
    trace.machine(1, 5, "UPDATE", cpu=1000, memory=65536)
    trace.task(ran(0, 0, 20))
    trace.task(ran(0, 0, 30))
    trace.task(ran(6, 6, 7))
    placed = decide(tmp_path, trace)
    assert [seconds(placed, task)[:3] for task in range(3)] == [(0, 0, 20), (0, 0, 30), (6, 30, 31)]


def test_timers_of_earlier_starts_never_end_a_task(tmp_path: Path) -> None:
    """300 restarts: the number of a start must not come round to that of an old timer."""
    trace = a_cluster(4)
    for second in range(2, 602, 2):
        trace.machine(1, second, "REMOVE")
        trace.machine(1, second + 1, cpu=4000, memory=65536)
    trace.task(ran(0, 0, 256.5))
    assert seconds(decide(tmp_path, trace), 0) == (0, 0, 601 + 256.5, 1, 255, 0)


def test_resubmission_keeps_its_recorded_gap(tmp_path: Path) -> None:
    trace = a_cluster(1)
    trace.task(ran(0, 0, 10))
    trace.task(ran(1, 1, 4, "FAIL"), ran(9, 9, 12))
    placed = decide(tmp_path, trace)
    assert (seconds(placed, 1, 0)[:3], seconds(placed, 1, 1)[:3]) == ((1, 10, 13), (18, 18, 21))


def test_task_cancelled_while_it_waited_leaves_then_run_or_not(tmp_path: Path) -> None:
    trace = a_cluster(1)
    trace.task(ran(0, 0, 10))
    trace.task(ran(1, None, 6, "KILL"))
    trace.task(ran(1, None, 16, "KILL"))
    placed = decide(tmp_path, trace)
    assert seconds(placed, 1)[:3] == (1, None, 6)
    assert seconds(placed, 2)[:3] == (1, 10, 16)


def test_group_waits_in_the_order_of_who_is_left(tmp_path: Path) -> None:
    """The first of its class comes back and is cancelled in one instant; the second must not inherit its place."""
    trace = a_cluster(1)
    trace.task(ran(0, 0, 8), priority=2)
    trace.task(ran(0, 0, 2, "FAIL"), ran(2, None, 5, "KILL"), priority=1)  # fails at 10, and should be gone by then
    trace.task(ran(10, 10, 12), cpu=500, priority=1)
    trace.task(ran(10, 10, 12), priority=1)
    placed = decide(tmp_path, trace, options={"initial": "empty"})
    assert [seconds(placed, task)[1] for task in range(4)] == [0, 8, 10, 12]


def test_tasks_of_a_job_on_different_machines_wait_for_one_of_their_own(tmp_path: Path) -> None:
    trace = a_cluster(4, 4)
    for index in range(3):
        trace.task(ran(0, None, None), job=1, index=index, different_machines=True)
    trace.task(ran(1, 1, 3), job=2)
    trace.machine(3, 7, cpu=4000, memory=65536)
    placed = decide(tmp_path, trace, 100)
    assert [seconds(placed, task)[1::2] for task in range(4)] == [(0, 1, 0), (0, 2, 0), (7, 3, 0), (1, 1, 0)]


def test_job_recorded_twice_on_one_machine_holds_it_until_both_are_gone(tmp_path: Path) -> None:
    trace = a_cluster(4)
    for index, end in ((0, 5), (1, 9)):
        trace.task(ran(0, 0, end, on=1), job=1, index=index, different_machines=True)
    trace.task(ran(1, 1, 3), job=1, index=2, different_machines=True)
    assert seconds(decide(tmp_path, trace), 2)[1] == 9


def test_over_commitment_multiplies_room(tmp_path: Path) -> None:
    trace = a_cluster(4)
    for _ in range(6):
        trace.task(ran(1, 1, 11))
    placed = decide(tmp_path, trace, options={"overcommit": (("cpu_milli", 1.25),)})
    assert sorted(seconds(placed, task)[1] for task in range(6)) == [1, 1, 1, 1, 1, 11]


def test_gpu_shares_go_to_the_fullest_device_and_whole_gpus_need_whole_devices(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1, gpus=2, model="A")
    trace.task(ran(0, 1, 11), gpus=1, gpu_milli=500)
    trace.task(ran(1, 1, 5), gpus=1, gpu_milli=500)  # beside the first
    trace.task(ran(2, 2, 3), gpus=1, gpu_milli=1000)
    trace.task(ran(2, 2, 3), gpus=2, gpu_milli=1000)
    trace.task(ran(2, 2, 3), gpus=1, gpu_milli=100, models="B")
    placed = decide(tmp_path, trace, 100)
    assert [seconds(placed, task)[1] for task in range(5)] == [0, 1, 2, 10, None]


def test_recorded_gpu_task_on_a_machine_without_gpus_is_kept(tmp_path: Path) -> None:
    trace = a_cluster(4)
    trace.task(ran(0, 0, 10, on=1), gpus=1, gpu_milli=1000)
    trace.task(ran(1, 1, 2), gpus=1, gpu_milli=1000)
    placed = decide(tmp_path, trace, 100)
    assert (seconds(placed, 0)[:3], seconds(placed, 1)[1]) == ((0, 0, 10), None)


def test_what_waited_when_the_window_opens_is_served_in_its_recorded_order(tmp_path: Path) -> None:
    trace = a_cluster(1)
    trace.task(ran(8, 40, 50), job=1)
    trace.task(ran(5, 60, 70), job=2)
    placed = decide(tmp_path, trace, options={"from_us": 10_000_000})
    assert [seconds(placed, task)[:2] for task in (0, 1)] == [(10, 20), (10, 10)]


# preemption


def test_preemption_takes_the_least_important_and_the_fewest(tmp_path: Path) -> None:
    trace = a_cluster(2, 2, 2)
    trace.task(ran(0, 0, 100, on=1), cpu=2000, priority=5)
    trace.task(ran(0, 0, 100, on=2), priority=1)
    trace.task(ran(0, 0, 100, on=2), priority=1)
    trace.task(ran(0, 0, 100, on=3), cpu=2000, priority=1)
    trace.task(ran(7, 7, 17), cpu=2000, priority=9)
    placed = decide(tmp_path, trace, preempts=True)
    assert seconds(placed, 4) == (7, 7, 17, 3, 0, 0)
    assert seconds(placed, 3) == (0, 0, 117, 3, 0, 1)
    assert not any(seconds(placed, task)[5] for task in range(3))


def test_preemption_spares_whom_it_can(tmp_path: Path) -> None:
    trace = a_cluster(4)
    for priority in (3, 1, 2, 1):
        trace.task(ran(0, 0, 100, on=1), priority=priority)
    trace.task(ran(7, 7, 17), cpu=2000, priority=9)
    placed = decide(tmp_path, trace, preempts=True)
    assert [seconds(placed, task)[5] for task in range(4)] == [0, 1, 0, 1]


def test_equals_do_not_preempt_and_preemption_can_be_off(tmp_path: Path) -> None:
    trace = a_cluster(1)
    trace.task(ran(0, 0, 20), priority=5)
    trace.task(ran(1, 1, 2), priority=5)
    trace.task(ran(2, 2, 3), priority=6)
    off, on = decide(tmp_path / "off", trace), decide(tmp_path / "on", trace, preempts=True)
    assert [seconds(off, task)[1] for task in range(3)] == [0, 21, 20]
    assert [seconds(on, task)[1] for task in range(3)] == [0, 3, 2]
    assert seconds(on, 0) == (0, 0, 24, 1, 0, 1)


def test_important_task_that_waits_may_preempt_as_soon_as_an_equal_leaves(tmp_path: Path) -> None:
    """Two equals hold the node; when one goes, what less important work took meanwhile does not stand in the way."""
    trace = a_cluster(4)
    trace.task(ran(0, 0, 10, on=1), cpu=1000, priority=9)
    trace.task(ran(0, 0, 20, on=1), cpu=3000, priority=9)
    trace.task(ran(5, 5, 6), cpu=4000, priority=9)
    trace.task(ran(10, 10, 100), cpu=1000, priority=0)
    placed = decide(tmp_path, trace, preempts=True)
    assert seconds(placed, 2)[:3] == (5, 20, 21)
    assert seconds(placed, 3) == (10, 10, 21 + 90, 1, 0, 1)
