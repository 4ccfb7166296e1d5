"""What Kubernetes shows of a node's health: conditions, taints, labels and annotations that monitors set.

node-problem-detector and NVSentinel set conditions that are True while a fault lasts; a condition named `...Healthy`
(as one page of NVSentinel's documents has it) is False then. NVSentinel makes a condition of what it calls fatal, an
Event of the rest. What is there is open: when a monitor takes it away, the fault is over. Our own taint and annotation
are no evidence, and conditions of Kubernetes itself (Ready, DiskPressure, ...) are handled by Kubernetes itself.

Sources: node-problem-detector config at 6632ca6, NVSentinel docs at 5dbf735, 00b7ca1 and 9087c1f.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from scheduler.core.gpu.signals import Severity, Signal
from scheduler.core.gpu.telemetry import nvsentinel
from scheduler.core.gpu.telemetry.rejects import Rejects

DETECTOR: Final = "node-problem-detector"
DETECTED: Final[dict[str, tuple[str, Severity]]] = {
    "KernelDeadlock": ("kernel", "fatal"),
    "ReadonlyFilesystem": ("disk", "fatal"),
    "XfsShutdown": ("disk", "fatal"),
    "CperHardwareErrorFatal": ("kernel", "fatal"),
    "CorruptDockerOverlay2": ("disk", "fatal"),
    "KubeletUnhealthy": ("kubelet", "fatal"),
    "ContainerRuntimeUnhealthy": ("kubelet", "fatal"),
    "FrequentKubeletRestart": ("kubelet", "degraded"),
    "FrequentDockerRestart": ("kubelet", "degraded"),
    "FrequentContainerdRestart": ("kubelet", "degraded"),
    "FrequentUnregisterNetDevice": ("network", "degraded"),
    "DiskBadBlock": ("disk", "degraded"),
    "NTPProblem": ("kernel", "warning"),
}
"""Conditions of node-problem-detector."""
SENTINEL: Final = frozenset((
    "GpuMemWatch", "GpuThermalWatch", "GpuPcieWatch", "GpuPowerWatch", "GpuInforomWatch", "GpuSmWatch",
    "GpuNvlinkWatch", "GpuMcuWatch", "GpuPmuWatch", "GpuDriverWatch", "GpuCpusetWatch", "SysLogsXIDError",
    "SysLogsSXIDError", "SysLogsGPUFallenOff", "NVSwitchFatalError", "NVSwitchDown", "NVSwitchNonFatalError",
    "DCGMError", "CSPMaintenance", "SyslogError",
))  # fmt: skip
MILDER: Final[dict[str, Severity]] = {"NVSwitchNonFatalError": "warning", "CSPMaintenance": "degraded"}
HEALTHY: Final = re.compile(r"(?i)(?:nvidia[-_.]?)?gpus?[a-z]{0,20}healthy$")
CODES: Final = re.compile(r"\[([^\[\]]{1,200})\]")
ACTION: Final = re.compile(r"RecommendedAction:\s?(\w{1,40})")
TAINTS: Final = frozenset((
    "nvidia.com/gpu-xid-error", "nvidia.com/gpu-nvlink-error", "nvidia.com/syslog-xid-error", "nvidia.com/gpu-error",
))  # fmt: skip
FAULT_LABEL: Final = "nvidia.com/gpu-fault"
CORDON: Final = "k8saas.nvidia.com/cordon-"
UNCORDON: Final = "k8saas.nvidia.com/uncordon-"
UNMANAGED_LABEL: Final = "k8saas.nvidia.com/ManagedByNVSentinel"
EVENT_ANNOTATION: Final = "quarantineHealthEvent"
OFF: Final = frozenset(("", "false", "none", "inactive", "cleared", "healthy"))
MOST_TEXT: Final = 400


@dataclass(frozen=True, slots=True)
class NodeCondition:
    """status.conditions[] of a node. since_s: Unix time of its last change, 0 where that is unknown."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node shows. taints: value by key, of the taints that keep pods off."""

    name: str
    conditions: tuple[NodeCondition, ...] = ()
    taints: Mapping[str, str] | None = None
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None


