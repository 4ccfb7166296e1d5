"""`stowage explain --live POD`: why a pod of a live cluster waits, or why it is where it is.

What the planner decided about it stands in its Plans, and in the journal, which outlives both the Plans and the events.
A pod that waits is also asked about now: the cluster is read and the search explains it.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from scheduler.core.packing.explain import explain_pod
from scheduler.core.packing.problem import Budget, Order
from scheduler.core.snapshot import parse_snapshot
from scheduler.live.api import Api, ApiError
from scheduler.live.explain_prices import explain_bid
from scheduler.live.journal_schema import SEGMENT_GLOB
from scheduler.live.kube_objects import LivePod, ObjectList
from scheduler.live.planner.plan_resource import PATH, Plan


class NoSuchPod(ValueError):
    """The cluster has no such pod, and nothing is known of one."""

    exit_code = 2


def explain_live(api: Api, pod: str, budget: Budget, order: Order, seed: int, journal: Path | None) -> dict[str, Any]:
    """pod: namespace/name, or a name in the client's namespace. Keys: pod, exists, node, verdict, answer, why,
    decisions (newest first: plan, time, verdict, why), refusal (the scheduler's words), explanation (while it waits),
    auction (what it bids and meets, see `explain_prices`; None where no node has a price).
    """
    namespace, _, name = pod.rpartition("/")
    namespace = namespace or api.namespace
    key = f"{namespace}/{name}"
    live = _read_pod(api, namespace, name)
    decisions = from_plans(_plans(api), key) + (from_journal(journal, key) if journal is not None else [])
    decisions.sort(key=lambda decision: decision["time"], reverse=True)
    out: dict[str, Any] = {"pod": key, "exists": live is not None, "node": None, "decisions": decisions}
    if live is None:
        if not decisions:
            raise NoSuchPod(f"no pod is named {key}, and no plan or journal knows of one")
        return out | {"verdict": "gone", "answer": "gone", "why": "the pod is gone; what was decided about it is below"}
    out["auction"] = explain_bid(api, live)
    if live.spec.node_name:
        newest = next((d["why"] for d in decisions if d["verdict"] in ("moved", "placed")), "")
        why = newest or "kube-scheduler chose the node; no plan was needed"
        return out | {"node": live.spec.node_name, "verdict": "optimal", "answer": "runs", "why": why}
    refused = live.condition("PodScheduled")
    found = explain_pod(parse_snapshot(_cluster(api)), key, order, budget, None, seed)
    return out | {
        "verdict": found.verdict,
        "answer": found.answer,
        "why": found.why,
        "refusal": refused.message if refused is not None else "",
        "explanation": asdict(found),
    }


def from_plans(plans: list[Plan], key: str) -> list[dict[str, str]]:
    """What the Plans say of a pod: a step of its own, or why it was left without a place."""
    out = []
    for plan in plans:
        made = plan.metadata.creation_timestamp or ""
        states = {step.index: step for step in plan.status.steps}
        for spec in plan.spec.steps:
            step = states.get(spec.index)
            replacement = f"{spec.namespace}/{step.replacement}" if step is not None and step.replacement else ""
            if key in (spec.key, replacement):
                out.append(_decision(plan, spec.action, spec.why, spec.to, step, key == replacement))
        out += [
            {"plan": plan.name, "time": made, "verdict": one.verdict, "why": one.why, "node": ""}
            for one in plan.spec.unplaced
            if one.pod == key
        ]
    return out


def _decision(plan: Plan, action: str, why: str, to: str, step: Any, is_new: bool) -> dict[str, str]:
    state = step.state if step is not None else "proposed"
    verdict = {"bound": "moved" if action == "move" else "placed"}.get(state, state) if is_new else state
    if is_new and action == "move":
        why = f"it takes the place of a pod that the plan moved here ({why})"
    time = (step.time if step is not None else "") or plan.metadata.creation_timestamp or ""
    return {"plan": plan.name, "time": time, "verdict": verdict, "why": why, "node": to}


def from_journal(folder: Path, key: str) -> list[dict[str, str]]:
    """Rows of kinds `pod` and `bid` about a pod, from every segment."""
    import pyarrow.dataset as ds

    files = sorted(str(path) for path in folder.glob(SEGMENT_GLOB))
    if not files:
        return []
    from scheduler.live.planner.plan_resource import stamp

    namespace, _, name = key.partition("/")
    mine = ds.field("kind").isin(["pod", "bid"]) & (ds.field("namespace") == namespace) & (ds.field("pod") == name)
    rows = ds.dataset(files, format="parquet").to_table(filter=mine).to_pylist()
    return [
        {
            "plan": row["plan"], "time": stamp(row["time_us"] / 1e6), "verdict": row["verdict"], "why": row["message"],
            "node": row["node"],
        }
        for row in rows
    ]  # fmt: skip


def _read_pod(api: Api, namespace: str, name: str) -> LivePod | None:
    if not re.fullmatch(r"[a-z0-9.-]+", namespace) or not re.fullmatch(r"[a-z0-9.-]+", name):
        raise NoSuchPod(f"{namespace}/{name} is no name of a pod")
    try:
        return msgspec.json.decode(api.get(f"/api/v1/namespaces/{namespace}/pods/{name}"), type=LivePod)
    except ApiError as error:
        if error.is_not_found:
            return None
        raise


def _plans(api: Api) -> list[Plan]:
    found: list[Plan] = []
    try:
        for page in api.list_pages(PATH):
            found += msgspec.json.decode(page, type=ObjectList[Plan]).items or []
    except ApiError as error:
        if error.status not in (403, 404):
            raise
    return found


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Name(msgspec.Struct):
    name: str = ""


class _Item(msgspec.Struct):
    kind: str
    metadata: _Name
    spec: _Spec = _Spec()


class _Items(msgspec.Struct):
    items: list[msgspec.Raw]


def _cluster(api: Api) -> bytes:
    """The cluster as a v1.List, without the pods of nodes that were just deleted."""
    from scheduler.live.serve_cli import read_cluster

    body, _ = read_cluster(api)
    items = [(raw, msgspec.json.decode(raw, type=_Item)) for raw in msgspec.json.decode(body, type=_Items).items]
    nodes = {one.metadata.name for _, one in items if one.kind == "Node"}
    kept = [raw for raw, one in items if one.kind != "Pod" or not one.spec.node_name or one.spec.node_name in nodes]
    return msgspec.json.encode({"kind": "List", "items": kept})
