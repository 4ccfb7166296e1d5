"""A cluster at one instant: nodes, pods, disruption budgets. Typed, versioned, read from kubectl or from our own file.

`parse_snapshot` reads what `kubectl get nodes,pods,pdb,priorityclass -A -o json` prints (a `v1.List`; persistent
volumes, claims, namespaces and pod groups in it are used too) and the file `encode_snapshot` writes. Amounts are
integers: millicores of CPU, base units (bytes, devices) of everything else. Pods that have ended are left out.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeVar

import msgspec

from scheduler.core import kube_types as kube
from scheduler.core.errors import StowageInputError
from scheduler.core.requests import amounts_of, effective_requests

VERSION = 1
HOW_TO_TAKE = "kubectl get nodes,pods,pdb,priorityclass -A -o json"
OUR_GATE = "stowage.dev/"
GANG_KEYS = (  # label or annotation naming a pod's gang, by the scheduler that reads it
    "scheduling.k8s.io/group-name",
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io",
    "scheduling.k8s.io/pod-group",
    "kueue.x-k8s.io/pod-group-name",
    "pod-group-name",
)
GANG_SIZE_KEYS = (
    "pod-group.scheduling.sigs.k8s.io/min-available",
    "scheduling.k8s.io/group-min-member",
    "kueue.x-k8s.io/pod-group-total-count",
)
T = TypeVar("T")


class SnapshotError(StowageInputError):
    """The snapshot breaks a rule; the message names the object, the field and the value."""


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node; `allocatable` by resource name in our units, `pods` among them."""

    name: str
    allocatable: dict[str, int]
    labels: dict[str, str] = {}
    taints: list[kube.Taint] = []
    unschedulable: bool = False
    ready: bool = True


class HostPort(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, order=True):
    """A port of the node itself."""

    port: int
    protocol: str = "TCP"
    ip: str = "0.0.0.0"


class Pod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pod; without `node` it is pending. `requests` are effective requests in our units."""

    name: str
    namespace: str = "default"
    uid: str = ""
    node: str | None = None
    requests: dict[str, int] = {}
    priority: int = 0
    priority_class: str = ""
    preempts: bool = True
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_kind: str = ""
    owner: str = ""
    created: str = ""
    terminating: bool = False
    gates: list[str] = []
    gang: str = ""
    gang_size: int = 0
    host_ports: list[HostPort] = []
    node_selector: dict[str, str] = {}
    affinity: kube.Affinity = kube.Affinity()
    tolerations: list[kube.Toleration] = []
    spread: list[kube.SpreadConstraint] = []
    local_volumes: list[str] = []
    claims: list[str] = []
    unmodelled: list[str] = []

    @property
    def key(self) -> str:
        """namespace/name."""
        return f"{self.namespace}/{self.name}"


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A PodDisruptionBudget: at most `allowed` of the pods it selects may be disturbed now."""

    name: str
    namespace: str = "default"
    selector: kube.LabelSelector | None = None
    allowed: int = 0


