"""The parts of Kubernetes' JSON that a decision reads, as msgspec types with their Kubernetes names.

A partial decode: what is not named here is skipped without being built. Go writes empty lists as null, so every list
may be None.
"""

from __future__ import annotations

from typing import Any

import msgspec

Quantities = dict[str, str | int | float]


class Kube(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every type in this module."""


class Requirement(Kube, frozen=True, kw_only=True):
    """One expression of a label selector or of a node selector term; In, NotIn, Exists, DoesNotExist, Gt, Lt."""

    key: str
    operator: str
    values: list[str] | None = None


class LabelSelector(Kube, frozen=True, kw_only=True):
    """metav1.LabelSelector: every label and every expression must hold; an empty one matches everything."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[Requirement] | None = None


class NodeSelectorTerm(Kube, frozen=True, kw_only=True):
    """All expressions (labels) and fields (only metadata.name exists) must hold; an empty term matches nothing."""

    match_expressions: list[Requirement] | None = None
    match_fields: list[Requirement] | None = None


class NodeSelector(Kube, frozen=True, kw_only=True):
    """Terms of which one must hold."""

    node_selector_terms: list[NodeSelectorTerm] | None = None


class NodeAffinity(Kube, frozen=True, kw_only=True):
    """Preferred terms are left out: a plan obeys rules, the scheduler's scores are wishes."""

    required: NodeSelector | None = msgspec.field(name="requiredDuringSchedulingIgnoredDuringExecution", default=None)


class PodAffinityTerm(Kube, frozen=True, kw_only=True):
    """Pods that match, in these namespaces, in the same domain of `topologyKey`."""

    topology_key: str
    label_selector: LabelSelector | None = None
    namespaces: list[str] | None = None
    namespace_selector: LabelSelector | None = None
    match_label_keys: list[str] | None = None
    mismatch_label_keys: list[str] | None = None


class PodAffinity(Kube, frozen=True, kw_only=True):
    """Also the shape of PodAntiAffinity."""

    required: list[PodAffinityTerm] | None = msgspec.field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=None
    )


class Affinity(Kube, frozen=True, kw_only=True):
    """spec.affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class SpreadConstraint(Kube, frozen=True, kw_only=True):
    """spec.topologySpreadConstraints[]."""

    max_skew: int
    topology_key: str
    when_unsatisfiable: str = "DoNotSchedule"
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    match_label_keys: list[str] | None = None


class Toleration(Kube, frozen=True, kw_only=True):
    """spec.tolerations[]; an empty key with operator Exists tolerates everything."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""


class Taint(Kube, frozen=True, kw_only=True):
    """spec.taints[] of a node."""

    key: str
    effect: str
    value: str = ""


class OwnerReference(Kube, frozen=True, kw_only=True):
    """metadata.ownerReferences[]."""

    kind: str
    name: str
    uid: str = ""
    controller: bool | None = None


class Metadata(Kube, frozen=True, kw_only=True):
    """metadata of any object."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class Resources(Kube, frozen=True, kw_only=True):
    """resources of a container or of a pod; `claims` are dynamic resource claims."""

    requests: Quantities | None = None
    limits: Quantities | None = None
    claims: list[dict[str, str]] | None = None


class ContainerPort(Kube, frozen=True, kw_only=True):
    """ports[] of a container; only host ports bind a pod to a node."""

    host_port: int = 0
    container_port: int = 0
    protocol: str = "TCP"
    host_ip: str = msgspec.field(name="hostIP", default="")


class Container(Kube, frozen=True, kw_only=True):
    """A container or an init container (a sidecar when its restartPolicy is Always)."""

    name: str = ""
    resources: Resources | None = None
    ports: list[ContainerPort] | None = None
    restart_policy: str | None = None


class ClaimSource(Kube, frozen=True, kw_only=True):
    """volumes[].persistentVolumeClaim."""

    claim_name: str


class Volume(Kube, frozen=True, kw_only=True):
    """spec.volumes[]: local storage and claims matter, the rest follows the pod."""

    name: str = ""
    empty_dir: dict[str, Any] | None = None
    host_path: dict[str, Any] | None = None
    ephemeral: dict[str, Any] | None = None
    persistent_volume_claim: ClaimSource | None = None


class SchedulingGate(Kube, frozen=True, kw_only=True):
    """spec.schedulingGates[]."""

    name: str


class SchedulingGroup(Kube, frozen=True, kw_only=True):
    """spec.schedulingGroup of scheduling.k8s.io pod groups."""

    pod_group_name: str | None = None


class PodSpec(Kube, frozen=True, kw_only=True):
    """spec of a pod or of a pod template."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    resources: Resources | None = None
    overhead: Quantities | None = None
    node_name: str | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    topology_spread_constraints: list[SpreadConstraint] | None = None
    host_network: bool | None = None
    volumes: list[Volume] | None = None
    priority: int | None = None
    priority_class_name: str | None = None
    preemption_policy: str | None = None
    scheduler_name: str | None = None
    scheduling_gates: list[SchedulingGate] | None = None
    scheduling_group: SchedulingGroup | None = None
    resource_claims: list[Any] | None = None


