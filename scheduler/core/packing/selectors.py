"""Kubernetes' selectors on snapshot objects: which pods a label selector means, which nodes a pod may use."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.core import kube_types as kube
from scheduler.core.errors import StowageInputError
from scheduler.core.rules import NAME_FIELD, UNSCHEDULABLE, Expression, Taint, Toleration
from scheduler.core.snapshot import Node, Pod

NOT_READY = Taint("node.kubernetes.io/not-ready")


def matches_labels(selector: kube.LabelSelector | None, labels: dict[str, str]) -> bool:
    """metav1.LabelSelector semantics: none matches nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.match_labels or {}).items()):
        return False
    return all(holds(one, labels.get(one.key)) for one in selector.match_expressions or ())


def holds(requirement: kube.Requirement, value: str | None) -> bool:
    """Whether a value (None: no such label) meets the requirement; a malformed requirement is met by nothing."""
    try:
        return expression(requirement).holds(value)
    except StowageInputError:
        return False


def expression(requirement: kube.Requirement) -> Expression:
    """The requirement as the core's checked expression."""
    operator = requirement.operator
    return Expression(requirement.key, operator, tuple(requirement.values or ()))  # type: ignore[arg-type]


def matches_node(selector: kube.NodeSelector | None, node: Node) -> bool:
    """One of the terms holds; no selector holds everywhere, a selector without terms nowhere."""
    if selector is None:
        return True
    return any(_term_holds(term, node) for term in selector.node_selector_terms or ())


def _term_holds(term: kube.NodeSelectorTerm, node: Node) -> bool:
    expressions, fields = term.match_expressions or (), term.match_fields or ()
    if not expressions and not fields:
        return False
    return all(holds(one, node.labels.get(one.key)) for one in expressions) and all(
        one.key == NAME_FIELD and holds(one, node.name) for one in fields
    )


def taints_of(node: Node) -> tuple[Taint, ...]:
    """The node's taints, with those that the node controller adds for a cordon or a missing heartbeat."""
    taints = [Taint(t.key, t.value, t.effect) for t in node.taints]  # type: ignore[arg-type]
    if node.unschedulable and not any(t.key == UNSCHEDULABLE.key for t in taints):
        taints.append(UNSCHEDULABLE)
    if not node.ready and not any(t.key == NOT_READY.key for t in taints):
        taints.append(NOT_READY)
    return tuple(taints)


def untolerated(pod: Pod, node: Node) -> Taint | None:
    """The first taint of the node that keeps the pod away."""
    tolerations = []
    for one in pod.tolerations:
        try:
            tolerations.append(Toleration(one.key, one.operator or "Equal", one.value, one.effect))  # type: ignore[arg-type]
        except StowageInputError:
            continue  # an operator we do not know tolerates nothing
    for taint in taints_of(node):
        if taint.effect != "PreferNoSchedule" and not any(one.tolerates(taint) for one in tolerations):
            return taint
    return None


def affinity_accepts(pod: Pod, node: Node) -> bool:
    """nodeSelector and required node affinity."""
    if any(node.labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    affinity = pod.affinity.node_affinity
    return affinity is None or matches_node(affinity.required, node)


def anti_affinity_terms(pod: Pod) -> list[kube.PodAffinityTerm]:
    """Required anti-affinity terms."""
    return (pod.affinity.pod_anti_affinity and pod.affinity.pod_anti_affinity.required) or []


def affinity_terms(pod: Pod) -> list[kube.PodAffinityTerm]:
    """Required pod affinity terms."""
    return (pod.affinity.pod_affinity and pod.affinity.pod_affinity.required) or []


class PodMatcher:
    """Finds the pods a selector means, by namespace and labels, without asking every pod."""

    def __init__(self, pods: list[Pod], namespaces: dict[str, dict[str, str]] | None) -> None:
        self.namespaces = namespaces
        self.kinds: dict[tuple[str, tuple[tuple[str, str], ...]], list[int]] = {}
        for i, pod in enumerate(pods):
            self.kinds.setdefault((pod.namespace, tuple(sorted(pod.labels.items()))), []).append(i)
        self._by_label: dict[tuple[str, str], list[tuple[str, tuple[tuple[str, str], ...]]]] = {}
        for kind in self.kinds:
            for label in kind[1]:
                self._by_label.setdefault(label, []).append(kind)

    def matching(self, selector: kube.LabelSelector | None, spaces: frozenset[str] | None) -> list[int]:
        """Rows of the pods that match, in these namespaces (None: in all)."""
        if selector is None:
            return []
        candidates: Iterable[tuple[str, tuple[tuple[str, str], ...]]] = self.kinds
        for label in (selector.match_labels or {}).items():
            candidates = self._by_label.get(label, [])
            break
        found: list[int] = []
        for kind in candidates:
            if (spaces is None or kind[0] in spaces) and matches_labels(selector, dict(kind[1])):
                found += self.kinds[kind]
        return sorted(found)

    def spaces(self, term: kube.PodAffinityTerm, own: str) -> frozenset[str] | None:
        """Namespaces a term means (None: all). Raises LookupError where the snapshot lacks their labels."""
        selector = term.namespace_selector
        names = set(term.namespaces or ())
        if selector is None:
            return frozenset(names or {own})
        if not selector.match_labels and not selector.match_expressions:
            return None
        by_name = set(selector.match_labels or {}) <= {"kubernetes.io/metadata.name"} and not selector.match_expressions
        if self.namespaces is None and not by_name:
            raise LookupError("a namespaceSelector, and the snapshot holds no namespaces (add ns to kubectl get)")
        known = dict(self.namespaces or {})
        for namespace, _ in self.kinds:
            known.setdefault(namespace, {})
        for namespace, labels in known.items():
            if matches_labels(selector, {"kubernetes.io/metadata.name": namespace, **labels}):
                names.add(namespace)
        return frozenset(names)


def with_label_keys(
    selector: kube.LabelSelector | None, keys: list[str] | None, pod: Pod, mismatch: list[str] | None = None
) -> kube.LabelSelector | None:
    """The selector narrowed to the pod's own values of matchLabelKeys (and away from those of mismatchLabelKeys)."""
    if selector is None or not (keys or mismatch):
        return selector
    wanted = [*(("In", k) for k in keys or ()), *(("NotIn", k) for k in mismatch or ())]
    more = [kube.Requirement(key=k, operator=op, values=[pod.labels[k]]) for op, k in wanted if k in pod.labels]
    return kube.LabelSelector(
        match_labels=selector.match_labels, match_expressions=[*(selector.match_expressions or ()), *more]
    )
