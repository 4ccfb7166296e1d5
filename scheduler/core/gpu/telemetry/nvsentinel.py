"""NVSentinel's HealthEvents, and what its codes and actions mean wherever it writes them.

Source: NVIDIA/NVSentinel, docs/DATA_FLOW.md at 5dbf735 and its health-events proto. `isHealthy` true ends what the same
check reported before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from scheduler.core.gpu.signals import SEVERITIES, Severity, Signal, severity_rank
from scheduler.core.gpu.telemetry.rejects import Rejects
from scheduler.core.gpu.telemetry.times import unix_time
from scheduler.core.gpu.telemetry.xid import xid_component, xid_severity

SOURCE: Final = "nvsentinel"
XID: Final = re.compile(r"(?:^|(?<=[^A-Za-z]))(?:XID[-_ ]?)?(\d{1,3})$", re.IGNORECASE)
GPU: Final = re.compile(r"\bGPU[ :]{1,2}(\d{1,3})\b")
SWITCH: Final = "SXID"  # in capitals: SysLogsXIDError is of GPUs, SysLogsSXIDError of switches
HARMLESS_ACTIONS: Final = frozenset(("NONE", "0"))
COMPONENTS: Final = {
    "mem": "memory", "nvlink": "nvlink", "nvswitch": "nvswitch", "pcie": "pcie", "power": "power",
    "thermal": "thermal", "driver": "driver", "nic": "network", "infiniband": "network", "ethernet": "network",
    "csp": "cloud",
}  # fmt: skip
MOST_TEXT: Final = 400


class _Entity(msgspec.Struct, frozen=True):
    entity_type: str = msgspec.field(name="entityType", default="")
    entity_value: str = msgspec.field(name="entityValue", default="")


class HealthEvent(msgspec.Struct, frozen=True):
    """One event of NVSentinel, with the fields that we use."""

    check: str = msgspec.field(name="checkName")
    node: str = msgspec.field(name="nodeName", default="")
    is_fatal: bool = msgspec.field(name="isFatal", default=False)
    is_healthy: bool = msgspec.field(name="isHealthy", default=False)
    message: str = ""
    action: str | int = msgspec.field(name="recommendedAction", default="")
    codes: list[str] | None = msgspec.field(name="errorCode", default=None)
    entities: list[_Entity] | None = msgspec.field(name="entitiesImpacted", default=None)
    metadata: dict[str, object] | None = None
    time: object = msgspec.field(name="generatedTimestamp", default=None)


def health_event_signals(events: Iterable[object], rejects: Rejects, node: str = "") -> list[Signal]:
    """The signals of decoded JSON: events, or objects whose `events` holds some. node: where an event names none."""
    found: list[Signal] = []
    for number, one in enumerate(events, 1):
        inside = one.get("events") if isinstance(one, dict) else None
        for event in inside if isinstance(inside, list) else [one]:
            try:
                found.append(event_signal(msgspec.convert(event, HealthEvent, strict=False), node))
            except (msgspec.ValidationError, ValueError) as error:
                rejects.add(number, f"HealthEvent: {error}")
    return found


def event_signal(event: HealthEvent, node: str = "") -> Signal:
    """What one event says. Raises ValueError where nobody names the node."""
    codes = event.codes or []
    if event.is_healthy:
        severity: Severity = "info"
    elif event.is_fatal:
        severity = milder(codes, str(event.action), event.message)
    else:
        severity = "warning"
    named = {one.entity_value for one in event.entities or () if one.entity_type.upper() == "GPU"}
    gpus = [int(value) for value in named if _is_index(value)]
    index = str((event.metadata or {}).get("gpu_index", ""))
    if not gpus and _is_index(index):
        gpus = [int(index)]
    if not (event.node or node):
        raise ValueError(f"event {event.check!r} names no node")
    return Signal(
        time_s=event_time(event.time), node=event.node or node, gpu=gpus[0] if len(gpus) == 1 else None,
        component=component_of(event.check, codes), severity=severity,
        code=code_of(event.check, codes) or "event", source=SOURCE,
        message=(event.message or event.check)[:MOST_TEXT], is_open=not event.is_healthy,
    )  # fmt: skip


def event_time(value: object) -> float:
    """A timestamp as JSON text or as the proto's own object of seconds and nanos."""
    if isinstance(value, dict):
        return unix_time(value.get("seconds"))
    return unix_time(value)


def _is_index(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= 3


def milder(codes: Sequence[str], action: str, message: str = "") -> Severity:
    """How bad a fault is that NVSentinel calls fatal: milder where all its codes are Xids that a program causes.

    Also where it recommends to do nothing.
    """
    if action.upper() in HARMLESS_ACTIONS:
        return "warning"
    xids = [found for found in (XID.search(code.strip()) for code in codes) if found is not None]
    if not xids or len(xids) < len(codes):
        return "fatal"
    return SEVERITIES[max(severity_rank(xid_severity(int(found[1]), message)) for found in xids)]


def code_of(check: str, codes: Sequence[str]) -> str:
    """`xid-79` for a single Xid code; else the check's name with its codes."""
    clean = [code.strip()[:40] for code in codes if code.strip()][:4]
    if len(clean) == 1 and SWITCH not in check and (found := XID.search(clean[0])) is not None:
        return f"xid-{int(found[1])}"
    return f"{check[:80]}:{','.join(clean)}" if clean else check[:80]


def component_of(check: str, codes: Sequence[str]) -> str:
    """The part that a check is about."""
    if SWITCH in check:
        return "nvswitch"
    lower = check.lower()
    named = next((part for word, part in COMPONENTS.items() if word in lower), None)
    if named is not None:
        return named
    found = XID.search(codes[0].strip()) if codes else None
    return xid_component(int(found[1])) if found is not None else "gpu"
