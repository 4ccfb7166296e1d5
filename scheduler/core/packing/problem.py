"""The packing problem as columns: pod classes on nodes, tiers of importance, and the rules between pods.

Replicas with the same owner, shape, rules and cost are one class; a solver may treat them as a count. Pods that must
not move are not here: their requests are already taken off `capacity` and their presence is in the rules' `base`.

A *tier* is what is maximised together, most important first. A *level* is a set of neighbouring tiers after which
`no-harm` freezes disruption. Where a running pod may give way only to a more important one (`keep_equal`), each
priority has two tiers in one level: those that run, then those that wait. Pods that may not preempt
(preemptionPolicy: Never) are last of all: "before a less important waiting pod", "which may displace a running one",
"which a Never pod may not" would be a circle, and last is the only place where Never pods displace nobody.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Small = NDArray[np.int32]
Bools = NDArray[np.bool_]
Order = Literal["no-harm", "max-pack"]
Verdict = Literal["optimal", "feasible", "undecided"]


@dataclass(frozen=True, slots=True, eq=False)
class AntiAffinity:
    """In one domain an owner pod and another pod it repels never meet.

    owners, targets: classes. domain: (N,), -1 where the node has no such label (the rule is void there).
    base_owners, base_targets: (D,) pods that are not part of the problem.
    """

    name: str
    owners: Small
    targets: Small
    domain: Small
    base_owners: Ints
    base_targets: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Affinity:
    """A pod of `owner` placed anew needs a matching pod in its domain that is there before it.

    Before it: a target that stays, a target class that does not wait for the owner in turn (`early`), or a `base` pod.
    If the owner matches itself, it may also open one domain, when all matching pods end up there (Kubernetes' rule
    for the first pod of a group). Staying pods keep a match: where `keeps`, a domain with a staying owner has a target.
    Owner -1 stands for pods that are held where they are: they only keep what they have.

    In a stage's question `base` counts every target that is constant, `anchors` those of them that were there before,
    `new_owners` and `old_owners` the owners that are constant; None where the whole problem is asked about.
    """

    name: str
    owner: int
    targets: Small
    early: Bools
    matches_self: bool
    domain: Small
    base: Ints
    keeps: Bools
    anchors: Ints | None = None
    new_owners: Ints | None = None
    old_owners: Ints | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Where a pod of `owner` is placed anew, the matching pods of its domain exceed the emptiest one's by `max_skew`
    at most; once any is placed anew, no domain is left worse than that or than it was.

    eligible: (D,) domains that count for the minimum; too_few: fewer of them than minDomains, so the minimum is zero.
    present_skew: of the present placement. new_owners: as in Affinity.
    """

    name: str
    owner: int
    targets: Small
    max_skew: int
    domain: Small
    eligible: Bools
    base: Ints
    too_few: bool = False
    present_skew: int = 0
    new_owners: Ints | None = None


