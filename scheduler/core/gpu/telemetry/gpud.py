"""GPUd's HTTP JSON: health states and events of its components.

GPUd writes nothing into Kubernetes; what is read is the answer of /v1/states and /v1/events, or single objects of
them. Source: leptonai/gpud api/v1 at 4a8de33. An Xid event keeps our own class, because GPUd calls fatal whatever it
would reboot for, illegal addresses of a program among it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from scheduler.core.gpu.signals import Severity, Signal
from scheduler.core.gpu.telemetry.rejects import Rejects
from scheduler.core.gpu.telemetry.times import unix_time
from scheduler.core.gpu.telemetry.xid import xid_component, xid_severity

SOURCE: Final = "gpud"
PREFIX: Final = "accelerator-nvidia-"
XID: Final = re.compile(r"\bxid[ :_(-]{1,3}(\d{1,3})\b", re.IGNORECASE)
COMPONENTS: Final = {
    "ecc": "memory", "memory": "memory", "remapped-rows": "memory", "error-sxid": "nvswitch",
    "fabric-manager": "nvswitch", "infiniband": "network", "nvlink": "nvlink", "peermem": "network", "power": "power",
    "temperature": "thermal", "hw-slowdown": "thermal", "disk": "disk", "cpu": "kernel", "os": "kernel",
    "kubelet": "kubelet",
}  # fmt: skip
HEALTH: Final[dict[str, Severity]] = {"unhealthy": "fatal", "degraded": "degraded"}
EVENTS: Final[dict[str, Severity]] = {"fatal": "fatal", "critical": "degraded", "warning": "warning", "info": "info"}
FOR_NOBODY: Final = frozenset(("IGNORE_NO_ACTION_REQUIRED", "CHECK_USER_APP_AND_GPU"))
MOST_TEXT: Final = 400


class _Actions(msgspec.Struct, frozen=True):
    repair_actions: list[str] | None = None


class HealthState(msgspec.Struct, frozen=True):
    """One component's state."""

    health: str
    component: str = ""
    name: str = ""
    time: object = None
    reason: str = ""
    error: str = ""
    suggested_actions: _Actions | None = None


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to a component."""

    type: str
    name: str = ""
    component: str = ""
    time: object = None
    message: str = ""


def gpud_signals(documents: Iterable[object], rejects: Rejects, node: str) -> list[Signal]:
    """The signals of decoded JSON: answers of GPUd, or objects of them. Raises ValueError for an empty node."""
    if not node:
        raise ValueError("GPUd does not say which node it runs on: name it")
    found: list[Signal] = []
    for number, document in enumerate(documents, 1):
        for component, one in _objects(document):
            try:
                signal = _signal(component, one, node)
            except (msgspec.ValidationError, ValueError) as error:
                rejects.add(number, f"GPUd: {error}")
                continue
            if signal is not None:
                found.append(signal)
    return found


def _objects(document: object) -> Iterator[tuple[str, Any]]:
    """(component, state or event) of an answer; a list of lists is as deep as answers go."""
    for one in document if isinstance(document, list) else [document]:
        if not isinstance(one, dict) or not {"states", "events"} & one.keys():
            yield "", one
            continue
        component = one.get("component")
        for key in ("states", "events"):
            inside = one.get(key)
            for entry in inside if isinstance(inside, list) else ():
                yield component if isinstance(component, str) else "", entry


def _signal(component: str, one: Any, node: str) -> Signal | None:
    if isinstance(one, dict) and "health" in one:
        state = msgspec.convert(one, HealthState, strict=False)
        component = (state.component or component or state.name).removeprefix(PREFIX)
        severity = HEALTH.get(state.health.lower())
        if severity is None:
            if state.health.lower() not in ("healthy", "initializing"):
                raise ValueError(f"health {state.health[:40]!r} is none of Healthy, Unhealthy, Degraded, Initializing")
            return None
        actions = (state.suggested_actions.repair_actions if state.suggested_actions else None) or []
        text = (state.reason or state.error or state.health)[:MOST_TEXT]
        if actions and FOR_NOBODY.issuperset(actions):
            severity = "warning"
        return _of(component, state.name, severity, text, state.time, node)
    event = msgspec.convert(one, Event, strict=False)
    if event.type.lower() not in EVENTS:
        raise ValueError(f"event type {event.type[:40]!r} is none of {', '.join(EVENTS)}")
    component = (event.component or component).removeprefix(PREFIX)
    return _of(component, event.name, EVENTS[event.type.lower()], event.message[:MOST_TEXT], event.time, node)


def _of(component: str, name: str, severity: Severity, text: str, time: object, node: str) -> Signal:
    code, part = f"gpud-{(component or name or 'unnamed')[:80]}", COMPONENTS.get(component, "gpu")
    if component == "error-xid" and (found := XID.search(text)) is not None:
        xid = int(found[1])
        code, part, severity = f"xid-{xid}", xid_component(xid), xid_severity(xid, text)
    return Signal(
        unix_time(time), node, None, part, severity, code, SOURCE, text or name or component, severity != "info"
    )
