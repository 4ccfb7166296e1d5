"""Faults of GPUs and NVSwitches in kernel logs: Xid, SXid, a GPU that has fallen off the bus.

The driver's line is the only full record of an Xid: the gauge of dcgm-exporter keeps the last one only. Two equal lines
are two faults. Lines that belong to the line before (`SXid ... Severity 0 Engine instance`, RPC histories) are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from scheduler.core.gpu.signals import Severity, Signal
from scheduler.core.gpu.telemetry.log_lines import read_log_line
from scheduler.core.gpu.telemetry.rejects import Rejects, text_lines
from scheduler.core.gpu.telemetry.xid import IS_FATAL, NOT_FATAL, xid_component, xid_severity

SOURCE: Final = "kernel-log"
MARKS: Final = (b"Xid", b"fallen off the bus")
IN_BYTES: Final = re.compile(rb'"MESSAGE"\s?:\s?\[')
"""An entry of the journal whose message is a list of bytes, which hides the marks."""
XID: Final = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]{7,16})\): (\d{1,5}), ?(.*)", re.DOTALL)
SXID: Final = re.compile(
    r"nvidia-nvswitch(\d{1,3}): SXid \((?:PCI:)?([0-9a-fA-F:.]{7,16})\): (\d{1,6}), ?(.*)", re.DOTALL
)
OFF_BUS: Final = re.compile(
    r"NVRM:.{0,40}?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})\S{0,6}.{0,60}?fallen off the bus"
)
CONTINUES: Final = re.compile(r"(?:Severity \d|Data \{)")
MOST_MESSAGE: Final = 400


def read_kernel_log(
    lines: Iterable[bytes],
    rejects: Rejects,
    node: str,
    gpus: Mapping[tuple[str, str], int] | None = None,
    written_s: float = 0.0,
    boot_s: float | None = None,
) -> list[Signal]:
    """The faults in a log, in its order.

    node: where a line names no host. gpus: GPU index by node and PCI address, as `pci_address`
    writes it. written_s, boot_s: see
    `read_log_line`. A line that speaks of an Xid and has no number that can be read is rejected.
    """
    found = []
    for number, raw in text_lines(lines, rejects):
        if not any(mark in raw for mark in MARKS) and not IN_BYTES.search(raw):
            continue
        try:
            line = read_log_line(raw.decode("utf-8", "replace"), written_s, boot_s)
            fault = _fault(line.text)
        except ValueError as error:
            rejects.add(number, str(error))
            continue
        if fault is None:
            continue
        where = line.node or node
        gpu = (gpus or {}).get((where, fault.address)) if fault.component != "nvswitch" else None
        found.append(
            Signal(
                line.time_s, where, gpu, fault.component, fault.severity, fault.code, SOURCE,
                f"{fault.address}: {fault.message.strip()[:MOST_MESSAGE]}", fault.severity != "info",
            )
        )  # fmt: skip
    return found


def pci_address(text: str) -> str:
    """A PCI address as `domain:bus:device`, 4, 2 and 2 hex digits, from any of the ways it is written.

    The kernel writes 0000:9b:00 or 0000:9b:00.0, nvidia-smi and DCGM write 00000000:9B:00.0.
    """
    parts = text.lower().removeprefix("pci:").partition(".")[0].split(":")
    if len(parts) == 2:
        parts = ["0", *parts]
    return ":".join((parts[0][-4:].rjust(4, "0"), *parts[1:]))


class _Fault(NamedTuple):
    code: str
    component: str
    severity: Severity
    address: str
    message: str


def _fault(text: str) -> _Fault | None:
    """The fault that a line reports, if it does. Raises ValueError for an Xid whose number cannot be read."""
    if (found := XID.search(text)) is not None:
        xid, message = int(found[2]), found[3]
        return _Fault(f"xid-{xid}", xid_component(xid), xid_severity(xid, message), pci_address(found[1]), message)
    if (found := SXID.search(text)) is not None:
        message = found[4]
        if CONTINUES.match(message):
            return None
        is_fatal = IS_FATAL.search(NOT_FATAL.sub("", message)) is not None
        return _Fault(
            f"sxid-{found[3]}", "nvswitch", "fatal" if is_fatal else "warning", pci_address(found[2]),
            f"nvswitch{found[1]}: {message}",
        )  # fmt: skip
    if (found := OFF_BUS.search(text)) is not None:
        return _Fault("gpu-off-bus", "pcie", "fatal", pci_address(found[1]), "GPU has fallen off the bus")
    if "NVRM: Xid (" in text or ": SXid (" in text:
        raise ValueError(f"an Xid whose number cannot be read: {text[:80]!r}")
    return None
