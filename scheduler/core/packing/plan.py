"""A packing result as a plan people can read and a planner can carry out: ordered steps, each with why.

Steps are ordered so that every pod finds its room when its turn comes. Where pods block each other in a circle, one of
them is evicted before its place is free, and the step says so.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field

import numpy as np

from scheduler.core.packing.from_snapshot import Packing
from scheduler.core.packing.ledger import disturbed, room_left
from scheduler.core.packing.problem import Ints, PackingResult, Problem, Small
from scheduler.core.packing.rules import RuleBook


@dataclass(frozen=True, slots=True)
class Step:
    """One action. action: move (evict, it is recreated on `target`), place, evict (it stays without a place)."""

    action: str
    pod: str
    source: str | None
    target: str | None
    why: str
    room_is_free: bool = True


@dataclass(slots=True)
class Plan:
    """Steps in order; placements of every pod of the snapshot after them; what stays pending and why."""

    steps: list[Step]
    placements: dict[str, str | None]
    unplaced: list[dict[str, str]] = field(default_factory=list)


def make_plan(packing: Packing, result: PackingResult) -> Plan:
    """The ordered plan of a result."""
    problem = packing.problem
    placements: dict[str, str | None] = {p.key: p.node for p in packing.snapshot.pods}
    for pod, node in zip(problem.pods, result.assign, strict=True):
        placements[pod] = problem.nodes[node] if node >= 0 else None
    return Plan(order_steps(problem, result.assign), placements, _unplaced(packing, result))


def order_steps(problem: Problem, assign: Small) -> list[Step]:
    """Evictions, moves and placements from home to `assign`, in an order that always has room where possible."""
    return _Sequencer(problem, assign).run()


class _Sequencer:
    def __init__(self, problem: Problem, assign: Small) -> None:
        self.problem, self.assign = problem, assign
        self.book = RuleBook(problem) if problem.has_rules else None
        self.now = problem.home.copy()
        self.free = room_left(problem, self.now)
        gone = disturbed(problem, assign)
        arrives = (assign >= 0) & (assign != problem.home)
        # most important first, large before small among equals
        size = (problem.demand / np.maximum(problem.capacity.max(axis=0, initial=1), 1)).sum(axis=1)
        rank = np.lexsort((-size[problem.pod_class], problem.pod_tier))
        self.todo: deque[int] = deque(int(p) for p in rank if arrives[p])
        self.victims = [int(p) for p in rank[::-1] if gone[p] and assign[p] < 0]
        self.waiting: dict[int, list[int]] = defaultdict(list)
        self.arrivals: dict[int, list[int]] = defaultdict(list)
        for pod in self.todo:
            self.arrivals[int(assign[pod])].append(pod)
        self.homeless: list[int] = []  # evicted before their place was free; they take it the moment it is
        self.steps: list[Step] = []

    def run(self) -> list[Step]:
        """All steps."""
        for pod in self.victims:
            self.leave(pod)
            self.say("evict", pod, None, self.reason_to_leave(pod))
        while True:
            self.take_turns()
            stuck = sorted({p for pods in self.waiting.values() for p in pods})
            if not stuck:
                return self.steps
            self.break_circle(stuck)

    def take_turns(self) -> None:
        """Every pod that finds its room."""
        while self.todo:
            pod = self.todo.popleft()
            node = int(self.assign[pod])
            if self.has_room(pod, node):
                self.arrive(pod, node, room_is_free=True)
            else:
                self.waiting[node].append(pod)

    def has_room(self, pod: int, node: int) -> bool:
        """Whether the pod could start on its node now."""
        k = self.problem.pod_class[pod]
        need = self.problem.demand[k]
        if ((self.free[node] < need) & (need > 0)).any():
            return False
        if self.book is None:
            return True
        trial = self.now.copy()
        trial[pod] = node
        rules = [r for r in self.book.of_class[k] if r not in self.problem.budgets and r not in self.problem.gangs]
        return not self.book.broken(trial, rules)

    def arrive(self, pod: int, node: int, *, room_is_free: bool) -> None:
        """The pod goes to its node, leaving its home first."""
        source = int(self.problem.home[pod])
        action = "move" if source >= 0 else "place"
        why = self.reason_to_leave(pod) if source >= 0 else f"waiting, priority {self.priority(pod)}"
        if self.now[pod] >= 0:
            self.leave(pod)
        self.free[node] -= self.problem.demand[self.problem.pod_class[pod]]
        self.now[pod] = node
        self.say(action, pod, node, why, room_is_free)

    def leave(self, pod: int) -> None:
        """The pod frees its room; those that wait for it get another turn."""
        node = int(self.now[pod])
        self.free[node] += self.problem.demand[self.problem.pod_class[pod]]
        self.now[pod] = -1
        for other in [p for p in self.homeless if self.has_room(p, int(self.assign[p]))]:
            if self.has_room(other, int(self.assign[other])):
                self.homeless.remove(other)
                self.free[self.assign[other]] -= self.problem.demand[self.problem.pod_class[other]]
                self.now[other] = self.assign[other]
        self.todo.extend(self.waiting.pop(node, []))
        if self.book is not None:  # leaving may satisfy a rule anywhere
            for others in self.waiting.values():
                self.todo.extend(others)
            self.waiting.clear()

    def break_circle(self, stuck: list[int]) -> None:
        """Evict the least important running pod of a circle before its place is free; else place against a rule."""
        running = [p for p in stuck if self.now[p] >= 0]
        if running:
            pod = max(running, key=lambda p: (int(self.problem.pod_tier[p]), p))
            node = int(self.assign[pod])
            self.waiting[node].remove(pod)
            why = f"{self.reason_to_leave(pod)}; it waits until a later step frees its place"
            self.say("move", pod, node, why, room_is_free=False)
            self.leave(pod)
            self.homeless.append(pod)
        else:
            for pod in stuck:
                node = int(self.assign[pod])
                self.waiting[node].remove(pod)
                self.arrive(pod, node, room_is_free=False)

    def say(self, action: str, pod: int, node: int | None, why: str, room_is_free: bool = True) -> None:
        """Write a step down."""
        name = self.problem.pods[pod]
        home = int(self.problem.home[pod])
        source = self.problem.nodes[home] if home >= 0 else None
        target = self.problem.nodes[node] if node is not None else None
        self.steps.append(Step(action, name, source, target, why, room_is_free))

    def priority(self, pod: int) -> int:
        """The pod's priority."""
        return self.problem.priority[self.problem.pod_tier[pod]]

    def reason_to_leave(self, pod: int) -> str:
        """For whom a running pod goes."""
        others = [p for p in self.arrivals[int(self.problem.home[pod])] if p != pod]
        if not others:
            return "so that the others find room"
        first = min(others, key=lambda p: int(self.problem.pod_tier[p]))
        return f"makes room for {self.problem.pods[first]} (priority {self.priority(first)})"


