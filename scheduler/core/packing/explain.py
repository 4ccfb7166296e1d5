"""Why a pod waits: per node the rules that refuse it, a minimal conflict, and the smallest change that would help.

A refusal by one node is read off the snapshot. Whether moving others could help is asked of the search, with this pod
as the only waiting one; that it cannot is proven or left undecided. The conflict is made minimal by leaving out one
kind of rule after the other and asking again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from scheduler.core import kube_types as kube
from scheduler.core.packing.from_snapshot import Packing, make_packing
from scheduler.core.packing.ledger import room_left
from scheduler.core.packing.pins import PackOptions
from scheduler.core.packing.plan import Step, order_steps
from scheduler.core.packing.problem import Budget, Ints, Order, PackingResult, Problem, has_no_node, with_demand
from scheduler.core.packing.rules import RuleBook
from scheduler.core.packing.selectors import affinity_accepts, matches_node, untolerated
from scheduler.core.packing.solve import solve
from scheduler.core.quantity import format_resource
from scheduler.core.snapshot import Node, Pod, Snapshot, a_snapshot


@dataclass(slots=True)
class Cause:
    """A rule that refuses the pod on some nodes; `example` says it for one of them."""

    rule: str
    nodes: int
    example: str


@dataclass(frozen=True, slots=True)
class NodeReason:
    """Why one node refuses the pod as things are."""

    node: str
    rule: str
    sentence: str


@dataclass(slots=True)
class Explanation:
    """verdict: optimal (placed as told, or proven impossible), feasible, undecided. answer: in a word."""

    pod: str
    verdict: str
    answer: str
    why: str
    causes: list[Cause] = field(default_factory=list)
    conflict: list[str] = field(default_factory=list)
    smallest_change: str = ""
    changes: list[str] = field(default_factory=list)
    node: str | None = None
    steps: list[Step] = field(default_factory=list)


def explain_pod(
    snapshot: Snapshot,
    key: str,
    order: Order = "no-harm",
    budget: Budget | None = None,
    options: PackOptions | None = None,
    seed: int = 0,
) -> Explanation:
    """Explain one pod of the snapshot, named namespace/name (or name, in namespace default)."""
    return _Explainer(snapshot, key, order, budget or Budget(2.0), options or PackOptions(), seed).explain()


def node_reasons(snapshot: Snapshot, key: str, options: PackOptions | None = None) -> list[NodeReason]:
    """Every reason of every node against one pod, nodes by name; read off the snapshot, without a search.

    Rules between pods are not among them: `explain_pod` gives those. Raises LookupError if there is no such pod.
    """
    return list(_Explainer(snapshot, key, "no-harm", Budget(1.0), options or PackOptions(), 0).reasons())


def alone(snapshot: Snapshot, keys: set[str]) -> Snapshot:
    """The snapshot without the waiting pods other than these."""
    return msgspec.structs.replace(snapshot, pods=[p for p in snapshot.pods if p.node is not None or p.key in keys])


def _as_change(step: Step) -> str:
    return f"move {step.pod} from {step.source} to {step.target}" if step.target else f"evict {step.pod}"


class _Explainer:
    def __init__(
        self, snapshot: Snapshot, key: str, order: Order, budget: Budget, options: PackOptions, seed: int
    ) -> None:
        self.pod = find_pod(snapshot, key)
        self.keys = {self.pod.key}
        if self.pod.gang:  # a gang is placed whole, so its members are asked about together
            self.keys |= {p.key for p in snapshot.pods if p.gang == self.pod.gang and p.node is None}
        self.snapshot = alone(snapshot, self.keys)
        self.order, self.budget, self.options, self.seed = order, budget, options, seed
        self.packing = make_packing(self.snapshot, options)
        self.ends = budget.clock() + budget.limit  # of the search; reading a large cluster takes a moment before it
        self.changes_end = self.ends + budget.limit

    def explain(self) -> Explanation:
        """The explanation."""
        pod, causes = self.pod, self.causes()
        if pod.node is not None:
            return Explanation(pod.key, "optimal", "runs", f"it runs on {pod.node}", node=pod.node)
        if pod.key in self.packing.left_out:
            return Explanation(pod.key, "undecided", "held", self.packing.left_out[pod.key], causes)
        result = self.ask(self.packing.problem)
        index = self.packing.problem.pods.index(pod.key)
        if result.assign[index] >= 0:
            node = self.packing.problem.nodes[result.assign[index]]
            steps = order_steps(self.packing.problem, result.assign)
            disturbs = result.moves + result.evictions
            answer = "fits" if not disturbs else "fits after moves"
            why = f"it fits on {node}" + (f" once {disturbs} running pods make room" if disturbs else " as things are")
            change = ", ".join(_as_change(step) for step in steps if step.source is not None)
            return Explanation(pod.key, "optimal", answer, why, causes, smallest_change=change, node=node, steps=steps)
        if result.verdict != "optimal":
            return Explanation(pod.key, "undecided", "undecided", "no place found in the time given", causes)
        out = Explanation(pod.key, "optimal", "impossible", "", causes)
        out.conflict = self.minimal_conflict()
        out.why = f"no node can run it under {', '.join(out.conflict) or 'the rules'} (proven)"
        out.changes = self.changes()
        out.smallest_change = out.changes[0] if out.changes else "none found: it needs several changes at once"
        return out

    def ask(self, problem: Problem) -> PackingResult:
        """The search's answer within what is left of the time."""
        if self.budget.deterministic:
            return solve(problem, self.order, self.budget, self.seed)
        left = max(0.05, min(self.budget.limit / 2, self.ends - self.budget.clock()))
        return solve(problem, self.order, dataclasses.replace(self.budget, limit=left), self.seed)

    def is_impossible(self, problem: Problem) -> bool:
        """Whether the pod provably has no place."""
        if has_no_node(problem, problem.pods.index(self.pod.key)):
            return True
        result = self.ask(problem)
        return result.verdict == "optimal" and result.assign[problem.pods.index(self.pod.key)] < 0

    def is_possible(self, problem: Problem) -> bool:
        """Whether a place is found."""
        if has_no_node(problem, problem.pods.index(self.pod.key)):
            return False
        if self.has_room_now(problem):
            return True
        return bool(self.ask(problem).assign[problem.pods.index(self.pod.key)] >= 0)

    def has_room_now(self, problem: Problem) -> bool:
        """Whether a node has the room as things are, for a pod that no rule binds to others: it is placed at once."""
        k = problem.pod_class[problem.pods.index(self.pod.key)]
        if problem.ruled[k]:
            return False
        large_enough = ((problem.demand[k] <= room_left(problem, problem.home)) | (problem.demand[k] == 0)).all(axis=1)
        return bool((problem.allowed[problem.mask[k]] & large_enough).any())

    # ---- causes, node by node

    def causes(self) -> list[Cause]:
        """Rules that refuse the pod as things are, each with the number of nodes and one example."""
        found: dict[str, list[str]] = {}
        for reason in self.reasons():
            found.setdefault(reason.rule, []).append(reason.sentence)
        causes = [Cause(rule, len(texts), texts[0]) for rule, texts in found.items()]
        if self.pod.key in self.packing.problem.pods:
            causes += self.rule_causes(self.packing.problem.pods.index(self.pod.key))
        return sorted(causes, key=lambda c: (-c.nodes, c.rule))

    def reasons(self) -> Iterator[NodeReason]:
        """What each node alone, and who runs there, has against the pod as things are."""
        problem = self.packing.problem
        free = room_left(problem, problem.home)
        row = problem.pods.index(self.pod.key) if self.pod.key in problem.pods else -1
        demand = problem.demand[problem.pod_class[row]] if row >= 0 else np.zeros(len(problem.resources), np.int64)
        for n, node in enumerate(self.snapshot.nodes):
            for rule, sentence in self.refusals(node):
                yield NodeReason(node.name, rule, sentence)
            for r in np.flatnonzero((demand > 0) & (demand > free[n])).tolist():
                name, size = problem.resources[r], problem.capacity[n, r]
                asks = f"it asks {format_resource(name, demand[r])}"
                if demand[r] > size:
                    text = f"{node.name} can free {format_resource(name, size)} {name}, {asks}"
                    yield NodeReason(node.name, f"too small: {name}", text)
                else:
                    text = f"{node.name} has {format_resource(name, free[n, r])} {name} free, {asks}"
                    yield NodeReason(node.name, f"full: {name}", text)

    def refusals(self, node: Node) -> list[tuple[str, str]]:
        """Rules of one node that do not depend on who else runs."""
        pod = self.pod
        out: list[tuple[str, str]] = []
        if taint := untolerated(pod, node):
            out.append((f"taint {taint}", f"{node.name} has taint {taint}, which the pod does not tolerate"))
        if not affinity_accepts(pod, node):
            out.append(("node selector or affinity", f"{node.name} does not match its node selector or node affinity"))
        for claim in pod.claims:
            if claim in self.snapshot.claims and not matches_node(self.snapshot.claims[claim], node):
                out.append(("volume", f"{node.name} cannot reach the volume of claim {claim}"))
        return out

    def rule_causes(self, row: int) -> list[Cause]:
        """Rules between pods that refuse it on nodes that would do otherwise, as things are."""
        problem = self.packing.problem
        book = RuleBook(problem)
        k = int(problem.pod_class[row])
        found: dict[str, list[str]] = {}
        rules = [r for r in book.of_class[k] if r not in problem.budgets and r not in problem.gangs]
        if not rules:
            return []
        assign = problem.home.copy()
        for n in np.flatnonzero(problem.allowed[problem.mask[k]])[:2000]:
            assign[row] = n
            for rule in book.broken(assign, rules):
                found.setdefault(rule.name, []).append(f"{problem.nodes[n]}: {rule.name} would be broken")
        return [Cause(rule.split(" of ")[0], len(texts), texts[0]) for rule, texts in found.items()]

    # ---- the conflict

    def relaxations(self) -> dict[str, Callable[[Problem], Problem]]:
        """Kinds of rules and the problem without them."""
        problem = self.packing.problem
        row = problem.pods.index(self.pod.key)
        k = problem.pod_class[row]
        kinds: dict[str, Callable[[Problem], Problem]] = {}
        if not problem.allowed[problem.mask[k]].all():
            kinds["node rules (taints, selectors, volumes)"] = lambda p: dataclasses.replace(
                p, allowed=np.ones_like(p.allowed)
            )
        for name, field_name in (
            ("pod anti-affinity", "antis"),
            ("pod affinity", "affinities"),
            ("topology spread", "spreads"),
            ("disruption budgets", "budgets"),
        ):
            if getattr(problem, field_name):
                kinds[name] = _without(field_name)
        if problem.gangs:
            kinds["gangs are placed whole"] = _without("gangs")
        for r, name in enumerate(problem.resources):
            if problem.demand[k, r]:
                kinds[f"room for {name}"] = _without_resource(r)
        return kinds

    def minimal_conflict(self) -> list[str]:
        """Kinds of rules that together leave no place, none of which can be left out."""
        problem, kept = self.packing.problem, []
        for name, relax in self.relaxations().items():
            if not self.budget.deterministic and self.budget.clock() > self.ends:
                kept.append(name)
                continue
            relaxed = relax(problem)
            if self.is_impossible(relaxed):
                problem = relaxed
            else:
                kept.append(name)
        return kept

    # ---- the smallest change

    def changes(self) -> list[str]:
        """Single changes that would let the pod run, smallest first: those found in as long again as the search."""
        found: list[tuple[float, str]] = []
        for propose in (self.ask_less, self.tolerate, self.unselect, self.add_node, self.unpin):
            found += propose()
        return [text for _, text in sorted(found)]

    def is_late(self) -> bool:
        """Whether no further change is tried."""
        return not self.budget.deterministic and self.budget.clock() > self.changes_end

    def with_pod(self, pod: Pod) -> Packing:
        """The packing with the pod changed."""
        pods = [pod if p.key == pod.key else p for p in self.snapshot.pods]
        return make_packing(msgspec.structs.replace(self.snapshot, pods=pods), self.options)

    def tolerate(self) -> list[tuple[float, str]]:
        """A taint to tolerate."""
        taints = {str(t): t for n in self.snapshot.nodes if (t := untolerated(self.pod, n)) is not None}
        out = []
        for text, taint in sorted(taints.items()):
            if self.is_late():
                break
            more = kube.Toleration(key=taint.key, operator="Equal", value=taint.value, effect=taint.effect)
            pod = msgspec.structs.replace(self.pod, tolerations=[*self.pod.tolerations, more])
            if self.is_possible(self.with_pod(pod).problem):
                out.append((0.3, f"tolerate the taint {text}"))
        return out

    def unselect(self) -> list[tuple[float, str]]:
        """The node selector or affinity to leave out."""
        pod = self.pod
        if not pod.node_selector and pod.affinity.node_affinity is None:
            return []
        affinity = msgspec.structs.replace(pod.affinity, node_affinity=None)
        freed = msgspec.structs.replace(pod, node_selector={}, affinity=affinity)
        if self.is_late() or not self.is_possible(self.with_pod(freed).problem):
            return []
        labels = ", ".join(f"{key}={value}" for key, value in sorted(pod.node_selector.items()))
        if labels and pod.affinity.node_affinity is None:
            return [(0.4, f"leave out the node selector ({labels}), or give a node with room that label")]
        return [(0.4, "leave out the node selector and node affinity, or label a node with room so that it matches")]

    def ask_less(self) -> list[tuple[float, str]]:
        """The least reduction of one resource with which it fits."""
        out = []
        for name, amount in self.pod.requests.items():
            less = self.largest_fitting(name, amount)
            if less is not None and less < amount:
                share = (amount - less) / amount
                text = f"ask for {format_resource(name, amount - less)} less {name} ({format_resource(name, less)})"
                out.append((0.1 + share, text))
        return out

    def largest_fitting(self, name: str, amount: int) -> int | None:
        """The largest request of this resource, other requests unchanged, with which a place is found in the time."""

        def fits(value: int) -> bool:
            return self.is_possible(self.with_request(name, value))

        low, high = 1, min(amount, self.largest_node(name) + 1)
        if self.is_late() or not fits(low):
            return None
        while high - low > max(1, amount // 256) and not self.is_late():
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def with_request(self, name: str, value: int) -> Problem:
        """The problem with another request, above 0, of one resource."""
        problem = self.packing.problem
        column = problem.resources.index(name)

        def change(demand: Ints) -> Ints:
            return np.where(np.arange(len(demand)) == column, value, demand)

        changed = with_demand(problem, [problem.pods.index(self.pod.key)], change)
        if changed is not None:
            return changed
        return self.with_pod(msgspec.structs.replace(self.pod, requests={**self.pod.requests, name: value})).problem

    def largest_node(self, name: str) -> int:
        """The most of a resource that one node has; 0 if none has any."""
        return max((node.allocatable.get(name, 0) for node in self.snapshot.nodes), default=0)

    def unpin(self) -> list[tuple[float, str]]:
        """One pod that is held where it is and whose going would make the room."""
        out: list[tuple[float, str]] = []
        row_of = {name: n for n, name in enumerate(self.packing.problem.nodes)}
        for other in self.snapshot.pods:
            if len(out) >= 3 or self.is_late():
                break
            reason = self.packing.pinned.get(other.key)
            if reason is None or "DaemonSet" in reason or not self.could_help(other, row_of):
                continue
            pods = [p for p in self.snapshot.pods if p.key != other.key]
            if self.is_possible(make_packing(msgspec.structs.replace(self.snapshot, pods=pods), self.options).problem):
                out.append((0.6, f"let {other.key} go from {other.node} (it stays because {reason})"))
        return out

    def could_help(self, other: Pod, row_of: dict[str, int]) -> bool:
        """Whether the pod might fit where a pinned one stands, once that and all that may move are gone."""
        problem = self.packing.problem
        k = problem.pod_class[problem.pods.index(self.pod.key)]
        if len(self.keys) > 1 or problem.ruled[k]:
            return True
        n = row_of[other.node or ""]
        given = np.array([other.requests.get(r, 0) if r != "pods" else 1 for r in problem.resources], np.int64)
        lacks = (problem.demand[k] > problem.capacity[n]) & (problem.demand[k] > 0)
        return bool(lacks.any() and (problem.demand[k] <= problem.capacity[n] + given)[lacks].all())

    def add_node(self) -> list[tuple[float, str]]:
        """One more empty node like an existing one."""
        shapes: dict[tuple[tuple[str, int], ...], Node] = {}
        for node in self.snapshot.nodes:
            shapes.setdefault(tuple(sorted(node.allocatable.items())), node)
        ordered = sorted(shapes.values(), key=lambda n: sum(n.allocatable.values()))
        for node in ordered:
            if self.is_late():
                break
            labels = {k: v for k, v in node.labels.items() if k != "kubernetes.io/hostname"}
            name = f"one-more-like-{node.name}"
            extra = msgspec.structs.replace(
                node, name=name, labels={**labels, "kubernetes.io/hostname": name}, unschedulable=False, ready=True
            )
            rest = {f: getattr(self.snapshot, f) for f in ("budgets", "priority_classes", "claims", "namespaces")}
            bigger = a_snapshot([*self.snapshot.nodes, extra], list(self.snapshot.pods), **rest)
            if self.is_possible(make_packing(bigger, self.options).problem):
                size = ", ".join(f"{format_resource(r, v)} {r}" for r, v in sorted(node.allocatable.items()) if v)
                return [(0.8, f"one more node like {node.name} ({size})")]
        return []


def _without(name: str) -> Callable[[Problem], Problem]:
    def relax(problem: Problem) -> Problem:
        nothing: Any = {name: ()}
        return dataclasses.replace(problem, **nothing)

    return relax


def _without_resource(r: int) -> Callable[[Problem], Problem]:
    def relax(problem: Problem) -> Problem:
        demand: Ints = problem.demand.copy()
        demand[:, r] = 0
        return dataclasses.replace(problem, demand=demand)

    return relax


def find_pod(snapshot: Snapshot, key: str) -> Pod:
    """The pod by namespace/name, or by a name that only one pod has. Raises LookupError."""
    exact = [p for p in snapshot.pods if p.key == key]
    named = exact or [p for p in snapshot.pods if p.name == key]
    if len(named) != 1:
        problem = f"{len(named)} pods are named {key!r}: write namespace/name" if named else f"no pod is named {key!r}"
        raise LookupError(problem)
    return named[0]
