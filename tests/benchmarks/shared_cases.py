"""Markets with four resources after the law of MOHAF's instance, of any size.

As published (`scheduler.core.auction.paper_instance`): a machine for every four requests, positions uniform in a
square, cost, availability, reliability and energy uniform in their ranges, the utility of the paper's text, scheduling
classes as frequent as in its 3,553 jobs. Ours: every machine draws a capacity in [0.5, 1) for each of four resources
and not for one; a request of class c asks for c thirds of CPU, as published, and for 0 to c thirds, uniformly, of each
of memory, disk and network. The utility reads the CPU share, as the published one reads its only resource.

The fine law differs in its amounts: thousandths of a third, and what was a number of thirds, of CPU too, is drawn
uniformly from nothing up to it. Hardly two requests are alike, and none fills what another leaves to the last bit.

A request may use every machine that can hold it. A market lists some pairs; `all_pairs_bound` counts every one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scheduler.core.auction.market import Floats, Market
from scheduler.core.auction.paper_instance import DRAWN, PRIORITY, REACH, REQUESTS_PER_MACHINE, SIDE, UTILITIES
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled

PAPER_CLASSES = (747, 955, 1123, 728)
RESOURCES = ("cpu", "memory", "disk", "network")
TENANTS = 100
THIRDS, FINE = 3, 3_000  # parts of the largest machine in which amounts are counted
NEARNESS = 0.5 * UTILITIES["paper"].qos / REACH  # what a unit of distance takes from a bid


@dataclass(frozen=True, slots=True, eq=False)
class FourResources:
    """Columns: demand (J, 4) and room (N, 4) in parts, positions (rows, 2), and the utility's parts.

    steady: (N,) what a machine's quality and energy give anybody; dear: (N,), share: (J,): their product is what the
    machine's price takes.
    """

    demand: Ints
    room: Ints
    request_position: Floats
    machine_position: Floats
    steady: Floats
    dear: Floats
    share: Floats
    tenant: Codes


def draw_case(requests: int, seed: int, parts: int = THIRDS) -> FourResources:
    """The law above; parts: THIRDS, or FINE."""
    rng = np.random.default_rng(seed)
    machines = requests // REQUESTS_PER_MACHINE
    rule = UTILITIES["paper"]
    capacity, cost, _, _, availability, reliability, energy = DRAWN
    job_class = rng.choice(len(PAPER_CLASSES), requests, p=np.array(PAPER_CLASSES) / sum(PAPER_CLASSES))
    most = job_class * (parts // THIRDS)
    others = [rng.integers(0, most + 1) for _ in RESOURCES[1:]]
    cpu = job_class if parts == THIRDS else rng.integers(0, most + 1)
    size = job_class / 3
    budget = 20 * size + 5 * PRIORITY
    quality = 0.5 * (rng.uniform(*availability, machines) + rng.uniform(*reliability, machines))
    return FourResources(
        demand=np.column_stack([cpu, *others]).astype(np.int64),
        room=np.floor(rng.uniform(*capacity, (machines, len(RESOURCES))) * parts).astype(np.int64),
        request_position=rng.uniform(*SIDE, (requests, 2)),
        machine_position=rng.uniform(*SIDE, (machines, 2)),
        steady=rule.cost + 0.5 * rule.qos * (quality + 1) + rule.energy * rng.uniform(*energy, machines)
        + rule.fairness * PRIORITY / 10,
        dear=rule.cost * rng.uniform(*cost, machines),
        share=size / budget,
        tenant=rng.integers(TENANTS, size=requests).astype(np.int32),
    )  # fmt: skip


def nearest_pairs(case: FourResources, listed: int) -> Ints:
    """The nearest machines that can hold each request, as keys of pairs: request times machines plus machine."""
    flat = np.zeros(len(case.room))
    return _best(case, np.zeros(case.room.shape), flat, flat, listed)[0]


def profitable_pairs(case: FourResources, price: Floats, listed: int) -> tuple[Ints, Floats]:
    """The most profitable machines of each request among all, at prices per part: (N, 4), as keys of pairs; and the
    highest profit of each request."""
    return _best(case, price, case.steady, case.dear, listed)


def market_of_pairs(case: FourResources, pairs: Ints) -> Market:
    """The market in which requests bid for these machines and no others. pairs: ascending keys."""
    requests, machines = len(case.demand), len(case.room)
    request, node = np.divmod(pairs, machines)
    apart = np.hypot(*(case.request_position[request] - case.machine_position[node]).T)
    width = len(str(requests))
    return Market(
        nodes=np.array([f"machine-{n:0{width}d}" for n in range(machines)]),
        room=case.room,
        requests=np.array([f"request-{j:0{width}d}" for j in range(requests)]),
        demand=case.demand,
        resources=RESOURCES,
        tenants=tuple(f"tenant-{t:02d}" for t in range(TENANTS)),
        tenant=case.tenant,
        first=np.searchsorted(request, np.arange(requests + 1)).astype(np.int64),
        node=node.astype(np.int32),
        value=case.steady[node] - case.dear[node] * case.share[request] - NEARNESS * np.minimum(apart, REACH),
        gang=np.full(requests, -1, np.int32),
        unlisted=np.zeros(requests),
    )


def all_pairs_bound(price: Floats, room: Ints, profit: Floats) -> float:
    """What no allocation exceeds, listed or not: weak duality. room: (N, 4) that can be used. profit: (J,) the highest
    of each request over all machines at these prices."""
    return float(np.maximum(profit, 0).sum() + (room * price).sum())


def _best(case: FourResources, price: Floats, steady: Floats, dear: Floats, listed: int) -> tuple[Ints, Floats]:
    requests, machines = len(case.demand), len(case.room)
    node = np.full((requests, listed), -1, np.int32)
    best = np.empty(requests)
    places = case.request_position, case.machine_position
    _best_pairs(case.demand, case.room, *places, steady, dear, case.share, price, node, best)
    keys = np.arange(requests)[:, None] * machines + node
    return np.sort(keys[node >= 0]), best


@compiled
def _best_pairs(
    demand: Ints,
    room: Ints,
    where: Floats,
    place: Floats,
    steady: Floats,
    dear: Floats,
    share: Floats,
    price: Floats,
    node: Codes,
    best: Floats,
) -> None:
    """Fill in the most profitable machines of each request, best first, and the highest profit."""
    most = node.shape[1]
    profit = np.empty(most)
    for j in range(len(demand)):
        size = 0
        best[j] = -np.inf
        for n in range(len(room)):
            met = 0.0
            fits = True
            for r in range(room.shape[1]):
                fits &= demand[j, r] <= room[n, r]
                met += demand[j, r] * price[n, r]
            if not fits:
                continue
            apart = np.sqrt((where[j, 0] - place[n, 0]) ** 2 + (where[j, 1] - place[n, 1]) ** 2)
            worth = steady[n] - dear[n] * share[j] - NEARNESS * min(apart, REACH) - met
            if size == most and worth <= profit[most - 1]:
                continue
            best[j] = max(best[j], worth)
            i = min(size, most - 1)
            while i > 0 and profit[i - 1] < worth:
                profit[i] = profit[i - 1]
                node[j, i] = node[j, i - 1]
                i -= 1
            profit[i] = worth
            node[j, i] = n
            size = min(size + 1, most)
