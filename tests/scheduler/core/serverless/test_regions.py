from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.errors import StowageInputError
from scheduler.core.serverless.regions import pooled_peak, route

NEAR = np.array([[0.0, 0.1], [0.1, 0.0]])


def test_together_regions_need_less_than_each_by_itself() -> None:
    assert pooled_peak(np.array([[10, 1], [2, 8], [5, 5]])) == (18, 11)
    assert pooled_peak(np.zeros((0, 2), np.int64)) == (0, 0)


def test_calls_go_where_they_are_served_sooner_as_far_as_there_is_room() -> None:
    times = np.array([[2.0, 0.5]])
    found = route(np.array([[10, 3]]), times, times, np.array([10, 8]), NEAR)
    assert found.moved.tolist() == [[[5, 5], [0, 3]]]
    assert found.refused.tolist() == [0]
    assert found.mean_s == pytest.approx((5 * 2.0 + 5 * 0.6 + 3 * 0.5) / 13)
    assert found.share_moved == pytest.approx(5 / 13)


def test_moving_costs_the_way_and_may_be_forbidden() -> None:
    times = np.array([[1.0, 0.5]])
    far = np.array([[0.0, 0.6], [0.6, 0.0]])
    assert route(np.array([[4, 0]]), times, times, np.array([9, 9]), far).share_moved == 0
    alone = np.array([[0.0, np.inf], [np.inf, 0.0]])
    found = route(np.array([[4, 0]]), times, times, np.array([3, 9]), alone)
    assert found.refused.tolist() == [1]
    assert found.moved[0, 0].tolist() == [3, 0]


def test_a_router_pays_what_it_took_not_what_it_believed() -> None:
    found = route(np.array([[2, 0]]), np.array([[1.0, 0.1]]), np.array([[1.0, 3.0]]), np.array([9, 9]), NEAR)
    assert found.mean_s == pytest.approx(3.1)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.lists(st.integers(0, 4), min_size=3, max_size=3),
    st.integers(0, 1000),
)
def test_an_hour_is_routed_best(load: list[int], room: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = rng.random((1, 3)).round(3)
    between = rng.random((3, 3)).round(3)
    found = route(np.array([load]), times, times, np.array(room), between)
    assert (found.moved[0].sum(axis=0) <= room).all()
    assert found.moved[0].sum() + found.refused[0] == sum(load)
    calls = [region for region, count in enumerate(load) for _ in range(count)]
    best = np.inf
    for where in itertools.product(range(4), repeat=len(calls)):  # 3: refused
        if all(where.count(region) <= room[region] for region in range(3)):
            served = [(a, b) for a, b in zip(calls, where, strict=True) if b < 3]
            cost = sum(times[0, b] + between[a, b] for a, b in served) + 1e3 * (len(calls) - len(served))
            best = min(best, cost)
    assert found.mean_s * found.moved.sum() + 1e3 * found.refused[0] == pytest.approx(best, abs=1e-4)


def test_broken_input_is_refused() -> None:
    times = np.ones((1, 2))
    with pytest.raises(StowageInputError, match="negative"):
        route(np.array([[1, -1]]), times, times, np.array([1, 1]), NEAR)
    with pytest.raises(StowageInputError, match="between regions"):
        route(np.array([[1, 1]]), times, times, np.array([1, 1]), np.zeros((3, 3)))
