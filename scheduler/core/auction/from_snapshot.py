"""A cluster's own market: what its pods, running and waiting, bid for its nodes; and what that makes nodes cost.

All pods that a scheduler of ours places take part, not only those that wait: room costs what it is worth to the next
one that would have it, and whoever runs is part of that. (Waiting pods against free room alone would make every price
nothing whenever nobody waits, and every full node free.) A running pod bids for where it is, and for other nodes less
by what moving costs; so room that is held by a pod of little worth still costs the others at least that difference.

Nodes that no pod can tell apart are sold as one *pool*: the linear relaxation, whose duals are the prices, has the same
value for the summed room of nodes that are alike as for the nodes one by one (a higher one, still a bound, where pods
of others use them unevenly). So every pod may list every pool, equal nodes cost the same, and which node within a pool
is left to the scoring policy. Affinity and spreading between pods are not modelled: a price is a wish, the scheduler
decides.

The currency: 1 is what a pod of priority 0 bids for a *bundle*, the most that any node has of each resource.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from scheduler.core.auction.budgets import budgets_of, within_budgets
from scheduler.core.auction.charges import weigh
from scheduler.core.auction.market import UNPLACED, Floats, Market
from scheduler.core.auction.prices import reserve_price
from scheduler.core.columns import Codes, Ints, amounts_of
from scheduler.core.errors import StowageInputError
from scheduler.core.packing.selectors import affinity_accepts, untolerated
from scheduler.core.snapshot import Node, Pod, Snapshot

MOVE_SHARE = 0.25
"""Of a running pod's bid, what it would give less for another pool: a start anew is not worth that much of it."""
MOST_OFFERS = 64
"""Pools that a pod lists; of more, the one it runs in and others evenly, a different choice for each pod."""
LIKENESS = math.log(1.05)
"""Nodes whose amounts differ by less than about this are of one size: the kernel reserves a little more or less."""


def why_refused(what: str, amount: float) -> str:
    """The rule that a bid, budget or weight breaks; empty where it is sound. A weight of 0 would be a budget of 0."""
    if not math.isfinite(amount):
        return f"a {what} is a finite number"
    if amount < 0 or (what == "weight" and amount == 0):
        return f"a {what} is {'above' if what == 'weight' else 'at least'} 0"
    return ""


