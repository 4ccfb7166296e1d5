"""Reading Flight Recorder dumps: two readers that must agree, and files that are none."""

from __future__ import annotations

import json
import math
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler.core.gpu.flight_recorder import STATES, Dump, DumpError, HostileDump, Operation, rank_in, read_dump
from scheduler.core.gpu.pickle_scan import scan
from tests.scheduler.core.gpu.dump_files import as_file, as_pickle_bytes, assert_same


def a_dump(rank=3, entries=20, **more):
    operations = [
        Operation(
            n, f"group-{n % 3}", n, "send 0->1" if n % 5 == 4 else "all_reduce", STATES[1 + n % 3],
            1_795_236_844_156_060_879 + n, n % 5 == 4, math.nan if n % 2 else n / 1000,
        )
        for n in range(entries)
    ]  # fmt: skip
    return Dump.of(rank, operations, {"group-0": (0, 1, 2), "group-1": tuple(range(64))})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_read_alike(protocol):
    data = pickle.dumps(as_file(a_dump()), protocol)
    for compiled in (False, True):
        assert_same(read_dump(data, 3, compiled=compiled), a_dump())
    assert (scan(data) is not None) == (protocol >= 2)  # the older ones are text, which is left to the careful reader


def test_json_reads_as_pickle_does():
    assert_same(read_dump(json.dumps(as_file(a_dump())).encode(), 3), a_dump())
    assert_same(read_dump(as_pickle_bytes(a_dump()), 3), a_dump())
    assert_same(read_dump(as_pickle_bytes(a_dump()), 3, compiled=True), a_dump())


def test_real_dumps_read_alike(shared_data):
    for path in Path(shared_data("gpu/flight_recorder")).glob("*/nccl*"):
        data, rank = path.read_bytes(), rank_in(path.name)
        assert scan(data) is not None
        assert_same(read_dump(data, rank, compiled=True), read_dump(data, rank))


def test_entries_are_put_in_the_order_of_their_records():
    file = as_file(a_dump())
    file["entries"].reverse()
    for compiled in (False, True):
        assert_same(read_dump(pickle.dumps(file), 3, compiled=compiled), a_dump())


@pytest.mark.parametrize("entries", [0, 1, 100_000])
def test_dumps_of_any_length_are_read(entries):
    dump = Dump(
        0, ("0", "all_reduce"), np.zeros(entries, np.int32), np.ones(entries, np.int32), np.arange(entries),
        np.arange(entries), np.full(entries, 3, np.int8), np.zeros(entries, bool), np.full(entries, np.nan, np.float32),
    )  # fmt: skip
    assert_same(read_dump(as_pickle_bytes(dump), 0, compiled=True), dump)


@settings(max_examples=300)
@given(st.integers(0, 2**16), st.binary(max_size=12), st.booleans(), st.integers(0, 4))
@example(0, b"", False, 2)
def test_whatever_both_readers_accept_they_read_alike(at, noise, is_inserted, protocol):
    whole = pickle.dumps(as_file(a_dump(entries=4)), protocol)
    at %= len(whole)
    data = whole[:at] + noise + whole[at if is_inserted else at + len(noise) :]
    try:
        careful = read_dump(data, 3)
    except DumpError:
        careful = None
    try:
        compiled = read_dump(data, 3, compiled=True)
    except DumpError:
        compiled = None
    if careful is not None:
        assert compiled is not None
        assert_same(careful, compiled)


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/stowage-was-here",)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("data", [pickle.dumps(Evil()), pickle.dumps({"version": "2.9", "entries": [Evil()]})])
def test_a_pickle_that_asks_for_code_is_refused_and_runs_none(data, compiled):
    with pytest.raises(HostileDump, match=r"asks for posix\.system"):
        read_dump(data, 0, compiled=compiled)
    assert not Path("/tmp/stowage-was-here").exists()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("data", [b"\x80\x02}r" + struct.pack("<I", 2**32 - 1) + b".", b"}p4294967295\n."])
def test_a_pickle_that_would_reserve_all_memory_is_refused(data, compiled):
    with pytest.raises(DumpError, match="numbers a value 4294967295"):
        read_dump(data, 0, compiled=compiled)


def a_file(**more):
    return as_file(a_dump(entries=1)) | more


def an_entry(**more):
    entry = as_file(a_dump(entries=1))["entries"][0] | more
    return {key: value for key, value in entry.items() if value is not ...}


@pytest.mark.parametrize("compiled", [False, True])
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
        (pickle.dumps(a_file(version="2.0")), "2.1 to 2.10 can be read"),
        (pickle.dumps(a_file(version=None)), "not MAJOR.MINOR"),
        (pickle.dumps(a_file(entries=None)), "entries: a list"),
        (pickle.dumps(a_file(entries=[3])), r"entries\[0\]: a dictionary"),
        (pickle.dumps(a_file(entries=[{}])), "names its group"),
        (pickle.dumps(a_file(entries=[{"pg_id": 0}])), r"entries\[0\]\.record_id"),
        (pickle.dumps(a_file(entries=[an_entry(collective_seq_id=...)])), r"entries\[0\]\.collective_seq_id"),
        (pickle.dumps(a_file(entries=[an_entry(time_created_ns=2**63)])), r"entries\[0\]\.time_created_ns"),
        (pickle.dumps(a_file(entries=[an_entry(duration_ms="long")])), r"entries\[0\]\.duration_ms"),
    ],
)
def test_what_is_no_dump_is_refused_with_the_reason(data, says, compiled):
    with pytest.raises(DumpError, match=says):
        read_dump(data, 0, compiled=compiled)


def test_numbers_may_be_texts_and_groups_numbers():
    entry = an_entry(process_group=..., pg_id=7, record_id="4", duration_ms=2)
    for compiled in (False, True):
        read = read_dump(pickle.dumps(a_file(entries=[entry])), 0, compiled=compiled)
        assert (read.words[read.group[0]], float(read.duration_s[0])) == ("7", pytest.approx(0.002))


@pytest.mark.parametrize(
    ("name", "rank"),
    [("nccl_trace_rank_3", 3), ("comm_lib_trace_rank_12.json", 12), ("a7.pkl", 7), ("notes.txt", None), ("x", None)],
)
def test_the_rank_is_what_the_name_ends_in(name, rank):
    assert rank_in(name) == rank
