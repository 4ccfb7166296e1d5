"""Checks a placement against a snapshot, pod by pod, knowing only the rules. Shares no code with the solver.

Slow and plain on purpose: dictionaries of pods, no classes, no columns. What it must agree on with the solver is
written down here once more:

* A pod is *new* if it is placed where it does not run now. Scheduling rules bind new pods; pods that stay are never
  made to leave. What is broken now may stay broken, but nobody it binds is placed anew there.
* A running pod that ends without a place must give way to a more important waiting one (or, if so configured, to one
  of its own priority), never to one with preemptionPolicy Never.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from scheduler.core import kube_types as kube
from scheduler.core.snapshot import Node, Pod, Snapshot

Placement = dict[str, str | None]  # pod -> node, or None


def find_violations(
    snapshot: Snapshot, after: Placement, *, allow_system_critical: bool = False, keep_equal: bool = True
) -> list[str]:
    """Every rule that the placement breaks, in words; empty if none. Pods not named in `after` are where they were."""
    check = _Check(snapshot, after)
    return [
        *check.places(),
        *check.pins(allow_system_critical),
        *check.node_rules(),
        *check.resources(),
        *check.host_ports(),
        *check.anti_affinity(),
        *check.affinity(),
        *check.spread(),
        *check.budgets(),
        *check.gangs(),
        *check.evictions(keep_equal),
    ]


class _Check:
    def __init__(self, snapshot: Snapshot, after: Placement) -> None:
        self.snapshot = snapshot
        self.after = after
        self.nodes = {n.name: n for n in snapshot.nodes}
        self.pods = {p.key: p for p in snapshot.pods}
        self.was = {p.key: p.node for p in snapshot.pods}
        self.now = {p.key: after.get(p.key, p.node) for p in snapshot.pods}
        self.new = [p for p in snapshot.pods if self.now[p.key] is not None and self.now[p.key] != self.was[p.key]]
        self.gone = [p for p in snapshot.pods if self.was[p.key] is not None and self.now[p.key] != self.was[p.key]]

    def places(self) -> Iterable[str]:
        """Only known pods on known nodes."""
        for pod, node in self.after.items():
            if pod not in self.pods:
                yield f"{pod} is not in the snapshot"
            elif node is not None and node not in self.nodes:
                yield f"{pod} is placed on {node}, which is not in the snapshot"

    def pins(self, allow_system_critical: bool) -> Iterable[str]:
        """Pods that must not move stay; pods that are not for us are not placed."""
        for pod in self.gone:
            if why := _must_stay(pod, allow_system_critical):
                yield f"{pod.key} must stay: {why}"
            if any(c not in self.snapshot.claims for c in pod.claims) or pod.unmodelled:
                yield f"{pod.key} must stay: it has rules that are not modelled"
        for pod in self.new:
            if any(c not in self.snapshot.claims for c in pod.claims) or pod.unmodelled:
                yield f"{pod.key} is placed although it has rules that are not modelled"
            if pod.terminating or any(not g.startswith("stowage.dev/") for g in pod.gates):
                yield f"{pod.key} is placed although it is gated or terminating"

    def node_rules(self) -> Iterable[str]:
        """Taints, cordons, readiness, node selector and affinity, volumes: for new pods."""
        for pod in self.new:
            node = self.nodes[str(self.now[pod.key])]
            for taint in _taints(node):
                if not any(_tolerates(t, taint) for t in pod.tolerations):
                    yield f"{pod.key} does not tolerate {taint.key}:{taint.effect} of {node.name}"
            if any(node.labels.get(k) != v for k, v in pod.node_selector.items()):
                yield f"{pod.key} has a node selector that {node.name} does not match"
            wanted = pod.affinity.node_affinity
            if wanted is not None and wanted.required is not None and not _node_matches(wanted.required, node):
                yield f"{pod.key} has a node affinity that {node.name} does not match"
            for claim in pod.claims:
                volume = self.snapshot.claims.get(claim)
                if volume is not None and not _node_matches(volume, node):
                    yield f"{pod.key} uses {claim}, whose volume is not reachable from {node.name}"

    def _used(self, where: dict[str, str | None]) -> dict[str, Counter[str]]:
        used: dict[str, Counter[str]] = defaultdict(Counter)
        for key, node in where.items():
            if node is not None:
                used[node].update(self.pods[key].requests)
                used[node]["pods"] += 1
        return used

    def resources(self) -> Iterable[str]:
        """Requests fit; a node that holds too much already takes nothing more that asks for it."""
        before, after = self._used(self.was), self._used(self.now)
        for name, used in after.items():
            size = self.nodes[name].allocatable
            for resource, amount in used.items():
                limit = size.get(resource, len(self.pods) if resource == "pods" else 0)
                had = before[name][resource]
                if amount > max(limit, had):
                    yield f"{name} holds {amount} {resource} of {limit}"
                if had > limit:
                    for pod in self.new:
                        asks = resource == "pods" or pod.requests.get(resource, 0) > 0
                        if self.now[pod.key] == name and asks:
                            yield f"{pod.key} is placed on {name}, which holds too much {resource} already"

    def host_ports(self) -> Iterable[str]:
        """No two pods of a node use one port of one address."""
        taken: dict[tuple[str, str, int], list[tuple[str, str]]] = defaultdict(list)
        moved = {p.key for p in self.new}
        for key, node in self.now.items():
            for port in self.pods[key].host_ports if node is not None else ():
                slot = taken[str(node), port.protocol, port.port]
                for other, ip in slot:
                    wild = {ip, port.ip} & {"0.0.0.0", "::", ""}
                    if (wild or ip == port.ip) and (key in moved or other in moved):
                        yield f"{key} and {other} both want {port.protocol} {port.port} on {node}"
                slot.append((key, port.ip))

    def _domain(self, key: str, where: dict[str, str | None], pod: str) -> str | None:
        node = where[pod]
        return None if node is None else self.nodes[node].labels.get(key)

    def anti_affinity(self) -> Iterable[str]:
        """No pod is in one domain with a pod it repels; where that is so already, nobody concerned is new."""
        moved = {p.key for p in self.new}
        broken: set[tuple[str, str | None]] = set()
        concerned: dict[str, tuple[str, set[str]]] = {}
        for pod in self.snapshot.pods:
            for term in (pod.affinity.pod_anti_affinity and pod.affinity.pod_anti_affinity.required) or ():
                means = self._term_matcher(term, pod)
                if means is None:
                    continue
                name = f"{pod.namespace} {term} {[pod.labels.get(k) for k in term.match_label_keys or ()]}"
                members = concerned.setdefault(name, (term.topology_key, set()))[1]
                members.add(pod.key)
                for other in self.snapshot.pods:
                    if not means(other):
                        continue
                    members.add(other.key)
                    if other.key == pod.key:
                        continue
                    was = self._domain(term.topology_key, self.was, pod.key)
                    if was is not None and was == self._domain(term.topology_key, self.was, other.key):
                        broken.add((name, was))
                    here = self._domain(term.topology_key, self.now, pod.key)
                    if here is None or here != self._domain(term.topology_key, self.now, other.key):
                        continue
                    if pod.key in moved or other.key in moved:
                        yield f"{pod.key} repels {other.key} in {term.topology_key}={here}"
        for name, (key, members) in concerned.items():
            for one in members & moved:
                if (name, self._domain(key, self.now, one)) in broken:
                    yield f"{one} is placed where an anti-affinity over {key} is broken already"

    def affinity(self) -> Iterable[str]:
        """A new pod finds a match that is there before it; a pod that stays keeps one it had."""
        edges = {p.key: [q.key for q in self._partners(p)] for p in self.snapshot.pods if _affinity_terms(p)}
        for pod in self.snapshot.pods:
            if not _affinity_terms(pod) or self.now[pod.key] is None:
                continue
            partners = [self.pods[k] for k in edges[pod.key]]
            for term in _affinity_terms(pod):
                here = self._domain(term.topology_key, self.now, pod.key)
                if self.now[pod.key] == self.was[pod.key]:
                    yield from self._keeps_partner(pod, term, partners, here)
                    continue
                there = [q for q in partners if self._domain(term.topology_key, self.now, q.key) == here]
                if here is None:
                    yield f"{pod.key} needs a node with {term.topology_key}"
                    continue
                before = [
                    q
                    for q in there
                    if q.key != pod.key
                    and (self.now[q.key] == self.was[q.key] or not _waits_for(edges, q.key, pod.key))
                ]
                everywhere = [q for q in partners if self._domain(term.topology_key, self.now, q.key) is not None]
                opens = pod in partners and len(there) == len(everywhere)
                if not before and not opens:
                    yield f"{pod.key} finds no match in {term.topology_key}={here}"

    def _keeps_partner(
        self, pod: Pod, term: kube.PodAffinityTerm, partners: list[Pod], here: str | None
    ) -> Iterable[str]:
        if pod in partners or here is None:
            return
        had = any(self._domain(term.topology_key, self.was, q.key) == here for q in partners)
        has = any(self._domain(term.topology_key, self.now, q.key) == here for q in partners)
        if had and not has:
            yield f"{pod.key} stays and loses its match in {term.topology_key}={here}"

    def _partners(self, pod: Pod) -> list[Pod]:
        """Pods that match every affinity term of the pod."""
        matchers = [self._term_matcher(term, pod) for term in _affinity_terms(pod)]
        return [q for q in self.snapshot.pods if not q.terminating and all(m is not None and m(q) for m in matchers)]

    def spread(self) -> Iterable[str]:
        """DoNotSchedule: skew of the domain of a new pod, and nowhere worse than allowed or than it was."""
        for pod in self.new:
            for constraint in pod.spread:
                count = self._spread_counter(pod, constraint)
                after, before = count(self.now), count(self.was)
                if after is None or before is None:
                    yield f"{pod.key} is on a node that its topology spread does not count"
                    continue
                here = self.nodes[str(self.now[pod.key])].labels.get(constraint.topology_key)
                floor = 0 if len(after) < (constraint.min_domains or 1) else min(after.values(), default=0)
                was_floor = 0 if len(before) < (constraint.min_domains or 1) else min(before.values(), default=0)
                if here not in after:
                    yield f"{pod.key} is on a node that its topology spread does not count"
                elif after[here] - floor > constraint.max_skew:
                    yield f"{pod.key} has skew {after[here] - floor} in {constraint.topology_key}={here}"
                worst = max(constraint.max_skew, max(before.values(), default=0) - was_floor)
                if max(after.values(), default=0) - floor > worst:
                    yield f"{pod.key} leaves a skew of {max(after.values()) - floor} over {constraint.topology_key}"

    def _spread_counter(
        self, pod: Pod, constraint: kube.SpreadConstraint
    ) -> Callable[[dict[str, str | None]], dict[str, int] | None]:
        keys = [c.topology_key for c in pod.spread]
        included = {}
        for node in self.nodes.values():
            ok = all(k in node.labels for k in keys)
            if constraint.node_affinity_policy != "Ignore":
                wanted = pod.affinity.node_affinity
                ok = ok and all(node.labels.get(k) == v for k, v in pod.node_selector.items())
                ok = ok and (wanted is None or wanted.required is None or _node_matches(wanted.required, node))
            if constraint.node_taints_policy == "Honor":
                ok = ok and all(any(_tolerates(t, taint) for t in pod.tolerations) for taint in _taints(node))
            if ok:
                included[node.name] = node.labels[constraint.topology_key]

        def matches(other: Pod) -> bool:
            keys = [k for k in constraint.match_label_keys or () if k in pod.labels]
            alike = other.namespace == pod.namespace and all(other.labels.get(k) == pod.labels[k] for k in keys)
            return alike and not other.terminating and _labels_match(constraint.label_selector, other.labels)

        def count(where: dict[str, str | None]) -> dict[str, int] | None:
            out = dict.fromkeys(included.values(), 0)
            for other in self.snapshot.pods:
                node = where[other.key]
                if node in included and matches(other):
                    out[included[node]] += 1
            return out

        return count

    def _term_matcher(self, term: kube.PodAffinityTerm, pod: Pod) -> Callable[[Pod], bool] | None:
        selector = term.namespace_selector
        everywhere = selector is not None and not selector.match_labels and not selector.match_expressions
        if selector is not None and not everywhere and self.snapshot.namespaces is None:
            by_name = set(selector.match_labels or {}) <= {"kubernetes.io/metadata.name"}
            if not by_name or selector.match_expressions:
                return None
        names = set(term.namespaces or ())
        if selector is None and not names:
            names = {pod.namespace}

        def means(other: Pod) -> bool:
            labels = dict((self.snapshot.namespaces or {}).get(other.namespace, {}))
            labels["kubernetes.io/metadata.name"] = other.namespace
            inside = everywhere or other.namespace in names
            inside = inside or (selector is not None and _labels_match(selector, labels))
            same = all(other.labels.get(k) == pod.labels[k] for k in term.match_label_keys or () if k in pod.labels)
            apart = all(other.labels.get(k) != pod.labels[k] for k in term.mismatch_label_keys or () if k in pod.labels)
            return inside and same and apart and _labels_match(term.label_selector, other.labels)

        return means

    def budgets(self) -> Iterable[str]:
        """No disruption budget is overdrawn; pods under two budgets cannot be evicted at all."""
        covering: Counter[str] = Counter()
        for budget in self.snapshot.budgets:
            hit = [p for p in self.gone if p.namespace == budget.namespace and _labels_match(budget.selector, p.labels)]
            covering.update(p.key for p in hit)
            if len(hit) > budget.allowed:
                yield f"budget {budget.name} allows {budget.allowed} disruptions, {len(hit)} are planned"
        for key, number in covering.items():
            if number > 1:
                yield f"{key} is under {number} budgets"

    def gangs(self) -> Iterable[str]:
        """A gang is placed whole, or not beyond what runs of it now."""
        members: dict[str, list[Pod]] = defaultdict(list)
        for pod in self.snapshot.pods:
            if pod.gang:
                members[pod.gang].append(pod)
        for gang, pods in members.items():
            least = max(p.gang_size for p in pods) or len(pods)
            placed = sum(self.now[p.key] is not None for p in pods)
            running = sum(self.was[p.key] is not None for p in pods)
            if placed < least and placed > (running if running < least else 0):
                yield f"gang {gang} is placed in part: {placed} of {least}"

    def evictions(self, keep_equal: bool) -> Iterable[str]:
        """Whoever loses its place gives way to a waiting pod that is more important and may preempt."""
        helped = [p for p in self.new if self.was[p.key] is None and p.preempts]
        highest = max((p.priority for p in helped), default=None)
        for pod in self.gone:
            if self.now[pod.key] is not None:
                continue
            if highest is None or highest < pod.priority or (highest == pod.priority and keep_equal):
                yield f"{pod.key} loses its place, and no more important waiting pod got one"


def _must_stay(pod: Pod, allow_system_critical: bool) -> str:
    notes = pod.annotations
    if pod.terminating:
        return "terminating"
    if pod.owner_kind in ("DaemonSet", "Node") or "kubernetes.io/config.mirror" in notes:
        return "bound to its node"
    if notes.get("kubernetes.io/config.source", "api") != "api":
        return "static"
    if not pod.owner:
        return "no controller"
    if pod.local_volumes:
        return "local storage"
    if notes.get("cluster-autoscaler.kubernetes.io/safe-to-evict") == "false":
        return "annotated"
    critical = pod.priority >= 2_000_000_000 or pod.priority_class.startswith("system-")
    return "" if allow_system_critical or not critical else "system critical"


def _affinity_terms(pod: Pod) -> list[kube.PodAffinityTerm]:
    return (pod.affinity.pod_affinity and pod.affinity.pod_affinity.required) or []


def _waits_for(edges: dict[str, list[str]], pod: str, other: str) -> bool:
    """Whether the pod's affinity leads, directly or through others, to the other pod (a pod waits for itself)."""
    seen, stack = {pod}, [pod]
    while stack:
        for q in edges.get(stack.pop(), ()):
            if q not in seen:
                seen.add(q)
                stack.append(q)
    return other in seen