@dataclass(frozen=True, slots=True)
class Terms:
    """Who takes part, and what people have decided about it.

    pods: those of our scheduler, namespace/name; others only use room. bids: by pod, instead of what its priority
    says; at least 0. weights: by namespace, above 0, multiply its pods' bids. budgets: by namespace, at least 0, the
    most that its pods bid together; beyond it each bids less in proportion. Raises StowageInputError.
    """

    pods: frozenset[str]
    bids: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    budgets: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, amounts in (("bid", self.bids), ("budget", self.budgets), ("weight", self.weights)):
            for name, amount in sorted(amounts.items()):
                if why := why_refused(what, amount):
                    raise StowageInputError(f"the {what} of {name} is {amount}; {why}")


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """market: row n of its nodes is pool n, requests are pods, tenants their namespaces.

    pools: names of the nodes of each pool. bundle: (R,) the most that any node has of each resource. utilisation: (N,)
    share of a pool that is requested, by its scarcest resource, by whoever; in [0, 1]. waits: (J,) pods without a node.
    """

    market: Market
    pools: tuple[tuple[str, ...], ...]
    bundle: Ints
    utilisation: Floats
    waits: tuple[bool, ...]

    def contended(self, unit_price: Floats) -> Floats:
        """(N, R), these prices where they mean something: nothing for what all who bid for it could not use up.

        Prices of a linear relaxation do that by themselves, but for what nobody bids for or a pool has none of: there
        any price is as good to the solver.
        """
        wanted = np.zeros_like(self.market.room)
        np.add.at(wanted, self.market.node, self.market.demand[self.market.offer_request()])
        return np.where(wanted > self.market.room, unit_price, 0.0)

    def pool_prices(self, unit_price: Floats, reserve: float = 0.0) -> Floats:
        """(N,) what a bundle costs in each pool at these prices per unit, (N, R): one figure, whatever a pod needs.

        reserve: what it costs at least at a certain utilisation, more above it and less below, see
        `prices.reserve_price`. Utilisation counts in whole tenths: a price should not change with each pod that comes.
        """
        tenths = np.round(self.utilisation, 1)[:, np.newaxis]
        least = reserve_price(tenths, np.array([reserve]))[:, 0]
        return np.maximum(unit_price @ self.bundle.astype(np.float64), least)

    def keep_running(self, at: Codes) -> Codes:
        """The same winners, but that of pods that need and bid alike those that run win before those that wait.

        To the market they are one; a person who is told that a waiting pod won where an equal one runs is misled. at:
        (J,) as an outcome has it. Gangs stay as they are.
        """
        market, kept = self.market, at.copy()
        waiting: dict[tuple[int, bytes, float], list[int]] = {}
        for j in np.flatnonzero((at >= 0) & np.array(self.waits, np.bool_) & (market.gang < 0)).tolist():
            waiting.setdefault(self._seat(j, int(at[j])), []).append(j)
        for j in np.flatnonzero((at < 0) & ~np.array(self.waits, np.bool_) & (market.gang < 0)).tolist():
            for n in market.node[market.first[j] : market.first[j + 1]].tolist():
                alike = waiting.get(self._seat(j, n))
                if alike:
                    kept[alike.pop()], kept[j] = UNPLACED, n
                    break
        return kept

    def _seat(self, request: int, node: int) -> tuple[int, bytes, float]:
        """What makes two requests alike there: the node, what they need, what they bid for it."""
        market = self.market
        offers = slice(int(market.first[request]), int(market.first[request + 1]))
        bid = market.value[offers][market.node[offers] == node]
        return node, market.demand[request].tobytes(), float(bid[0])

    def sizes(self) -> Floats:
        """(J,) the largest share of a bundle that each pod asks for."""
        return _sizes(self.market.demand, self.bundle)


def make_round(snapshot: Snapshot, terms: Terms) -> Round:
    """The market of a cluster: its nodes in service, the pods named by `terms`.

    Cordoned and unready nodes are not for sale, nor do pods that stand on them bid. Pods that are going, or held back
    by a gate of somebody else, do not bid either. A gang of which fewer pods are there than it needs stays out.
    """
    nodes = [node for node in snapshot.nodes if node.ready and not node.unschedulable]
    row = {node.name: n for n, node in enumerate(nodes)}
    bidders = _bidders(snapshot, terms, row)
    resources = _resources(bidders)
    allocatable = amounts_of([_offered(node) for node in nodes], resources, up=False)
    others = [p for p in snapshot.pods if p.node in row and not p.terminating and p.key not in terms.pods]
    taken = _per_node(others, resources, row, len(nodes))
    demand = amounts_of([_wanted(pod) for pod in bidders], resources, up=True)
    bundle = allocatable.max(axis=0, initial=0)

    kind, kinds = _kinds(bidders)
    pool, accepts = _pools(nodes, allocatable, [bidders[j] for j in kinds])
    count = int(pool.max(initial=-1)) + 1
    room, most = np.zeros((count, len(resources)), np.int64), np.zeros((count, len(resources)), np.int64)
    free = np.maximum(allocatable - taken, 0)
    np.add.at(room, pool, free)
    np.maximum.at(most, pool, free)
    home = [int(pool[row[pod.node]]) if pod.node is not None else -1 for pod in bidders]
    worth = _worth(bidders, demand, bundle, terms.bids)
    first, listed, value, unlisted = _offers(demand, home, worth, most, accepts[kind])
    tenants = sorted({pod.namespace for pod in bidders})
    number = {namespace: t for t, namespace in enumerate(tenants)}
    names: list[list[str]] = [[] for _ in range(count)]
    for n, node in enumerate(nodes):
        names[pool[n]].append(node.name)
    market = Market(
        nodes=np.array([one[0] for one in names], np.str_),
        room=room,
        requests=np.array([pod.key for pod in bidders], np.str_),
        demand=demand,
        resources=tuple(resources),
        tenants=tuple(tenants),
        tenant=np.array([number[pod.namespace] for pod in bidders], np.int32),
        first=first,
        node=listed,
        value=value,
        gang=_gangs(bidders),
        unlisted=unlisted,
    )
    factor = np.array([terms.weights.get(namespace, 1.0) for namespace in tenants], np.float64)
    known = {namespace: budget for namespace, budget in terms.budgets.items() if namespace in number}
    weighed = weigh(market, factor)
    market = within_budgets(weighed, budgets_of(weighed, known))
    used = taken + _per_node([p for p in bidders if p.node is not None], resources, row, len(nodes))
    return Round(
        market, tuple(map(tuple, names)), bundle, _utilisation(used, allocatable, pool, count),
        tuple(pod.node is None for pod in bidders),
    )  # fmt: skip


