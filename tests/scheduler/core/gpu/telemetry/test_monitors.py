"""dcgm-exporter, NVSentinel, GPUd and the state of nodes become signals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.gpu.signals import Signal
from scheduler.core.gpu.telemetry.dcgm import DcgmReader
from scheduler.core.gpu.telemetry.gpud import gpud_signals
from scheduler.core.gpu.telemetry.metrics_text import read_samples
from scheduler.core.gpu.telemetry.node_state import NodeCondition, NodeState, node_signals
from scheduler.core.gpu.telemetry.nvsentinel import health_event_signals
from scheduler.core.gpu.telemetry.rejects import Rejects
from tests.scheduler.core.gpu.telemetry.samples import dcgm_scrape, gpud_events, gpud_states, health_event

USER = "CHECK_USER_APP_AND_GPU"
WINDOW = ',window_size_in_ms="300000"'


def scrapes(*texts: bytes) -> tuple[list[list[Signal]], Rejects]:
    reader = DcgmReader()
    return [reader.read(text.splitlines(), "pod-ip", 100.0 + n) for n, text in enumerate(texts)], reader.rejects


# ---- dcgm-exporter


@pytest.mark.parametrize("label", ["Hostname", "hostname"])
def test_only_a_change_of_the_last_xid_is_news(label: str) -> None:
    found, rejects = scrapes(*(dcgm_scrape(xid=xid, host_label=label) for xid in (79, 79, 79, 48, 48, 0, 79)))
    assert [[(one.code, one.severity) for one in signals] for signals in found] == [
        [("xid-79", "info")], [], [], [("xid-48", "fatal")], [], [], [("xid-79", "fatal")],
    ]  # fmt: skip
    assert found[0][0].is_open is False
    assert (found[3][0].node, found[3][0].gpu, found[3][0].time_s) == ("n1", 3, 103.0)
    assert rejects.total == 0


def test_values_that_dcgm_does_not_support_are_no_faults() -> None:
    found, _ = scrapes(dcgm_scrape(extra=(
        ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "", 9223372036854775795), ("DCGM_FI_DEV_RETIRED_PENDING", "", 2.0**63),
        ("DCGM_FI_DEV_ROW_REMAP_PENDING", "", 140737488355330.0),
    )))  # fmt: skip
    assert found == [[]]


def test_states_and_rises_of_counters() -> None:
    def extra(failure: float, ecc: float, rows: float) -> bytes:
        text = dcgm_scrape(extra=(
            ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "", ecc), ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "", rows),
        ))  # fmt: skip
        return text.replace(b"9223372036854775794", f"{failure:g}".encode())

    found, _ = scrapes(extra(0, 0, 5), extra(0, 0, 5), extra(1, 2, 6), extra(1, 2, 6))
    assert [[(one.code.removeprefix("DCGM_FI_DEV_"), one.severity) for one in signals] for signals in found] == [
        [],
        [],
        [("ROW_REMAP_FAILURE", "fatal"), ("ECC_DBE_VOL_TOTAL", "fatal"), ("UNCORRECTABLE_REMAPPED_ROWS", "degraded")],
        [("ROW_REMAP_FAILURE", "fatal"), ("ECC_DBE_VOL_TOTAL", "degraded")],
    ]


def test_xids_counted_in_a_window() -> None:
    def count(*xids: tuple[int, float]) -> bytes:
        return dcgm_scrape(extra=tuple(("DCGM_EXP_XID_ERRORS_COUNT", f',xid="{x}"{WINDOW}', n) for x, n in xids))

    both = count((31, 3), (79, 1))
    found, _ = scrapes(count(), count((31, 1)), both, both, count(), count((79, 1)))
    assert [[(one.code, one.severity) for one in signals] for signals in found] == [
        [], [("xid-31", "warning")], [("xid-31", "warning"), ("xid-79", "fatal")], [], [], [("xid-79", "fatal")],
    ]  # fmt: skip
    assert found[2][1].message == "Xid 79 1x in 300 s"


def test_health_watches_and_clocks() -> None:
    found, _ = scrapes(dcgm_scrape(extra=(
        ("DCGM_EXP_GPU_HEALTH_STATUS", ',health_watch="PCIE",health_error_code="DCGM_FR_PCI_REPLAY"', 10),
        ("DCGM_EXP_GPU_HEALTH_STATUS", ',health_watch="MEM"', 20),
        ("DCGM_EXP_GPU_HEALTH_STATUS", ',health_watch="SM"', 0),
        ("DCGM_EXP_CLOCK_EVENTS_COUNT", f',clock_event="hw_thermal"{WINDOW}', 2),
        ("DCGM_EXP_CLOCK_EVENTS_COUNT", f',clock_event="gpu_idle"{WINDOW}', 9),
    )))  # fmt: skip
    assert [(one.code, one.severity, one.component) for one in found[0]] == [
        ("dcgm-health-pcie", "degraded", "gpu"), ("dcgm-health-mem", "fatal", "gpu"),
        ("clocks-hw_thermal", "degraded", "thermal"),
    ]  # fmt: skip


def test_a_series_that_is_there_twice_is_named() -> None:
    reader = DcgmReader()
    reader.read(dcgm_scrape().splitlines() * 2, "n")
    assert "is there twice" in reader.rejects.named[0].rule
    assert reader.gpu_at == {("n1", "0000:9b:00"): 3}


@pytest.mark.parametrize(
    "line", [b"DCGM_FI{", b"DCGM_FI{a=b} 1", b"DCGM_FI 1 2 3 4", b"DCGM_FI one", b"12 3", b'DCGM_FI{a="b"c} 1']
)
def test_lines_that_are_no_samples_are_named(line: bytes) -> None:
    rejects = Rejects()
    found = list(read_samples([b"ok 1", line, b'ok{a="\\"}",} 2 1790000000000'], rejects))
    assert [one.value for one in found] == [1.0, 2.0]
    assert found[1].labels == {"a": '"}'}
    assert found[1].time_s == 1790000000.0
    assert rejects.named[0].line == 2


def test_not_a_number_and_comments_are_skipped() -> None:
    rejects = Rejects()
    assert list(read_samples([b"# HELP a b", b"a NaN", b"a +Inf", b""], rejects)) == []
    assert rejects.total == 0


def test_nothing_and_a_hundred_thousand_series() -> None:
    reader = DcgmReader()
    assert reader.read([], "n") == []
    lines = [f'DCGM_FI_DEV_XID_ERRORS{{gpu="{n % 8}",Hostname="n{n // 8}"}} 0'.encode() for n in range(100_000)]
    assert reader.read(lines, "n") == []
    assert len(reader.read([line[:-1] + b"79" for line in lines], "n")) == 100_000


# ---- NVSentinel


def signals_of(*events: Any) -> list[Signal]:
    rejects = Rejects()
    found = health_event_signals(events, rejects, "n9")
    assert rejects.total == 0
    return found


def test_a_health_event_is_a_signal() -> None:
    (one,) = signals_of(health_event())
    assert (one.node, one.gpu, one.code, one.severity, one.is_open) == ("n1", 3, "xid-79", "fatal", True)
    assert one.time_s == pytest.approx(1772359200.123456)
    assert signals_of({"version": 1, "events": [health_event(), health_event()]}) == [one, one]


@pytest.mark.parametrize(
    ("changes", "severity"),
    [
        ({"isFatal": False}, "warning"),
        ({"isHealthy": True}, "info"),
        ({"errorCode": ["31"]}, "warning"),
        ({"errorCode": ["XID-13", "43"]}, "warning"),
        ({"errorCode": ["31", "79"]}, "fatal"),
        ({"errorCode": ["DCGM_FR_FAULTY_MEMORY"]}, "fatal"),
        ({"errorCode": None}, "fatal"),
        ({"recommendedAction": "NONE"}, "warning"),
        ({"recommendedAction": 0}, "warning"),
        ({"recommendedAction": 24}, "fatal"),
    ],
)
def test_how_bad_an_event_is(changes: dict[str, Any], severity: str) -> None:
    (one,) = signals_of(health_event(**changes))
    assert one.severity == severity
    assert one.is_open is not changes.get("isHealthy", False)


def test_where_an_event_was() -> None:
    assert signals_of(health_event(nodeName=""))[0].node == "n9"
    two = [{"entityType": "GPU", "entityValue": str(n)} for n in (1, 2)]
    assert signals_of(health_event(entitiesImpacted=two))[0].gpu is None
    assert signals_of(health_event(entitiesImpacted=None, metadata={"gpu_index": "5"}))[0].gpu == 5
    assert signals_of(health_event(generatedTimestamp={"seconds": 1772359200, "nanos": 5}))[0].time_s == 1772359200.0
    assert signals_of(health_event(checkName="GpuNvlinkWatch", errorCode=[]))[0].component == "nvlink"


def test_the_sample_of_nvsentinel_is_read(shared_data: Callable[[str], Path]) -> None:
    (one,) = signals_of(json.loads(shared_data("gpu/telemetry_samples/nvsentinel_health_event.json").read_text()))
    assert (one.node, one.gpu, one.code, one.component, one.severity) == ("gpu-node-42", 0, "xid-48", "memory", "fatal")


def test_events_that_are_none_are_named() -> None:
    rejects = Rejects()
    assert health_event_signals([7, {}, health_event(nodeName=""), health_event(isFatal="yes?")], rejects) == []
    assert rejects.total == 4


# ---- GPUd


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (gpud_states(), ("gpud-ecc", "memory", "fatal")),
        (gpud_states(health="Degraded"), ("gpud-ecc", "memory", "degraded")),
        (gpud_states(suggested_actions={"repair_actions": [USER]}), ("gpud-ecc", "memory", "warning")),
        (gpud_states("accelerator-nvidia-error-xid", reason="XID 31 detected"), ("xid-31", "gpu", "warning")),
        (gpud_states()[0]["states"][0], ("gpud-ecc", "memory", "fatal")),
        (gpud_events(), ("xid-79", "pcie", "fatal")),
        (gpud_events("XID 31 (GPU memory page fault)"), ("xid-31", "gpu", "warning")),
        (gpud_events("something", "Critical"), ("gpud-error-xid", "gpu", "degraded")),
    ],
)
def test_states_and_events_of_gpud(document: Any, told: tuple[str, str, str]) -> None:
    rejects = Rejects()
    (one,) = gpud_signals([document], rejects, "n1")
    assert rejects.total == 0
    assert (one.code, one.component, one.severity) == told
    assert (one.node, one.time_s, one.is_open) == ("n1", 1772359200.0, True)


def test_what_is_well_or_unknown_in_gpud() -> None:
    rejects = Rejects()
    quiet = [gpud_states(health="Healthy"), gpud_states(health="Initializing"), [{"component": "x", "states": None}]]
    assert gpud_signals(quiet, rejects, "n1") == []
    assert rejects.total == 0
    assert gpud_signals([gpud_states(health="Sick"), gpud_events(kind="Odd"), 7, [[]]], rejects, "n1") == []
    assert rejects.total == 4
    with pytest.raises(ValueError, match="name it"):
        gpud_signals([], rejects, "")


# ---- the state of a node


def shown(**state: Any) -> list[tuple[str, str, str]]:
    return [(one.code, one.component, one.severity) for one in node_signals(NodeState("n1", **state))]


def condition(kind: str, status: str = "True", message: str = "") -> tuple[NodeCondition, ...]:
    return (NodeCondition(kind, status, "Why", message, 5.0),)


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        (condition("KernelDeadlock"), [("KernelDeadlock", "kernel", "fatal")]),
        (condition("KernelDeadlock", "False"), []),
        (condition("KernelDeadlock", "Unknown"), []),
        (condition("NTPProblem"), [("NTPProblem", "kernel", "warning")]),
        (condition("Ready", "False"), []),
        (condition("DiskPressure"), []),
        (condition("SomebodysOwn"), []),
        (condition("SysLogsXIDError"), [("SysLogsXIDError", "gpu", "fatal")]),
        (condition("SysLogsXIDError", "False"), []),
        (
            condition("SysLogsXIDError", message="[79] GPU fell off - RecommendedAction: RESTART_BM"),
            [("xid-79", "pcie", "fatal")],
        ),
        (
            condition("SysLogsXIDError", message="[31] page fault - RecommendedAction: RESTART_BM"),
            [("xid-31", "gpu", "warning")],
        ),
        (
            condition("GpuMemWatch", message="[DCGM_FR_FAULTY_MEMORY] GPU:3 - RecommendedAction: NONE"),
            [("GpuMemWatch:DCGM_FR_FAULTY_MEMORY", "memory", "warning")],
        ),
        (condition("NVSwitchNonFatalError"), [("NVSwitchNonFatalError", "nvswitch", "warning")]),
        (condition("CSPMaintenance"), [("CSPMaintenance", "cloud", "degraded")]),
        (condition("GPUHealthy", "False"), [("GPUHealthy", "gpu", "fatal")]),
        (condition("GPUHealthy", "True"), []),
        (condition("NvidiaGPUHealthy", "False"), [("NvidiaGPUHealthy", "gpu", "fatal")]),
    ],
)
def test_conditions_of_either_polarity(conditions: tuple[NodeCondition, ...], told: list[tuple[str, str, str]]) -> None:
    assert shown(conditions=conditions) == told


def test_the_gpu_is_named_where_the_message_names_one() -> None:
    (one,) = node_signals(NodeState("n1", condition("SysLogsXIDError", message="[79] GPU:3 GPU:3 is gone")))
    assert (one.gpu, one.time_s, one.source) == (3, 5.0, "nvsentinel")
    (both,) = node_signals(NodeState("n1", condition("SysLogsXIDError", message="[79] GPU:3 GPU:4")))
    assert both.gpu is None


def test_taints_labels_and_annotations() -> None:
    tainted = [("nvidia.com/gpu-xid-error", "gpu", "fatal")]
    assert shown(taints={"nvidia.com/gpu-xid-error": "true", "other": "x"}) == tainted
    assert shown(taints={"nvidia.com/gpu-error": "false"}) == []
    assert shown(taints={"stowage.dev/quarantine": ""}) == []  # our own word is no evidence
    assert shown(labels={"nvidia.com/gpu-fault": "active"}) == [("nvidia.com/gpu-fault", "gpu", "fatal")]
    assert shown(labels={"nvidia.com/gpu-fault": "none"}) == []
    cordon = {"k8saas.nvidia.com/cordon-by": "NVSentinel", "k8saas.nvidia.com/cordon-timestamp": "2026-03-01T10-00-00Z"}
    undone = {"k8saas.nvidia.com/uncordon-by": "x", "k8saas.nvidia.com/uncordon-timestamp": "2026-03-01T11-00-00Z"}
    again = cordon | undone | {"k8saas.nvidia.com/cordon-timestamp": "2026-03-02T09-00-00Z"}
    assert [one[2] for one in shown(labels=cordon)] == ["degraded"]
    assert shown(labels=cordon | undone) == []
    assert [one[2] for one in shown(labels=again)] == ["degraded"]
    assert shown(labels=cordon | {"k8saas.nvidia.com/ManagedByNVSentinel": "false"}) == []
    event = health_event(nodeName="n1")
    for text in (json.dumps(event), json.dumps([event]), json.dumps({"GPU:3": event})):
        assert shown(annotations={"quarantineHealthEvent": text}) == [("xid-79", "pcie", "fatal")]
    assert shown(annotations={"quarantineHealthEvent": json.dumps(health_event(nodeName="n1", isHealthy=True))}) == []


def test_an_annotation_that_cannot_be_read_is_named() -> None:
    rejects = Rejects()
    assert node_signals(NodeState("n1", annotations={"quarantineHealthEvent": "{"}), rejects) == []
    assert "node n1: annotation quarantineHealthEvent" in rejects.named[0].rule
