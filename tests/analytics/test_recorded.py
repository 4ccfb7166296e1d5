"""The recorded replay: what the trace says happened, every illegal step of it, and what the cluster held."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from small_traces import NEVER, S, SmallTrace, ran

from analytics.options import ReplayOptions
from analytics.recorded import Recorded, recorded_placements, replay_recorded
from analytics.replay import run_replay
from analytics.runs import Run, read_run
from traces.schema import Trace


def a_cluster() -> SmallTrace:
    trace = SmallTrace()
    trace.machine(1)
    trace.machine(2)
    return trace


def replayed(folder: Path, trace: SmallTrace, until: float = 100, **options: Any) -> Recorded:
    written = trace.write(folder / "trace", (0, until))
    options = {"interval_us": 10 * S} | options
    return replay_recorded(written, ReplayOptions(written.folder, Path("unused"), mode="recorded", **options))


def cpu_cores(found: Recorded) -> list[float]:
    return (found.samples.requested[:, 0] / 1000).tolist()


# the real slice


@pytest.fixture(scope="module")
def real_run(slice2011: Trace, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Run:
    """The recorded replay of the 19.65 h slice."""
    return read_run(
        made_once(
            "recorded2011", lambda out: run_replay(ReplayOptions(slice2011.folder, out, mode="recorded"), force=True)
        )
    )


def test_real_slice_has_no_illegal_transition(real_run: Run) -> None:
    assert real_run.report()["illegal_transitions"] == 0
    assert real_run.facts.counters["events"] == 2_609_335


def test_real_slice_counts_as_published(real_run: Run) -> None:
    """890,517 schedulings, of which 132,982 are the snapshot's: those happened before."""
    counters = real_run.facts.counters
    assert counters["placements"] == 890_517 - 132_982
    assert counters["evictions"] == 219_839
    placements = pq.read_table(real_run.folder / "placements.parquet", columns=["start_us", "end_us", "evictions"])
    assert len(placements) - placements["start_us"].null_count == 890_517
    assert sum(placements["evictions"].to_pylist()) == 219_839


def test_real_slice_begins_with_the_published_snapshot(real_run: Run) -> None:
    first = pq.read_table(real_run.folder / "series.parquet").slice(0, 1).to_pylist()[0]
    assert (first["time_us"], first["running"], first["pending"], first["nodes"]) == (0, 132_982, 11_357, 12_477)
    cpu, memory = 128_000, 524_288
    assert round(first["capacity_cpu_milli"] / cpu, 2) == 6603.25
    assert round(first["capacity_memory_mib"] / memory, 2) == 5862.75
    # 13 of the 132,982 run on machines that are not there yet: they hold nothing of the cluster
    assert round(first["requested_cpu_milli"] / cpu, 1) == 7491.7
    assert round(first["requested_memory_mib"] / memory, 1) == 5467.8
    query = """SELECT coalesce(start_us = 0, false)::INT, count(*), sum(cpu_milli)::BIGINT, sum(memory_mib)::BIGINT
        FROM read_parquet(?) WHERE submit_us = 0 GROUP BY 1 ORDER BY 1"""
    pending, running = duckdb.execute(query, [str(real_run.folder / "placements.parquet")]).fetchall()
    assert (pending[1], round(pending[2] / cpu), round(pending[3] / memory)) == (11_357, 867, 1_078)
    assert (running[1], round(running[2] / cpu, 1), round(running[3] / memory, 1)) == (132_982, 7492.7, 5468.2)


@pytest.mark.parametrize(
    ("tier", "p50", "p90", "p99"),
    [("free", 3.4, 720, 7078), ("middle", 2.7, 59, 2713), ("production", 1.7, 30, 76)],
)
def test_real_slice_waited_as_published(real_run: Run, tier: str, p50: float, p90: float, p99: float) -> None:
    delay = real_run.summary["delay_s"][tier]
    assert (round(delay["p50"], 1), round(delay["p90"]), round(delay["p99"])) == (p50, p90, p99)


def test_real_slice_from_the_middle_agrees_with_the_whole(slice2011: Trace, real_run: Run) -> None:
    """Series of a window are those of the whole: the past is applied, and only not counted."""
    opens, closes = 36_000 * S, 39_600 * S
    options = ReplayOptions(slice2011.folder, Path("unused"), mode="recorded", from_us=opens, to_us=closes)
    found = replay_recorded(slice2011, options)
    series = pq.read_table(real_run.folder / "series.parquet")
    inside = (series["time_us"].to_numpy() >= opens) & (series["time_us"].to_numpy() <= closes)
    assert found.samples.time_us.tolist() == series["time_us"].to_numpy()[inside].tolist()
    for column, name in ((found.samples.running, "running"), (found.samples.requested[:, 0], "requested_cpu_milli")):
        assert column.tolist() == series[name].to_numpy()[inside].tolist()


