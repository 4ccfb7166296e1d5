"""The planner's writes, as requests to the API server.

Patches carry the uid or the resource version they were decided on, which the server checks (409 Conflict). The verbs
are those that the chart's roles grant: plans get, list, watch, create, patch, delete; pods patch; pods/eviction create;
nodes patch.
"""

from __future__ import annotations

from typing import Any

import msgspec

from scheduler.live.api import MERGE_PATCH, STRATEGIC_PATCH, Api
from scheduler.live.kube_objects import HEALTH_ANNOTATION, HOLD_GATE, NODES_PATH, PLAN_ANNOTATION, QUARANTINE_TAINT
from scheduler.live.node_health import ShownNode, ShownTaint
from scheduler.live.planner.node_marks import Mark
from scheduler.live.planner.plan_resource import PATH, Plan, PlanStatus, decode_plan, encode_plan
from scheduler.live.planner.price_marks import price_annotations
from scheduler.live.planner.world import PodView


class PlannerApi:
    """The adapter of `runner.ClusterApi` (and of `service`) to a real API server."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def read_plan(self, name: str) -> Plan:
        """The newest state of a Plan."""
        return decode_plan(self.api.get(f"{PATH}/{name}"))

    def create_plan(self, plan: Plan) -> Plan:
        """A new Plan; metadata.name or a generateName decides its name."""
        return decode_plan(self.api.post(PATH, encode_plan(plan)))

    def delete_plan(self, plan: Plan) -> None:
        """Delete this very Plan."""
        self.api.delete(f"{PATH}/{plan.name}", _encode({"preconditions": {"uid": plan.metadata.uid}}))

    def write_plan_status(self, plan: Plan) -> Plan:
        """Replace the status; a merge patch removes only what is null, so every field is named."""
        status: dict[str, Any] = {f.encode_name: None for f in msgspec.structs.fields(PlanStatus)}
        status |= msgspec.to_builtins(plan.status)
        status |= {"phase": plan.status.phase, "reservations": status["reservations"] or []}
        body = {"metadata": {"resourceVersion": plan.metadata.resource_version}, "status": status}
        return decode_plan(self.api.patch(f"{PATH}/{plan.name}/status", _encode(body), MERGE_PATCH))

    def write_finalizers(self, plan: Plan, finalizers: list[str]) -> Plan:
        """Replace metadata.finalizers."""
        metadata = {"resourceVersion": plan.metadata.resource_version, "finalizers": finalizers}
        return decode_plan(self.api.patch(f"{PATH}/{plan.name}", _encode({"metadata": metadata}), MERGE_PATCH))

    def evict(self, namespace: str, pod: str, uid: str, resource_version: str) -> None:
        """POST an Eviction of this version of the pod."""
        self._evict(namespace, pod, {"uid": uid, "resourceVersion": resource_version})

    def delete_pod(self, namespace: str, pod: str, uid: str) -> None:
        """Evict a pod that never ran: disruption budgets do not count it, and no right to delete is needed."""
        self._evict(namespace, pod, {"uid": uid})

    def _evict(self, namespace: str, pod: str, preconditions: dict[str, str]) -> None:
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": {"preconditions": preconditions},
        }
        self.api.post(f"{_pod_path(namespace, pod)}/eviction", _encode(body))

    def annotate(self, namespace: str, pod: str, uid: str, annotations: dict[str, str]) -> None:
        """Set annotations of this very pod."""
        body = {"metadata": {"uid": uid, "annotations": annotations}}
        self.api.patch(_pod_path(namespace, pod), _encode(body), MERGE_PATCH)

    def release(self, live: PodView, resource_version: str, node: str, plan: str, *, pin: bool) -> None:
        """Remove our gate; with `pin` every term of the node affinity also names the node.

        Terms are alternatives, and adding to each is the one change of them that a gated pod allows.
        """
        spec: dict[str, Any] = {"schedulingGates": [{"$patch": "delete", "name": HOLD_GATE}]}
        if pin:
            affinity = live.pod.affinity.node_affinity
            required = affinity.required if affinity is not None else None
            terms = (required.node_selector_terms if required is not None else None) or []
            here = {"key": "metadata.name", "operator": "In", "values": [node]}
            named = [_with_field(msgspec.to_builtins(term), here) for term in terms] or [{"matchFields": [here]}]
            spec["affinity"] = {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": named}}
            }
        metadata = {
            "uid": live.pod.uid,
            "resourceVersion": resource_version,
            "annotations": {PLAN_ANNOTATION: plan},
        }
        path = _pod_path(live.pod.namespace, live.pod.name)
        self.api.patch(path, _encode({"metadata": metadata, "spec": spec}), STRATEGIC_PATCH)

    def nominate(self, namespace: str, pod: str, uid: str, node: str) -> None:
        """Set status.nominatedNodeName, or take it back."""
        body = {"metadata": {"uid": uid}, "status": {"nominatedNodeName": node or None}}
        self.api.patch(f"{_pod_path(namespace, pod)}/status", _encode(body), MERGE_PATCH)

    def mark_node(self, node: ShownNode, mark: Mark) -> ShownNode:
        """Set or remove our annotation and our taint on this version of the node; the node as it is then."""
        taints = [taint for taint in node.spec.taints or () if taint.key != QUARANTINE_TAINT]
        if mark.is_tainted:
            taints.append(ShownTaint(key=QUARANTINE_TAINT, value=mark.taint, effect="NoSchedule"))
        text = msgspec.json.encode(mark.health).decode() if mark.health is not None else None
        body = {
            "metadata": {
                "resourceVersion": node.metadata.resource_version,
                "annotations": {HEALTH_ANNOTATION: text},
            },
            "spec": {"taints": taints or None},
        }
        return msgspec.json.decode(
            self.api.patch(f"{NODES_PATH}/{mark.node}", _encode(body), MERGE_PATCH), type=ShownNode
        )

    def price_node(self, node: ShownNode, price_milli: int) -> None:
        """Set the price of this version of the node, or take it off (0)."""
        annotations = price_annotations(price_milli)
        body = {"metadata": {"resourceVersion": node.metadata.resource_version, "annotations": annotations}}
        self.api.patch(f"{NODES_PATH}/{node.metadata.name}", _encode(body), MERGE_PATCH)

    def event(self, event: dict[str, Any]) -> None:
        """Create an Event."""
        namespace = event["metadata"]["namespace"]
        self.api.post(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", _encode(event))


def _with_field(term: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    return {**term, "matchFields": [*(term.get("matchFields") or ()), field]}


def _pod_path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods/{pod}"


def _encode(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body)
