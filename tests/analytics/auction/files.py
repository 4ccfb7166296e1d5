"""Inputs of `stowage auction`, small."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import stowage


def auction(*words: object) -> dict[str, Any]:
    """The JSON object that the command prints."""
    answer = CliRunner().invoke(stowage.app, ["auction", *map(str, words), "--json"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def table(*words: object) -> str:
    """What it prints for people."""
    answer = CliRunner().invoke(stowage.app, ["auction", *map(str, words)], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def a_market_file(folder: Path, **changes: Any) -> Path:
    """Two nodes and three requests of two tenants; both high bidders want all of n1."""
    content = {
        "kind": "StowageMarket",
        "version": 1,
        "nodes": [{"name": "n1", "room": {"cpu": 4}}, {"name": "n2", "room": {"cpu": 2}}],
        "requests": [
            {"name": "r1", "tenant": "red", "demand": {"cpu": 4}, "bid": 9.0},
            {"name": "r2", "tenant": "blue", "demand": {"cpu": 2}, "bids": {"n1": 6.0, "n2": 5.0}},
            {"name": "r3", "tenant": "blue", "demand": {"cpu": 2}, "bid": 4.0},
        ],
    }
    path = folder / "market.json"
    path.write_text(json.dumps({**content, **changes}))
    return path


def job_events(folder: Path, *classes: int, name: str = "part-00000-of-00500.csv.gz", user: str = "u") -> Path:
    """A part of job_events: a SUBMIT and a SCHEDULE row for every class."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{n},,{n},{event},{user}{n % 2},{one},j,l\n" for n, one in enumerate(classes) for event in (0, 1)]
    path = folder / name
    path.write_bytes(gzip.compress("".join(lines).encode()) if name.endswith("gz") else "".join(lines).encode())
    return path


def a_pod(name: str, namespace: str = "shop", cpu: str = "1", node: str = "", **changes: Any) -> dict[str, Any]:
    """A pod as kubectl prints it; annotations and priority by keyword."""
    spec: dict[str, Any] = {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}
    spec |= {"nodeName": node} if node else {}
    spec |= {key: changes[key] for key in ("priority", "nodeSelector", "schedulingGates") if key in changes}
    metadata = {"name": name, "namespace": namespace, "annotations": changes.get("annotations", {})}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running" if node else "Pending"}}


def a_node(name: str, cpu: str = "4", **changes: Any) -> dict[str, Any]:
    """A node as kubectl prints it."""
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": changes.get("labels", {})},
        "spec": {"unschedulable": True} if changes.get("cordoned") else {},
        "status": {
            "allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def a_cluster(folder: Path, *items: dict[str, Any]) -> Path:
    """The output of `kubectl get -o json`."""
    path = folder / "cluster.json"
    path.write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": list(items)}))
    return path
