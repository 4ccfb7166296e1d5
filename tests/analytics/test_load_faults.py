"""Faults of another fleet on the machines of a trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_traces import S, SmallTrace, ran

from analytics.errors import InputError
from analytics.load.faults import with_faults
from analytics.load.machines import Machines
from analytics.options import ReplayOptions
from tests.analytics.faults.histories import a_history, a_random_history

HOUR_S = 3600


def machines_of(trace: SmallTrace, folder: Path, until_s: float) -> Machines:
    written = trace.write(folder / "trace", (0, until_s))
    return Machines.read(written, ReplayOptions(written.folder, Path("unused")))


def there(machines: Machines, at_us: int) -> np.ndarray:
    """(N,) whether each machine is there at a time, from its events."""
    found = np.zeros(len(machines.ids), bool)
    for time_us, node, up in zip(machines.time_us, machines.node, machines.up, strict=True):
        if time_us <= at_us:
            found[node] = up
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_machine_is_there_when_recorded_and_not_at_fault(tmp_path: Path, seed: int) -> None:
    trace = SmallTrace()
    for machine in range(7):
        trace.machine(machine, cpu=4000)
    trace.machine(3, at=40 * HOUR_S, event="REMOVE")
    trace.machine(3, at=90 * HOUR_S, event="ADD", cpu=8000)
    machines = machines_of(trace, tmp_path, 150 * HOUR_S)
    history = a_random_history(4, 60.0, seed, mtbf_h=15, down_h=5)
    window_us = (10 * HOUR_S * S, 150 * HOUR_S * S)
    changed = with_faults(machines, history, window_us, seed)
    assert (np.diff(changed.time_us) >= 0).all()
    rng = np.random.default_rng([seed, 11])  # the same draws as the code: who gets which life, from when on
    order = rng.permutation(7)
    rounds = [(rng.permutation(4), int(rng.integers(60 * HOUR_S * S)) / S / HOUR_S) for _ in range(2)]
    for at_h in np.random.default_rng(seed).uniform(10, 150, 200):
        expected = there(machines, round(at_h * HOUR_S * S))
        for place, machine in enumerate(order):
            lives, since_h = rounds[place // 4]
            clock = at_h - 10 + since_h
            mine = history.node == lives[place % 4]
            laps = [clock - lap * 60 for lap in range(-1, 4)]
            starts, ends = history.start_h[mine], history.end_h[mine]
            if any(((starts <= lap) & (lap < ends)).any() for lap in laps):
                expected[machine] = False
        assert (there(changed, round(at_h * HOUR_S * S)) == expected).all()


def test_fewer_machines_than_the_fleet_fail_as_often_as_its_nodes_do(tmp_path: Path) -> None:
    """Where all faults are of the first nodes of a fleet, its machines are not all like those."""
    trace = SmallTrace()
    for machine in range(10):
        trace.machine(machine, cpu=4000)
    machines = machines_of(trace, tmp_path, 1000 * HOUR_S)
    history = a_history(100, 1000.0, *((node, 10.0 * node, 10.0 * node + 1) for node in range(10)))
    failed = [
        len(with_faults(machines, history, (0, 1000 * HOUR_S * S), seed).time_us) // 2 - len(machines.time_us) // 2
        for seed in range(60)
    ]
    assert np.mean(failed) == pytest.approx(1, abs=0.5)


def test_capacity_comes_back_as_it_was(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1, cpu=4000)
    trace.machine(1, at=5 * HOUR_S, event="UPDATE", cpu=6000)
    machines = machines_of(trace, tmp_path, 10 * HOUR_S)
    changed = with_faults(machines, a_history(1, 10.0, (0, 0.0, 9.99)), (0, 10 * HOUR_S * S), 0)
    back = changed.up & (changed.time_us > 5 * HOUR_S * S)
    assert changed.capacity["cpu_milli"][back].tolist()[-1] == 6000


def test_recorded_replays_take_no_faults() -> None:
    with pytest.raises(InputError, match="takes no faults"):
        ReplayOptions(Path("trace"), Path("out"), mode="recorded", faults="fitted")


def test_what_ran_on_a_machine_that_fails_starts_again(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    from analytics.replay import run_replay
    from analytics.runs import read_run

    trace = SmallTrace()
    for machine in range(40):
        trace.machine(machine, cpu=1000)
    for job in range(40):
        trace.task(ran(0, 0, 200 * HOUR_S, on=job), job=job, cpu=1000)
    written = trace.write(tmp_path / "trace", (0, 300 * HOUR_S))
    found = []
    for seed, faults in ((1, "fitted"), (1, "fitted"), (2, "fitted"), (1, None)):
        out = tmp_path / f"run-{len(found)}"
        options = ReplayOptions(written.folder, out, policy="first-fit", seed=seed, faults=faults, initial="empty")
        found.append(read_run(run_replay(options)))
    evicted = [run.report()["metrics"]["evictions"] for run in found]
    assert found[0].digest == found[1].digest != found[3].digest
    assert (evicted[0] > 0, evicted[3]) == (True, 0)
    assert evicted[0] != evicted[2] or found[0].digest != found[2].digest
    assert found[0].facts.options["faults"] == "fitted"
    assert "faults" not in found[3].facts.options
