from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.auction.fairness import dominant_share, finish_time_ratio, jain, minimum_share, per_tenant
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.auction.markets import a_market


@pytest.mark.parametrize(
    ("amounts", "index"),
    [
        ([5.0, 5.0, 5.0], 1.0),
        ([7.0, 0.0, 0.0, 0.0], 0.25),
        ([1.0, 2.0, 3.0], 36 / 42),
        ([1e-200, 1e-200], 1.0),
        ([1e200, 0.0], 0.5),
        ([0.0, 0.0], 1.0),
        ([], 1.0),
    ],
)
def test_jains_index_by_hand(amounts, index):
    assert jain(np.array(amounts)) == pytest.approx(index)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0.001, 1000))
def test_jains_index_lies_between_one_of_n_and_one_and_knows_no_unit(amounts, unit):
    index = jain(np.array(amounts))
    assert 1 / len(amounts) - 1e-12 <= index <= 1 + 1e-12
    assert jain(np.array(amounts) * unit) == pytest.approx(index)


def test_counting_winners_only_would_hide_who_got_nothing():
    served = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    assert jain(served) == 0.25
    assert jain(served[served > 0]) == 1.0


def test_the_minimum_share_is_of_those_who_want_something():
    assert minimum_share(np.array([2.0, 3.0, 0.0]), np.array([4.0, 4.0, 0.0])) == 0.5
    assert minimum_share(np.array([0.0]), np.array([4.0])) == 0.0
    assert minimum_share(np.zeros(2), np.zeros(2)) == 1.0


def test_dominant_shares_are_those_of_the_paper_on_drf():
    """9 CPUs and 18 GB; A runs 3 tasks of 1 CPU and 4 GB, B 2 tasks of 3 CPUs and 1 GB (NSDI 2011, section 4.1)."""
    used = np.array([[3, 12], [6, 2]])
    assert dominant_share(used, np.array([9, 18])).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_a_resource_that_the_cluster_lacks_gives_nobody_a_share():
    assert dominant_share(np.array([[1, 0]]), np.array([4, 0])).tolist() == [0.25]
    with pytest.raises(StowageInputError, match="uses 2 of resource 1, of which the cluster has none"):
        dominant_share(np.array([[1, 2]]), np.array([4, 0]))
    with pytest.raises(StowageInputError, match="use has shape"):
        dominant_share(np.array([1, 2]), np.array([4, 0]))


def test_the_finish_time_ratio_is_shared_by_alone():
    assert finish_time_ratio(np.array([30.0, 5.0]), np.array([10.0, 5.0])).tolist() == [3.0, 1.0]
    with pytest.raises(StowageInputError, match="job 1 takes no time alone"):
        finish_time_ratio(np.ones(2), np.array([1.0, 0.0]))


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_amounts_that_are_none_are_refused(bad):
    with pytest.raises(StowageInputError, match="at least 0"):
        jain(np.array([1.0, bad]))


def test_what_tenants_have_is_summed_and_a_tenant_without_requests_has_nothing():
    market = a_market(
        {"a": [1]}, {"x": ([1], {}), "y": ([1], {}), "z": ([1], {})}, tenants={"x": "p", "y": "q", "z": "p"}
    )
    assert per_tenant(market, np.array([1.0, 2.0, 4.0])).tolist() == [5.0, 2.0]
    assert per_tenant(a_market({"a": [1]}, {}), np.zeros(0)).tolist() == []
