from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.auction.alike import bound_by_summed_room
from tests.scheduler.core.auction.markets import a_market, best_by_trying_all, random_market


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_no_allocation_exceeds_the_bound(seed, exclusive):
    market = random_market(np.random.default_rng(seed), 5, 3, exclusive=exclusive)
    assert bound_by_summed_room(market) >= best_by_trying_all(market) - 1e-9


def test_the_bound_is_reached_where_the_summed_room_is_what_is_short():
    market = a_market(
        {"a": [2, 9], "b": [2, 9]}, {f"r{n}": ([1, 1], {"a": float(n), "b": float(n)}) for n in range(1, 8)}
    )
    assert bound_by_summed_room(market) == pytest.approx(7 + 6 + 5 + 4)


def test_nodes_that_are_not_listed_count_in_full():
    market = a_market({"a": [1], "b": [1]}, {"x": ([1], {"a": 3.0}), "y": ([1], {"a": 3.0})})
    assert bound_by_summed_room(market) == pytest.approx(6.0)
    one = a_market({"a": [1]}, {"x": ([1], {"a": 3.0}), "y": ([1], {})})
    assert bound_by_summed_room(replace(one, unlisted=np.array([0.0, 5.0]))) == pytest.approx(5.0)


def test_where_nodes_are_exclusive_there_are_as_many_places_as_nodes():
    requests = {f"r{n}": ([1], {"a": 2.0, "b": 2.0}) for n in range(5)}
    assert bound_by_summed_room(a_market({"a": [9], "b": [9]}, requests, exclusive=True)) == pytest.approx(4.0)
    assert bound_by_summed_room(a_market({"a": [9], "b": [9]}, requests)) == pytest.approx(10.0)
