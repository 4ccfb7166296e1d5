"""Diagnosis from Flight Recorder dumps: real ones with known answers, made ones, and broken ones."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.gpu.flight_recorder import Dump, DumpError, HostileDump, Operation, rank_in, read_dump
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
    moved = [dataclasses.replace(one, created_ns=one.created_ns + int(1e9 * seconds)) for one in dump.operations]
    return Dump(dump.rank, moved, dump.members)


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
    return [Dump(rank, found) for rank, found in operations.items()]


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
    dumps = [
        Dump(dump.rank, [dataclasses.replace(one, state="completed") for one in dump.operations])
        for dump in a_job(8, 5, lambda r, s: 0.03)
    ]
    assert accused(diagnose(dumps)) == ("healthy", [])
    stuck = [
        Dump(dump.rank, [*dump.operations[:-1], dataclasses.replace(dump.operations[-1], state="started")])
        for dump in dumps
    ]
    assert accused(diagnose(stuck)) == ("communication hang", [])


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


def test_json_reads_as_pickle_does():
    whole = a_file()
    assert read_dump(pickle.dumps(whole), 3) == read_dump(json.dumps(whole).encode(), 3)
    assert read_dump(pickle.dumps(whole), 3).members == {"0": (0, 1)}


def a_file(**more):
    entry = {
        "record_id": 0, "pg_id": 0, "process_group": ("0", "default_pg"), "collective_seq_id": 1, "is_p2p": False,
        "profiling_name": "nccl:all_reduce", "time_created_ns": 5, "state": "scheduled",
    }  # fmt: skip
    config = {"0": {"name": "0", "desc": "default_pg", "ranks": "[0, 1]"}}
    return {"version": "2.9", "entries": [entry], "pg_config": config, **more}


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/stowage-was-here",)


@pytest.mark.parametrize("data", [pickle.dumps(Evil()), pickle.dumps({"version": "2.9", "entries": [Evil()]})])
def test_a_pickle_that_asks_for_code_is_refused_and_runs_none(data):
    with pytest.raises(HostileDump, match=r"asks for posix\.system"):
        read_dump(data, 0)
    assert not Path("/tmp/stowage-was-here").exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (pickle.dumps(a_file())[:-30], "cut short"),
        (b"{", "broken JSON"),
        (b"[" * 100_000, "cut short"),
        (b'{"a":' * 100_000, "broken JSON"),
        (pickle.dumps([1]), "a dictionary is wanted, not a list"),
        (pickle.dumps(a_file(version="1.5")), "2.1 to 2.10 can be read"),
        (pickle.dumps(a_file(version="2.11")), "2.1 to 2.10 can be read"),
        (pickle.dumps(a_file(version=None)), "not MAJOR.MINOR"),
        (pickle.dumps(a_file(entries=None)), "entries: a list"),
        (pickle.dumps(a_file(entries=[3])), r"entries\[0\]: a dictionary"),
        (pickle.dumps(a_file(entries=[{}])), "names its group"),
        (pickle.dumps(a_file(entries=[{"pg_id": 0}])), r"entries\[0\]\.record_id"),
    ],
)
def test_what_is_no_dump_is_refused_with_the_reason(data, says):
    with pytest.raises(DumpError, match=says):
        read_dump(data, 0)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_do_more_than_be_refused(noise, at):
    whole = pickle.dumps(a_file())
    for data in (noise, whole[:at] + noise + whole[at + len(noise) :], json.dumps(a_file()).encode()[:at] + noise):
        with contextlib.suppress(DumpError):
            diagnose([read_dump(data, 0)])


def test_two_dumps_of_a_rank_are_refused_and_none_at_all_decide_nothing():
    one = read_dump(pickle.dumps(a_file()), 1)
    with pytest.raises(ValueError, match="two dumps of rank 1"):
        diagnose([one, one])
    empty = diagnose([read_dump(pickle.dumps(a_file(entries=[])), rank) for rank in range(2)])
    assert (empty.verdict, empty.accused) == ("undecided", [])
    assert empty.notes
