"""Xids in kernel logs of every form, and what they say about the hardware."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.core.gpu.telemetry import xid as classes
from scheduler.core.gpu.telemetry.kernel_log import pci_address, read_kernel_log
from scheduler.core.gpu.telemetry.log_lines import is_log_line, read_log_line
from scheduler.core.gpu.telemetry.rejects import Rejects
from scheduler.core.gpu.telemetry.xid import xid_severity
from tests.scheduler.core.gpu.telemetry.samples import xid_text

AT = datetime(2026, 2, 23, 16, 24, 18, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("prefix", "time_s", "node"),
    [
        ("[Mon Feb 23 16:24:18 2026] ", AT, "here"),
        ("[  117.984502] ", AT - 3600 + 117.984502, "here"),
        ("<3>[  117.984502] ", AT - 3600 + 117.984502, "here"),
        ("3,1234,117984502,-;", AT - 3600 + 117.984502, "here"),
        ("2026-02-23T16:24:18,500000+00:00 ", AT + 0.5, "here"),
        ("2026-02-23T17:24:18+0100 gpu-1 kernel: ", AT, "gpu-1"),
        ("2026-02-23T16:24:18.250000Z gpu-1 kernel: [  117.9] ", AT + 0.25, "gpu-1"),
        ("Feb 23 16:24:18 gpu-1.example kernel: ", AT, "gpu-1.example"),
        ("<11>Feb 23 16:24:18 gpu-1 kernel: [  117.98] ", AT, "gpu-1"),
        ("<134>1 2026-02-23T16:24:18Z gpu-1 kernel - - - ", AT, "gpu-1"),
        ("2026-02-23T16:24:18Z gpu-1 logger[77]: ", AT, "gpu-1"),
    ],
)
def test_time_and_host_are_read_from_every_kind_of_log(prefix: str, time_s: float, node: str) -> None:
    line = prefix + xid_text(79)
    assert is_log_line(line)
    rejects = Rejects()
    (signal,) = read_kernel_log(
        [line.encode()], rejects, "here", {(node, "0000:9b:00"): 4}, written_s=AT + 3600, boot_s=AT - 3600
    )
    assert signal.time_s == pytest.approx(time_s)
    assert (signal.node, signal.gpu, signal.code, signal.severity, signal.component) == (
        node, 4, "xid-79", "fatal", "pcie",
    )  # fmt: skip
    assert rejects.total == 0


def test_a_log_written_in_january_has_lines_of_december() -> None:
    january = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    line = read_log_line("Dec 31 23:59:59 gpu-1 kernel: hello", written_s=january)
    assert datetime.fromtimestamp(line.time_s, UTC).year == 2025
    assert read_log_line("Feb 29 10:00:00 gpu-1 kernel: hello", written_s=january).time_s == 0.0  # in no near year
    assert read_log_line("Dec 31 23:59:59 gpu-1 kernel: hello").time_s == 0.0  # nobody says which year


def test_entries_of_the_journal_are_read() -> None:
    entry = {"MESSAGE": xid_text(48), "__REALTIME_TIMESTAMP": "1790000000250000", "_HOSTNAME": "gpu-2"}
    text, listed = json.dumps(entry), json.dumps(entry | {"MESSAGE": list(xid_text(48).encode())})
    rejects = Rejects()
    one, other = read_kernel_log([text.encode(), listed.encode()], rejects, "here")
    assert (one.time_s, one.node, one.code) == (1790000000.25, "gpu-2", "xid-48")
    assert other.code == "xid-48"
    assert read_kernel_log([b'{"MESSAGE": "NVRM: Xid (PCI:00'], rejects, "here") == []
    assert "no entry of a journal" in rejects.named[0].rule


def test_two_equal_xids_are_two() -> None:
    line = b"[  117.984502] " + xid_text(119).encode()
    assert len(read_kernel_log([line, line], Rejects(), "n")) == 2


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 68])
def test_what_a_program_causes_is_no_hardware_fault(xid: int) -> None:
    (signal,) = read_kernel_log([f"[ 1.5] {xid_text(xid)}".encode()], Rejects(), "n")
    assert signal.severity == "warning"


def test_the_driver_says_what_it_needs_next() -> None:
    def severity(xid: int, rest: str) -> str:
        (signal,) = read_kernel_log([f"[ 1.5] {xid_text(xid, rest=rest)}".encode()], Rejects(), "n")
        return signal.severity

    change = "GPU recovery action changed from 0x{} ({}) to 0x{} ({})"
    assert severity(154, change.format(0, "None", 2, "Node Reboot Required")) == "fatal"
    assert severity(154, change.format(1, "GPU Reset Required", 0, "None")) == "info"
    assert severity(149, "NETIR_LINK_EVT  Fatal   XC0 i0 Link 04") == "fatal"
    assert severity(149, "NETIR_LINK_EVT  Nonfatal XC0 i0 Link 04") == "degraded"
    assert severity(9999, "of next year") == "warning"


def test_switches_and_lost_gpus() -> None:
    lines = (
        "[ 1.0] nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 egress PRIV error (First)",
        "[ 1.1] nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Severity 0 Engine instance 32 Sub-engine instance 00",
        "[ 1.1] nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Data {0x00140004, 0x00100000}",
        "[ 1.2] nvidia-nvswitch0: SXid (PCI:0000:00:00.0): 20034, Fatal, Link 30 LTSSM Fault Up",
        "[ 1.3] NVRM: GPU 0000:9b:00.0: GPU has fallen off the bus.",
        "[ 1.4] NVRM: GPU at PCI:0000:9b:00: GPU-509665ad-b600-ac93-3616-d754b23d636d",
        "[ 1.5] usb 1-1: a device has fallen off the bus",
    )
    rejects = Rejects()
    found = read_kernel_log(
        [line.encode() for line in lines], rejects, "n", {("n", "0000:9b:00"): 4, ("n", "0000:05:00"): 1}
    )
    assert [(one.code, one.severity, one.component, one.gpu) for one in found] == [
        ("sxid-12028", "warning", "nvswitch", None),
        ("sxid-20034", "fatal", "nvswitch", None),
        ("gpu-off-bus", "fatal", "pcie", 4),
    ]
    assert rejects.total == 0


def test_old_drivers_wrote_less() -> None:
    lines = [b"[1.0] NVRM: Xid (0000:03:00): 14, Channel 00000001", b"[1.0] NVRM: Xid (PCI:0000:01:00): 79, GPU"]
    assert [one.code for one in read_kernel_log(lines, Rejects(), "n")] == ["xid-14", "xid-79"]


def test_an_xid_without_a_number_is_named() -> None:
    rejects = Rejects()
    assert read_kernel_log([b"[1.0] NVRM: Xid (PCI:0000:66:00): abc, pid=1", b"[1.0] all is well"], rejects, "n") == []
    assert rejects.total == 1
    assert "cannot be read" in rejects.named[0].rule


def test_addresses_of_pci_are_one_whoever_writes_them() -> None:
    written = ("00000000:9B:00.0", "PCI:0000:9b:00", "0000:9b:00.0", "9b:00.0")
    assert {pci_address(text) for text in written} == {"0000:9b:00"}
    assert pci_address("00000008:01:00.0") == "0008:01:00"


def test_each_number_has_one_class() -> None:
    sets = (classes.APPLICATION, classes.HARMLESS, classes.DEGRADED, classes.FATAL, {classes.RECOVERY_ACTION})
    assert sum(map(len, sets)) == len(frozenset().union(*sets))


def test_what_we_call_fatal_others_reboot_for(shared_data: Callable[[str], Path]) -> None:
    """GPUd reboots for what we call fatal; it does not know 136, for which NVIDIA resets the GPU."""
    import csv

    with shared_data("gpu/catalogs/xid_catalog_gpud.csv").open() as file:
        rows = {int(row["xid"]): row for row in csv.DictReader(file)}
    ours = {xid for xid in rows if xid_severity(xid) == "fatal"}
    assert ours
    for xid in ours:
        row = rows[xid]
        assert row["event_type"] == "Fatal" or "Reboot" in row["repair_actions"] or xid == 136, row
    assert {48, 64, 74, 79, 95, 119, 120, 140, 143} <= ours


def test_the_real_log_holds_five_timeouts(shared_data: Callable[[str], Path]) -> None:
    rejects = Rejects()
    lines = shared_data("gpu/telemetry_samples/dmesg-with-xid-119.log").read_bytes().splitlines()
    found = read_kernel_log(lines, rejects, "n")
    assert len(found) == sum(b"Xid (" in line for line in lines)
    assert {one.code for one in found} == {"xid-119"}
    assert found[0].time_s == datetime(2025, 2, 23, 16, 24, 18, tzinfo=UTC).timestamp()
    assert rejects.total == 0


def test_nothing_and_a_hundred_thousand_lines() -> None:
    assert read_kernel_log([], Rejects(), "n") == []
    line = b"[  117.984502] " + xid_text(13).encode()
    assert len(read_kernel_log([line] * 100_000, Rejects(), "n")) == 100_000
