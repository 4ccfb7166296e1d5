"""Hangs: who is waited for and waits for nobody, or between whom the network stands still."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.gpu.flight_recorder import Dump, Operation
from scheduler.core.gpu.syndromes import diagnose
from tests.scheduler.core.gpu.job_simulator import LAYOUTS, Fault, Noise, dumps_of, simulate

SEEDS = st.integers(0, 2**32 - 1)
WORLD = tuple(range(4))


def accused(found):
    return found.verdict, [one.rank for one in found.accused]


def a_rank(rank, *operations, members=None):
    """A dump of (group, sequence, name, state); messages are those whose name has a space."""
    rows = [
        Operation(n, group, sequence, name, state, 10**9 * n, " " in name)
        for n, (group, sequence, name, state) in enumerate(operations)
    ]
    return Dump.of(rank, rows, members or {"world": WORLD})


DONE = ("world", 1, "all_reduce", "completed")
IN_TWO = ("world", 2, "all_reduce", "started")


@settings(max_examples=40)
@given(st.sampled_from(LAYOUTS), st.sampled_from(["stop", "queue"]), st.integers(0, 31), st.integers(0, 26), SEEDS)
def test_whoever_stops_is_found_in_every_layout_with_and_without_its_dump(layout, kind, rank, place, seed):
    layout, rng = layout(32), np.random.default_rng(seed)
    job = simulate(layout, 6, Noise(0.15), Fault(kind, (rank,), 3, place % len(layout.step)), rng)
    dumps = dumps_of(job, rng, Noise(0.15))
    assert accused(diagnose(dumps)) == ("non-communication hang", [rank])
    without = [dump for dump in dumps if dump.rank != rank]
    assert accused(diagnose(without, [rank])) == ("non-communication hang", [rank])


@settings(max_examples=40)
@given(st.sampled_from(LAYOUTS), st.integers(0, 31), st.integers(0, 26), SEEDS)
def test_a_network_that_ends_is_between_the_ranks_of_the_group_that_does_not_finish(layout, rank, place, seed):
    layout, rng = layout(32), np.random.default_rng(seed)
    job = simulate(layout, 6, Noise(0.15), Fault("network", (rank,), 3, place % len(layout.step)), rng)
    found = diagnose(dumps_of(job, rng, Noise(0.15)))
    operation, group = job.stuck[0]
    kind = layout.step[operation % len(layout.step)][0]
    (one,) = found.accused
    assert (found.verdict, one.rank) == ("communication hang", None)
    assert one.among == tuple(np.flatnonzero(layout.groups[kind] == group).tolist())


def test_a_job_that_waits_for_a_moment_does_not_hang():
    rng, layout = np.random.default_rng(1), LAYOUTS[0](16)
    job = simulate(layout, 12, Noise(), None, rng)
    dumps = dumps_of(job, rng, Noise(), seen_at_s=float(job.entered_s[-8, 3]))
    assert diagnose(dumps).verdict != "healthy"  # as of a job that stopped there
    assert diagnose(dumps, waited_s=5.0).verdict == "healthy"
    assert diagnose(dumps, waited_s=25.0).verdict != "healthy"


def test_a_job_whose_steps_pause_for_long_is_given_longer():
    stuck = [a_rank(rank, DONE, *([IN_TWO] if rank else [])) for rank in WORLD]
    assert accused(diagnose(stuck, waited_s=25.0)) == ("non-communication hang", [0])
    paused = [dataclasses.replace(dump, created_ns=40 * dump.created_ns) for dump in stuck]
    assert diagnose(paused, waited_s=25.0).verdict == "healthy"
    assert accused(diagnose(paused, waited_s=81.0)) == ("non-communication hang", [0])


def test_a_rank_that_has_queued_and_not_started_what_others_have_is_stuck_in_its_computation():
    dumps = [a_rank(rank, DONE, ("world", 2, "all_reduce", "scheduled" if rank == 2 else "started")) for rank in WORLD]
    found = diagnose(dumps)
    assert accused(found) == ("non-communication hang", [2])
    assert "which it has queued and not started" in found.accused[0].evidence


def test_a_message_that_both_ends_are_in_is_their_connection():
    dumps = [
        a_rank(0, DONE, ("world", 1, "send 0->1", "started")), a_rank(1, DONE, ("world", 1, "recv 1<-0", "started")),
        a_rank(2, DONE, IN_TWO), a_rank(3, DONE, IN_TWO),
    ]  # fmt: skip
    found = diagnose(dumps)
    assert accused(found) == ("communication hang", [None])
    assert found.accused[0].link == (0, 1)


def test_a_receiver_waits_for_its_sender_alone_along_a_pipeline():
    dumps = [
        a_rank(0, DONE),
        a_rank(1, DONE, ("world", 1, "recv 1<-0", "started")), a_rank(2, DONE, ("world", 1, "recv 2<-1", "started")),
        a_rank(3, DONE, IN_TWO),
    ]  # fmt: skip
    assert accused(diagnose(dumps)) == ("non-communication hang", [0])


def test_messages_count_ranks_within_their_group():
    members = {"stages": (4, 9), "world": (4, 9)}
    dumps = [
        a_rank(4, DONE, ("stages", 1, "send 0->1", "started"), members=members),
        a_rank(9, DONE, ("stages", 1, "recv 1<-0", "started"), members=members),
    ]
    assert diagnose(dumps).accused[0].link == (4, 9)


def test_a_rank_that_all_unfinished_operations_share_is_accused():
    dumps = [
        a_rank(0, DONE, ("world", 1, "recv 0<-2", "started")), a_rank(1, DONE, ("world", 1, "send 1->2", "started")),
        a_rank(2, DONE, ("world", 1, "recv 2<-1", "started"), ("world", 1, "send 2->0", "started")),
        a_rank(3, DONE, IN_TWO),
    ]  # fmt: skip
    found = diagnose(dumps)
    assert found.verdict == "communication hang"
    assert found.accused[0].link == (1, 2)  # what rank 2 still has before it is no connection's fault


def test_a_rank_that_alone_has_not_completed_is_accused():
    dumps = [a_rank(rank, DONE, IN_TWO) for rank in WORLD[:1]] + [
        a_rank(rank, DONE, ("world", 2, "all_reduce", "completed"), ("world", 3, "all_reduce", "started"))
        for rank in WORLD[1:]
    ]
    assert accused(diagnose(dumps)) == ("communication hang", [0])


def test_ranks_that_wait_for_each_other_in_different_collectives_are_the_programs_fault():
    groups = {"a": (0, 1), "b": (0, 1), "world": (0, 1)}
    start = [("world", 1, "all_reduce", "completed")]
    dumps = [
        a_rank(0, *start, ("a", 1, "all_reduce", "started"), members=groups),
        a_rank(1, *start, ("b", 1, "all_reduce", "started"), members=groups),
    ]
    found = diagnose(dumps)
    assert accused(found) == ("deadlock", [])
    assert "the program" in found.notes[0]


@pytest.mark.parametrize("odd", WORLD)
def test_a_rank_that_calls_another_collective_is_named_by_majority_and_accused_of_no_fault(odd):
    dumps = [
        a_rank(rank, DONE, ("world", 2, "all_gather" if rank == odd else "all_reduce", "started")) for rank in WORLD
    ]
    found = diagnose(dumps)
    assert accused(found) == ("mismatched collectives", [])
    assert found.notes[0].startswith(f"ranks {odd} call all_gather where 3 others call all_reduce 2 of group world")


def test_several_nodes_of_a_large_job_are_found_together():
    rng, layout = np.random.default_rng(5), LAYOUTS[2](64)
    ranks = (*range(8, 16), *range(40, 48))
    job = simulate(layout, 5, Noise(), Fault("stop", ranks, 3, 4), rng)
    assert set(accused(diagnose(dumps_of(job, rng, Noise())))[1]) == set(ranks)
