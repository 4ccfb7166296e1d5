"""The compiled ranking agrees with the same rules written out over a list."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.cluster import GPU
from scheduler.core.policies import get_policy
from scheduler.live.node_columns import NodeColumns
from scheduler.live.scoring import Ranking, scorer

NODES = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 6), st.sampled_from([0, 0, 500, -500, 900]), st.booleans()),
    min_size=1, max_size=24,
)  # fmt: skip


def columns_of(nodes: list[tuple[int, int, int, bool]]) -> NodeColumns:
    """Nodes of so many CPUs, of which so many are used, with a price, of suspect health or not; all have 8 GPUs."""
    columns = NodeColumns()
    for i, (cpus, used, price, suspect) in enumerate(nodes):
        row = columns.add(f"n{(i * 7) % 100:02}")  # rows are not in the order of names
        columns.set_allocatable(row, {"cpu": 1000 * cpus, "memory": 8 << 30, "nvidia.com/gpu": 8})
        columns.put(row, (("cpu", 1000 * min(used, cpus)),), (1000 * min(used, cpus), 0), 1)
        columns.set_wishes(row, price, False)
        columns.is_suspect[row] = suspect
    return columns


@given(NODES, st.booleans(), st.sampled_from([0.0, 0.25, 3.0]), st.integers(1, 12), st.integers(0, 3))
def test_ranking_by_a_policy_prices_and_health(
    nodes: list[tuple[int, int, int, bool]], wants_gpu: bool, price_weight: float, count: int, unknown: int
) -> None:
    columns = columns_of(nodes)
    rows = np.array([*columns.row_of.values(), *[-1] * unknown], np.int64)
    requests = (("cpu", 1000), *((("nvidia.com/gpu", 1),) if wants_gpu else ()))
    demand = columns.demand(requests)
    ranking = Ranking(scorer("best-fit"), price_weight)
    best, points = ranking.best(columns, demand, np.array([1000, 0]), rows, 0, count)

    score = get_policy("best-fit").score
    wanted = {}
    for i, row in enumerate(rows.tolist()):
        if row >= 0 and (demand <= columns.allocatable[row] - columns.requested[row]).all():
            wanted[i] = score(demand, np.array([1000, 0]), columns.allocatable, columns.requested,
                              columns.requested_nonzero, row, 0)  # fmt: skip
    prices = {i: int(columns.price_milli[rows[i]]) for i in wanted}
    if price_weight and len(set(prices.values())) > 1:
        cheap, span = min(prices.values()), (max(wanted.values()) - min(wanted.values())) or 1.0
        rate = price_weight * span / (max(prices.values()) - cheap)
        wanted = {i: value - rate * (prices[i] - cheap) for i, value in wanted.items()}
    if wants_gpu and wanted:
        assert demand[GPU]
        behind = max(wanted.values()) - min(wanted.values()) + 1.0
        wanted = {i: value - behind * bool(columns.is_suspect[rows[i]]) for i, value in wanted.items()}
    ordered = sorted(wanted, key=lambda i: (-wanted[i], columns.name_of[rows[i]]))
    assert best.tolist() == ordered[:count]
    for k, i in enumerate(ordered[:count]):
        expected = 10 if k == 0 else min(max(round(10 * share(wanted[i], wanted.values(), 1.0)), 1), 9)
        assert math.isclose(points[k], expected), (k, points, wanted)


def share(value: float, among: object, alone: float = 0.0) -> float:
    """The value's place between the least and the greatest, in [0, 1]; `alone` where those are equal."""
    low, high = min(among), max(among)  # type: ignore[call-overload]
    return (value - low) / (high - low) if high > low else alone


def test_nothing_asked_and_nothing_that_fits_give_nothing() -> None:
    columns = columns_of([(1, 1, 0, False)])
    ranking = Ranking(scorer("best-fit"))
    demand = columns.demand((("cpu", 1000),))
    for rows in ([], [0], [-1]):
        best, points = ranking.best(columns, demand, np.array([1000, 0]), np.array(rows, np.int64), 0, 5)
        assert (best.tolist(), points.tolist()) == ([], [])
