"""Records of NCCL Inspector become columns; what breaks a rule is named and the rest is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scheduler.core.gpu.telemetry.inspector import InspectorReader
from scheduler.core.gpu.telemetry.inspector_metrics import read_inspector_metrics
from scheduler.core.gpu.telemetry.rejects import MOST_NAMED, Rejects
from tests.scheduler.core.gpu.telemetry.samples import T0_US, inspector_line, inspector_metrics


def test_plain_and_verbose_records_become_columns() -> None:
    reader = InspectorReader()
    lines = [
        inspector_line(3, 7, took_us=2500, size=4096),
        inspector_line(3, 1, took_us=100, peer=5, op="Send", start_us=T0_US),
    ]
    assert reader.read(lines) == 2
    found = reader.operations()
    assert len(found) == 2
    assert reader.rejects.total == 0
    assert [found.ops[code] for code in found.op] == ["AllReduce", "Send"]
    assert found.rank.tolist() == [3, 3]
    assert found.peer.tolist() == [-1, 5]
    assert found.sequence.tolist() == [7, 1]
    assert found.size_bytes.tolist() == [4096, 1 << 26]
    assert found.exec_s.tolist() == pytest.approx([0.0025, 0.0001])
    assert np.isnan(found.start_s[0])
    assert found.start_s[1] == pytest.approx(T0_US / 1e6)
    assert found.is_p2p.tolist() == [False, True]
    (process,) = found.processes
    assert (process.host, process.pid, process.job_rank, process.job_ranks) == ("h0", 1003, 3, 8)


def test_the_rank_in_the_job_is_that_of_the_widest_communicator() -> None:
    reader = InspectorReader()
    reader.read([
        inspector_line(1, ranks=2, communicator="0xt", pid=77, host="a"),
        inspector_line(13, ranks=16, communicator="0xw", pid=77, host="a"),
    ])  # fmt: skip
    (process,) = reader.operations().processes
    assert (process.job_rank, process.job_ranks) == (13, 16)


def test_optional_fields_may_be_missing_and_unknown_ones_are_skipped() -> None:
    bare = {"header": {"id": 5, "rank": "2"}, "coll_perf": {"coll": "AllGather", "coll_sn": 1, "coll_exec_time_us": 9}}
    reader = InspectorReader()
    assert reader.read([json.dumps(bare | {"news": [1, {"a": None}]}).encode()], host="folder") == 1
    found = reader.operations()
    assert found.processes[0].host == "folder"
    assert np.isnan(found.busbw_gbs[0])
    assert np.isnan(found.dump_s[0])


def test_what_the_plugin_says_it_dropped_is_counted() -> None:
    line = json.loads(inspector_line())
    del line["coll_perf"]
    line["dump_stats"] = {"coll_records": 9, "coll_dropped_total": 99, "coll_dropped_since_last_dump": 4,
                          "p2p_dropped_since_last_dump": 3}  # fmt: skip
    reader = InspectorReader()
    assert reader.read([json.dumps(line).encode()]) == 0
    assert reader.operations().dropped == 7
    assert reader.rejects.total == 0


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"header": {"id": "x"}}', "missing required field `rank`"),
        (inspector_line(version="v9.0"), "v4 to v5 can be read"),
        (inspector_line(version="four"), "is not vMAJOR.MINOR"),
        (inspector_line(9), "header.rank 9 of 8"),
        (inspector_line(-1), "header.rank -1"),
        (inspector_line(peer=8), "p2p_peer 8 of 8"),
        (inspector_line(took_us=0), "took 0 us"),
        (inspector_line(took_us=-5), "took -5 us"),
        (inspector_line(size=-1), "out of range"),
        (inspector_line().replace(b"coll_perf", b"other_perf"), "neither coll_perf nor p2p_perf"),
        (b"{" * 100_000, "rejected"),
        (b"x" * (2 << 20), "more than"),
        (b"\xff\xfe", "rejected"),
    ],
)
def test_a_broken_record_is_named_and_the_rest_is_read(line: bytes, rule: str) -> None:
    reader = InspectorReader()
    assert reader.read([inspector_line(0), line, inspector_line(1)]) == 2
    (reject,) = reader.rejects.named
    assert reject.line == 2
    if rule != "rejected":  # whatever the decoder says
        assert rule in reject.rule


def test_two_processes_that_claim_one_rank_are_named() -> None:
    reader = InspectorReader()
    reader.read([inspector_line(3, pid=1, host="a"), inspector_line(3, 2, pid=2, host="b")])
    assert len(reader.operations()) == 1
    assert reader.rejects.named[0].rule == "rank 3 of communicator 0xabc is another process already: pid 1 of a"


def test_a_log_that_was_copied_is_read_once() -> None:
    lines = [inspector_line(rank, sequence) for rank in range(3) for sequence in range(5)]
    lines += [inspector_line(0, 1, peer=peer, op="Send") for peer in range(4)]
    reader = InspectorReader()
    reader.read(lines)
    reader.read(lines)
    assert len(reader.operations()) == 19
    assert reader.rejects.words() == "19 operations were there twice"
    reader.operations()
    assert reader.rejects.total == 1  # asked twice, said once


def test_rejects_are_all_counted_and_the_first_named() -> None:
    reader = InspectorReader()
    reader.read([b"nonsense"] * 500)
    assert reader.rejects.total == 500
    assert len(reader.rejects.named) == MOST_NAMED
    assert reader.rejects.words().startswith("line 1: ")
    assert reader.rejects.words().endswith("(and 499 more)")


def test_nothing_and_a_hundred_thousand_records() -> None:
    empty = InspectorReader().operations()
    assert len(empty) == 0
    assert empty.processes == ()
    reader = InspectorReader()
    assert reader.read(inspector_line(n % 8, n // 8) for n in range(100_000)) == 100_000
    found = reader.operations()
    assert len(found) == 100_000
    assert len(found.processes) == 8


def test_means_of_the_prometheus_mode() -> None:
    rejects = Rejects()
    found = read_inspector_metrics(inspector_metrics().splitlines(), rejects)
    assert rejects.total == 0
    collective, send = found
    assert (collective.op, collective.gpu, collective.communicator, collective.ranks) == ("AllReduce", 3, "DP, 0", 16)
    assert collective.exec_s == pytest.approx(9498.47e-6)
    assert collective.busbw_gbs == 678.263
    assert (send.op, send.size, send.busbw_gbs) == ("Send", "512-513MB", 464.9)
    assert read_inspector_metrics(inspector_metrics("v9.0").splitlines(), rejects) == []
    assert rejects.total == 4
    assert "v4 to v5 can be read" in rejects.named[0].rule


def test_the_samples_of_nvidia_are_read(shared_data: Callable[[str], Path]) -> None:
    reader = InspectorReader()
    with shared_data("gpu/telemetry_samples/nccl_inspector.jsonl").open("rb") as lines:
        assert reader.read(lines) == 2
    with shared_data("gpu/telemetry_samples/nccl_inspector.prom").open("rb") as lines:
        assert len(read_inspector_metrics(lines, reader.rejects)) == 2
    assert reader.rejects.total == 0
    assert reader.operations().busbw_gbs.tolist() == [485.119099, 366.134533]
