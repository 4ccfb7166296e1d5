"""A replay as a run folder: the same bytes however it is made, and whole or not there."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from random_traces import random_case
from replays import load, options_for, placements_of, run_engine
from small_traces import S, SmallTrace, ran

from analytics.errors import InputError
from analytics.options import ReplayOptions
from analytics.replay import run_replay
from analytics.runs import read_run
from traces.schema import open_trace

ROOT = Path(__file__).resolve().parents[3]
MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="module")
def busy_trace(made_once: MadeOnce) -> Path:
    """Forty machines that come and go, 6,000 attempts, more work than room at times."""
    return made_once("busy trace", write_busy_trace)


def write_busy_trace(folder: Path) -> None:
    dice = random.Random(4)
    trace = SmallTrace()
    for machine in range(1, 41):
        trace.machine(machine, cpu=dice.choice([8000, 16000]), memory=dice.choice([16384, 32768]))
        if machine % 4 == 0:
            trace.machine(machine, 600 * machine, "REMOVE")
            trace.machine(machine, 600 * machine + 900, cpu=8000, memory=16384)
    for number in range(5000):
        submit = dice.randrange(0, 80_000) / 2
        start, stop = submit + dice.random() * 9, submit + 10 + dice.expovariate(1 / 1500)
        attempts = [ran(submit, start, stop, dice.choice(["FINISH", "FAIL", "EVICT"]), on=dice.randrange(1, 41))]
        if dice.random() < 0.2:
            attempts.append(ran(stop + 5, stop + 6, stop + 600, on=1))
        trace.task(
            *attempts, job=number // 5, index=number % 5, cpu=dice.choice([500, 1000, 4000]),
            memory=dice.choice([512, 2048, 8192]), priority=dice.choice([0, 1, 4, 9]), tenant="abcde"[number % 5],
            different_machines=number // 5 % 10 == 0,
        )  # fmt: skip
    trace.write(folder, (0, 50_000))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def replay(trace: Path, out: Path, **options: Any) -> dict[str, bytes]:
    run_replay(ReplayOptions(trace, out, **options), force=True)
    return bytes_of(out)


RUNS: dict[str, dict[str, Any]] = {
    "best-fit": {"policy": "best-fit"},
    "random": {"policy": "random", "seed": 5, "preemption": "on", "overcommit": (("cpu_milli", 1.2),)},
    "window": {"policy": "kube-default", "from_us": 10_000 * S, "to_us": 30_000 * S, "scale_load": 1.3},
    "recorded": {"mode": "recorded"},
}

WITH_THREADS = """
import sys, pathlib, duckdb, pyarrow
sys.path[:0] = sys.argv[3:]
threads, connect = int(sys.argv[1]), duckdb.connect
duckdb.connect = lambda *a, config={}, **k: connect(*a, config={**config, "threads": threads}, **k)
duckdb.execute(f"SET threads = {threads}")
pyarrow.set_cpu_count(threads)
from test_run import RUNS, replay
trace, out = map(pathlib.Path, sys.argv[2].split("|"))
for name, options in RUNS.items():
    replay(trace, out / name, **options)