def _unplaced(packing: Packing, result: PackingResult) -> list[dict[str, str]]:
    """Waiting and evicted pods: impossible (proven) or undecided, and why."""
    problem = packing.problem
    out = []
    empty = problem.capacity
    for i in np.flatnonzero(result.assign < 0):
        tier = result.tiers[problem.pod_tier[i]]
        k = problem.pod_class[i]
        usable = problem.allowed[problem.mask[k]]
        large_enough = _fits(problem.demand[k], empty)
        if not usable.any():
            verdict, why = "impossible", f"none of the {len(problem.nodes)} nodes may run it (labels, taints, volumes)"
        elif not (usable & large_enough).any():
            verdict = "impossible"
            why = f"too large for each of the {int(usable.sum())} nodes that may run it, whatever else is moved"
        elif tier.proven:
            verdict = "impossible"
            why = (
                f"no plan places more than {tier.placed} of {tier.total} pods of this rank in order {result.order} "
                f"(proven); another of them could take a place, not one more"
            )
        else:
            verdict = "undecided"
            more = tier.bound - tier.placed
            why = f"no place found in {result.seconds:.2f} s; at most {more} more of its rank could fit"
        out.append({"pod": problem.pods[i], "verdict": verdict, "why": why})
    out += [{"pod": pod, "verdict": "undecided", "why": reason} for pod, reason in packing.left_out.items()]
    return sorted(out, key=lambda entry: entry["pod"])


def _fits(demand: Ints, room: Ints) -> np.ndarray:
    return ((room >= demand) | (demand == 0)).all(axis=1)