def _taints(node: Node) -> list[kube.Taint]:
    taints = [t for t in node.taints if t.effect in ("NoSchedule", "NoExecute")]
    keys = {t.key for t in taints}
    for is_so, key in ((node.unschedulable, "unschedulable"), (not node.ready, "not-ready")):
        if is_so and f"node.kubernetes.io/{key}" not in keys:
            taints.append(kube.Taint(key=f"node.kubernetes.io/{key}", effect="NoSchedule"))
    return taints


def _tolerates(toleration: kube.Toleration, taint: kube.Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.operator == "Exists":
        return toleration.key in ("", taint.key)
    return toleration.operator in ("", "Equal") and toleration.key == taint.key and toleration.value == taint.value


def _labels_match(selector: kube.LabelSelector | None, labels: dict[str, str]) -> bool:
    if selector is None:
        return False
    if any(labels.get(k) != v for k, v in (selector.match_labels or {}).items()):
        return False
    return all(_requirement_holds(r, labels.get(r.key)) for r in selector.match_expressions or ())


def _requirement_holds(requirement: kube.Requirement, value: str | None) -> bool:
    values = requirement.values or []
    if requirement.operator == "In":
        return value in values
    if requirement.operator == "NotIn":
        return value not in values
    if requirement.operator == "Exists":
        return value is not None
    if requirement.operator == "DoesNotExist":
        return value is None
    try:
        number, bound = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > bound if requirement.operator == "Gt" else number < bound and requirement.operator == "Lt"


def _node_matches(selector: kube.NodeSelector, node: Node) -> bool:
    for term in selector.node_selector_terms or ():
        expressions, fields = term.match_expressions or [], term.match_fields or []
        if not expressions and not fields:
            continue
        if all(_requirement_holds(r, node.labels.get(r.key)) for r in expressions) and all(
            r.key == "metadata.name" and _requirement_holds(r, node.name) for r in fields
        ):
            return True
    return False
