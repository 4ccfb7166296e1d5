"""Small random worlds for the agents."""

from __future__ import annotations

import numpy as np

from scheduler.core.balance.agents.world import FOREVER, World


def a_world(capacity, tasks, *, allowed=None, up=None):
    """capacity: a row per node. tasks: dicts of demand, each its own kind, and of home (None waits), cost, group, mask,
    lasts_us, priority and movable as wanted."""
    nodes = len(capacity)
    demand = np.array([one["demand"] for one in tasks], np.int64)

    def column(name, default, dtype):
        return np.array([one.get(name, default) for one in tasks], dtype)

    return World(
        capacity=np.array(capacity, np.int64).reshape(nodes, demand.shape[1]),
        up=np.ones(nodes, np.bool_) if up is None else np.array(up, np.bool_),
        demand=demand,
        mask=column("mask", -1, np.int32),
        group=column("group", -1, np.int32),
        eligible=np.array(allowed, np.bool_) if allowed is not None else np.zeros((0, nodes), np.bool_),
        kind=np.arange(len(tasks), dtype=np.int32),
        home=np.array([-1 if one.get("home") is None else one["home"] for one in tasks], np.int32),
        cost=column("cost", 1, np.int64),
        movable=column("movable", True, np.bool_),
        priority=column("priority", 0, np.int64),
        lasts_us=column("lasts_us", FOREVER, np.int64),
    )


def a_random_world(seed, nodes=12, running=60, new=20):
    """Crowded and partly overloaded, with forbidden nodes, groups, tasks that end; the new ones come within a second.

    Gives the world, times and rows of the new tasks.
    """
    rng = np.random.default_rng(seed)
    kinds, tasks = 8, running + new
    home = np.where(np.arange(tasks) < running, rng.integers(0, nodes, tasks), -1)
    world = World(
        capacity=rng.integers(40, 80, (nodes, 2)).astype(np.int64),
        up=rng.random(nodes) < 0.95,
        demand=rng.integers(1, 14, (kinds, 2)).astype(np.int64),
        mask=np.where(rng.random(kinds) < 0.3, 0, -1).astype(np.int32),
        group=np.where(rng.random(kinds) < 0.2, 0, -1).astype(np.int32),
        eligible=rng.random((1, nodes)) < 0.6,
        kind=rng.integers(0, kinds, tasks).astype(np.int32),
        home=home.astype(np.int32),
        cost=rng.integers(1, 10, tasks).astype(np.int64),
        movable=rng.random(tasks) < 0.9,
        priority=rng.integers(0, 3, tasks).astype(np.int64),
        lasts_us=np.where(rng.random(tasks) < 0.3, rng.integers(1, 2_000_000, tasks), FOREVER).astype(np.int64),
    )
    return world, rng.integers(0, 1_000_000, new).astype(np.int64), np.arange(running, tasks, dtype=np.int32)
