"""One request per machine on the published instance: ours, exact and by short lists, beside OR-tools."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from ortools.graph.python import min_cost_flow

from scheduler.core.auction.assignment import solve_assignment
from scheduler.core.auction.candidates import solve_plane
from scheduler.core.auction.market import Market
from scheduler.core.auction.paper_instance import UTILITIES, market_of
from scheduler.core.auction.paper_plane import plane_of
from tests.benchmarks.harness import Report
from tests.benchmarks.paper_jobs import paper_instance

T = TypeVar("T")
REPEATS = 3
# OR-tools takes whole costs: a bid in billionths.
UNIT = 10**9


def bench(work: Path) -> Report:
    what, instance = paper_instance()
    requests, machines = len(instance.requests), len(instance.machines)
    report = Report("assignment", f"One request per machine, {requests:,} x {machines:,}: {what}")
    plane = plane_of(instance, UTILITIES["as-run"])
    solve_plane(plane)  # compiled or read from the cache
    for name, rule in UTILITIES.items():
        market, matrix_s = timed(lambda rule=rule: market_of(instance, rule, exclusive=True))
        optimum, flow_s = timed(lambda market=market: flow_optimum(market), repeats=1)
        exact, exact_s = timed(lambda market=market: solve_assignment(market, tolerance=0))
        plane, plane_s = timed(lambda rule=rule: plane_of(instance, rule))
        sparse, sparse_s = timed(lambda plane=plane: solve_plane(plane))
        for method, welfare, bound, seconds, all_s in (
            ("OR-tools min-cost flow, all pairs", optimum, None, flow_s, matrix_s + flow_s),
            ("auction, all pairs", exact.welfare, exact.bound, exact_s, matrix_s + exact_s),
            ("auction, short lists", sparse.welfare, sparse.bound, sparse_s, plane_s + sparse_s),
        ):
            report.add(
                f"{name}: {method}", efficiency=welfare / requests, bound=bound and bound / requests,
                share_of_optimum_pct=100 * welfare / optimum, solve_cpu_s=seconds, with_utility_cpu_s=all_s,
            )  # fmt: skip
    pairs = len(market.node)
    report.notes += [
        f"{pairs:,} feasible pairs. CPU seconds of one process, compiled loops from numba's cache, median of {REPEATS} "
        "(OR-tools once); with_utility: and the utilities of all pairs, or of machines alone for short lists.",
        "efficiency: winning utilities / requests, as in the paper. bound: no allocation has more, over all pairs.",
    ]
    return report


def timed(step: Callable[[], T], repeats: int = REPEATS) -> tuple[T, float]:
    """The last result, and the median of the CPU seconds."""
    took = []
    for _ in range(repeats):
        began = time.process_time()
        found = step()
        took.append(time.process_time() - began)
    return found, float(np.median(took))


def flow_optimum(market: Market) -> float:
    """The optimum by another's solver: requests send one unit each, to a node or past all of them."""
    requests, nodes = len(market.requests), len(market.nodes)
    source, sink = requests + nodes, requests + nodes + 1
    flow = min_cost_flow.SimpleMinCostFlow()
    for tail, head, capacity, cost in (
        (np.full(requests, source), np.arange(requests), 1, 0),
        (market.offer_request(), requests + market.node.astype(np.int64), 1, -np.rint(market.value * UNIT)),
        (requests + np.arange(nodes), np.full(nodes, sink), 1, 0),
        (np.array([source]), np.array([sink]), requests, 0),
    ):
        costs = np.broadcast_to(cost, tail.shape).astype(np.int64)
        flow.add_arcs_with_capacity_and_unit_cost(tail, head, np.full(len(tail), capacity), costs)
    flow.set_node_supply(source, requests)
    flow.set_node_supply(sink, -requests)
    if flow.solve() != flow.OPTIMAL:
        raise RuntimeError("OR-tools found no optimal flow")
    return -flow.optimal_cost() / UNIT
