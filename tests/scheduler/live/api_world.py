"""An API server in memory, for the tests of the live edge to list from and watch: objects, one counter of versions, one
log of events per kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


def a_node(name: str, *, cpu: str = "8", memory: str = "32Gi", gpus: int = 0, pods: int = 110, **rest: Any) -> Object:
    """A node as the API server gives it; rest: labels, annotations, taints, unschedulable."""
    allocatable = {"cpu": cpu, "memory": memory, "pods": str(pods), "ephemeral-storage": "100Gi"}
    if gpus:
        allocatable["nvidia.com/gpu"] = str(gpus)
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": rest.get("labels", {}), "annotations": rest.get("annotations", {})},
        "spec": {"taints": rest.get("taints"), "unschedulable": rest.get("unschedulable")},
        "status": {"allocatable": allocatable, "capacity": allocatable,
                   "conditions": [{"type": "Ready", "status": "True"}]},
    }  # fmt: skip


RS_1 = {"kind": "ReplicaSet", "uid": "rs-1"}


def a_pod(
    name: str, *, node: str = "", cpu: str | None = "1", memory: str | None = "1Gi", gpus: int = 0, **rest: Any
) -> Object:
    """A pod of one container; rest: namespace, uid, owner, priority, phase, init, overhead, spec (merged over all)."""
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None}
    if gpus:
        requests["nvidia.com/gpu"] = str(gpus)
    spec: Object = {
        "containers": [{"name": "main", "resources": {"requests": requests}}],
        "nodeName": node or None,
        "priority": rest.get("priority", 0),
        "schedulerName": "stowage",
        **rest.get("spec", {}),
    }
    owner = rest.get("owner")
    controller = {"kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": rest.get("namespace", "default"), "uid": rest.get("uid", f"uid-{name}"),
            "labels": rest.get("labels", {}), "annotations": rest.get("annotations", {}),
            "ownerReferences": [controller] if owner else None,
        },
        "spec": spec,
        "status": {"phase": rest.get("phase", "Pending"), **rest.get("status", {})},
    }  # fmt: skip


def a_plan(name: str, reservations: list[Object], phase: str = "Executing") -> Object:
    """A Plan with reservations."""
    return {"kind": "Plan", "metadata": {"name": name, "uid": f"uid-{name}"},
            "status": {"phase": phase, "reservations": reservations}}  # fmt: skip


def a_reservation(node: str, *, expires: str = "2100-01-01T00:00:00Z", **rest: Any) -> Object:
    """Room for a pod: pod, uid, owner, shapeHash, requests, hard."""
    return {"node": node, "expires": expires, "requests": {"cpu": 1000}, **rest}


class World:
    """The state and the log; `kinds` are paths' last words."""

    def __init__(self, first_version: int = 100) -> None:
        self.version = first_version
        self.objects: dict[str, dict[str, Object]] = {}
        self.log: dict[str, list[tuple[int, bytes]]] = {}
        self.uids = 0

    def put(self, kind: str, obj: Object) -> Object:
        """Create or replace; gives the object its version."""
        key = key_of(obj)
        there = self.objects.setdefault(kind, {})
        self._log(kind, "MODIFIED" if key in there else "ADDED", obj)
        there[key] = obj
        return obj

    def delete(self, kind: str, key: str) -> None:
        """Delete, if it is there."""
        obj = self.objects.get(kind, {}).pop(key, None)
        if obj is not None:
            self._log(kind, "DELETED", json.loads(json.dumps(obj)))

    def _log(self, kind: str, event: str, obj: Object) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.log.setdefault(kind, []).append((self.version, line(event, obj)))

    def since(self, kind: str, version: str) -> list[bytes]:
        """Events newer than that version."""
        return [data for at, data in self.log.get(kind, []) if at > int(version)]

    def bookmark(self, **annotations: str) -> bytes:
        """A bookmark at the newest version."""
        meta = {"resourceVersion": str(self.version), "annotations": annotations, "creationTimestamp": None}
        return line("BOOKMARK", {"metadata": meta, "spec": {"containers": None}, "status": {}})

    def initial_events(self, kind: str) -> list[bytes]:
        """What a watch with sendInitialEvents starts with."""
        added = [line("ADDED", obj) for obj in self.objects.get(kind, {}).values()]
        return [*added, self.bookmark(**{INITIAL_EVENTS_END: "true"})]

    def pages(self, kind: str, size: int = 500) -> Iterator[bytes]:
        """The pages of a list."""
        items = list(self.objects.get(kind, {}).values())
        for start in range(0, max(len(items), 1), size):
            more = "next" if start + size < len(items) else ""
            page = {"metadata": {"resourceVersion": str(self.version), "continue": more}}
            yield json.dumps({**page, "items": items[start : start + size] or None}).encode()


def key_of(obj: Object) -> str:
    """namespace/name, or the name of what has no namespace."""
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def line(event: str, obj: Object) -> bytes:
    """One line of a watch, without its end."""
    return json.dumps({"type": event, "object": obj}, separators=(",", ":")).encode()
