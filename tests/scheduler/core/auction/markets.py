"""Small markets for tests: by hand, at random, and the best allocation by trying all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scheduler.core.auction.market import UNPLACED, Market, Outcome, broken_rules


def a_market(
    room: Mapping[str, Sequence[int]],
    requests: Mapping[str, tuple[Sequence[int], Mapping[str, float]]],
    *,
    tenants: Mapping[str, str] | None = None,
    gangs: Mapping[str, int] | None = None,
    exclusive: bool = False,
) -> Market:
    """room: by node. requests: demand, and bids by node. tenants, gangs: by request; a tenant each, no gangs."""
    nodes, names = sorted(room), sorted(requests)
    owner = {name: (tenants or {}).get(name, f"tenant-of-{name}") for name in names}
    who = tuple(sorted(set(owner.values())))
    offers = [sorted((nodes.index(n), value) for n, value in requests[name][1].items()) for name in names]
    width = len(next(iter(room.values())))
    return Market(
        nodes=np.array(nodes, np.str_),
        room=np.array([room[n] for n in nodes], np.int64).reshape(len(nodes), width),
        requests=np.array(names, np.str_),
        demand=np.array([requests[name][0] for name in names], np.int64).reshape(len(names), width),
        resources=tuple(f"resource-{r}" for r in range(width)),
        tenants=who,
        tenant=np.array([who.index(owner[name]) for name in names], np.int32),
        first=np.cumsum([0, *map(len, offers)]).astype(np.int64),
        node=np.array([n for one in offers for n, _ in one], np.int32),
        value=np.array([value for one in offers for _, value in one], np.float64),
        gang=np.array([(gangs or {}).get(name, -1) for name in names], np.int32),
        unlisted=np.zeros(len(names)),
        exclusive=exclusive,
    )


def random_market(
    rng: np.random.Generator,
    requests: int = 6,
    nodes: int = 4,
    resources: int = 2,
    *,
    exclusive: bool = False,
    gangs: bool = False,
    tenants: int = 3,
) -> Market:
    """A contended market; some nodes too small, some offers missing, bids equal or nothing. A gang has one tenant."""
    owner = rng.integers(tenants, size=requests)
    group = rng.integers(3, size=requests) if gangs else np.full(requests, -1)
    owner = np.where(group > 0, group % tenants, owner)
    return a_market(
        {f"node-{n}": rng.integers(0, 8, resources).tolist() for n in range(nodes)},
        {
            f"request-{j}": (
                rng.integers(0, 5, resources).tolist(),
                {f"node-{n}": float(rng.integers(0, 10)) for n in range(nodes) if rng.random() < 0.8},
            )
            for j in range(requests)
        },
        tenants={f"request-{j}": f"tenant-{owner[j]}" for j in range(requests)},
        gangs={f"request-{j}": int(group[j]) for j in range(requests) if group[j] > 0},
        exclusive=exclusive,
    )


def best_by_trying_all(market: Market) -> float:
    """The most any allocation is worth. For at most some ten thousand combinations."""
    return solve_by_trying_all(market).welfare


def solve_by_trying_all(market: Market) -> Outcome:
    """The first best allocation, without prices; what cannot be worth more is left out. For a dozen requests or so."""
    count = len(market.requests)
    offers = [slice(market.first[j], market.first[j + 1]) for j in range(count)]
    choices = [
        [(UNPLACED, 0.0), *zip(market.node[rows].tolist(), market.value[rows].tolist(), strict=True)] for rows in offers
    ]
    hope = np.cumsum([0.0, *(max(value for _, value in choices[j]) for j in reversed(range(count)))])[::-1]
    best, best_at = 0.0, np.full(count, UNPLACED, np.int32)
    at = best_at.copy()

    def go_on(j: int, worth: float, room: np.ndarray) -> None:
        nonlocal best, best_at
        if worth + hope[j] <= best:
            return
        if j == count:
            if not broken_rules(market, at):
                best, best_at = worth, at.copy()
            return
        for n, value in choices[j]:
            if n != UNPLACED and (market.demand[j] > room[n]).any():
                continue
            left = room.copy()
            if n != UNPLACED:
                left[n] -= market.demand[j]
            at[j] = n
            go_on(j + 1, worth + value, left)
        at[j] = UNPLACED

    go_on(0, 0.0, market.room)
    nodes, resources = market.room.shape
    return Outcome(best_at, best, best, np.zeros(nodes), np.zeros((nodes, resources)), "optimal")
