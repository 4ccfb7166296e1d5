"""A cluster as a balancing instance: what loads its nodes, above what one is overloaded, and which pods may move.

What may move is decided where `packing` decides it (`make_packing`): a pod without a controller, of a DaemonSet, with
local storage, with a rule that is not modelled, or whose disruption budget is used up stays. Beyond that, balancing
knows no rules between pods: a pod that affinity, anti-affinity or spreading binds to others, or that has a port of its
node, stays as well, and of a disruption budget no more pods may move than it allows now.

A node is overloaded above a share (`Limit.target`) of what it offers, by what its pods request or by what they use. Of
all that is not limited a node takes what it has: there nothing arrives that the scheduler would refuse, as far as pods
come one by one (`executable` looks at all of them).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from scheduler.core.balance.move_price import UsualMove, price_moves
from scheduler.core.balance.problem import MOST, WAITING, Instance
from scheduler.core.columns import Codes, Ints, Mask, amounts_of
from scheduler.core.errors import StowageInputError
from scheduler.core.packing.from_snapshot import Packing, make_packing
from scheduler.core.packing.rules import Rule, classes_of
from scheduler.core.snapshot import Snapshot

Load = Literal["requests", "use"]
Use = Mapping[str, Mapping[str, int]]
PODS_UNLESS_STATED = 110  # the kubelet's own default
LARGEST = 2**46  # amounts beyond it count as this much, so that no sum over a cluster leaves 64 bits


@dataclass(frozen=True, slots=True)
class Limit:
    """Above what a node is overloaded: a share of what it offers of each of these resources.

    target: in (0, 1]. load: what is held against it; pods of which no use is known count with their requests.
    Raises StowageInputError.
    """

    target: float = 1.0
    resources: tuple[str, ...] = ("cpu", "memory")
    load: Load = "requests"

    def __post_init__(self) -> None:
        if not 0 < self.target <= 1:
            raise StowageInputError(f"the target is {self.target}: a share of a node, above 0 and at most 1")
        if not self.resources or len(set(self.resources)) < len(self.resources):
            raise StowageInputError(f"the limited resources are {list(self.resources)}: at least one, each once")
        if self.load not in get_args(Load):
            raise StowageInputError(f"the load is {self.load!r}; there are {', '.join(get_args(Load))}")


@dataclass(frozen=True, slots=True, eq=False)
class Balancing:
    """A snapshot's instance and what was held back.

    packing: the same cluster with all its rules. row: (T,) of each task, its row in `packing.problem`, -1 for pods that
    have none. loads: basis -> (T, L) what counts against the limit; `use` only where it is known. offered: (N, L) what
    the limit is a share of. pinned: pod -> why it stays. refused: pod -> why it cannot be migrated; it stays as well.
    """

    packing: Packing
    limit: Limit
    instance: Instance
    row: Codes
    loads: Mapping[Load, Ints]
    offered: Ints
    pinned: Mapping[str, str]
    refused: Mapping[str, str]

    def shares(self, basis: Load, at: Codes) -> np.ndarray:
        """(N, L) of what each node offers, what this placement loads it with; a node that offers nothing is at 0."""
        load = np.zeros_like(self.offered)
        placed = at != WAITING
        np.add.at(load, at[placed], self.loads[basis][placed])
        return np.asarray(np.where(self.offered > 0, load / np.maximum(self.offered, 1), 0.0))


def make_balancing(
    snapshot: Snapshot,
    limit: Limit | None = None,
    use: Use | None = None,
    move: UsualMove | None = None,
    *,
    with_waiting: bool = True,
) -> Balancing:
    """The balancing instance of a snapshot.

    A pod that moves is ended and started anew, which costs the memory it requests in MiB, at least 1; with `move` it
    is migrated live like this, and stays where that is refused. Either way it costs so much times its move-cost.
    use: by namespace/name, in the snapshot's units. with_waiting: pods without a node are placed where there is room.
    Raises StowageInputError where the load is use and none is known.
    """
    limit = limit or Limit()
    if limit.load == "use" and use is None:
        raise StowageInputError("the load is use, and no use of pods is known")
    packing = make_packing(snapshot)
    in_problem = {i: row for row, i in enumerate(packing.rows)}
    wanted = [i for i, pod in enumerate(snapshot.pods) if pod.node is not None or (with_waiting and i in in_problem)]
    pods = [snapshot.pods[i] for i in wanted]
    node_row = {node.name: n for n, node in enumerate(snapshot.nodes)}
    home = np.array([WAITING if pod.node is None else node_row[pod.node] for pod in pods], np.int32)
    resources = sorted({"cpu", "memory", "pods", *limit.resources, *(name for pod in pods for name in pod.requests)})
    request = _amounts([{**pod.requests, "pods": 1} for pod in pods], resources, up=True)
    stated = [{"pods": PODS_UNLESS_STATED, **node.allocatable} for node in snapshot.nodes]
    offer = _amounts(stated, resources, up=False)
    limited = [resources.index(name) for name in limit.resources]
    loads: dict[Load, Ints] = {"requests": request[:, limited]}
    if use is not None:
        used = [{**pod.requests, **use.get(pod.key, {})} for pod in pods]
        loads["use"] = _amounts(used, limit.resources, up=True)
    offered = offer[:, limited]
    ceiling = np.floor(offered * limit.target).astype(np.int64)
    held = np.zeros_like(offer)
    np.add.at(held, home[home != WAITING], request[home != WAITING])
    capacity = np.maximum(offer, held)  # what runs may stay
    if limit.load == "requests":
        capacity[:, limited], load = ceiling, request
    else:
        resources += [f"{name} in use" for name in limit.resources]
        capacity, load = np.hstack([capacity, ceiling]), np.hstack([request, loads["use"]])
    load, capacity = _in_units(load, capacity)
    row = np.array([in_problem.get(i, -1) for i in wanted], np.int32)
    pinned = dict(packing.pinned)
    pinned |= _bound_pods(packing)
    pinned |= _beyond_budgets(packing, pinned, _sickness(home, load, capacity))
    problem = packing.problem
    classes = problem.pod_class[np.maximum(row, 0)] if len(problem.pods) else np.zeros(len(pods), np.int32)
    memory = request[:, resources.index("memory")]
    weight = problem.cost[classes] if len(problem.cost) else np.ones(len(pods), np.int64)
    price, refused = np.maximum(memory, 1), {}
    if move is not None:
        prices, reasons = price_moves(memory.tolist(), move)
        price = np.array(prices, np.int64)
        refused = {pod.key: why for pod, why in zip(pods, reasons, strict=True) if why and pod.node is not None}
    cost = np.minimum(np.minimum(price, MOST) * weight, MOST // max(len(pods), 1))
    nowhere = len(problem.allowed)
    instance = Instance(
        nodes=np.array([node.name for node in snapshot.nodes], np.str_),
        resources=tuple(resources),
        capacity=capacity,
        tasks=np.array([pod.key for pod in pods], np.str_),
        request=load,
        use=load,
        home=home,
        cost=np.where((home == WAITING) | (row < 0), home != WAITING, cost).astype(np.int64),
        priority=np.array([max(pod.priority, 0) for pod in pods], np.int64),
        pinned=np.array([pod.key in pinned or pod.key in refused for pod in pods], np.bool_),
        mask=np.where(row < 0, nowhere, problem.mask[classes] if len(problem.mask) else nowhere).astype(np.int32),
        allowed=np.vstack([problem.allowed, np.zeros((1, len(snapshot.nodes)), np.bool_)]),
        group=np.full(len(pods), -1, np.int32),
    )
    return Balancing(packing, limit, instance, row, loads, offered, pinned, refused)


def _amounts(rows: Sequence[Mapping[str, int]], resources: Sequence[str], *, up: bool) -> Ints:
    return amounts_of([{k: min(v, LARGEST) for k, v in row.items()} for row in rows], resources, up=up)


def _in_units(load: Ints, capacity: Ints) -> tuple[Ints, Ints]:
    """The same in units so large that no column's total is more than can be counted; hardly any needs one."""
    total = np.maximum(load.astype(np.float64).sum(axis=0), capacity.astype(np.float64).sum(axis=0))
    unit = np.ceil(np.maximum(2 * total / MOST, 1)).astype(np.int64)
    return -(-load // unit), capacity // unit


def _bound_pods(packing: Packing) -> dict[str, str]:
    """Pods of the problem with a rule that balancing does not know."""
    problem, pods = packing.problem, packing.snapshot.pods
    bound = np.zeros(len(problem.tier), np.bool_)
    rules: tuple[Rule, ...] = (*problem.antis, *problem.affinities, *problem.spreads)
    for rule in rules:
        bound[classes_of(rule)] = True
    why = {}
    for row, i in enumerate(packing.rows):
        if bound[problem.pod_class[row]]:
            why[pods[i].key] = "affinity, anti-affinity or spreading binds it to others: not modelled by balancing"
        elif pods[i].host_ports:
            why[pods[i].key] = "it has a port of its node: not modelled by balancing"
    return why


def _sickness(home: Codes, load: Ints, capacity: Ints) -> np.ndarray:
    """(N,) by what share a node is overloaded, over all resources."""
    carried = np.zeros_like(capacity)
    np.add.at(carried, home[home != WAITING], load[home != WAITING])
    return np.asarray((np.maximum(carried - capacity, 0) / np.maximum(capacity, 1)).sum(axis=1))


def _beyond_budgets(packing: Packing, pinned: Mapping[str, str], sickness: np.ndarray) -> dict[str, str]:
    """Of each disruption budget, the pods beyond those it lets go: these are from the worst nodes, cheapest first."""
    problem, why = packing.problem, {}
    for budget in problem.budgets:
        mine: Mask = np.isin(problem.pod_class, budget.classes) & (problem.home != WAITING)
        rows = [row for row in np.flatnonzero(mine).tolist() if problem.pods[row] not in pinned]
        rows.sort(key=lambda row: (-sickness[problem.home[row]], int(problem.cost[problem.pod_class[row]]), row))
        for row in rows[max(budget.allowed, 0) :]:
            why[problem.pods[row]] = f'disruption budget "{budget.name}" lets {budget.allowed} go now, not this one too'
    return why
