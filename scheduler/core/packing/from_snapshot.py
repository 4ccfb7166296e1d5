"""From a snapshot to the packing problem: who may move, who is alike, what binds them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import numpy as np

from scheduler.core.packing.pins import PackOptions, held_back, pin_reason, unmodelled_rules
from scheduler.core.packing.problem import Bools, DisruptionBudget, Gang, Ints, Problem, Small
from scheduler.core.packing.selectors import (
    PodMatcher,
    affinity_accepts,
    affinity_terms,
    anti_affinity_terms,
    matches_node,
    untolerated,
    with_label_keys,
)
from scheduler.core.packing.topology import Topology, term_key
from scheduler.core.snapshot import Node, Pod, Snapshot

MOVE_COST = "stowage.dev/move-cost"
WILDCARDS = ("0.0.0.0", "", "::")


@dataclass(slots=True)
class Packing:
    """A snapshot's problem and what was left out of it.

    rows: index in snapshot.pods of every pod of the problem. pinned: pod -> why it stays where it is. left_out: waiting
    pod -> why the planner cannot place it. notes: what the reader should know.
    """

    snapshot: Snapshot
    problem: Problem
    rows: list[int]
    pinned: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make_packing(snapshot: Snapshot, options: PackOptions | None = None) -> Packing:
    """The packing problem of a snapshot."""
    return _Compiler(snapshot, options or PackOptions()).build()


class _Compiler:
    def __init__(self, snapshot: Snapshot, options: PackOptions) -> None:
        self.snapshot, self.options = snapshot, options
        self.nodes, self.pods = snapshot.nodes, snapshot.pods
        self.matcher = PodMatcher(self.pods, snapshot.namespaces)
        row = {node.name: i for i, node in enumerate(self.nodes)}
        self.node_of = np.array([row[p.node] if p.node is not None else -1 for p in self.pods], dtype=np.int32)
        self.pinned: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.notes: list[str] = []
        self.budgets_of = self._budgets_of_pods()

    def build(self) -> Packing:
        """Pins, classes, columns, rules, in that order."""
        active = self._active()
        rows = [i for i in range(len(self.pods)) if active[i]]
        axes, port_axes = self._axes()
        demand = self._demand(axes, port_axes)
        capacity = self._capacity(axes, port_axes)
        load = np.zeros_like(capacity)
        placed = self.node_of >= 0
        np.add.at(load, self.node_of[placed], demand[placed])
        over = load > capacity
        capacity = np.where(over, load, capacity)
        fixed = placed & ~active
        np.subtract.at(capacity, self.node_of[fixed], demand[fixed])
        tiers, levels, tier_of = self._tiers(rows)
        pod_class, keys = self._classes(rows, demand, tier_of)
        examples = [keys[k] for k in range(len(keys))]
        mask, allowed = self._masks(examples, demand, over)
        topology = Topology(self.nodes, self.pods, self.matcher, pod_class, self.node_of, len(examples))
        antis, affinities, spreads = topology.anti_affinities(), topology.affinities(), topology.spreads()
        mask, allowed = _forbid(mask, allowed, topology.no_new)
        for r, n in zip(*np.nonzero(over.T), strict=True):
            name = (*axes, *(str(a) for a in port_axes))[r]
            self.notes.append(
                f'node "{self.nodes[n].name}" holds more {name} ({load[n, r]}) than it offers: what runs there may '
                f"stay, nothing that asks for {name} is placed there"
            )
        problem = Problem(
            nodes=tuple(n.name for n in self.nodes),
            resources=(*axes, *(f"port {ip}:{port}/{protocol}" for protocol, port, ip in port_axes)),
            capacity=capacity,
            demand=demand[examples] if examples else np.zeros((0, capacity.shape[1]), np.int64),
            tier=np.array([tier_of[i] for i in examples], dtype=np.int32),
            cost=np.array([self._cost(self.pods[i]) for i in examples], dtype=np.int64),
            mask=mask,
            allowed=allowed,
            level=tuple(levels),
            priority=tuple(tiers),
            pods=tuple(self.pods[i].key for i in rows),
            pod_class=pod_class[rows].astype(np.int32),
            home=self.node_of[rows].astype(np.int32),
            antis=antis,
            affinities=affinities,
            spreads=spreads,
            budgets=self._budgets(pod_class),
            gangs=self._gangs(pod_class, active),
        )
        return Packing(self.snapshot, problem, rows, self.pinned, self.left_out, self.notes)

    # ---- who takes part

    def _active(self) -> Bools:
        """(P,) pods that are part of the problem: movable ones and waiting ones."""
        active = np.zeros(len(self.pods), dtype=bool)
        for i, pod in enumerate(self.pods):
            unmodelled = unmodelled_rules(pod, self.snapshot, self.matcher)
            if pod.node is None:
                reason = held_back(pod) or (f"it has {unmodelled[0]}: not modelled" if unmodelled else None)
                if reason is None:
                    active[i] = True
                else:
                    self.left_out[pod.key] = reason
                continue
            reason = pin_reason(pod, self.options) or (f"it has {unmodelled[0]}: not modelled" if unmodelled else None)
            reason = reason or self._pin_by_budget(i)
            if reason is None:
                active[i] = True
            else:
                self.pinned[pod.key] = reason
        return active

    def _budgets_of_pods(self) -> list[list[int]]:
        out: list[list[int]] = [[] for _ in self.pods]
        for b, budget in enumerate(self.snapshot.budgets):
            for i in self.matcher.matching(budget.selector, frozenset({budget.namespace})):
                out[i].append(b)
        return out

    def _pin_by_budget(self, i: int) -> str | None:
        budgets = [self.snapshot.budgets[b] for b in self.budgets_of[i]]
        if len(budgets) > 1:
            return f"{len(budgets)} disruption budgets select it, so every eviction is refused"
        if budgets and budgets[0].allowed == 0:
            return f'disruption budget "{budgets[0].name}" allows no disruption now'
        return None

    # ---- columns

    def _axes(self) -> tuple[list[str], list[tuple[str, int, str]]]:
        named = sorted({name for pod in self.pods for name in pod.requests} - {"cpu", "memory", "pods"})
        ports = {(p.protocol, p.port, p.ip) for pod in self.pods for p in pod.host_ports}
        axes = {(protocol, port, "*") for protocol, port, _ in ports}
        axes |= {(protocol, port, ip) for protocol, port, ip in ports if ip not in WILDCARDS}
        return ["cpu", "memory", "pods", *named], sorted(axes)

    def _demand(self, axes: list[str], ports: list[tuple[str, int, str]]) -> Ints:
        """(P, R); host ports are resources of which a node has one (a port on all addresses takes every address's)."""
        out = np.zeros((len(self.pods), len(axes) + len(ports)), dtype=np.int64)
        column = {name: r for r, name in enumerate(axes)}
        for i, pod in enumerate(self.pods):
            for name, amount in pod.requests.items():
                out[i, column[name]] = amount
            out[i, column["pods"]] = 1
            for port in pod.host_ports:
                for r, (protocol, number, ip) in enumerate(ports, len(axes)):
                    same = (protocol, number) == (port.protocol, port.port)
                    if same and (port.ip in WILDCARDS or ip == port.ip):
                        out[i, r] = 1
        return out

    def _capacity(self, axes: list[str], ports: list[tuple[str, int, str]]) -> Ints:
        out = np.ones((len(self.nodes), len(axes) + len(ports)), dtype=np.int64)
        for n, node in enumerate(self.nodes):
            for r, name in enumerate(axes):
                out[n, r] = node.allocatable.get(name, len(self.pods) if name == "pods" else 0)
        return out

    def _tiers(self, rows: list[int]) -> tuple[list[int], list[int], dict[int, int]]:
        """(priority per tier, level per tier, tier of each row); see the text of `problem`."""
        keys: dict[int, tuple[int, int, int]] = {}
        for i in rows:
            pod = self.pods[i]
            waits = pod.node is None
            last = waits and not pod.preempts
            keys[i] = (int(last), -pod.priority, int(waits and self.options.keep_equal))
        order = sorted(set(keys.values()))
        levels = sorted({key[:2] for key in order})
        rank = {key: t for t, key in enumerate(order)}
        return [-key[1] for key in order], [levels.index(key[:2]) for key in order], {i: rank[keys[i]] for i in rows}

    def _classes(self, rows: list[int], demand: Ints, tier_of: dict[int, int]) -> tuple[Small, list[int]]:
        """(class of every pod or -1, an example pod per class): alike are pods that no rule can tell apart."""
        seen_by = self._seen_by()
        pod_class = np.full(len(self.pods), -1, dtype=np.int32)
        numbers: dict[tuple[object, ...], int] = {}
        examples: list[int] = []
        for i in rows:
            pod = self.pods[i]
            wants = msgspec.json.encode((pod.node_selector, pod.affinity, pod.tolerations))
            spread = self._own_spread(pod)
            key = (
                tier_of[i],
                demand[i].tobytes(),
                wants,
                tuple(pod.claims),
                spread,
                pod.namespace if spread or anti_affinity_terms(pod) or affinity_terms(pod) else "",
                seen_by.get(i, b""),
                tuple(self.budgets_of[i]),
                pod.gang,
                self._cost(pod),
            )
            if key not in numbers:
                numbers[key] = len(numbers)
                examples.append(i)
            pod_class[i] = numbers[key]
        return pod_class, examples

    def _own_spread(self, pod: Pod) -> bytes:
        """The pod's spread and label-key dependent terms, with the labels they look at."""
        if not pod.spread and not anti_affinity_terms(pod) and not affinity_terms(pod):
            return b""
        keys: set[str] = set()
        for one in pod.spread:
            keys.update(one.match_label_keys or ())
        for term in [*anti_affinity_terms(pod), *affinity_terms(pod)]:
            keys.update(term.match_label_keys or ())
            keys.update(term.mismatch_label_keys or ())
        return msgspec.json.encode((pod.spread, [(k, pod.labels.get(k)) for k in sorted(keys)]))

    def _seen_by(self) -> dict[int, bytes]:
        """Which selectors in use match a pod, as a key: pods that differ in it are not interchangeable."""
        selectors: dict[bytes, list[int]] = {}
        topology = Topology(self.nodes, self.pods, self.matcher, np.full(len(self.pods), -1, np.int32), self.node_of, 0)
        done: set[bytes] = set()
        for pod in self.pods:
            terms = [*anti_affinity_terms(pod), *affinity_terms(pod)]
            if not terms and not pod.spread:
                continue
            mark = term_key((pod.namespace, terms, self._own_spread(pod)))
            if mark in done:
                continue
            done.add(mark)
            for term in terms:
                try:
                    selectors[term_key((mark, term))] = topology.of_term(term, pod).tolist()
                except LookupError:
                    continue
            for constraint in pod.spread:
                selector = with_label_keys(constraint.label_selector, constraint.match_label_keys, pod)
                rows = topology.matching(selector, frozenset({pod.namespace}))
                selectors[term_key((mark, constraint))] = rows.tolist()
        found: dict[int, list[int]] = {}
        distinct = sorted({tuple(rows) for rows in selectors.values()})
        for number, members in enumerate(distinct):
            for i in members:
                found.setdefault(i, []).append(number)
        return {i: repr(numbers).encode() for i, numbers in found.items()}

    def _masks(self, examples: list[int], demand: Ints, over: Bools) -> tuple[Small, Bools]:
        """Where each class may be placed anew as far as nodes alone decide."""
        rows: dict[tuple[object, ...], int] = {}
        masks: list[Bools] = []
        mask = np.zeros(len(examples), dtype=np.int32)
        is_over = over.any(axis=1)
        for k, i in enumerate(examples):
            pod = self.pods[i]
            used = demand[i] > 0
            key = (
                msgspec.json.encode((pod.node_selector, pod.affinity.node_affinity, pod.tolerations)),
                tuple(pod.claims),
                used.tobytes() if is_over.any() else b"",
            )
            if key not in rows:
                rows[key] = len(masks)
                accepts = np.array([self._accepts(pod, node) for node in self.nodes], dtype=bool)
                masks.append(accepts & ~(over & used).any(axis=1))
            mask[k] = rows[key]
        return mask, np.array(masks, dtype=bool).reshape(len(masks), len(self.nodes))

    def _accepts(self, pod: Pod, node: Node) -> bool:
        volumes = (self.snapshot.claims[claim] for claim in pod.claims)
        return (
            untolerated(pod, node) is None
            and affinity_accepts(pod, node)
            and all(matches_node(selector, node) for selector in volumes)
        )

    def _cost(self, pod: Pod) -> int:
        """What disturbing this pod costs: its annotation, or 1, more for old or important pods if so configured."""
        text = pod.annotations.get(MOVE_COST, "")
        cost = min(int(text), 10**6) if text.isdigit() else 1
        if self.options.cost_by_age and pod.created and pod.node is not None:
            cost *= 1 + int(math.log2(1 + self._age_h(pod)))
        if self.options.cost_by_priority:
            cost *= 1 + max(0, min(pod.priority, 10**9)).bit_length()
        return max(1, cost)

    def _age_h(self, pod: Pod) -> float:
        try:
            latest = max(datetime.fromisoformat(p.created) for p in self.pods if p.created)
            return max(0.0, (latest - datetime.fromisoformat(pod.created)).total_seconds() / 3600)
        except ValueError:
            return 0.0

    # ---- groups

    def _budgets(self, pod_class: Small) -> tuple[DisruptionBudget, ...]:
        out = []
        for b, budget in enumerate(self.snapshot.budgets):
            members = [i for i in range(len(self.pods)) if b in self.budgets_of[i] and pod_class[i] >= 0]
            classes = np.unique(pod_class[members]).astype(np.int32) if members else np.zeros(0, np.int32)
            if any(self.node_of[i] >= 0 for i in members):
                out.append(DisruptionBudget(f"{budget.namespace}/{budget.name}", classes, budget.allowed))
        return tuple(out)

    def _gangs(self, pod_class: Small, active: Bools) -> tuple[Gang, ...]:
        members: dict[str, list[int]] = {}
        for i, pod in enumerate(self.pods):
            if pod.gang:
                members.setdefault(pod.gang, []).append(i)
        out = []
        for name, rows in sorted(members.items()):
            size = max(self.pods[i].gang_size for i in rows) or len(rows)
            running = sum(1 for i in rows if self.node_of[i] >= 0)
            held = sum(1 for i in rows if self.node_of[i] >= 0 and not active[i])
            classes = np.unique([pod_class[i] for i in rows if pod_class[i] >= 0]).astype(np.int32)
            if len(classes):
                base = running if running < size else 0
                out.append(Gang(name, classes, size - held, base - held))
        return tuple(out)


def _forbid(mask: Small, allowed: Bools, no_new: list[tuple[Small, Bools]]) -> tuple[Small, Bools]:
    """Masks with these class x node pairs taken out."""
    if not no_new:
        return mask, allowed
    rows = {(int(m), b""): int(m) for m in np.unique(mask)}
    taken: dict[int, Bools] = {}
    for classes, where in no_new:
        for k in classes:
            taken[int(k)] = taken.get(int(k), np.zeros(allowed.shape[1], dtype=bool)) | where
    masks, mask = list(allowed), mask.copy()
    for k, where in taken.items():
        key = (int(mask[k]), where.tobytes())
        if key not in rows:
            rows[key] = len(masks)
            masks.append(allowed[mask[k]] & ~where)
        mask[k] = rows[key]
    return mask, np.array(masks, dtype=bool).reshape(len(masks), allowed.shape[1])
