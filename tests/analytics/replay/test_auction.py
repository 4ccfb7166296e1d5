"""The auction in a replay: what is freed waits for the round, who is served then, and what is carried over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from random_traces import random_case
from replays import load, run_engine
from small_traces import S, SmallTrace, ran

from analytics.options import ReplayOptions
from analytics.replay import rounds, run_replay
from analytics.replay.rounds import ROUND_US, worth_of_levels
from analytics.runs import read_run
from traces.schema import TIERS_2011

ROUND_S = ROUND_US // S


def replayed(folder: Path, trace: SmallTrace, policy: str = "auction", **options: Any) -> list[dict[str, Any]]:
    given = trace.write(folder / f"trace-{policy}", (0, 10_000)).folder
    out = run_replay(ReplayOptions(given, folder / policy, policy=policy, **options), force=True)
    return pq.read_table(out / "placements.parquet").to_pylist()


def starts_of(rows: list[dict[str, Any]]) -> list[float | None]:
    return [None if row["start_us"] is None else row["start_us"] / S for row in rows]


def a_full_node(until: float, **task: Any) -> SmallTrace:
    trace = SmallTrace()
    trace.machine(1, cpu=4000, memory=8192)
    trace.task(ran(0, 0, until), cpu=4000, memory=1024, **task)
    return trace


def test_room_that_nobody_waited_for_is_taken_at_once(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1)
    trace.task(ran(7, 20, 30))
    assert starts_of(replayed(tmp_path, trace)) == [7]


def test_freed_room_goes_to_the_most_important_of_the_round_not_to_the_first(tmp_path: Path) -> None:
    trace = a_full_node(ROUND_S + 5)
    trace.task(ran(ROUND_S + 1, 900, 1500), cpu=4000, priority=0)
    trace.task(ran(ROUND_S + 9, 900, 1500), cpu=4000, priority=9)
    assert starts_of(replayed(tmp_path, trace))[1:] == [2 * ROUND_S + 600, 2 * ROUND_S]
    first_come = starts_of(replayed(tmp_path, trace, "kube-default"))
    assert first_come[1] == ROUND_S + 5


def test_equal_bids_go_by_arrival(tmp_path: Path) -> None:
    trace = a_full_node(30)
    for submit in (3, 1, 2):
        trace.task(ran(submit, 900, 1500), cpu=4000, tenant="a")
    starts = starts_of(replayed(tmp_path, trace))[1:]
    assert sorted(range(3), key=lambda row: starts[row] or 0) == [1, 2, 0]


def test_one_large_bid_beats_a_small_one_for_the_node_both_want(tmp_path: Path) -> None:
    """Same worth per unit: winners fill the node, where a queue lets the first go and wastes the rest."""
    trace = a_full_node(30)
    trace.task(ran(1, 900, 1500), cpu=1000)
    trace.task(ran(2, 900, 1500), cpu=4000)
    assert starts_of(replayed(tmp_path, trace))[2] == ROUND_S
    assert starts_of(replayed(tmp_path, trace, "kube-default"))[1] == 30


def test_a_tenant_that_held_little_goes_before_one_that_held_much(tmp_path: Path) -> None:
    """Same tier, and `many` asked first; `few` has lent for hours."""
    trace = SmallTrace()
    trace.machine(1, cpu=4000, memory=8192)
    hours = 20 * rounds.QUANTUM_ROUNDS * ROUND_S
    trace.task(ran(0, 0, hours + 10), cpu=4000, tenant="many")
    trace.task(ran(hours, hours + 900, hours + 1500), cpu=4000, tenant="many")
    trace.task(ran(hours + 1, hours + 900, hours + 1500), cpu=4000, tenant="few")
    starts = starts_of(replayed(tmp_path, trace))
    assert (starts[2] or np.inf) < (starts[1] or np.inf)
    assert starts_of(replayed(tmp_path, trace, "kube-default"))[1] == hours + 10


def test_worth_goes_by_the_tier_and_is_one_outside_all(tmp_path: Path) -> None:
    trace = SmallTrace()
    trace.machine(1)
    for priority in (0, 5, 9, 11, 30):
        trace.task(ran(0, 0, 10), priority=priority)
    given = load(trace.write(tmp_path / "t", (0, 100)), by_tenant=True)
    assert worth_of_levels(given.priorities, TIERS_2011).tolist() == [1, 2, 4, 8, 1]


def test_prices_are_carried_over_and_keep_off_who_has_a_choice(tmp_path: Path) -> None:
    """Node 1 was fought for; a task that fits on both takes node 2, though node 1 is as empty and comes first."""
    trace = SmallTrace()
    for machine in (1, 2):
        trace.machine(machine, cpu=4000, memory=8192)
    trace.task(ran(0, 0, 10, on=1), cpu=4000, memory=1024)
    trace.task(ran(0, 0, 700, on=2), cpu=4000, memory=1024)
    for submit in (1, 2):
        trace.task(ran(submit, 900, 1100), cpu=4000, memory=1024)
    trace.task(ran(1000, 1000, 1100), cpu=1000, memory=1024)
    rows = replayed(tmp_path, trace)
    assert [row["node"] for row in rows] == [1, 2, 1, 1, 2]


@pytest.mark.parametrize("preempts", [False, True])
def test_after_a_round_nothing_that_fits_waits_and_nothing_is_over_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preempts: bool
) -> None:
    from test_engine import check_state

    monkeypatch.setattr(rounds, "ROUND_US", 7 * S)
    for seed in range(1000, 1010):
        case = random_case(seed)
        for row in case.trace.machines:
            row["event"] = "ADD" if row["event"] == "UPDATE" else row["event"]
        sizes = {row["machine"]: row for row in case.trace.machines if row["event"] == "ADD"}
        for row in case.trace.machines:
            if row["event"] == "ADD":
                row |= {name: sizes[row["machine"]][name] for name in ("cpu_milli", "memory_mib", "gpus")}
        if not sizes:
            continue
        trace = case.trace.write(tmp_path / str(seed), (0, 130))
        run_engine(load(trace, preempts, True, initial="empty"), "auction", preempts, tick=check_state)


def test_what_ran_for_nothing_is_not_kept(tmp_path: Path) -> None:
    """Preempted after 20 s and started again at 100 s: of 130 s since the first start, the last 50 count."""
    trace = SmallTrace()
    trace.machine(1, cpu=1000, memory=8192)
    trace.task(ran(0, 0, 50), priority=0)
    trace.task(ran(20, 20, 100), priority=9)
    rows = replayed(tmp_path, trace, "first-fit", preemption="on")
    assert (rows[0]["start_us"], rows[0]["last_start_us"], rows[0]["end_us"]) == (0, 100 * S, 150 * S)
    cut = replayed(tmp_path, trace, "best-fit", preemption="on", to_us=60 * S)
    assert (cut[0]["start_us"], cut[0]["last_start_us"], cut[0]["end_us"]) == (0, None, None)


def test_the_same_replay_gives_the_same_bytes(tmp_path: Path) -> None:
    trace = random_case(3).trace.write(tmp_path / "t", (0, 130)).folder
    runs = [run_replay(ReplayOptions(trace, tmp_path / name, policy="auction")) for name in "ab"]
    assert read_run(runs[0]).digest == read_run(runs[1]).digest
    assert read_run(runs[0]).facts.counters["rounds"] == 4


def test_prices_are_kept_of_rounds_that_sold_and_of_no_other_policy(tmp_path: Path) -> None:
    """Three want the node that one can have: it fetches what the best of the losers bids."""
    trace = a_full_node(30)
    for priority in (9, 5, 0):
        trace.task(ran(1, 900, 1500), cpu=4000, priority=priority)
    replayed(tmp_path, trace)
    rows = pq.read_table(tmp_path / "auction" / "prices.parquet").to_pylist()
    assert [row["time_us"] for row in rows] == [ROUND_US, 11 * ROUND_US, 21 * ROUND_US]
    assert [(row["on_sale"], row["bids"], row["wins"]) for row in rows] == [(1, 3, 1), (1, 2, 1), (1, 1, 1)]
    assert rows[0]["price_max"] > 0.01
    assert rows[2]["price_max"] == pytest.approx(0)
    assert all(row["price_p50"] == row["price_p90"] == row["price_max"] for row in rows)
    assert "prices.parquet" in read_run(tmp_path / "auction").files
    replayed(tmp_path, trace, "first-fit")
    assert "prices.parquet" not in read_run(tmp_path / "first-fit").files