class PriorityClass(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A priority class."""

    name: str
    value: int
    is_default: bool = False
    preempts: bool = True


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The cluster at one instant; nodes and pods sorted by name.

    claims: "namespace/claim" -> node selector of its volume (None: any node). namespaces: name -> labels; None where
    the source held no namespaces. orphans: "namespace/name" of pods bound to nodes that are gone, which use no room and
    are left out until Kubernetes deletes them.
    """

    nodes: list[Node]
    pods: list[Pod]
    budgets: list[Budget] = []
    priority_classes: list[PriorityClass] = []
    claims: dict[str, kube.NodeSelector | None] = {}
    namespaces: dict[str, dict[str, str]] | None = None
    orphans: list[str] = []
    kind: Literal["StowageSnapshot"]
    version: int

    def __post_init__(self) -> None:
        check_snapshot(self)


def a_snapshot(nodes: list[Node], pods: list[Pod], **rest: Any) -> Snapshot:
    """A checked snapshot of these nodes and pods, sorted by name."""
    return Snapshot(
        kind="StowageSnapshot",
        version=VERSION,
        nodes=sorted(nodes, key=lambda n: n.name),
        pods=sorted(pods, key=lambda p: p.key),
        **rest,
    )


def check_snapshot(snapshot: Snapshot) -> None:
    """Raise SnapshotError unless names are unique, pods sit on known nodes and amounts are not negative."""
    if snapshot.version != VERSION:
        raise SnapshotError(f"snapshot version {snapshot.version} is not supported: this is version {VERSION}")
    seen: set[str] = set()
    for node in snapshot.nodes:
        if node.name in seen:
            raise SnapshotError(f'two nodes are named "{node.name}": node names are unique')
        seen.add(node.name)
        _check_amounts(node.allocatable, f'node "{node.name}"')
    pods: set[str] = set()
    for pod in snapshot.pods:
        if pod.key in pods:
            raise SnapshotError(f'two pods are named "{pod.key}": pod names are unique in a namespace')
        pods.add(pod.key)
        if pod.node is not None and pod.node not in seen:
            raise SnapshotError(f'pod "{pod.key}" is on node "{pod.node}", which is not in the snapshot')
        _check_amounts(pod.requests, f'pod "{pod.key}"')


def _check_amounts(amounts: dict[str, int], where: str) -> None:
    for name, amount in amounts.items():
        if not 0 <= amount < 2**63:
            raise SnapshotError(f"{where}: {name} = {amount} is out of range: at least 0, at most 2^63-1")


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The bytes of our own snapshot file; the same snapshot gives the same bytes."""
    return msgspec.json.encode(snapshot, order="sorted")


class _Head(msgspec.Struct):
    kind: str | None = None
    items: list[msgspec.Raw] | None = None


class _ItemHead(msgspec.Struct):
    kind: str | None = None
    metadata: kube.Metadata | None = None


def parse_snapshot(data: bytes) -> Snapshot:
    """The snapshot in `data`: kubectl's v1.List or our own file, as JSON.

    Raises SnapshotError with the object, the field and the rule for anything else.
    """
    try:
        if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE)):  # what PowerShell's > writes, by its version
            data = data.decode("utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-16").encode()
        head = msgspec.json.decode(data, type=_Head)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise SnapshotError(f"not a snapshot: {error}. Take one with: {HOW_TO_TAKE}") from error
    if head.kind == "StowageSnapshot":
        try:
            return msgspec.json.decode(data, type=Snapshot)
        except msgspec.ValidationError as error:
            raise SnapshotError(str(error)) from error
    if head.items is None:
        raise SnapshotError(f'not a snapshot: kind "{head.kind}" without items. Take one with: {HOW_TO_TAKE}')
    return _from_list(head.items)


def _from_list(items: list[msgspec.Raw]) -> Snapshot:
    groups: dict[str, list[tuple[str, bytes]]] = {}
    for i, raw in enumerate(items):
        try:
            head = msgspec.json.decode(raw, type=_ItemHead)
        except msgspec.ValidationError as error:
            raise SnapshotError(f"items[{i}]: {error}") from error
        name = head.metadata.name if head.metadata else ""
        groups.setdefault(head.kind or "", []).append((f'items[{i}] ({head.kind} "{name}")', bytes(raw)))
    if "Node" not in groups:
        raise SnapshotError(f"the list holds no nodes. Take it with: {HOW_TO_TAKE}")
    classes = [_priority_class(o) for _, o in _decode_all(groups, "PriorityClass", kube.PriorityClassObject)]
    minimum = {
        f"{o.metadata.namespace}/{o.metadata.name}": o.spec.min_member or 0
        for _, o in _decode_all(groups, "PodGroup", kube.PodGroupObject)
    }
    pods = [
        _guarded(where, partial(read_pod, item, classes, minimum, f"{where}.spec"))
        for where, item in _decode_all(groups, "Pod", kube.PodObject)
        if item.status.phase not in ("Succeeded", "Failed")
    ]
    nodes = [_guarded(w, partial(read_node, item, w)) for w, item in _decode_all(groups, "Node", kube.NodeObject)]
    known = {None, *(node.name for node in nodes)}
    namespaces = _decode_all(groups, "Namespace", kube.NamedObject)
    return a_snapshot(
        nodes,
        [pod for pod in pods if pod.node in known],
        orphans=sorted(pod.key for pod in pods if pod.node not in known),
        budgets=[read_budget(o) for _, o in _decode_all(groups, "PodDisruptionBudget", kube.BudgetObject)],
        priority_classes=classes,
        claims=_claims(groups),
        namespaces={o.metadata.name: o.metadata.labels or {} for _, o in namespaces} if namespaces else None,
    )


def _decode_all(groups: dict[str, list[tuple[str, bytes]]], kind: str, into: type[T]) -> list[tuple[str, T]]:
    decoder = msgspec.json.Decoder(into)
    return [(where, _guarded(where, partial(decoder.decode, raw))) for where, raw in groups.get(kind, [])]


def _guarded(where: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except SnapshotError:
        raise
    except (msgspec.ValidationError, ValueError) as error:
        message = str(error)
        raise SnapshotError(message if message.startswith("items[") else f"{where}: {message}") from error


def read_node(item: kube.NodeObject, where: str = "node") -> Node:
    """The node of a Kubernetes object; raises ValueError naming the field of a broken quantity."""
    conditions = {c.type: c.status for c in item.status.conditions or ()}
    amounts = item.status.allocatable if item.status.allocatable is not None else item.status.capacity
    return Node(
        name=item.metadata.name,
        allocatable=amounts_of(amounts, f"{where}.status.allocatable"),
        labels=item.metadata.labels or {},
        taints=item.spec.taints or [],
        unschedulable=bool(item.spec.unschedulable),
        ready=conditions.get("Ready", "True") == "True",
    )


def _priority_class(item: kube.PriorityClassObject) -> PriorityClass:
    return PriorityClass(
        name=item.metadata.name,
        value=item.value,
        is_default=bool(item.global_default),
        preempts=item.preemption_policy != "Never",
    )


def read_budget(item: kube.BudgetObject) -> Budget:
    """The budget of a Kubernetes object."""
    return Budget(
        name=item.metadata.name,
        namespace=item.metadata.namespace or "default",
        selector=item.spec.selector,
        allowed=max(0, item.status.disruptions_allowed),
    )


def _claims(groups: dict[str, list[tuple[str, bytes]]]) -> dict[str, kube.NodeSelector | None]:
    volumes = {
        o.metadata.name: o.spec.node_affinity.required if o.spec.node_affinity else None
        for _, o in _decode_all(groups, "PersistentVolume", kube.VolumeObject)
    }
    return {
        f"{o.metadata.namespace or 'default'}/{o.metadata.name}": volumes[o.spec.volume_name]
        for _, o in _decode_all(groups, "PersistentVolumeClaim", kube.ClaimObject)
        if o.spec.volume_name in volumes
    }


def read_pod(
    item: kube.PodObject, classes: list[PriorityClass], gang_sizes: dict[str, int] | None = None, where: str = "spec"
) -> Pod:
    """The pod of a Kubernetes object; raises ValueError naming the field of a broken quantity."""
    meta, spec = item.metadata, item.spec
    annotations = meta.annotations or {}
    namespace = meta.namespace or "default"
    owner = next((o for o in meta.owner_references or () if o.controller), None)
    priority, preempts = _priority(spec, classes)
    gang = (spec.scheduling_group and spec.scheduling_group.pod_group_name) or next(
        (source[key] for source in (meta.labels or {}, annotations) for key in GANG_KEYS if source.get(key)), ""
    )
    size = (gang_sizes or {}).get(f"{namespace}/{gang}", 0) or next(
        (int(s[k]) for s in (meta.labels or {}, annotations) for k in GANG_SIZE_KEYS if s.get(k, "").isdigit()), 0
    )
    if "kubernetes.io/config.mirror" in annotations and owner is None:
        owner = kube.OwnerReference(kind="Node", name=spec.node_name or "")
    return Pod(
        name=meta.name,
        namespace=namespace,
        uid=meta.uid,
        node=spec.node_name or None,
        requests=effective_requests(spec, item.status, where),
        priority=priority,
        priority_class=spec.priority_class_name or "",
        preempts=preempts,
        labels=meta.labels or {},
        annotations=annotations,
        owner_kind=owner.kind if owner else "",
        owner=(owner.uid or f"{owner.kind}/{owner.name}") if owner else "",
        created=meta.creation_timestamp or "",
        terminating=meta.deletion_timestamp is not None,
        gates=[g.name for g in spec.scheduling_gates or ()],
        gang=f"{namespace}/{gang}" if gang else "",
        gang_size=size,
        host_ports=_host_ports(spec),
        node_selector=spec.node_selector or {},
        affinity=spec.affinity or kube.Affinity(),
        tolerations=spec.tolerations or [],
        spread=[c for c in spec.topology_spread_constraints or () if c.when_unsatisfiable == "DoNotSchedule"],
        local_volumes=_local_volumes(spec, annotations),
        claims=_claim_names(spec, namespace),
        unmodelled=_unmodelled(spec),
    )


def _priority(spec: kube.PodSpec, classes: list[PriorityClass]) -> tuple[int, bool]:
    """spec.priority as admission wrote it; for a manifest, the class's or the global default's."""
    named = next((c for c in classes if c.name == spec.priority_class_name), None)
    chosen = named or (None if spec.priority_class_name else next((c for c in classes if c.is_default), None))
    priority = spec.priority if spec.priority is not None else (chosen.value if chosen else 0)
    if spec.preemption_policy is not None:
        return priority, spec.preemption_policy != "Never"
    return priority, chosen.preempts if chosen else True


def _host_ports(spec: kube.PodSpec) -> list[HostPort]:
    """Ports taken on the node; with hostNetwork every container port is one."""
    ports = set()
    sidecars = [c for c in spec.init_containers or () if c.restart_policy == "Always"]
    for container in [*(spec.containers or ()), *sidecars]:
        for port in container.ports or ():
            number = port.host_port or (port.container_port if spec.host_network else 0)
            if number:
                ports.add(HostPort(port=number, protocol=port.protocol or "TCP", ip=port.host_ip or "0.0.0.0"))
    return sorted(ports)


def _local_volumes(spec: kube.PodSpec, annotations: dict[str, str]) -> list[str]:
    """Volumes whose content stays behind when the pod moves, unless annotated as safe (cluster-autoscaler's rule)."""
    prefix = "cluster-autoscaler.kubernetes.io/"
    if annotations.get(prefix + "safe-to-evict") == "true":
        return []
    safe = set(annotations.get(prefix + "safe-to-evict-local-volumes", "").split(","))
    local = (v.name for v in spec.volumes or () if v.empty_dir is not None or v.host_path is not None)
    return sorted(name for name in local if name not in safe)


def _claim_names(spec: kube.PodSpec, namespace: str) -> list[str]:
    claims = (v.persistent_volume_claim for v in spec.volumes or ())
    return [f"{namespace}/{claim.claim_name}" for claim in claims if claim is not None]


def _unmodelled(spec: kube.PodSpec) -> list[str]:
    """Rules the planner cannot represent; it leaves such a pod where it is."""
    reasons = []
    every = [*(spec.containers or ()), *(spec.init_containers or ())]
    if spec.resource_claims or any(c.resources and c.resources.claims for c in every):
        reasons.append("dynamic resource claims (resourceClaims)")
    if any(v.ephemeral is not None for v in spec.volumes or ()):
        reasons.append("a generic ephemeral volume")
    return reasons
