"""Nodes of a cluster's snapshot: how full they are by pool or rack, cell by cell, and the pods of one of them."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
import pandas as pd

from analytics.errors import InputError
from analytics.views import MOST_ROWS
from analytics.views.nodes import CELLS
from analytics.views.snapshots import read_snapshot
from analytics.workspace import Item
from scheduler.core.snapshot import Node

GROUPS: Final = ("pool", "rack")
# The label that tells what a node belongs to, the first that it has; then its size, or nothing.
POOL_LABELS: Final = (
    "karpenter.sh/nodepool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "pool",
    "node.kubernetes.io/instance-type",
)
RACK_LABELS: Final = ("topology.kubernetes.io/rack", "rack", "topology.kubernetes.io/zone")
MIB: Final = 1 << 20


def nodes(item: Item) -> pd.DataFrame:
    """One row per node, by name: pool, rack, pods, and what is requested and allocatable of CPU and memory.

    requested: the higher of the two shares. left over: as for machines of a run (`analytics.views.nodes`).
    """
    snapshot = read_snapshot(item)
    used: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for pod in snapshot.pods:
        if pod.node is not None:
            total = used[pod.node]
            total[0] += pod.requests.get("cpu", 0)
            total[1] += pod.requests.get("memory", 0)
            total[2] += 1
    rows = [
        (
            node.name,
            _label(node, POOL_LABELS) or _size(node),
            _label(node, RACK_LABELS) or "no rack",
            "ready" if node.ready and not node.unschedulable else "cordoned" if node.unschedulable else "not ready",
            used[node.name][2],
            used[node.name][0],
            node.allocatable.get("cpu", 0),
            used[node.name][1] // MIB,
            node.allocatable.get("memory", 0) // MIB,
        )
        for node in snapshot.nodes
    ]
    columns = ["node", "pool", "rack", "state", "pods", "cpu_requested_milli", "cpu_allocatable_milli"]
    frame = pd.DataFrame(rows, columns=[*columns, "memory_requested_mib", "memory_allocatable_mib"])
    for resource, unit in (("cpu", "milli"), ("memory", "mib")):
        size = frame[f"{resource}_allocatable_{unit}"]
        frame[resource] = frame[f"{resource}_requested_{unit}"] / size.where(size > 0)
    frame["requested"] = frame[["cpu", "memory"]].max(axis=1)
    return frame


def groups(item: Item, by: str) -> pd.DataFrame:
    """One row per pool or rack: nodes, pods, shares requested, and what is left over of the resource less asked for."""
    frame = nodes(item)
    highest = frame["requested"].clip(upper=1)
    for resource in ("cpu", "memory"):
        frame[f"{resource}_left_over"] = highest - frame[resource].clip(upper=1)
    shown = {
        "machines": ("node", "size"), "pods": ("pods", "sum"), "cpu": ("cpu", "mean"), "memory": ("memory", "mean"),
        "cpu_left_over": ("cpu_left_over", "mean"), "memory_left_over": ("memory_left_over", "mean"),
    }  # fmt: skip
    found: pd.DataFrame = frame.groupby(_known(by), as_index=False).agg(**shown)
    return found.head(MOST_ROWS)


def cells(item: Item, by: str) -> pd.DataFrame:
    """The heat map: one row per cell, nodes of one pool or rack that follow each other by name."""
    frame = nodes(item).rename(columns={_known(by): "group"})
    per_cell = max(-(-len(frame) // CELLS), 1)
    frame["cell"] = frame.groupby("group").cumcount() // per_cell
    shown = {
        "first_node": ("node", "first"), "last_node": ("node", "last"), "machines": ("node", "size"),
        "cpu": ("cpu", "mean"), "memory": ("memory", "mean"), "requested": ("requested", "mean"),
    }  # fmt: skip
    found: pd.DataFrame = frame.groupby(["group", "cell"], as_index=False).agg(**shown)
    if len(found) > MOST_ROWS:
        raise InputError(
            f"{item.name} has {found['group'].nunique():,} of {by}: a page draws at most {MOST_ROWS} cells"
        )
    return found


def nodes_between(item: Item, by: str, group: str, first: str, last: str) -> pd.DataFrame:
    """The nodes of one pool or rack whose names lie between two, both included."""
    frame = nodes(item)
    chosen = (frame[_known(by)] == group) & (frame["node"] >= first) & (frame["node"] <= last)
    return frame[chosen].drop(columns="requested").head(MOST_ROWS)


def pods_on(item: Item, node: str) -> pd.DataFrame:
    """One row per pod on a node: what it asks for, and how important it is; the largest first."""
    rows = [
        (
            pod.namespace,
            pod.name,
            pod.priority,
            pod.requests.get("cpu", 0),
            pod.requests.get("memory", 0) // MIB,
            pod.owner_kind,
        )
        for pod in read_snapshot(item).pods
        if pod.node == node
    ]
    frame = pd.DataFrame(rows, columns=["namespace", "pod", "priority", "cpu_milli", "memory_mib", "owner"])
    order = np.lexsort((frame["pod"], frame["namespace"], -frame["memory_mib"], -frame["cpu_milli"]))
    return frame.iloc[order].head(MOST_ROWS)


def _known(by: str) -> str:
    if by not in GROUPS:
        raise InputError(f"nodes are grouped by {' or '.join(GROUPS)}, not {by!r}")
    return by


def _label(node: Node, names: tuple[str, ...]) -> str:
    return next((node.labels[name] for name in names if name in node.labels), "")


def _size(node: Node) -> str:
    return f"{node.allocatable.get('cpu', 0) / 1000:g} cores, {node.allocatable.get('memory', 0) / MIB / 1024:.4g} GiB"
