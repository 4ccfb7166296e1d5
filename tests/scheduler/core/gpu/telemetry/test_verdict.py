"""Evidence of several kinds becomes one verdict."""

from __future__ import annotations

from typing import Any

from scheduler.core.gpu.findings import Culprit, Findings
from scheduler.core.gpu.signals import Signal
from scheduler.core.gpu.telemetry.verdict import judge, merge, seen_signals


def a_signal(**changes: Any) -> Signal:
    fields: dict[str, Any] = {
        "time_s": 1000.0, "node": "h0", "gpu": 3, "component": "pcie", "severity": "fatal", "code": "xid-79",
        "source": "kernel-log", "message": "gone", "is_open": True,
    }  # fmt: skip
    return Signal(**fields | changes)


def a_culprit(rank: int | None = 3, host: str | None = "h0", gpu: int | None = 3, confidence: float = 0.8) -> Culprit:
    return Culprit(rank, host, gpu, "non-communication hang", confidence, "it waits")


def test_a_fatal_signal_accuses_the_part() -> None:
    found = judge([a_signal(), a_signal()], rank_at={("h0", 3): 5})
    assert found.verdict == "hardware fault"
    (one,) = found.accused
    assert (one.rank, one.host, one.gpu, one.syndrome) == (5, "h0", 3, "hardware fault")
    assert one.evidence == "xid-79 by kernel-log, 2x: gone"


def test_two_monitors_are_surer_than_one() -> None:
    one = judge([a_signal()]).accused[0]
    two = judge([a_signal(), a_signal(source="dcgm-exporter")]).accused[0]
    assert two.confidence > one.confidence


def test_what_a_program_causes_accuses_nobody() -> None:
    found = judge([a_signal(code="xid-31", severity="warning"), a_signal(code="x", severity="degraded")])
    assert (found.verdict, found.accused) == ("healthy", [])
    assert "xid-31: what a program can cause" in found.notes[0]


def test_what_is_over_or_old_accuses_nobody() -> None:
    assert judge([a_signal(), a_signal(time_s=2000.0, is_open=False)]).accused == []
    found = judge([a_signal(), a_signal(node="h1", code="b", severity="info", time_s=1000.0 + 2 * 86_400)])
    assert found.accused == []
    assert "a day older" in found.notes[0]


def test_a_hang_with_a_broken_gpu_is_one_accusation() -> None:
    found = judge([a_signal()], [Findings("non-communication hang", [a_culprit()])])
    assert found.verdict == "non-communication hang"
    (one,) = found.accused
    assert (one.rank, one.syndrome) == (3, "non-communication hang")
    assert one.confidence == 0.98
    assert one.evidence == "it waits; xid-79 by kernel-log, 1x: gone"


def test_a_fault_of_another_gpu_stays_apart() -> None:
    found = judge([a_signal(gpu=4)], [Findings("non-communication hang", [a_culprit()])])
    assert [(one.rank, one.gpu) for one in found.accused] == [(3, 3), (None, 4)]


def test_places_that_are_known_in_part_are_one() -> None:
    slow = a_culprit(rank=3, gpu=None)
    (one,) = merge([slow], [Culprit(None, "h0", 3, "hardware fault", 0.9, "x")])
    assert (one.rank, one.gpu) == (3, 3)
    (whole,) = merge([a_culprit()], [Culprit(None, "h0", None, "hardware fault", 0.9, "x")])
    assert (whole.rank, whole.gpu) == (3, 3)
    assert len(merge([a_culprit(3), a_culprit(4, gpu=4)], [])) == 2
    assert len(merge([a_culprit(3)], [a_culprit(4)])) == 2  # another rank of the same GPU


def test_the_graver_verdict_holds() -> None:
    slow, hang = Findings("communication slow"), Findings("communication hang")
    assert judge([], [slow, hang]).verdict == "communication hang"
    assert judge([], [Findings("healthy"), Findings("undecided")]).verdict == "undecided"
    assert judge([]).verdict == "undecided"


def test_equal_signals_are_counted() -> None:
    rows = seen_signals([a_signal(), a_signal(time_s=1010.0, message="again"), a_signal(code="b", severity="info")])
    assert [(row.signal.code, row.count, row.first_s, row.signal.message) for row in rows] == [
        ("xid-79", 2, 1000.0, "again"), ("b", 1, 1000.0, "gone"),
    ]  # fmt: skip