"""


def test_same_bytes_with_one_thread_and_two(busy_trace: Path, tmp_path: Path) -> None:
    here = {name: replay(busy_trace, tmp_path / "here" / name, **options) for name, options in RUNS.items()}
    paths = [str(ROOT), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    for threads in (1, 2):
        out = tmp_path / f"threads{threads}"
        subprocess.run(
            [sys.executable, "-c", WITH_THREADS, str(threads), f"{busy_trace}|{out}", *paths],
            env=os.environ | {"NUMBA_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
            cwd=ROOT,
            check=True,
        )
        for name in RUNS:
            assert bytes_of(out / name) == here[name], (threads, name)


def test_same_bytes_again_and_in_another_place(busy_trace: Path, tmp_path: Path) -> None:
    once = replay(busy_trace, tmp_path / "a", policy="random", seed=2)
    again = replay(Path(shutil.copytree(busy_trace, tmp_path / "moved")), tmp_path / "b", policy="random", seed=2)
    assert once == again
    assert subprocess.run(["diff", "-r", tmp_path / "a", tmp_path / "b"], check=False).returncode == 0
    assert once != replay(busy_trace, tmp_path / "a", policy="random", seed=3)


def test_kill_9_at_any_moment_leaves_no_half_run_and_the_repeat_succeeds(busy_trace: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "run", ReplayOptions(busy_trace, tmp_path / "run")
    run_replay(options)
    expected, content = read_run(out).digest, bytes_of(out)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["analytics.replay.run"])

    def start() -> Any:
        child = processes.Process(target=run_replay, args=(options, True))
        child.start()
        return child

    start().join()  # the server itself has to start
    begun = time.monotonic()
    start().join()
    whole_s = time.monotonic() - begun
    moments, killed = random.Random(20), 0
    for turn in range(20):
        if is_fresh := turn % 2 == 0:
            shutil.rmtree(out)
        child = start()
        child.join(whole_s * moments.uniform(0, 1) ** 0.5)  # the writing is at the end
        killed += child.is_alive()
        child.kill()
        child.join()
        if out.exists():
            assert bytes_of(out) == content
        else:
            assert is_fresh or bytes_of(out.with_name("run.replaced.partial")) == content
        run_replay(options, force=True)
        assert (read_run(out).digest, bytes_of(out)) == (expected, content)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.cost.json"]
    assert killed > 5


def test_placements_are_what_the_engine_decided(tmp_path: Path) -> None:
    trace = random_case(11).trace.write(tmp_path / "trace", (0, 130))
    run_replay(options_for(trace, policy="best-fit", out=tmp_path / "run", preemption="on"))
    rows = pq.read_table(tmp_path / "run" / "placements.parquet").to_pylist()
    given = load(trace, preempts=True)
    placed, replayed, _ = run_engine(given, "best-fit", preempts=True)
    assert placed == placements_of(replayed)
    assert {
        (row["task"], row["attempt"]): (
            row["submit_us"], row["start_us"], row["end_us"], row["node"], row["evictions"], row["preemptions"],
        )
        for row in rows
    } == {
        key: (one.submit_us, one.start_us, one.end_us, one.node, one.evictions, one.preemptions)
        for key, one in placed.items()
    }  # fmt: skip
    assert all((row["end"] is None) == (row["end_us"] is None) for row in rows)
    assert all((row["end"] == "CANCELLED") == (row["end_us"] is not None and row["start_us"] is None) for row in rows)


def test_series_show_capacity_requests_and_waiting_at_each_instant(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1, cpu=2000, memory=4096)
    trace.machine(2, 15, cpu=4000, memory=4096)
    trace.machine(2, 25, "REMOVE")
    for start in (0, 5, 5):
        trace.task(ran(start, start, start + 20), cpu=2000, priority=9)
    written = trace.write(tmp_path / "trace", (0, 60))
    run_replay(options_for(written, out=tmp_path / "run", policy="first-fit"))
    rows = pq.read_table(tmp_path / "run" / "series.parquet").to_pylist()
    names = ("nodes", "running", "pending_production", "capacity_cpu_milli", "requested_cpu_milli")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (1, 1, 0, 2000, 2000), (1, 1, 2, 2000, 2000), (2, 2, 0, 6000, 4000), (1, 1, 1, 2000, 2000),
        (1, 1, 1, 2000, 2000), (1, 1, 0, 2000, 2000), (1, 1, 0, 2000, 2000),
    ]  # fmt: skip


def test_refusals_come_before_any_work(busy_trace: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    for force in (False, True):
        with pytest.raises(InputError, match="exists"):
            run_replay(ReplayOptions(busy_trace, tmp_path / "run"), force=force)
    with pytest.raises(ValueError, match="no policy is named 'bestfit'"):
        run_replay(ReplayOptions(busy_trace, tmp_path / "other", policy="bestfit"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert open_trace(busy_trace).meta.rows["tasks"] == 5000
