"""From selectors and topology keys to the rules of the packing problem.

A rule that the present placement already breaks in some domain is not a reason to move anybody: in that domain it is
replaced by "nobody it binds is placed anew there" (`no_new` collects such class x node pairs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np

from scheduler.core import kube_types as kube
from scheduler.core.packing.problem import Affinity, AntiAffinity, Bools, Ints, Small, Spread
from scheduler.core.packing.selectors import (
    PodMatcher,
    affinity_accepts,
    affinity_terms,
    anti_affinity_terms,
    untolerated,
    with_label_keys,
)
from scheduler.core.snapshot import Node, Pod


def term_key(term: object) -> bytes:
    """A term as a dictionary key."""
    return msgspec.json.encode(term, order="sorted")


class Topology:
    """Builds the rules between classes.

    pods: all pods of the snapshot. pod_class: class of each pod, -1 if it is not part of the problem. node_of: (P,)
    present node of every pod, -1 pending.
    """

    def __init__(
        self, nodes: list[Node], pods: list[Pod], matcher: PodMatcher, pod_class: Small, node_of: Small, classes: int
    ) -> None:
        self.nodes, self.pods, self.matcher = nodes, pods, matcher
        self.pod_class, self.node_of = pod_class, node_of
        self.no_new: list[tuple[Small, Bools]] = []
        self.counted = np.array([not p.terminating for p in pods], dtype=bool)
        first = np.full(classes, -1, dtype=np.int64)
        for i in range(len(pods) - 1, -1, -1):
            if pod_class[i] >= 0:
                first[pod_class[i]] = i
        self.example = [pods[i] for i in first]
        self._domains: dict[str, tuple[Small, int]] = {}
        self._accepted: dict[tuple[str, bytes], Bools] = {}
        self._matched: dict[tuple[bytes, frozenset[str] | None], Ints] = {}

    def domains(self, key: str) -> tuple[Small, int]:
        """(domain of every node or -1, number of domains) of a topology key."""
        if key not in self._domains:
            values = sorted({n.labels[key] for n in self.nodes if key in n.labels})
            rank = {value: i for i, value in enumerate(values)}
            index = np.array([rank[n.labels[key]] if key in n.labels else -1 for n in self.nodes], dtype=np.int32)
            self._domains[key] = index, len(values)
        return self._domains[key]

    def nodes_where(self, kind: str, pod: Pod) -> Bools:
        """(N,) nodes that the pod's node affinity accepts, or whose taints it tolerates."""
        wants = (pod.node_selector, pod.affinity.node_affinity) if kind == "affinity" else pod.tolerations
        key = (kind, term_key(wants))
        if key not in self._accepted:
            if kind == "affinity":
                accepted = [affinity_accepts(pod, n) for n in self.nodes]
            else:
                accepted = [untolerated(pod, n) is None for n in self.nodes]
            self._accepted[key] = np.array(accepted, dtype=bool)
        return self._accepted[key]

    def matching(self, selector: kube.LabelSelector | None, spaces: frozenset[str] | None) -> Ints:
        """Rows of matching pods."""
        key = (term_key(selector), spaces)
        if key not in self._matched:
            self._matched[key] = np.array(self.matcher.matching(selector, spaces), dtype=np.int64)
        return self._matched[key]

    def of_term(self, term: kube.PodAffinityTerm, pod: Pod) -> Ints:
        """Rows of the pods an affinity term of this pod means."""
        selector = with_label_keys(term.label_selector, term.match_label_keys, pod, term.mismatch_label_keys)
        return self.matching(selector, self.matcher.spaces(term, pod.namespace))

    def classes_of(self, rows: Ints) -> Small:
        """Classes of the problem among these pods."""
        found = self.pod_class[rows]
        return np.unique(found[found >= 0]).astype(np.int32)

    def count(self, rows: Ints, domain: Small, size: int, *, pinned_only: bool) -> Ints:
        """(D,) present pods per domain."""
        keep = (self.node_of[rows] >= 0) & (self.pod_class[rows] < 0 if pinned_only else True)
        found = domain[self.node_of[rows[keep]]]
        return np.bincount(found[found >= 0], minlength=size).astype(np.int64)

    # ---- anti-affinity

    def anti_affinities(self) -> tuple[AntiAffinity, ...]:
        """One rule per distinct term, of whatever pods have it, pinned ones included."""
        owners: dict[tuple[bytes, str], list[int]] = {}
        terms: dict[tuple[bytes, str], tuple[kube.PodAffinityTerm, Pod]] = {}
        for i, pod in enumerate(self.pods):
            for term in anti_affinity_terms(pod):
                narrowed = with_label_keys(term.label_selector, term.match_label_keys, pod, term.mismatch_label_keys)
                key = (term_key((term, narrowed)), pod.namespace)
                owners.setdefault(key, []).append(i)
                terms[key] = term, pod
        rules = (self._anti_affinity(*terms[key], np.array(rows)) for key, rows in owners.items())
        return tuple(rule for rule in rules if rule is not None)

    def _anti_affinity(self, term: kube.PodAffinityTerm, pod: Pod, owners: Ints) -> AntiAffinity | None:
        try:
            targets = self.of_term(term, pod)
        except LookupError:
            return None  # its owners are pinned, and reported
        domain, size = self.domains(term.topology_key)
        rule = AntiAffinity(
            name=f"anti-affinity of {pod.key} over {term.topology_key}",
            owners=self.classes_of(owners),
            targets=self.classes_of(targets),
            domain=domain,
            base_owners=self.count(owners, domain, size, pinned_only=True),
            base_targets=self.count(targets, domain, size, pinned_only=True),
        )
        if not len(rule.owners) and not len(rule.targets):
            return None
        both = np.intersect1d(owners, targets)
        repel = self.count(np.setdiff1d(owners, both), domain, size, pinned_only=False)
        repelled = self.count(np.setdiff1d(targets, both), domain, size, pinned_only=False)
        alone = self.count(both, domain, size, pinned_only=False)
        broken = (alone > 1) | ((alone > 0).astype(int) + (repel > 0) + (repelled > 0) > 1)
        if not broken.any():
            return rule
        where = (domain >= 0) & broken[domain]
        self.no_new.append((np.union1d(rule.owners, rule.targets).astype(np.int32), where))
        return replace(rule, domain=np.where(where, -1, domain).astype(np.int32))

    # ---- affinity

    def affinities(self) -> tuple[Affinity, ...]:
        """Required affinity: a rule per class and term. A pod counts as a match only if it matches all terms."""
        wants: dict[int, Ints] = {}
        for k, pod in enumerate(self.example):
            matched = [set(self.of_term(term, pod).tolist()) for term in affinity_terms(pod)]
            if matched:
                wants[k] = np.array(sorted(set.intersection(*matched)), dtype=np.int64)
        reach = _reachable({k: set(self.classes_of(rows).tolist()) for k, rows in wants.items()})
        rules = []
        for k, rows in wants.items():
            for term in affinity_terms(self.example[k]):
                rules.append(self._affinity(k, term, rows, reach))
        return (*rules, *self._kept_matches())

    def _kept_matches(self) -> list[Affinity]:
        """What pods that are held in place keep: a match in their domain, where none that is held too is one."""
        keeps: dict[tuple[str, bytes], tuple[Pod, Ints, Bools]] = {}
        for i in np.flatnonzero((self.pod_class < 0) & (self.node_of >= 0)):
            pod = self.pods[i]
            try:
                matched = [set(self.of_term(term, pod).tolist()) for term in affinity_terms(pod)]
            except LookupError:
                continue  # that is why it is held, and reported
            rows = np.array(sorted(set.intersection(*matched)) if matched else [], dtype=np.int64)
            for term in affinity_terms(pod) if i not in rows else ():
                domain, size = self.domains(term.topology_key)
                here, found = domain[self.node_of[i]], rows[self.counted[rows]]
                held = self.count(found, domain, size, pinned_only=True)
                if here < 0 or held[here] or not self.count(found, domain, size, pinned_only=False)[here]:
                    continue
                key = term.topology_key, rows.tobytes()
                keeps.setdefault(key, (pod, rows, np.zeros(size, dtype=bool)))[2][here] = True
        rules = []
        for (topology_key, _), (pod, rows, where) in keeps.items():
            domain, size = self.domains(topology_key)
            targets, found = self.classes_of(rows), rows[self.counted[rows]]
            rules.append(
                Affinity(
                    name=f"affinity of {pod.key} over {topology_key}",
                    owner=-1,
                    targets=targets,
                    early=np.ones(len(targets), dtype=bool),
                    matches_self=False,
                    domain=domain,
                    base=self.count(found, domain, size, pinned_only=True),
                    keeps=where,
                )
            )
        return rules

    def _affinity(self, k: int, term: kube.PodAffinityTerm, rows: Ints, reach: Callable[[int, int], bool]) -> Affinity:
        domain, size = self.domains(term.topology_key)
        targets = self.classes_of(rows)
        rows = rows[self.counted[rows]]
        mine = np.flatnonzero(self.pod_class == k)
        present = self.count(rows, domain, size, pinned_only=False)
        there = self.count(mine, domain, size, pinned_only=False)
        lacking = domain < 0
        if lacking.any():
            self.no_new.append((np.array([k], np.int32), lacking))
        return Affinity(
            name=f"affinity of {self.example[k].key} over {term.topology_key}",
            owner=k,
            targets=targets,
            early=np.array([not reach(int(t), k) for t in targets], dtype=bool),
            matches_self=k in targets,
            domain=domain,
            base=self.count(rows, domain, size, pinned_only=True),
            keeps=(there > 0) & (present > 0),
        )

    # ---- topology spread

    def spreads(self) -> tuple[Spread, ...]:
        """DoNotSchedule constraints: a rule per class and constraint."""
        rules = []
        for k, pod in enumerate(self.example):
            if pod.spread:
                rules += self._spreads_of(k, pod)
        return tuple(rules)

    def _spreads_of(self, k: int, pod: Pod) -> list[Spread]:
        has_keys = np.ones(len(self.nodes), dtype=bool)
        for constraint in pod.spread:
            has_keys &= self.domains(constraint.topology_key)[0] >= 0
        if not has_keys.all():
            self.no_new.append((np.array([k], np.int32), ~has_keys))
        return [self._spread(k, pod, constraint, has_keys) for constraint in pod.spread]

    def _spread(self, k: int, pod: Pod, constraint: kube.SpreadConstraint, has_keys: Bools) -> Spread:
        domain, size = self.domains(constraint.topology_key)
        counts = has_keys.copy()
        if constraint.node_affinity_policy != "Ignore":
            counts &= self.nodes_where("affinity", pod)
        if constraint.node_taints_policy == "Honor":
            counts &= self.nodes_where("taints", pod)
        domain = np.where(counts, domain, -1).astype(np.int32)
        selector = with_label_keys(constraint.label_selector, constraint.match_label_keys, pod)
        rows = self.matching(selector, frozenset({pod.namespace}))
        rows = rows[self.counted[rows]]
        eligible = np.zeros(size, dtype=bool)
        eligible[domain[domain >= 0]] = True
        too_few = int(eligible.sum()) < (constraint.min_domains or 1)
        held = self.count(rows, domain, size, pinned_only=False)
        lowest = 0 if too_few or not eligible.any() else int(held[eligible].min())
        return Spread(
            name=f"topology spread of {pod.key} over {constraint.topology_key}",
            owner=k,
            targets=self.classes_of(rows),
            max_skew=constraint.max_skew,
            domain=domain,
            eligible=eligible,
            base=self.count(rows, domain, size, pinned_only=True),
            too_few=too_few,
            present_skew=int((held[eligible] - lowest).max(initial=0)),
        )


def _reachable(edges: dict[int, set[int]]) -> Callable[[int, int], bool]:
    """A test whether class a waits for class b, directly or through others (a class reaches itself)."""
    closure: dict[int, set[int]] = {}

    def reached(a: int) -> set[int]:
        if a not in closure:
            seen, stack = {a}, [a]
            while stack:
                for b in edges.get(stack.pop(), ()):
                    if b not in seen:
                        seen.add(b)
                        stack.append(b)
            closure[a] = seen
        return closure[a]

    return lambda a, b: b in reached(a)