class ContainerStatus(Kube, frozen=True, kw_only=True):
    """status.containerStatuses[]: what the kubelet has granted during an in-place resize."""

    name: str = ""
    allocated_resources: Quantities | None = None
    resources: Resources | None = None


class Condition(Kube, frozen=True, kw_only=True):
    """status.conditions[]."""

    type: str
    status: str


class PodStatus(Kube, frozen=True, kw_only=True):
    """status of a pod."""

    phase: str = "Pending"
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    nominated_node_name: str | None = None


class PodObject(Kube, frozen=True, kw_only=True):
    """v1.Pod."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class NodeSpec(Kube, frozen=True, kw_only=True):
    """spec of a node."""

    taints: list[Taint] | None = None
    unschedulable: bool | None = None


class NodeStatus(Kube, frozen=True, kw_only=True):
    """status of a node; `allocatable` is what pods may use."""

    allocatable: Quantities | None = None
    capacity: Quantities | None = None
    conditions: list[Condition] | None = None


class NodeObject(Kube, frozen=True, kw_only=True):
    """v1.Node."""

    metadata: Metadata
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class BudgetSpec(Kube, frozen=True, kw_only=True):
    """spec of a PodDisruptionBudget."""

    selector: LabelSelector | None = None


class BudgetStatus(Kube, frozen=True, kw_only=True):
    """status of a PodDisruptionBudget, kept by the controller manager."""

    disruptions_allowed: int = 0


class BudgetObject(Kube, frozen=True, kw_only=True):
    """policy/v1 PodDisruptionBudget."""

    metadata: Metadata
    spec: BudgetSpec = msgspec.field(default_factory=BudgetSpec)
    status: BudgetStatus = msgspec.field(default_factory=BudgetStatus)


class PriorityClassObject(Kube, frozen=True, kw_only=True):
    """scheduling.k8s.io/v1 PriorityClass."""

    metadata: Metadata
    value: int = 0
    global_default: bool | None = None
    preemption_policy: str | None = None


class VolumeNodeAffinity(Kube, frozen=True, kw_only=True):
    """spec.nodeAffinity of a persistent volume."""

    required: NodeSelector | None = None


class VolumeSpec(Kube, frozen=True, kw_only=True):
    """spec of a persistent volume."""

    node_affinity: VolumeNodeAffinity | None = None


class VolumeObject(Kube, frozen=True, kw_only=True):
    """v1.PersistentVolume."""

    metadata: Metadata
    spec: VolumeSpec = msgspec.field(default_factory=VolumeSpec)


class ClaimSpec(Kube, frozen=True, kw_only=True):
    """spec of a persistent volume claim."""

    volume_name: str | None = None


class ClaimObject(Kube, frozen=True, kw_only=True):
    """v1.PersistentVolumeClaim."""

    metadata: Metadata
    spec: ClaimSpec = msgspec.field(default_factory=ClaimSpec)


class NamedObject(Kube, frozen=True, kw_only=True):
    """Any object of which only the metadata matters (a Namespace)."""

    metadata: Metadata


class PodGroupSpec(Kube, frozen=True, kw_only=True):
    """spec of a PodGroup: coscheduling's and Volcano's minMember, scheduling.k8s.io's policy."""

    min_member: int | None = None


class PodGroupObject(Kube, frozen=True, kw_only=True):
    """A PodGroup of any of the known groups."""

    metadata: Metadata
    spec: PodGroupSpec = msgspec.field(default_factory=PodGroupSpec)
