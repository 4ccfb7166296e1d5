"""The agents: 10,000 random runs against what must always hold, and the cost of a decision on Google's size of cell.

STOWAGE_BENCH_AGENTS: random runs (10,000). Half of them lose 20 % of the messages and 5 % of the nodes; chains may be 0
to 4 long. Every tenth run is read by the reference (`agents.validator`), every fiftieth is made twice.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.core.balance.agents.settings import Settings
from scheduler.core.balance.agents.simulate import Agents, Outcome, simulate
from scheduler.core.balance.agents.validator import broken_rules
from scheduler.core.balance.agents.world import FINISHED, FOREVER, World, make_books
from scheduler.core.balance.problem import WAITING
from tests.benchmarks.harness import Report
from tests.scheduler.core.balance.agents.worlds import a_random_world

NODES, RUNNING, BURST, DECISIONS = 12_477, 133_000, 10_512, 10_000
TOTALS = ("placed", "migrated", "forced", "collisions", "messages", "messages_lost", "leases_expired", "restarted")


def bench(work: Path) -> Report:
    report = Report("agents", "Agents that balance by message")
    runs = int(os.environ.get("STOWAGE_BENCH_AGENTS", "10000"))
    for name, hardship in (("sound", {}), ("20 % loss, 5 % failures", {"loss": 0.2, "node_failure": 0.05})):
        report.add(f"random runs, {name}", **_many_runs(runs // 2, hardship))
    report.add("burst", **_burst(1.1))
    report.add("one at a time", **_decisions())
    report.notes.append(
        f"burst: {BURST:,} arrivals in one second on {NODES:,} nodes with {RUNNING:,} tasks; one at a time: "
        f"{DECISIONS:,} windows of 0.1 s with one arrival. Seconds are CPU. Overload: in whole nodes, over all runs."
    )
    return report


def _many_runs(runs: int, hardship: dict[str, float]) -> dict[str, Any]:
    seen: Counter[str] = Counter()
    longest, beyond, lost, broken, differ, read = 0, 0, 0, 0, 0, 0
    before = after = 0.0
    for seed in range(runs):
        world, times, rows = a_random_world(seed)
        rules = Settings(staleness_s=0.1, check_s=0.2, lease_s=0.03, depth=seed % 5, **hardship)
        reads = seed % 10 == 0
        outcome = simulate(world, times, rows, 2.0, rules, seed, keeps_log=reads)
        seen.update({name: outcome.counters[name] for name in TOTALS})
        longest = max(longest, outcome.counters["longest_chain"])
        beyond += outcome.counters["longest_chain"] > rules.depth
        lost += not _is_whole(world, outcome)
        before, after = before + _overload(world, world.home), after + _overload(world, outcome.home)
        if reads:
            read += 1
            broken += bool(broken_rules(world, rules, outcome))
        if seed % 50 == 0:
            again = simulate(world, times, rows, 2.0, rules, seed, keeps_log=True)
            differ += (
                again.facts.tobytes() != outcome.facts.tobytes() or again.moves.tobytes() != outcome.moves.tobytes()
            )
    return {
        "runs": runs, "longest_chain": longest, "chains_beyond_limit": beyond, "runs_that_lost_a_task": lost,
        "read_by_reference": read, "that_break_a_rule": broken, "repeats_that_differ": differ,
        "overload_before": before, "overload_after": after, **seen,
    }  # fmt: skip


def _overload(world: World, home: NDArray[np.int32]) -> float:
    """In whole nodes, over the resources."""
    load = np.zeros_like(world.capacity)
    runs = np.flatnonzero(home >= 0)
    np.add.at(load, home[runs], world.demand[world.kind[runs]])
    return float((np.maximum(load - world.capacity, 0) / world.capacity).sum())


def _is_whole(world: World, outcome: Outcome) -> bool:
    """Whether every task runs, waits or is finished, and nobody but those with an end is."""
    done = outcome.home == FINISHED
    return bool(((outcome.home >= WAITING) | done).all() and not (done & (world.lasts_us == FOREVER)).any())


def _large_world(seed: int) -> World:
    """Nodes of three sizes, two thirds full; tasks of 40 kinds, a tenth of which may use half of the nodes."""
    rng = np.random.default_rng(seed)
    kinds, tasks = 40, RUNNING + BURST
    capacity = np.array([[500, 250], [500, 500], [1000, 1000]])[rng.integers(0, 3, NODES)]
    demand = np.stack([rng.integers(5, 60, kinds), rng.integers(3, 50, kinds)], axis=1)
    share = capacity[:, 0] / capacity[:, 0].sum()
    home = np.where(np.arange(tasks) < RUNNING, rng.choice(NODES, tasks, p=share), WAITING)
    return World(
        capacity=capacity.astype(np.int64),
        up=np.ones(NODES, np.bool_),
        demand=demand.astype(np.int64),
        mask=np.where(np.arange(kinds) % 10 == 0, 0, -1).astype(np.int32),
        group=np.full(kinds, -1, np.int32),
        eligible=rng.random((1, NODES)) < 0.5,
        kind=rng.integers(0, kinds, tasks).astype(np.int32),
        home=home.astype(np.int32),
        cost=rng.integers(1, 1000, tasks).astype(np.int64),
        movable=np.ones(tasks, np.bool_),
        priority=np.zeros(tasks, np.int64),
        lasts_us=np.full(tasks, FOREVER, np.int64),
    )


def _burst(window_s: float) -> dict[str, Any]:
    """All that arrives in one second, at instants drawn from it, while overloaded nodes offload."""
    world = _large_world(1)
    rows = np.arange(RUNNING, RUNNING + BURST, dtype=np.int32)
    times = np.sort(np.random.default_rng(2).integers(0, 1_000_000, BURST)).astype(np.int64)
    simulate(world, times[:10], rows[:10], window_s, Settings())  # compiles
    agents = Agents(make_books(world), Settings(), 1)
    agents.watch_overloaded(np.arange(NODES), 0)
    began = time.process_time()
    moves = agents.advance(int(window_s * 1e6), times, rows)
    spent = time.process_time() - began
    new = moves[moves[:, 1] < 0]
    counted = agents.counters()
    return {
        "placed": len(new), "unplaced": counted["unplaced"], "migrated": counted["migrated"],
        "collisions": counted["collisions"], "messages_per_placement": float(counted["messages"] / len(moves)),
        "most_messages": int(moves[:, 5].max()), "loop_s": spent, "us_per_placement": spent / len(moves) * 1e6,
    }  # fmt: skip


def _decisions() -> dict[str, Any]:
    world = _large_world(3)
    agents = Agents(make_books(world), Settings(), 1)
    took = []
    messages = 0
    for i in range(DECISIONS):
        row = np.array([RUNNING + i], np.int32)
        at_us = np.array([i * 100_000], np.int64)
        began = time.process_time()
        moves = agents.advance(i * 100_000 + 99_999, at_us, row)
        took.append(time.process_time() - began)
        messages += int(moves[:, 5].sum())
    p50, p99, most = np.quantile(took, [0.5, 0.99, 1.0]) * 1e6
    return {"placed": agents.counters()["placed"], "p50_us": p50, "p99_us": p99, "max_us": most,
            "messages_per_placement": messages / agents.counters()["placed"]}  # fmt: skip