# small traces


def test_recording_is_applied_as_it_stands(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 25, on=1), cpu=3000)
    trace.task(ran(5, 15, 35, "EVICT", on=1), ran(40, 45, None, on=2), cpu=3000)  # over-commits machine 1
    found = replayed(tmp_path, trace, 60)
    assert cpu_cores(found) == [3, 3, 6, 3, 0, 3, 3]
    assert found.samples.running.tolist() == [1, 1, 2, 1, 0, 1, 1]
    assert found.samples.waiting.sum(axis=1).tolist() == [0, 1, 0, 0, 1, 0, 0]
    assert found.counters == {"events": 8, "placements": 2, "evictions": 1, "preemptions": 0}
    assert found.illegal == {}
    assert (found.nodes.held[:, 0] / 1000 / S).tolist() == [3 * 25 + 3 * 20, 3 * 15]
    assert (found.nodes.busy_us / S).tolist() == [35, 15]


def test_sample_shows_the_state_after_everything_at_its_instant(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(10, 10, 20, on=1))
    trace.task(ran(20, 20, 30, on=1), cpu=2000)
    assert cpu_cores(replayed(tmp_path, trace, 30)) == [0, 1, 2, 0]


def test_events_of_one_microsecond_are_put_in_legal_order(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.event(10, "SCHEDULE", machine=1, cpu_milli=1000)
    trace.event(10, "SUBMIT")
    trace.task(ran(0, 0, 20, on=1), job=2)
    assert replayed(tmp_path, trace).illegal == {}


ILLEGAL = {
    "UNSUBMITTED SCHEDULE": [(5, "SCHEDULE")],
    "PENDING SUBMIT": [(5, "SUBMIT"), (6, "SUBMIT")],
    "RUNNING SUBMIT": [(5, "SUBMIT"), (6, "SCHEDULE"), (7, "SUBMIT")],
    "RUNNING SCHEDULE": [(5, "SUBMIT"), (6, "SCHEDULE"), (7, "SCHEDULE")],
    "UNSUBMITTED FINISH": [(5, "FINISH")],
    "DEAD FAIL": [(5, "SUBMIT"), (6, "KILL"), (7, "FAIL")],
    "DEAD SCHEDULE": [(5, "SUBMIT"), (6, "SCHEDULE"), (7, "EVICT"), (8, "SCHEDULE")],
    "RUNNING UPDATE_PENDING": [(5, "SUBMIT"), (6, "SCHEDULE"), (7, "UPDATE_PENDING")],
    "PENDING UPDATE_RUNNING": [(5, "SUBMIT"), (6, "UPDATE_RUNNING")],
    "RUNNING QUEUE": [(5, "SUBMIT"), (6, "SCHEDULE"), (7, "QUEUE")],
    "QUEUED SCHEDULE": [(5, "SUBMIT"), (6, "QUEUE"), (7, "SCHEDULE")],
    "RUNNING ENABLE": [(5, "SUBMIT"), (6, "SCHEDULE"), (7, "ENABLE")],
}


@pytest.mark.parametrize("kind", ILLEGAL)
@pytest.mark.parametrize("is_missing", [False, True])
def test_illegal_transition_is_reported_by_its_kind(tmp_path: Path, kind: str, is_missing: bool) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 20, on=1), job=2)
    *before, last = ILLEGAL[kind]
    for at, event in before:
        trace.event(at, event, machine=1, cpu_milli=1000)
    trace.event(*last, machine=1, cpu_milli=1000, missing=2 if is_missing else None)
    trace.event(30, "UPDATE_RUNNING", job=2)  # dead by then: counted beside it
    found = replayed(tmp_path, trace).illegal
    assert found.pop("DEAD UPDATE_RUNNING") == {"with_missing_info": 0, "without": 1}
    assert found == {kind: {"with_missing_info": int(is_missing), "without": int(not is_missing)}}


def test_illegal_event_is_believed_and_counted_once(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.event(5, "SCHEDULE", machine=1, cpu_milli=2000)
    trace.event(25, "FINISH", machine=1)
    trace.task(ran(0, 0, 90, on=2), job=2)
    found = replayed(tmp_path, trace, 40)
    assert found.illegal == {"UNSUBMITTED SCHEDULE": {"with_missing_info": 0, "without": 1}}
    assert cpu_cores(found) == [1, 3, 3, 1, 1]


def test_request_that_changes_while_it_runs_is_held_from_then_on(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 45, on=1), job=1)
    trace.event(15, "UPDATE_RUNNING", job=1, machine=1, cpu_milli=2500)
    trace.event(25, "UPDATE_RUNNING", job=1, machine=1)  # states nothing: nothing changes
    found = replayed(tmp_path, trace, 50)
    assert cpu_cores(found) == [1, 1, 2.5, 2.5, 2.5, 0]
    assert not found.nodes.requested.any()