def owner_of(rule: Affinity | Spread) -> Small:
    """The class a rule binds to others, as an array; none where its owners are held in place."""
    return np.array([rule.owner] if rule.owner >= 0 else [], dtype=np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class DisruptionBudget:
    """At most `allowed` running pods of these classes may leave their node (a PDB)."""

    name: str
    classes: Small
    allowed: int


@dataclass(frozen=True, slots=True, eq=False)
class Gang:
    """At least `minimum` pods of these classes are placed, or at most `base` (those that run already; usually none)."""

    name: str
    classes: Small
    minimum: int
    base: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """See the module's text.

    capacity: (N, R). demand: (K, R). tier, cost, mask: (K,). allowed: (S, N), `allowed[mask[k], n]` says whether a pod
    of class k may be placed anew on node n. level, priority: per tier. pod_class, home: (M,), home -1 is pending.
    """

    nodes: tuple[str, ...]
    resources: tuple[str, ...]
    capacity: Ints
    demand: Ints
    tier: Small
    cost: Ints
    mask: Small
    allowed: Bools
    level: tuple[int, ...]
    priority: tuple[int, ...]
    pods: tuple[str, ...]
    pod_class: Small
    home: Small
    antis: tuple[AntiAffinity, ...] = ()
    affinities: tuple[Affinity, ...] = ()
    spreads: tuple[Spread, ...] = ()
    budgets: tuple[DisruptionBudget, ...] = ()
    gangs: tuple[Gang, ...] = ()

    def __post_init__(self) -> None:
        n, r = self.capacity.shape
        k, m = len(self.tier), len(self.pod_class)
        if self.demand.shape != (k, r) or len(self.nodes) != n or len(self.home) != m or len(self.pods) != m:
            raise ValueError("columns of different length")
        if k and (self.tier.max() >= len(self.priority) or self.tier.min() < 0):
            raise ValueError("a class is in a tier without priority")
        if m and (self.home.max() >= n or self.home.min() < -1):
            raise ValueError("a pod's home is no row of the nodes")

    @property
    def pod_tier(self) -> Small:
        """(M,) tier of every pod."""
        return self.tier[self.pod_class]

    @property
    def ruled(self) -> Bools:
        """(K,) classes that a rule binds to other pods."""
        out = np.zeros(len(self.tier), dtype=bool)
        for anti in self.antis:
            out[anti.owners] = out[anti.targets] = True
        for affinity in self.affinities:
            out[affinity.targets] = True
            if affinity.owner >= 0:
                out[affinity.owner] = True
        for spread in self.spreads:
            out[spread.owner] = out[spread.targets] = True
        for budget in self.budgets:
            out[budget.classes] = True
        for gang in self.gangs:
            out[gang.classes] = True
        return out

    @property
    def has_rules(self) -> bool:
        """Whether any rule binds several pods together."""
        return bool(self.antis or self.affinities or self.spreads or self.budgets or self.gangs)


def with_demand(problem: Problem, rows: Sequence[int], change: Callable[[Ints], Ints]) -> Problem | None:
    """The problem with other requests of these pods, which get classes of their own; `change` maps (R,) to (R,).

    None where a rule binds one of them to others: rules know pods by their classes, so the snapshot must be read anew.
    """
    classes = np.unique(problem.pod_class[list(rows)])
    if problem.ruled[classes].any():
        return None
    pod_class = problem.pod_class.copy()
    pod_class[list(rows)] = len(problem.tier) + np.searchsorted(classes, problem.pod_class[list(rows)])
    return dataclasses.replace(
        problem,
        demand=np.vstack([problem.demand, *(change(problem.demand[k])[None] for k in classes)]),
        tier=np.append(problem.tier, problem.tier[classes]),
        cost=np.append(problem.cost, problem.cost[classes]),
        mask=np.append(problem.mask, problem.mask[classes]),
        pod_class=pod_class,
    )


def has_no_node(problem: Problem, row: int) -> bool:
    """Whether each node is closed to the pod or too small for it, whatever is moved: then no search is needed."""
    demand = problem.demand[problem.pod_class[row]]
    large_enough = ((demand <= problem.capacity) | (demand == 0)).all(axis=1)
    return not (problem.allowed[problem.mask[problem.pod_class[row]]] & large_enough).any()


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a search may take: seconds of wall clock, or units of counted work (about a second of one core each).

    Counted work repeats itself exactly; wall clock keeps a promise to whoever waits.
    """

    limit: float
    deterministic: bool = False
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if not 0 < self.limit < float("inf"):
            raise ValueError(f"a budget is a positive number of seconds, not {self.limit}")


@dataclass(frozen=True, slots=True)
class TierResult:
    """One priority's outcome: pods in all, placed before and after, the most that can be placed, and whether proven."""

    priority: int
    total: int
    before: int
    placed: int
    bound: int
    proven: bool


@dataclass(slots=True)
class PackingResult:
    """What a search found and what it proved.

    verdict: optimal (every tier proven), feasible (placed, gap open), undecided (waiting pods, none placed, none
    proven impossible). assign: (M,), -1 not placed. moves: pods that run elsewhere; evictions: running pods without a
    place. disruption: their cost; moves_bound: least disruption any plan of the same placement needs.
    """

    verdict: Verdict
    order: Order
    assign: Small
    tiers: list[TierResult]
    moves: int
    evictions: int
    disruption: int
    moves_bound: int
    moves_verdict: Verdict
    seconds: float
    stages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def problem_from_arrays(
    capacity: ArrayLike,
    demand: ArrayLike,
    priority: ArrayLike,
    owner: ArrayLike,
    home: ArrayLike,
    *,
    resources: Sequence[str] = ("cpu", "memory"),
    keep_equal: bool = False,
) -> Problem:
    """A problem without rules between pods, from plain arrays.

    capacity: (N, R). demand: (M, R) per pod. priority, owner, home: (M,), higher priority is more important, home -1
    is pending. keep_equal: a running pod never gives way to a waiting one of its own priority (the paper lets it).
    """
    room = np.asarray(capacity, dtype=np.int64).reshape(-1, len(resources))
    wanted = np.asarray(demand, dtype=np.int64).reshape(-1, len(resources))
    importance = np.asarray(priority, dtype=np.int64)
    now = np.asarray(home, dtype=np.int32)
    waits = (now < 0) if keep_equal else np.zeros(len(now), dtype=bool)
    tiers = sorted({(-int(p), bool(w)) for p, w in zip(importance, waits, strict=True)})
    rank = {key: i for i, key in enumerate(tiers)}
    levels = sorted({p for p, _ in tiers})
    pod_tier = np.array([rank[-int(p), bool(w)] for p, w in zip(importance, waits, strict=True)], dtype=np.int64)
    keys = np.column_stack([np.asarray(owner, dtype=np.int64), pod_tier, wanted]) if len(now) else np.zeros((0, 4))
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return Problem(
        nodes=tuple(f"node-{i}" for i in range(len(room))),
        resources=tuple(resources),
        capacity=room,
        demand=np.ascontiguousarray(wanted[first]),
        tier=pod_tier[first].astype(np.int32),
        cost=np.ones(len(first), dtype=np.int64),
        mask=np.zeros(len(first), dtype=np.int32),
        allowed=np.ones((1, len(room)), dtype=bool),
        level=tuple(levels.index(p) for p, _ in tiers),
        priority=tuple(-p for p, _ in tiers),
        pods=tuple(f"pod-{i}" for i in range(len(now))),
        pod_class=inverse.reshape(-1).astype(np.int32),
        home=now,
    )
