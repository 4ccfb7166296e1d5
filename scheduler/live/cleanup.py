"""Take back all that Stowage wrote on a cluster: what uninstall runs before the chart's own objects go.

Plans have a finalizer that only a planner takes off, so without this their definition could never be deleted; a gated
pod would wait for ever; a quarantined node would stay empty. The planner is stopped first, or it would write again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from scheduler.live.api import STRATEGIC_PATCH, Api, ApiError
from scheduler.live.kube_objects import (
    HEALTH_ANNOTATION,
    HOLD_GATE,
    NODES_PATH,
    PLAN_ANNOTATION,
    PLANS_PATH,
    PODS_PATH,
    POKE_ANNOTATION,
    PRICE_ANNOTATION,
    PRICE_NOTE,
    QUARANTINE_TAINT,
)
from scheduler.live.planner.plan_resource import FINALIZER
from scheduler.live.planner.price_marks import own_price

NODE_ANNOTATIONS = (PRICE_ANNOTATION, PRICE_NOTE, HEALTH_ANNOTATION)
POD_ANNOTATIONS = (POKE_ANNOTATION, PLAN_ANNOTATION)
ATTEMPTS = 5  # at one object that others write at the same moment


@dataclass(slots=True)
class Cleaned:
    """Names of what was changed, or would be. planner_pods: those still there when the wait for them ended."""

    plans: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)
    planner_pods: list[str] = field(default_factory=list)


def clean_up(api: Api, *, keep_plans: bool = False, write: bool = True) -> Cleaned:
    """Delete plans (or only free them of our finalizer), and take our marks off nodes and pods. Raises ApiError.

    May be run again at any time: it looks at what is there.
    """
    done = Cleaned()
    for plan in items(api, PLANS_PATH):
        name = plan["metadata"]["name"]
        done.plans.append(name)
        if write:
            remove_plan(api, name, keep_plans)
    for node in items(api, NODES_PATH):
        if node_patch(node) is not None:
            done.nodes.append(node["metadata"]["name"])
            if write:
                change(api, f"{NODES_PATH}/{node['metadata']['name']}", node, node_patch)
    for pod in items(api, PODS_PATH):
        if (patch := pod_patch(pod)) is not None:
            meta = pod["metadata"]
            done.pods.append(f"{meta['namespace']}/{meta['name']}")
            if write:
                path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
                with_absence(partial(api.patch, path, msgspec.json.encode(patch), STRATEGIC_PATCH))
    return done


def take_prices(api: Api, *, write: bool = True) -> Cleaned:
    """Take the prices of price rounds off nodes, and nothing else. Prices that a person set stay. Raises ApiError."""
    done = Cleaned()
    for node in items(api, NODES_PATH):
        if price_patch(node) is not None:
            done.nodes.append(node["metadata"]["name"])
            if write:
                change(api, f"{NODES_PATH}/{node['metadata']['name']}", node, price_patch)
    return done


def items(api: Api, path: str) -> Iterator[dict[str, Any]]:
    """Every object of a list; none where the resource is not defined."""
    try:
        for page in api.list_pages(path):
            yield from msgspec.json.decode(page).get("items") or []
    except ApiError as error:
        if not error.is_not_found:
            raise


def remove_plan(api: Api, name: str, keep: bool) -> None:
    """Let a plan go: deleted unless kept, and without our finalizer."""
    path = f"{PLANS_PATH}/{name}"
    if not keep:
        with_absence(lambda: api.delete(path))
    plan = with_absence(lambda: api.get(path))
    if plan is not None:
        change(api, path, msgspec.json.decode(plan), plan_patch)


def plan_patch(plan: dict[str, Any]) -> dict[str, Any] | None:
    """The merge patch that takes our finalizer off; None where it is not on."""
    finalizers = plan["metadata"].get("finalizers") or []
    if FINALIZER not in finalizers:
        return None
    return {"metadata": {"finalizers": [name for name in finalizers if name != FINALIZER]}}


def node_patch(node: dict[str, Any]) -> dict[str, Any] | None:
    """The merge patch that takes our annotations and taint off a node; None where there are none."""
    annotations = node["metadata"].get("annotations") or {}
    ours = [key for key in NODE_ANNOTATIONS if key in annotations]
    taints = node.get("spec", {}).get("taints") or []
    others = [taint for taint in taints if taint.get("key") != QUARANTINE_TAINT]
    if not ours and len(others) == len(taints):
        return None
    patch: dict[str, Any] = {"metadata": {"annotations": dict.fromkeys(ours)}} if ours else {"metadata": {}}
    if len(others) != len(taints):
        patch["spec"] = {"taints": others}
    return patch


def price_patch(node: dict[str, Any]) -> dict[str, Any] | None:
    """The merge patch that takes a price round's annotations off a node; None where there are none."""
    annotations = node["metadata"].get("annotations") or {}
    if PRICE_NOTE not in annotations:
        return None
    keys = [PRICE_NOTE, *([PRICE_ANNOTATION] if own_price(annotations) is not None else [])]
    return {"metadata": {"annotations": dict.fromkeys(keys)}}


def pod_patch(pod: dict[str, Any]) -> dict[str, Any] | None:
    """The strategic merge patch that takes our gate and annotations off a pod; None where there are none."""
    annotations = pod["metadata"].get("annotations") or {}
    ours = [key for key in POD_ANNOTATIONS if key in annotations]
    is_held = any(gate.get("name") == HOLD_GATE for gate in pod.get("spec", {}).get("schedulingGates") or [])
    patch: dict[str, Any] = {"metadata": {"annotations": dict.fromkeys(ours)}} if ours else {}
    if is_held:
        patch["spec"] = {"schedulingGates": [{"$patch": "delete", "name": HOLD_GATE}]}
    return patch or None


def change(
    api: Api, path: str, found: dict[str, Any], make_patch: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> None:
    """Patch an object as it was found; when others changed it meanwhile, look again. Lists are replaced whole."""
    for attempt in range(ATTEMPTS):
        patch = make_patch(found)
        if patch is None:
            return
        patch.setdefault("metadata", {})["resourceVersion"] = found["metadata"]["resourceVersion"]
        try:
            with_absence(partial(api.patch, path, msgspec.json.encode(patch)))
            return
        except ApiError as error:
            if not error.is_conflict or attempt == ATTEMPTS - 1:
                raise
        again = with_absence(lambda: api.get(path))
        if again is None:
            return
        found = msgspec.json.decode(again)


def with_absence(call: Callable[[], bytes]) -> bytes | None:
    """The answer, or None where the object is gone already."""
    try:
        return call()
    except ApiError as error:
        if error.is_not_found:
            return None
        raise


def stop_planner(
    api: Api, deployment: str, selector: str, timeout_s: float, sleep: Callable[[float], None]
) -> list[str]:
    """Scale a Deployment (namespace/name) to zero and wait for its pods; the names of those that are still there.

    A pod on a lost node never goes: after `timeout_s` that is said, not waited for.
    """
    namespace, _, name = deployment.partition("/")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
    if with_absence(lambda: api.patch(path, msgspec.json.encode({"spec": {"replicas": 0}}))) is None:
        return []
    deadline = time.monotonic() + timeout_s
    while True:
        found = api.get(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": selector})
        left = [pod["metadata"]["name"] for pod in msgspec.json.decode(found).get("items") or []]
        if not left or time.monotonic() >= deadline:
            return left
        sleep(1.0)
