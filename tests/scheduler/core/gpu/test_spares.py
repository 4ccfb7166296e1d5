from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import StowageInputError
from scheduler.core.gpu.spares import DownModel, cover_of_history, fit_down_model, spares_by_domain, spares_for


def test_cover_of_a_history_is_that_of_every_pool_drawn_from_it() -> None:
    fleet, nodes, spares = 7, 3, 2
    history = [set[int](), {0}, {1, 2, 3}, {0, 1, 2, 3, 4, 5}, {4, 5, 6}]
    hours = np.array([5.0, 3.0, 2.0, 1.0, 4.0])
    enough = [
        np.mean([len(set(pool) - down) >= nodes for pool in combinations(range(fleet), nodes + spares)])
        for down in history
    ]
    found = cover_of_history(np.array([len(down) for down in history]), hours, fleet, nodes, spares)
    assert found == pytest.approx(np.average(enough, weights=hours))


@given(st.floats(0.005, 0.5), st.one_of(st.just(0.0), st.floats(0.001, 0.5)), st.integers(1, 60))
def test_chances_are_a_distribution_with_the_mean_and_variance_of_the_model(
    share: float, correlation: float, nodes: int
) -> None:
    chances, k = DownModel(share, correlation).chances(nodes), np.arange(nodes + 1)
    mean = chances @ k
    assert chances.sum() == pytest.approx(1)
    assert mean == pytest.approx(nodes * share)
    alone = nodes * share * (1 - share)
    assert chances @ (k - mean) ** 2 == pytest.approx(alone * (1 + (nodes - 1) * correlation), rel=1e-6)


@given(st.floats(0.01, 0.3), st.sampled_from([0.0, 0.01, 0.1]), st.integers(1, 40), st.sampled_from([0.5, 0.9, 0.99]))
def test_one_spare_less_would_not_do(share: float, correlation: float, nodes: int, wanted: float) -> None:
    model = DownModel(share, correlation)
    spares = spares_for(model, nodes, wanted)
    assert model.chances(nodes + spares)[: spares + 1].sum() >= wanted
    if spares:
        assert model.chances(nodes + spares - 1)[:spares].sum() < wanted


def test_a_fit_has_the_mean_and_variance_it_was_given() -> None:
    truth = DownModel(0.03, 0.02)
    fitted = fit_down_model(np.arange(401), truth.chances(400), 400)
    assert (fitted.share, fitted.correlation) == (pytest.approx(0.03), pytest.approx(0.02))
    binomial = fit_down_model(np.arange(401), DownModel(0.03).chances(400), 400)
    assert binomial.correlation == pytest.approx(0, abs=1e-9)


def test_faults_that_come_together_need_more_spares() -> None:
    assert spares_for(DownModel(0.0234, 0.02), 128, 0.99) > 1.5 * spares_for(DownModel(0.0234), 128, 0.99)


def test_each_fault_domain_has_spares_of_its_own() -> None:
    calm, wild = DownModel(0.02), DownModel(0.05, 0.05)
    found = spares_by_domain({"": calm, "old": wild}, {"old": 32, "new": 32, "tiny": 1}, 0.99)
    assert found == {
        "new": spares_for(calm, 32, 0.99), "old": spares_for(wild, 32, 0.99), "tiny": spares_for(calm, 1, 0.99),
    }  # fmt: skip
    assert found["old"] > found["new"] > found["tiny"] >= 1


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(StowageInputError, match="cannot be drawn from 10"):
        cover_of_history(np.array([1]), np.ones(1), 10, 8, 3)
    with pytest.raises(StowageInputError, match="no reasonable number"):
        spares_for(DownModel(0.5, 0.99), 10, 0.999999)
    with pytest.raises(StowageInputError, match="no model"):
        spares_by_domain({}, {"a": 1}, 0.9)
    with pytest.raises(StowageInputError, match="nothing to learn"):
        fit_down_model(np.zeros(3, np.int64), np.ones(3), 4)
    for share, correlation in ((0.0, 0.0), (1.0, 0.0), (0.1, 1.0), (math.nan, 0.0)):
        with pytest.raises(StowageInputError, match="share down"):
            DownModel(share, correlation)