def node_signals(node: NodeState, rejects: Rejects | None = None) -> list[Signal]:
    """Every fault that the node shows as open, in the order conditions, taints, labels, annotations.

    What cannot be read goes to `rejects`. Raises ValueError for a node without a name.
    """
    rejects = Rejects() if rejects is None else rejects
    found = [signal for one in node.conditions if (signal := condition_signal(node.name, one)) is not None]
    found += _of_taints(node)
    found += _of_labels(node)
    found += _of_annotations(node, rejects)
    return found


def condition_signal(node: str, condition: NodeCondition) -> Signal | None:
    """The fault that a condition shows; None where it shows none, or is not of a monitor we know."""
    kind, text = condition.type, (condition.message or condition.reason or condition.type)[:MOST_TEXT]
    if HEALTHY.match(kind):
        if condition.status != "False":
            return None
        return Signal(condition.since_s, node, None, "gpu", "fatal", kind, nvsentinel.SOURCE, text, True)
    if condition.status != "True":
        return None
    if kind in DETECTED:
        component, severity = DETECTED[kind]
        return Signal(condition.since_s, node, None, component, severity, kind, DETECTOR, text, True)
    if kind not in SENTINEL:
        return None
    message = condition.message
    codes = [code for found in CODES.findall(message) for code in found.split(",") if code.strip()]
    action = ACTION.search(message)
    severity = MILDER.get(kind) or nvsentinel.milder(codes, action[1] if action else "", message)
    gpus = {int(number) for number in nvsentinel.GPU.findall(message)}
    return Signal(
        condition.since_s, node, gpus.pop() if len(gpus) == 1 else None, nvsentinel.component_of(kind, codes), severity,
        nvsentinel.code_of(kind, codes), nvsentinel.SOURCE, text, True,
    )  # fmt: skip


def _of_taints(node: NodeState) -> list[Signal]:
    taints = node.taints or {}
    return [
        Signal(0.0, node.name, None, "nvlink" if "nvlink" in key else "gpu", "fatal", key, nvsentinel.SOURCE,
               f"taint {key}={taints[key]}"[:MOST_TEXT], True)
        for key in sorted(TAINTS & taints.keys())
        if taints[key].lower() not in OFF - {""}  # a taint without a value says what its key says
    ]  # fmt: skip


def _of_labels(node: NodeState) -> list[Signal]:
    labels = node.labels or {}
    found = []
    if labels.get(FAULT_LABEL, "").lower() not in OFF:
        text = f"label {FAULT_LABEL}={labels[FAULT_LABEL]}"[:MOST_TEXT]
        found.append(Signal(0.0, node.name, None, "gpu", "fatal", FAULT_LABEL, nvsentinel.SOURCE, text, True))
    if _is_cordoned(labels):
        why = labels.get(f"{CORDON}reason") or labels.get(f"{CORDON}by", "")
        text = f"cordoned by {labels.get(f'{CORDON}by', 'NVSentinel')}: {why}"[:MOST_TEXT]
        found.append(Signal(0.0, node.name, None, "gpu", "degraded", f"{CORDON}by", nvsentinel.SOURCE, text, True))
    return found


def _is_cordoned(labels: Mapping[str, str]) -> bool:
    """Whether the last thing NVSentinel did was to cordon. Its times sort as text (2006-01-02T15-04-05Z)."""
    if f"{CORDON}by" not in labels or labels.get(UNMANAGED_LABEL, "").lower() == "false":
        return False
    if f"{UNCORDON}by" not in labels:
        return True
    return labels.get(f"{CORDON}timestamp", "") > labels.get(f"{UNCORDON}timestamp", "")


def _of_annotations(node: NodeState, rejects: Rejects) -> list[Signal]:
    text = (node.annotations or {}).get(EVENT_ANNOTATION, "")
    if not text.strip():
        return []
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        rejects.add(0, f"node {node.name}: annotation {EVENT_ANNOTATION}: {error}")
        return []
    events = decoded if isinstance(decoded, list) else [decoded]
    if any(isinstance(one, dict) and "checkName" not in one and "events" not in one for one in events):
        # newer versions map what is impacted to its event
        events = [event for one in events if isinstance(one, dict) for event in one.values() if isinstance(event, dict)]
    found = nvsentinel.health_event_signals(events, rejects, node.name)
    return [one for one in found if one.is_open and one.node == node.name]
