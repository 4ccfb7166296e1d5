"""Small balancing instances."""

from __future__ import annotations

import numpy as np

from scheduler.core.balance.problem import WAITING, Domain, Instance


def a_domain(node, team, name="nic", *, is_hard=True):
    """node: the value of every node, None for none. team: a number per task, -1 for none."""
    values = sorted({value for value in node if value is not None})
    codes = [-1 if value is None else values.index(value) for value in node]
    return Domain(name, tuple(values), np.array(codes, np.int32), np.array(team, np.int32), is_hard)


def an_instance(capacity, tasks, *, resources=("cpu", "memory"), allowed=None, domains=()):
    """capacity: a row per node n0, n1, ... (n00 where there are more than ten).

    tasks: dicts of use, and of home (None waits), cost, priority, pinned, mask, group, request as wanted.
    domains: of `a_domain`.
    """
    nodes = len(capacity)
    masks = np.ones((1, nodes), np.bool_) if allowed is None else np.array(allowed, np.bool_)
    use = np.array([one["use"] for one in tasks], np.int64).reshape(len(tasks), len(resources))
    request = np.array([one.get("request", one["use"]) for one in tasks], np.int64).reshape(use.shape)
    home = [WAITING if one.get("home") is None else one["home"] for one in tasks]
    return Instance(
        nodes=np.array([f"n{n:0{len(str(nodes - 1))}d}" for n in range(nodes)], np.str_),
        resources=tuple(resources),
        capacity=np.array(capacity, np.int64).reshape(nodes, len(resources)),
        tasks=np.array([f"t{t:0{len(str(len(tasks) - 1))}d}" for t in range(len(tasks))], np.str_),
        request=request,
        use=use,
        home=np.array(home, np.int32),
        cost=np.array([one.get("cost", 0 if one.get("home") is None else 1) for one in tasks], np.int64),
        priority=np.array([one.get("priority", 0) for one in tasks], np.int64),
        pinned=np.array([one.get("pinned", False) for one in tasks], np.bool_),
        mask=np.array([one.get("mask", 0) for one in tasks], np.int32),
        allowed=masks,
        group=np.array([one.get("group", -1) for one in tasks], np.int32),
        domains=tuple(domains),
    )


def a_random_instance(seed, nodes=3, tasks=5):
    """Crowded, with pinned tasks, forbidden nodes, groups, and tasks that wait."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(tasks):
        home = int(rng.integers(-1, nodes))
        rows.append(
            {
                "use": rng.integers(1, 8, 2).tolist(),
                "home": None if home < 0 else home,
                "cost": 0 if home < 0 else int(rng.integers(1, 9)),
                "priority": int(rng.integers(3)),
                "pinned": bool(rng.random() < 0.15),
                "mask": int(rng.integers(2)),
                "group": int(rng.integers(2)) if rng.random() < 0.4 else -1,
            }
        )
    allowed = [[True] * nodes, (rng.random(nodes) < 0.7).tolist()]
    return an_instance(rng.integers(6, 16, (nodes, 2)).tolist(), rows, allowed=allowed)
