"""`stowage trace check` against the numbers published with the real files, to the printed digit."""

from __future__ import annotations

import pytest

from traces.check import CheckReport, check_trace
from traces.schema import GOOGLE_UNITS, Trace

CPU, MEMORY = GOOGLE_UNITS.cpu_milli, GOOGLE_UNITS.memory_mib


@pytest.fixture(scope="module")
def report(slice2011: Trace) -> CheckReport:
    return check_trace(slice2011.folder)


def test_counts(report: CheckReport) -> None:
    assert (report.jobs, report.tasks, report.machines) == (19_146, 614_019, 12_583)
    assert report.task_events == {
        "SUBMIT": 936_182, "SCHEDULE": 890_517, "EVICT": 219_839, "FAIL": 18_604, "FINISH": 330_742, "KILL": 213_308,
        "UPDATE_PENDING": 3, "UPDATE_RUNNING": 140,
    }  # fmt: skip
    assert sum(report.task_events.values()) == report.rows["task_events"] == 2_609_335
    assert report.machine_events == {"ADD": 21_443, "REMOVE": 8_957, "UPDATE": 7_380}
    assert report.rows["machines"] == 37_780


def test_the_recording_is_19_65_hours_without_an_illegal_transition(report: CheckReport) -> None:
    assert report.time_range_us is not None
    first, last = report.time_range_us
    assert first == 0
    assert f"{last / 1e6:,.0f}" == "70,756"
    assert f"{last / 3.6e9:.2f}" == "19.65"
    assert report.illegal_transitions == {}


def test_snapshot_at_time_0(report: CheckReport) -> None:
    assert report.snapshot is not None
    snapshot = report.snapshot
    assert (snapshot["running"], snapshot["pending"]) == (132_982, 11_357)
    assert f"{snapshot['running_cpu_milli'] / CPU:,.1f}" == "7,492.7"
    assert f"{snapshot['running_memory_mib'] / MEMORY:,.1f}" == "5,468.2"
    assert f"{snapshot['pending_cpu_milli'] / CPU:.0f}" == "867"
    assert f"{snapshot['pending_memory_mib'] / MEMORY:,.0f}" == "1,078"
    assert report.over_commitment is not None
    assert {name: f"{share:.0%}" for name, share in report.over_commitment.items()} == {"cpu": "113%", "memory": "93%"}


def test_capacity_at_time_0(report: CheckReport) -> None:
    assert report.capacity is not None
    assert report.capacity["machines"] == 12_477
    assert f"{report.capacity['cpu_milli'] / CPU:,.2f}" == "6,603.25"
    assert f"{report.capacity['memory_mib'] / MEMORY:,.2f}" == "5,862.75"


@pytest.mark.parametrize(
    ("tier", "printed"),
    [("free", ("3.4", "720", "7,078")), ("middle", ("2.7", "59", "2,713")), ("production", ("1.7", "30", "76"))],
)
def test_recorded_delays_by_tier(report: CheckReport, tier: str, printed: tuple[str, str, str]) -> None:
    assert report.delay_s is not None
    delay = report.delay_s[tier]
    assert (f"{delay['p50']:.1f}", f"{delay['p90']:,.0f}", f"{delay['p99']:,.0f}") == printed


def test_machine_shapes(report: CheckReport) -> None:
    assert report.shapes is not None
    shapes = {
        (round(s["cpu_milli"] / CPU, 2), round(s["memory_mib"] / MEMORY, 2)): s["machines"]
        for s in report.shapes
        if s["cpu_milli"] is not None
    }
    assert shapes == {
        (0.5, 0.5): 6_711, (0.5, 0.25): 3_860, (0.5, 0.75): 1_001, (1, 1): 793, (0.25, 0.25): 123, (0.5, 0.12): 54,
        (0.5, 0.03): 5, (0.5, 0.97): 4, (1, 0.5): 3, (0.5, 0.06): 1,
    }  # fmt: skip
    assert [s["machines"] for s in report.shapes if s["cpu_milli"] is None] == [32]


def test_machine_outages(report: CheckReport) -> None:
    assert report.machine_outage_s is not None
    assert (f"{report.machine_outage_s['p50']:.0f}", f"{report.machine_outage_s['p90']:,.0f}") == ("998", "31,162")


def test_requests_and_bursts(report: CheckReport) -> None:
    """The published p90s and tasks per job are of a longer slice; what parts 0-13 share with it is checked."""
    assert report.requests is not None
    cpu, memory = report.requests["cpu_milli"], report.requests["memory_mib"]
    assert [f"{cpu[q] / CPU:.4f}" for q in ("p10", "p50")] == ["0.0094", "0.0250"]
    assert f"{cpu['p99'] / CPU:.4f}" == "0.1875"
    assert cpu["max"] == 0.5 * CPU
    assert [f"{memory[q] / MEMORY:.4f}" for q in ("p10", "p50")] == ["0.0061", "0.0207"]
    assert (f"{memory['p99'] / MEMORY:.3f}", f"{memory['max'] / MEMORY:.3f}") == ("0.159", "0.955")
    assert report.tasks_per_job is not None
    assert report.tasks_per_job["p50"] == 1
    assert report.events_in_a_second == 10_512