def rate_of(priority: int) -> float:
    """What a pod bids for a bundle by its priority alone: 1 at 0, one more for each power of ten, less below 0.

    Priorities run to two billion and only their order means anything; a bid in proportion would let one class of pods
    set every price.
    """
    power = math.log10(1 + abs(priority))
    return 1.0 + power if priority >= 0 else 1.0 / (1.0 + power)


def _bidders(snapshot: Snapshot, terms: Terms, row: Mapping[str, int]) -> list[Pod]:
    """Pods that bid, by name."""
    found = []
    for pod in snapshot.pods:
        if pod.key not in terms.pods or pod.terminating:
            continue
        if pod.node in row or (pod.node is None and all(gate.startswith("stowage.dev/") for gate in pod.gates)):
            found.append(pod)
    present: dict[str, int] = {}
    for pod in found:
        present[pod.gang] = present.get(pod.gang, 0) + 1
    return [pod for pod in found if not pod.gang or pod.node is not None or present[pod.gang] >= pod.gang_size]


def _resources(bidders: list[Pod]) -> list[str]:
    named = {name for pod in bidders for name, amount in pod.requests.items() if amount}
    return ["cpu", "memory", "pods", *sorted(named - {"cpu", "memory", "pods"})]


def _offered(node: Node) -> dict[str, int]:
    return {"pods": 110, **node.allocatable}  # the kubelet's own default


def _wanted(pod: Pod) -> dict[str, int]:
    return {**pod.requests, "pods": 1}


def _per_node(pods: list[Pod], resources: list[str], row: Mapping[str, int], count: int) -> Ints:
    """(nodes, R), what these bound pods ask for."""
    out = np.zeros((count, len(resources)), np.int64)
    at = np.array([row[pod.node] for pod in pods if pod.node is not None], np.int64)
    np.add.at(out, at, amounts_of([_wanted(pod) for pod in pods], resources, up=True))
    return out


def _kinds(bidders: list[Pod]) -> tuple[Ints, list[int]]:
    """(kind of every pod, an example pod of each kind): alike are pods that the same nodes accept, room aside."""
    kind = np.zeros(len(bidders), np.int64)
    seen: dict[bytes, int] = {}
    examples: list[int] = []
    for j, pod in enumerate(bidders):
        wishes = (sorted(pod.node_selector.items()), pod.affinity.node_affinity, pod.tolerations)
        kind[j] = seen.setdefault(msgspec.msgpack.encode(wishes), len(examples))
        if kind[j] == len(examples):
            examples.append(j)
    return kind, examples


def _pools(nodes: list[Node], allocatable: Ints, kinds: list[Pod]) -> tuple[Codes, NDArray[np.bool_]]:
    """(pool of every node, (kinds, pools) whether it accepts them): of a pool are nodes of one size, alike to all.

    Pools are numbered in order of their first node's name.
    """
    keys, named = _keys_looked_at(kinds)
    looks: dict[object, tuple[bool, ...]] = {}
    pools: dict[object, int] = {}
    pool = np.zeros(len(nodes), np.int32)
    accepts: list[tuple[bool, ...]] = []
    sizes = np.rint(np.log(np.maximum(allocatable, 1)) / LIKENESS).astype(np.int64)
    for n, node in enumerate(nodes):
        shown = (
            tuple(node.labels.get(key) for key in keys), tuple((t.key, t.value, t.effect) for t in node.taints),
            node.name if node.name in named else "",
        )  # fmt: skip
        if shown not in looks:
            looks[shown] = tuple(untolerated(pod, node) is None and affinity_accepts(pod, node) for pod in kinds)
        whole = (looks[shown], *sizes[n].tolist())
        pool[n] = pools.setdefault(whole, len(pools))
        if pool[n] == len(accepts):
            accepts.append(looks[shown])
    return pool, np.array(accepts, np.bool_).reshape(len(pools), len(kinds)).T


