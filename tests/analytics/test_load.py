"""What a replay demands: recorded attempts freed of the recorded scheduler, on the cluster that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_traces import NEVER, S, SmallTrace, ran

from analytics.errors import InputError
from analytics.load import ReplayInput, load_replay
from analytics.options import ClusterSize, MachineShape, ReplayOptions, parse_overcommit
from analytics.replay.state import ALIVE, ENDS, FOREVER, NOWHERE
from traces.errors import TraceFormatError
from traces.schema import Trace


def a_cluster(machines: int = 2) -> SmallTrace:
    trace = SmallTrace()
    for machine in range(1, machines + 1):
        trace.machine(machine)
    return trace


def load(folder: Path, trace: SmallTrace | Trace, until: float = 100, preempts: bool = False, **options: Any) -> Any:
    written = trace if isinstance(trace, Trace) else trace.write(folder / "trace", (0, until))
    return load_replay(written, ReplayOptions(written.folder, Path("unused"), **options), preempts)


def demanded(given: ReplayInput, task: int = 0) -> list[tuple[Any, ...]]:
    """(submit or gap, run time in seconds / "for ever" / ("leaves", at), machine, end, known when it opens)"""
    found = []
    for a in range(given.tasks.first_attempt[task], given.tasks.first_attempt[task + 1]):
        until = int(given.attempts.until_us[a])
        runs: Any = "for ever" if until == FOREVER else until / S if until >= 0 else ("leaves", (-until - 1) / S)
        node = int(given.attempts.node[a])
        found.append(
            (
                given.attempts.submit_us[a] / S,
                runs,
                None if node == NOWHERE else int(given.machines[node]),
                ENDS[given.attempts.end[a]],
                bool(given.attempts.initial[a]),
            )
        )
    return found


# attempts


def test_attempt_keeps_its_run_time_and_not_its_start(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(10, 15, 45, "FAIL"))
    assert demanded(load(tmp_path, trace)) == [(10, 30, None, "FAIL", False)]


def test_evicted_pieces_are_one_work_with_the_run_time_of_the_last(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(10, 15, 20, "EVICT"), ran(21, 22, 25, "EVICT"), ran(30, 31, 71), ran(80, 82, 83, "KILL"))
    assert demanded(load(tmp_path, trace)) == [(10, 40, None, "FINISH", False), (9, 1, None, "KILL", False)]


def test_task_last_seen_evicted_would_have_gone_on(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(10, 15, 20, "FINISH"), ran(21, 22, 25, "EVICT"))
    given = load(tmp_path, trace)
    assert demanded(given) == [(10, 5, None, "FINISH", False), (1, "for ever", None, None, False)]
    assert given.attempts.end[1] == ALIVE


def test_task_that_left_unscheduled_leaves_at_its_recorded_time(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(10, None, 40, "KILL"))
    trace.task(ran(10, 12, 20, "EVICT"), ran(21, None, 50, "KILL"))
    trace.task(ran(10, None, None))
    given = load(tmp_path, trace)
    assert demanded(given, 0) == [(10, ("leaves", 40), None, "KILL", False)]
    assert demanded(given, 1) == [(10, ("leaves", 50), None, "KILL", False)]
    assert demanded(given, 2) == [(10, "for ever", None, None, False)]


def test_end_after_the_recording_is_no_end(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, NEVER, "KILL", on=2))
    assert demanded(load(tmp_path, trace))[0][:3] == (0, "for ever", 2)


def test_attempts_carried_over_batches_and_files_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = a_cluster()
    for number in range(20):
        pieces = [ran(10 * k, 10 * k + 1, 10 * k + 4, "EVICT" if k % 3 else "FAIL") for k in range(number % 5 + 1)]
        trace.task(*pieces, cpu=number % 3, different_machines=number % 2 == 0, job=number // 4, index=number % 4)
    whole = load(tmp_path / "whole", trace)
    monkeypatch.setattr("analytics.load.attempts.BATCH_ROWS", 3)
    parts = load(tmp_path / "parts", trace.write(tmp_path / "in parts", (0, 100), parts=4))
    for name in ("attempts", "tasks", "classes"):
        for one, other in zip(getattr(whole, name), getattr(parts, name), strict=True):
            assert np.array_equal(one, other), name


# the window


def a_window_trace() -> SmallTrace:
    trace = a_cluster()
    trace.task(ran(0, 0, 30, on=1), job=1)  # over before it opens
    trace.task(ran(10, 20, 60, on=1), job=2)  # runs when it opens
    trace.task(ran(10, 50, 60, on=1), job=3)  # waits when it opens
    trace.task(ran(5, 10, 20, "EVICT", on=1), ran(25, 30, 70, on=2), job=4)
    trace.task(ran(50, 55, 60), job=5)  # comes inside
    trace.task(ran(81, 85, 95), job=6)  # comes after it closes
    trace.task(ran(50, 55, 60, "FAIL"), ran(90, 91, 92), job=7)  # comes back after it closes
    trace.task(ran(20, 30, 50, "EVICT", on=1), ran(60, 61, 71, on=2), job=8)
    return trace


def test_window_keeps_what_is_alive_in_it(tmp_path: Path) -> None:
    given = load(tmp_path, a_window_trace(), from_us=40 * S, to_us=80 * S)
    assert given.window_us == (40 * S, 80 * S)
    assert given.task_rows.tolist() == [1, 2, 3, 4, 6, 7]
    assert [demanded(given, task) for task in range(6)] == [
        [(40, 20, 1, "FINISH", True)],  # what is left of its run
        [(40, 10, None, "FINISH", True)],
        [(40, 30, 2, "FINISH", True)],
        [(50, 5, None, "FINISH", False)],
        [(50, 5, None, "FAIL", False)],
        [(40, 10, 1, "FINISH", True)],  # evicted inside: the work is that of the piece that finished
    ]
    assert given.timeline.machine_time_us.tolist() == [40 * S, 40 * S]


def test_empty_start_lets_everything_wait(tmp_path: Path) -> None:
    given = load(tmp_path, a_window_trace(), from_us=40 * S, to_us=80 * S, initial="empty")
    assert (given.attempts.node == NOWHERE).all()
    assert demanded(given, 0) == [(40, 20, None, "FINISH", True)]


def test_arrivals_are_in_recorded_order_even_from_before_the_window(tmp_path: Path) -> None:
    trace = a_cluster()
    for job, submit in enumerate((30, 10, 60, 20, 50), start=1):
        trace.task(ran(submit, None, None), job=job)
    assert load(tmp_path, trace, from_us=40 * S).timeline.arrivals.tolist() == [1, 3, 0, 4, 2]


@pytest.mark.parametrize(("opens", "closes"), [(100 * S, None), (200 * S, None), (60 * S, 120 * S)])
def test_window_without_anything_in_it_is_refused(tmp_path: Path, opens: int, closes: int | None) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 50))
    with pytest.raises(InputError, match=r"is empty: the trace runs from 0 to 100000000 us|no task .* is alive"):
        load(tmp_path, trace, from_us=opens, to_us=closes)


def test_window_ends_with_the_trace(tmp_path: Path) -> None:
    assert load(tmp_path, a_window_trace(), to_us=500 * S).window_us == (0, 100 * S)


# the cluster


def a_mixed_cluster() -> SmallTrace:
    """Twelve machines: six small, four large, two with GPUs."""
    trace = SmallTrace()
    for machine in range(1, 13):
        shape = {"cpu": 4000, "memory": 8192} if machine % 2 else {"cpu": 8000, "memory": 16384}
        if machine in (6, 12):
            shape |= {"gpus": 4}
        trace.machine(machine, **shape)
    trace.task(ran(0, 0, 10, on=5))
    return trace


def shapes(given: ReplayInput) -> dict[int, tuple[int, ...]]:
    """Allocatable by machine once all machine events have happened."""
    found = {}
    for node, room in zip(given.timeline.machine_node, given.timeline.machine_allocatable, strict=True):
        found[int(given.machines[node])] = tuple(room.tolist())
    return found


@pytest.mark.parametrize(("nodes", "machines"), [("x0.5", 6), ("x2", 24), ("7", 7), ("30", 30), ("x0.01", 1)])
def test_cluster_of_another_size_keeps_the_mix_of_shapes(tmp_path: Path, nodes: str, machines: int) -> None:
    given = load(tmp_path, a_mixed_cluster(), nodes=ClusterSize.parse(nodes))
    assert len(given.machines) == len(shapes(given)) == machines
    assert (np.diff(given.machines) > 0).all()
    for room, recorded in (((4000, 8192, 0), 6), ((8000, 16384, 0), 4), ((8000, 16384, 4000), 2)):
        count = sum((*one, 0)[:3] == room for one in shapes(given).values())
        assert abs(count - recorded * machines / 12) <= 1


def test_recorded_machines_keep_their_names_and_events(tmp_path: Path) -> None:
    trace = a_mixed_cluster()
    trace.machine(5, 20, "REMOVE")
    trace.machine(5, 30, "ADD", cpu=6000)
    given = load(tmp_path, trace, nodes=ClusterSize.parse("x2"))
    assert set(range(1, 13)) <= set(given.machines.tolist())
    of_five = [
        (int(time_us) // S, bool(up), room[0])
        for time_us, node, up, room in zip(*given.timeline[1:], strict=True)
        if int(given.machines[node]) % 13 == 5
    ]
    assert of_five == [(0, True, 4000)] * 2 + [(20, False, 0)] * 2 + [(30, True, 6000)] * 2
    assert demanded(given)[0][2] == 5


def test_task_on_a_machine_left_out_waits(tmp_path: Path) -> None:
    given = load(tmp_path, a_mixed_cluster(), drop_shape=(MachineShape.parse("4/*"),))
    assert sorted(given.machines.tolist()) == [2, 4, 6, 8, 10, 12]
    assert demanded(given)[0][2] is None


def test_shapes_are_dropped_by_every_part_of_them(tmp_path: Path) -> None:
    trace = a_mixed_cluster().write(tmp_path / "trace", (0, 100))
    for shape, left in (("8/16Gi", 6), ("8/*/4", 10), ("*/*/0", 2), ("8/8Gi", 12)):
        assert len(load(tmp_path, trace, drop_shape=(MachineShape.parse(shape),)).machines) == left
    with pytest.raises(InputError, match="no machine is left"):
        load(tmp_path, trace, drop_shape=(MachineShape.parse("4/*"), MachineShape.parse("8/*")))


def test_size_counts_from_what_dropped_shapes_left(tmp_path: Path) -> None:
    options = {"drop_shape": (MachineShape.parse("4/*"),), "nodes": ClusterSize.parse("x0.5")}
    assert len(load(tmp_path, a_mixed_cluster(), **options).machines) == 3


def test_machine_updates_change_capacity_and_bring_nobody_back(tmp_path: Path) -> None:
    trace = SmallTrace()
    for at, event, cpu in (
        (0, "ADD", 4000),
        (5, "UPDATE", 2000),
        (9, "REMOVE", 0),
        (12, "UPDATE", 8000),
        (20, "ADD", 1),
    ):
        trace.machine(1, at, event, cpu=cpu)
    trace.task(ran(0, 0, 10))
    given = load(tmp_path, trace)
    events = zip(*given.timeline[1:], strict=True)
    assert [(int(time_us) // S, bool(up), int(room[0])) for time_us, _, up, room in events] == [
        (0, True, 4000), (5, True, 2000), (9, False, 0), (12, False, 0), (20, True, 1),
    ]  # fmt: skip


def test_over_commitment_multiplies_what_is_known_and_refuses_the_rest(tmp_path: Path) -> None:
    written = a_mixed_cluster().write(tmp_path / "trace", (0, 100))
    given = load(tmp_path, written, overcommit=parse_overcommit(["cpu=1.1", "memory=1.5"]))
    assert shapes(given)[1][:2] == (4400, 12288)
    with pytest.raises(InputError, match="over-commitment of disk_mib, which this trace does not have"):
        load(tmp_path, written, overcommit=parse_overcommit(["disk=2"]))


def test_resource_that_nobody_offers_is_not_on_the_axis(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 10), disk=77)
    assert load(tmp_path, trace).resources == ("cpu_milli", "memory_mib")
    trace.machine(3, disk=100)
    given = load(tmp_path / "disk", trace)
    assert given.resources == ("cpu_milli", "memory_mib", "disk_mib")
    assert given.classes.demand.tolist() == [[1000, 1024, 77]]


def test_cpu_and_memory_have_columns_where_nobody_offers_them_and_ask_for_nothing(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1, memory=None, disk=500)
    trace.task(ran(0, 0, 10), disk=77)
    written = trace.write(tmp_path / "trace", (0, 100))
    given = load(tmp_path, written)
    assert given.resources == ("cpu_milli", "memory_mib", "disk_mib")
    assert given.classes.demand.tolist() == [[1000, 0, 77]]
    with pytest.raises(InputError, match="over-commitment of memory_mib"):
        load(tmp_path, written, overcommit=parse_overcommit(["memory=2"]))


def test_cluster_without_any_capacity_is_refused(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1, cpu=None, memory=None)
    trace.task(ran(0, 0, 10))
    with pytest.raises(InputError, match="no machine of this trace states a capacity"):
        load(tmp_path, trace)


def test_trace_without_tables_is_refused(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 10))
    for name, error in (("attempts", InputError), ("machines", TraceFormatError)):
        written = trace.write(tmp_path / name, (0, 100))
        (written.folder / f"{name}.parquet").unlink()
        with pytest.raises(error, match=name):
            load(tmp_path, written)


# the load


def a_busy_trace(folder: Path) -> Trace:
    trace = a_cluster()
    for job in range(400):
        for index in range(job % 3 + 1):
            trace.task(ran(job % 50, 60, 70), job=job, index=index, different_machines=job % 2 == 0, priority=job % 4)
    return trace.write(folder / "trace", (0, 100))


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.2, 3.0])
def test_load_is_scaled_by_whole_jobs(tmp_path: Path, scale: float) -> None:
    given = load(tmp_path, a_busy_trace(tmp_path), scale_load=scale)
    jobs: dict[tuple[int, int], int] = {}
    for row, copy in zip(given.task_rows.tolist(), given.copies.tolist(), strict=True):
        job = row // 6 * 3 + (0, 1, 1, 2, 2, 2)[row % 6]
        jobs[job, copy] = jobs.get((job, copy), 0) + 1
    assert all(count == job % 3 + 1 for (job, _), count in jobs.items())
    assert abs(len(jobs) - 400 * scale) <= 40
    assert max(copy for _, copy in jobs) == {0.5: 0, 1.0: 0, 1.2: 1, 3.0: 2}[scale]
    if scale == 3.0:
        assert len(jobs) == 1200
    assert (np.diff(given.task_rows * 10 + given.copies) > 0).all()
    assert len(given.tasks.first_attempt) == len(given.task_rows) + 1


def test_every_seed_sees_the_same_scaled_load(tmp_path: Path) -> None:
    trace = a_busy_trace(tmp_path)
    one, other = (load(tmp_path, trace, scale_load=0.5, seed=seed) for seed in (1, 2))
    assert np.array_equal(one.task_rows, other.task_rows)


def test_smaller_load_is_part_of_a_larger_one(tmp_path: Path) -> None:
    trace = a_busy_trace(tmp_path)
    less, more = (set(load(tmp_path, trace, scale_load=scale).task_rows.tolist()) for scale in (0.3, 0.6))
    assert less < more


def test_copies_keep_off_the_machines_of_their_own_job_only(tmp_path: Path) -> None:
    trace = a_cluster()
    for index in range(2):
        trace.task(ran(0, 0, 10, on=index + 1), job=1, index=index, different_machines=True)
    given = load(tmp_path, trace, scale_load=2.0)
    spread = given.classes.spread[given.tasks.class_of_group[given.tasks.group]]
    assert given.copies.tolist() == [0, 1, 0, 1]
    assert spread[0] == spread[2] >= 0
    assert spread[1] == spread[3] >= 0
    assert spread[0] != spread[1]


def test_copies_start_on_no_recorded_machine(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 10, on=2))
    given = load(tmp_path, trace, scale_load=2.0)
    assert [demanded(given, task)[0][2] for task in range(2)] == [2, None]


def test_load_scaled_to_nothing_is_refused(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 10))
    with pytest.raises(InputError, match="--scale-load leaves no task"):
        load(tmp_path, trace, scale_load=1e-9)


# requests


def test_requests_that_are_not_stated_are_nothing_and_count_as_kube_scheduler_counts_them(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 10), cpu=None, memory=None)
    trace.task(ran(0, 0, 10), cpu=50, memory=0)
    given = load(tmp_path, trace)
    assert given.classes.demand.tolist() == [[0, 0], [50, 0]]
    assert given.classes.demand_nonzero.tolist() == [[100, 200], [50, 200]]


def test_equal_requests_are_one_class_and_priorities_are_ranked(tmp_path: Path) -> None:
    trace = a_cluster()
    for priority, cpu in ((9, 1000), (0, 1000), (9, 500), (4, 1000)):
        trace.task(ran(0, 0, 10), priority=priority, cpu=cpu)
    given = load(tmp_path, trace, preempts=True)
    tasks = given.tasks
    assert given.priorities.tolist() == [0, 4, 9]
    assert tasks.level_of_group[tasks.group].tolist() == [2, 0, 2, 1]
    assert tasks.class_of_group[tasks.group].tolist() == [0, 0, 1, 0]
    assert given.nodes.by_level.shape == (2, 3, 2)


def test_common_shapes_are_the_most_frequent_requests_for_something(tmp_path: Path) -> None:
    trace = a_cluster()
    for cpu, count in ((500, 3), (0, 5), (1000, 2)):
        for _ in range(count):
            trace.task(ran(0, 0, 10), cpu=cpu, memory=0)
    given = load(tmp_path, trace)
    assert given.shapes.tolist() == [[500, 0], [1000, 0]]
    assert given.shape_weights.tolist() == [0.3, 0.2]


def test_gpu_models_choose_machines_and_milli_count_over_devices(tmp_path: Path) -> None:
    trace = SmallTrace()
    for machine, model in ((1, "A"), (2, "B"), (3, None)):
        trace.machine(machine, gpus=4 if model else 0, model=model)
    for models in ("A", "A|B", None):
        trace.task(ran(0, 0, 10), gpus=2, gpu_milli=500, models=models)
    given = load(tmp_path, trace)
    classes = given.classes
    assert classes.demand[:, -1].tolist() == [1000, 1000, 1000]
    assert [classes.eligible[mask].tolist() if mask >= 0 else None for mask in classes.mask] == [
        [True, False, False], [True, True, False], None,
    ]  # fmt: skip
    assert given.nodes.devices.tolist() == [[1000] * 4, [1000] * 4, [0] * 4]