def test_machine_that_leaves_keeps_its_tasks_and_offers_nothing(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.machine(1, 15, "REMOVE")
    trace.machine(1, 35, "ADD")
    trace.machine(2, 25, "UPDATE", cpu=1000)
    trace.task(ran(0, 0, 60, on=1))
    found = replayed(tmp_path, trace, 40)
    assert (found.samples.capacity[:, 0] / 1000).tolist() == [8, 8, 4, 1, 5]
    assert found.samples.nodes.tolist() == [2, 2, 1, 1, 2]
    assert cpu_cores(found) == [1, 1, 0, 0, 1]  # of machines that are there
    assert found.samples.running.tolist() == [1] * 5


def test_task_on_an_unknown_machine_runs_and_holds_nothing(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 60, on=77))
    trace.task(ran(0, 0, 60, on=1))
    found = replayed(tmp_path, trace, 20)
    assert (cpu_cores(found), found.samples.running.tolist()) == ([1, 1, 1], [2, 2, 2])


def test_events_after_the_window_are_not_applied(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, NEVER, on=1))
    trace.task(ran(5, 6, 50, on=2))
    found = replayed(tmp_path, trace, 100, to_us=30 * S)
    assert found.counters["events"] == 4
    assert cpu_cores(found) == [1, 2, 2, 2]


def test_window_in_the_middle_counts_only_what_happens_in_it(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 5, 25, "EVICT", on=1), ran(25, 25, 60, on=2))
    trace.task(ran(1, 2, 10, on=2))
    trace.task(ran(3, 40, 60, on=2), priority=9)
    found = replayed(tmp_path, trace, 100, from_us=20 * S, to_us=50 * S)
    assert found.samples.time_us.tolist() == [20 * S, 30 * S, 40 * S, 50 * S]
    assert cpu_cores(found) == [1, 1, 2, 2]
    assert found.samples.waiting.tolist() == [[0, 1], [0, 1], [0, 0], [0, 0]]
    assert (found.counters["placements"], found.counters["evictions"]) == (2, 1)
    assert (found.nodes.held[:, 0] / 1000 / S).tolist() == [5, 35]


def test_placements_are_the_recorded_attempts(tmp_path: Path) -> None:
    trace = a_cluster()
    trace.task(ran(0, 0, 15, "EVICT", on=1), ran(16, 17, 50, on=2), job=1)
    trace.task(ran(5, None, 12, "KILL"), job=2)
    trace.task(ran(20, 25, NEVER, on=2), job=3)
    trace.task(ran(1, 2, 10, on=2), job=4)  # over when the window opens
    trace.task(ran(61, 62, 63, on=2), job=5)  # comes when it is closed
    written = trace.write(tmp_path / "trace", (0, 100))
    rows = [row for piece in recorded_placements(written, (10 * S, 60 * S)) for row in piece.to_pylist()]
    assert [
        (row["task"], row["attempt"], row["submit_us"] // S, row["start_us"] and row["start_us"] // S,
         row["end_us"] and row["end_us"] // S, row["end"], row["node"], row["evictions"], row["initial"])
        for row in rows
    ] == [
        (0, 0, 0, 0, 15, "EVICT", 1, 1, True),
        (0, 1, 16, 17, 50, "FINISH", 2, 0, False),
        (1, 0, 5, None, 12, "CANCELLED", None, 0, True),
        (2, 0, 20, 25, None, None, 2, 0, False),
    ]  # fmt: skip


def test_batches_and_files_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = a_cluster()
    for number in range(30):
        pieces = [ran(10 * k + number % 3, 10 * k + 4, 10 * k + 8, "FAIL", on=1 + k % 2) for k in range(number % 5 + 1)]
        trace.task(*pieces, job=number // 3, index=number % 3, cpu=100 * number)
    whole = replayed(tmp_path / "whole", trace)
    placed = [row for piece in recorded_placements(written_in(tmp_path / "whole"), (0, 100 * S)) for row in rows(piece)]
    monkeypatch.setattr("analytics.load.attempts.BATCH_ROWS", 7)
    parts = trace.write(tmp_path / "parts", (0, 100), parts=3)
    options = ReplayOptions(parts.folder, Path("unused"), mode="recorded", interval_us=10 * S)
    cut = replay_recorded(parts, options)
    assert whole.counters == cut.counters
    assert np.array_equal(whole.samples.requested, cut.samples.requested)
    assert [row for piece in recorded_placements(parts, (0, 100 * S)) for row in rows(piece)] == placed


def written_in(folder: Path) -> Trace:
    from traces.schema import open_trace

    return open_trace(folder / "trace")


def rows(piece: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = piece.to_pylist()
    return found