def _keys_looked_at(kinds: list[Pod]) -> tuple[list[str], set[str]]:
    """(label keys, node names) that any of these pods chooses nodes by."""
    keys: set[str] = set()
    names: set[str] = set()
    for pod in kinds:
        keys.update(pod.node_selector)
        affinity = pod.affinity.node_affinity
        for term in (affinity.required.node_selector_terms if affinity and affinity.required else None) or ():
            keys.update(one.key for one in term.match_expressions or ())
            names.update(name for one in term.match_fields or () for name in one.values or ())
    return sorted(keys), names


def _sizes(demand: Ints, bundle: Ints) -> Floats:
    return np.asarray((demand / np.maximum(bundle, 1)).max(axis=1, initial=0.0))


def _worth(bidders: list[Pod], demand: Ints, bundle: Ints, bids: Mapping[str, float]) -> Floats:
    """(J,) what each pod bids for a place, before weights and budgets."""
    rates = np.array([rate_of(pod.priority) for pod in bidders], np.float64)
    own = np.array([bids.get(pod.key, np.nan) for pod in bidders], np.float64)
    return np.where(np.isnan(own), _sizes(demand, bundle) * rates, own)


def _offers(
    demand: Ints, home: list[int], worth: Floats, most: Ints, accepts: NDArray[np.bool_]
) -> tuple[Ints, Codes, Floats, Floats]:
    """(first, node, value, unlisted) of the market. most: (N, R), free of the roomiest node. accepts: (J, N)."""
    listed: list[Codes] = []
    values: list[Floats] = []
    unlisted = np.zeros(len(home))
    fitting: dict[bytes, NDArray[np.bool_]] = {}
    for j in range(len(home)):
        shape = demand[j].tobytes()
        if shape not in fitting:
            fitting[shape] = (most >= demand[j]).all(axis=1)
        elsewhere = worth[j] * (1 - MOVE_SHARE) if home[j] >= 0 else worth[j]
        pools = np.flatnonzero(accepts[j] & fitting[shape])
        if len(pools) > MOST_OFFERS:
            pools = pools[(j + np.arange(MOST_OFFERS) * len(pools) // MOST_OFFERS) % len(pools)]
            unlisted[j] = elsewhere
        if home[j] >= 0:
            pools = np.append(pools, home[j])
        pools = np.unique(pools)
        listed.append(pools.astype(np.int32))
        values.append(np.where(pools == home[j], worth[j], elsewhere))
    first = np.cumsum([0, *map(len, listed)]).astype(np.int64)
    if not listed:
        return first, np.zeros(0, np.int32), np.zeros(0), unlisted
    return first, np.concatenate(listed), np.concatenate(values), unlisted


def _gangs(bidders: list[Pod]) -> Codes:
    """(J,) number of the gang of each pod that waits, -1 for others: who runs already is placed one by one."""
    numbers: dict[str, int] = {}
    gangs = [numbers.setdefault(p.gang, len(numbers)) if p.gang and p.node is None else -1 for p in bidders]
    return np.array(gangs, np.int32)


def _utilisation(used: Ints, allocatable: Ints, pool: Codes, count: int) -> Floats:
    sums = np.zeros((2, count, allocatable.shape[1]))
    np.add.at(sums[0], pool, used)
    np.add.at(sums[1], pool, allocatable)
    share = np.divide(sums[0], sums[1], out=np.zeros_like(sums[0]), where=sums[1] > 0)
    return np.asarray(np.minimum(share.max(axis=1, initial=0.0), 1.0))
