"""Diagnosis from Flight Recorder dumps: real ones with known answers, made ones, and broken ones."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.gpu.flight_recorder import (
    COMPLETED,
    STARTED,
    Dump,
    Operation,
    rank_in,
    read_dump,
)
from scheduler.core.gpu.syndromes import diagnose

CASES = {
    "healthy": ("healthy", []),
    "slow_rank5": ("non-communication slow", [5]),
    "hang_rank3": ("non-communication hang", [3]),
    "late_rank6": ("healthy", []),
}


@pytest.fixture(scope="module")
def real(shared_data):
    def read(case):
        folder = Path(shared_data(f"gpu/flight_recorder/{case}"))
        return [read_dump(path.read_bytes(), rank_in(path.name)) for path in sorted(folder.iterdir())]

    return read


def accused(found):
    return found.verdict, [one.rank for one in found.accused]


@pytest.mark.parametrize("case", CASES)
def test_the_real_cases_are_named_right(real, case):
    found = diagnose(real(case))
    assert accused(found) == CASES[case]
    assert (found.late == ["rank 6 was 3.00 s late once, at all_reduce 21 of group 2"]) == (case == "late_rank6")
    for one in found.accused:
        assert one.confidence >= 0.9
        assert "group" in one.evidence


@pytest.mark.parametrize("missing", range(8))
@pytest.mark.parametrize("case", CASES)
def test_the_real_cases_are_named_right_without_any_one_dump(real, case, missing):
    found = diagnose([dump for dump in real(case) if dump.rank != missing], [missing])
    assert accused(found) == CASES[case]
    assert found.missing == [missing]


@pytest.mark.parametrize("skew_s", [0.1, 2.0, 90.0])
@pytest.mark.parametrize("case", CASES)
def test_clocks_that_are_off_change_no_verdict(real, case, skew_s):
    rng = random.Random(3)
    found = diagnose([shifted(dump, rng.uniform(-skew_s, skew_s)) for dump in real(case)])
    assert accused(found) == CASES[case]


def shifted(dump, seconds):
    return dataclasses.replace(dump, created_ns=dump.created_ns + int(1e9 * seconds))


def a_job(ranks, steps, own, groups=None, stop=None):
    """Dumps of a job: in every step a collective in each rank's group, then one over all; own(rank, step): seconds
    between. stop: (rank or ranks, step): they never enter their group's collective of that step."""
    groups = groups or {rank: "half-" + "ab"[rank >= ranks // 2] for rank in range(ranks)}
    operations = {rank: [] for rank in range(ranks)}
    at = dict.fromkeys(range(ranks), 0.0)
    dead = set()
    stops = {} if stop is None else dict.fromkeys(stop[0] if isinstance(stop[0], set) else {stop[0]}, stop[1])
    for step in range(1, steps + 1):
        for group in (groups, dict.fromkeys(range(ranks), "all")):
            entering = {}
            for rank in range(ranks):
                if rank in dead or (stops.get(rank) == step and group is groups):
                    dead.add(rank)
                    continue
                entering[rank] = at[rank] + (own(rank, step) if group is groups else 0.0002)
            for rank, time in entering.items():
                name = group[rank]
                operations[rank].append(
                    Operation(len(operations[rank]), name, step, "all_reduce", "scheduled", int(1e9 * time))
                )
            for rank in entering:
                mine = [other for other in range(ranks) if group[other] == group[rank]]
                if set(mine) - entering.keys():
                    dead.add(rank)
                else:
                    at[rank] = max(entering[other] for other in mine) + 0.001
    return [Dump.of(rank, found) for rank, found in operations.items()]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 15), st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_whoever_stops_is_found_behind_every_chain_of_groups(rank, step, seed):
    rng = random.Random(seed)
    dumps = a_job(16, 30, lambda r, s: 0.03 * rng.uniform(0.7, 1.3), stop=(rank, step))
    assert accused(diagnose(dumps)) == ("non-communication hang", [rank])


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 15), min_size=1, max_size=7), st.integers(2, 30))
def test_all_ranks_of_a_node_that_stop_together_are_found(ranks, step):
    dumps = a_job(16, 30, lambda r, s: 0.03, stop=(ranks, step))
    verdict, found = accused(diagnose(dumps))
    assert verdict == "non-communication hang"
    assert set(found) == ranks


def test_a_collective_that_all_have_entered_and_none_finishes_is_a_hang_of_the_network():
    dumps = [with_states(dump, COMPLETED) for dump in a_job(8, 5, lambda r, s: 0.03)]
    assert accused(diagnose(dumps)) == ("healthy", [])
    found = diagnose([with_states(dump, STARTED) for dump in dumps])
    assert accused(found) == ("communication hang", [None])
    assert found.accused[0].among == tuple(range(8))


def with_states(dump, last):
    """All operations completed, but for the last one."""
    state = np.full(len(dump), COMPLETED, np.int8)
    state[-1] = last
    return dataclasses.replace(dump, state=state)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_a_rank_slower_by_a_third_is_found_through_jitter_and_is_the_only_one(rank, seed):
    rng = random.Random(seed)
    dumps = a_job(16, 40, lambda r, s: 0.03 * rng.gauss(1.0, 0.05) * (1.33 if r == rank else 1.0))
    assert accused(diagnose(dumps)) == ("non-communication slow", [rank])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.3))
def test_jitter_accuses_nobody(seed, jitter):
    rng = random.Random(seed)
    dumps = a_job(16, 40, lambda r, s: 0.03 * max(0.05, rng.gauss(1.0, jitter)))
    assert accused(diagnose(dumps)) == ("healthy", [])


def test_two_dumps_of_a_rank_are_refused_and_none_at_all_decide_nothing():
    one = Dump.of(1, [Operation(0, "0", 1, "all_reduce", "scheduled", 5)])
    with pytest.raises(ValueError, match="two dumps of rank 1"):
        diagnose([one, one])
    empty = diagnose([Dump.of(rank, []) for rank in range(2)])
    assert (empty.verdict, empty.accused) == ("undecided", [])
    assert empty.notes
