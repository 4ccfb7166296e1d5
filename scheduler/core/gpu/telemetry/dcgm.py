"""Faults in the metrics of dcgm-exporter, scrape after scrape.

Two traps. DCGM_FI_DEV_XID_ERRORS is the last Xid for ever, so only its change is news, and what it was at the first
scrape is told as `info`. A value that DCGM cannot give is written as a number near 2^63 and dropped here. Label
`Hostname` became `hostname` in 2026; either is read. Source: dcgm-exporter at d5e5f51, dcgm_fields.h for blank values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from scheduler.core.gpu.signals import Severity, Signal
from scheduler.core.gpu.telemetry.kernel_log import pci_address
from scheduler.core.gpu.telemetry.metrics_text import Sample, read_samples
from scheduler.core.gpu.telemetry.rejects import Rejects
from scheduler.core.gpu.telemetry.xid import xid_component, xid_severity

SOURCE: Final = "dcgm-exporter"
BLANK_FROM: Final = 9.2e18
"""DCGM_INT64_BLANK is 9223372036854775792; not found, not supported and not permitted follow."""
BLANK_FLOAT: Final = range(140737488355328, 140737488355344)
LAST_XID: Final = "DCGM_FI_DEV_XID_ERRORS"
XIDS_IN_WINDOW: Final = "DCGM_EXP_XID_ERRORS_COUNT"
HEALTH: Final = "DCGM_EXP_GPU_HEALTH_STATUS"
CLOCK_EVENTS: Final = "DCGM_EXP_CLOCK_EVENTS_COUNT"
HEALTH_FAILED, HEALTH_WARNS = 20.0, 10.0  # dcgmHealthWatchResults_t
SLOWDOWNS: Final = {"hw_slowdown": "gpu", "hw_thermal": "thermal", "hw_power_brake": "power"}
STATES: Final[dict[str, tuple[str, Severity, str]]] = {
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": ("memory", "fatal", "a memory row could not be remapped"),
    "DCGM_FI_DEV_ROW_REMAP_PENDING": ("memory", "degraded", "a memory row waits for a reset to be remapped"),
    "DCGM_FI_DEV_RETIRED_PENDING": ("memory", "degraded", "a memory page waits for a reset to be retired"),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": ("memory", "degraded", "uncorrectable ECC errors since the last reset"),
}
"""Above zero the fault is there."""
COUNTERS: Final[dict[str, tuple[str, Severity, str]]] = {
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": ("memory", "fatal", "new uncorrectable ECC errors"),
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": ("memory", "fatal", "new uncorrectable ECC errors"),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": ("memory", "degraded", "memory rows remapped for uncorrectable errors"),
    "DCGM_FI_DEV_RETIRED_DBE": ("memory", "degraded", "memory pages retired after uncorrectable errors"),
    "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL": ("nvlink", "degraded", "NVLink recoveries"),
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL": ("nvlink", "warning", "NVLink replays"),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": ("pcie", "warning", "PCIe replays"),
}
"""A rise from one scrape to the next is the fault; what was counted before we looked is history."""
MOST_SERIES: Final = 1 << 20

Series = tuple[str, str, int | None, str]
"""Metric, node, GPU, and the label that tells series of one GPU apart (xid, health watch, clock event)."""


@dataclass(slots=True)
class DcgmReader:
    """Takes scrapes in the order of their time; remembers the last value of each series."""

    rejects: Rejects = field(default_factory=Rejects)
    gpu_at: dict[tuple[str, str], int] = field(default_factory=dict)
    """GPU index by node and PCI address, for logs that know only the address."""
    _last: dict[Series, float] = field(default_factory=dict)
    _nodes: set[str] = field(default_factory=set)

    def read(self, lines: Iterable[bytes], node: str, time_s: float = 0.0) -> list[Signal]:
        """What is news in a scrape, or open. node: where no label names one. time_s: of samples without a time."""
        signals: list[Signal] = []
        now: dict[Series, float] = {}
        seen: set[str] = set()
        for sample in read_samples(lines, self.rejects):
            if not sample.name.startswith("DCGM_") or _is_blank(sample.value):
                continue
            labels = sample.labels
            host = labels.get("Hostname") or labels.get("hostname") or node
            gpu = _index(labels.get("gpu", ""))
            seen.add(host)
            if gpu is not None and labels.get("pci_bus_id"):
                self.gpu_at[host, pci_address(labels["pci_bus_id"])] = gpu
            if not _matters(sample.name):
                continue
            series = (sample.name, host, gpu, _part(sample))
            if series in now:
                self.rejects.add(sample.line, f"{sample.name} of GPU {gpu} of {host} is there twice")
                continue
            if len(now) >= MOST_SERIES:
                self.rejects.add(sample.line, f"more than {MOST_SERIES} series in a scrape")
                break
            now[series] = sample.value
            before = self._last.get(series, 0.0 if host in self._nodes and series[3] else None)
            at_s = time_s if sample.time_s is None else sample.time_s
            for code, component, severity, text, is_open in _news(sample, before):
                signals.append(Signal(at_s, host, gpu, component, severity, code, SOURCE, text, is_open))
        self._last |= now
        for series in [one for one in self._last if one[1] in seen and one not in now]:
            del self._last[series]  # the exporter drops the series of an Xid with its window
        self._nodes |= seen
        return signals


def _is_blank(value: float) -> bool:
    return abs(value) >= BLANK_FROM or value in BLANK_FLOAT


def _matters(name: str) -> bool:
    return name in (LAST_XID, XIDS_IN_WINDOW, HEALTH, CLOCK_EVENTS) or name in STATES or name in COUNTERS


def _part(sample: Sample) -> str:
    """What tells series of one metric and GPU apart."""
    keys = {XIDS_IN_WINDOW: "xid", HEALTH: "health_watch", CLOCK_EVENTS: "clock_event"}
    own = sample.labels.get(keys[sample.name], "") if sample.name in keys else ""
    slot = sample.labels.get("GPU_I_ID", "")  # a series per MIG instance
    return f"{own}/{slot}" if slot else own


News = tuple[str, str, Severity, str, bool]
"""code, component, severity, message, is_open."""


def _news(sample: Sample, before: float | None) -> Iterable[News]:
    """before: the value at the last scrape; None where this is the first."""
    name, value, labels = sample.name, sample.value, sample.labels
    if name == LAST_XID:
        xid = _index(str(int(value))) if value == int(value) else None
        if xid and before is None:
            text = f"the last Xid was {xid}; the gauge does not say when"
            yield f"xid-{xid}", xid_component(xid), "info", text, False
        elif xid and value != before:
            text = labels.get("err_msg", "")[:200] or f"Xid {xid}"
            yield f"xid-{xid}", xid_component(xid), xid_severity(xid, text), text, True
    elif name == XIDS_IN_WINDOW:
        xid = _index(labels.get("xid", ""))
        if xid and value > (before or 0.0):
            window_s = _index(labels.get("window_size_in_ms", "")) or 0
            text = f"Xid {xid} {value:g}x in {window_s / 1000:g} s"
            yield f"xid-{xid}", xid_component(xid), xid_severity(xid), text, True
    elif name == HEALTH:
        if value >= HEALTH_WARNS:
            watch = labels.get("health_watch", "ALL")[:40]
            text = labels.get("health_error_code", "")[:200] or f"health watch {watch} is {value:g}"
            yield f"dcgm-health-{watch.lower()}", "gpu", "fatal" if value >= HEALTH_FAILED else "degraded", text, True
    elif name == CLOCK_EVENTS:
        event = labels.get("clock_event", "")
        if event in SLOWDOWNS and value > 0:
            text = f"the hardware slowed its clocks {value:g} times"
            yield f"clocks-{event}", SLOWDOWNS[event], "degraded", text, True
    else:
        if name in COUNTERS and before is not None and value > before:
            component, severity, text = COUNTERS[name]
            yield name, component, severity, f"{text}: {before:g}, now {value:g}", True
        elif name in STATES and value > 0:
            component, severity, text = STATES[name]
            yield name, component, severity, f"{text} ({value:g})", True


def _index(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 9 else None
