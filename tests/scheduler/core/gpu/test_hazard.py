from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import StowageInputError
from scheduler.core.gpu.hazard import MEASURED, Hazard, fit_hazard


def test_the_measured_curve_decays_from_the_repair_on() -> None:
    ages = np.geomspace(0.01, 5000, 400)
    rates = MEASURED.rate_per_h(ages)
    assert (np.diff(rates) <= 1e-15).all()
    per_day = 24 * MEASURED.rate_per_h(np.array([0.5, 2.5, 12.0, 41.0, np.inf]))
    assert per_day == pytest.approx(0.0043 * np.array([522, 118, 18, 6.1, 0.7]), rel=0.05)


@given(st.floats(0, 5000), st.floats(0.01, 2000))
def test_expected_faults_are_the_integral_of_the_rate(age_h: float, length_h: float) -> None:
    steps = age_h + length_h * (np.arange(20_000) + 0.5) / 20_000
    numeric = MEASURED.rate_per_h(steps).mean() * length_h
    assert MEASURED.expected_faults(np.array([age_h]), length_h)[0] == pytest.approx(numeric, rel=2e-3)


def test_a_node_that_never_failed_has_the_oldest_rate_for_ever() -> None:
    faults = MEASURED.expected_faults(np.array([np.inf, 1e7]), 100.0)
    assert faults == pytest.approx(100 * MEASURED.per_h[-1])


def test_a_rate_inverse_to_the_age_integrates_to_a_logarithm() -> None:
    hazard = Hazard(np.array([1.0, 100.0]), np.array([1.0, 0.01]))
    assert hazard.expected_faults(np.array([1.0]), 9.0)[0] == pytest.approx(np.log(10))


def test_fitting_gives_back_the_curve_that_made_the_faults() -> None:
    rng = np.random.default_rng(1)
    truth = Hazard(np.array([1.0, 100.0]), np.array([0.05, 0.002]))
    grid = np.concatenate([np.linspace(0, 100, 4000), np.geomspace(101, 60_000, 4000)])
    at_grid = np.array([truth.expected_faults(np.array([0.0]), age)[0] for age in grid])
    until = np.interp(rng.exponential(size=20_000), at_grid, grid)
    cut = np.minimum(until, 2000.0)
    fitted = fit_hazard(np.zeros(20_000), cut, until < 2000)
    for age_h in (3.0, 12.0, 45.0, 500.0):
        assert fitted.rate_per_h(np.array([age_h]))[0] == pytest.approx(
            truth.rate_per_h(np.array([age_h]))[0], rel=0.25
        )


def test_spans_without_a_repair_before_count_for_the_oldest_class() -> None:
    fitted = fit_hazard(np.full(100, np.inf), np.full(100, 10.0), np.arange(100) < 10)
    assert fitted.per_h[-1] == pytest.approx(0.01, rel=0.01)


def test_a_fitted_rate_never_rises_with_age() -> None:
    rng = np.random.default_rng(2)
    fitted = fit_hazard(rng.uniform(0, 3000, 50), rng.uniform(1, 50, 50), rng.random(50) < 0.3)
    assert (np.diff(fitted.per_h) <= 0).all()


@pytest.mark.parametrize(("ages", "rates"), [([], []), ([1, 1], [1, 1]), ([1, 2], [1, 0]), ([1], [1, 2]), ([0], [1])])
def test_what_is_no_curve_is_refused(ages: list[float], rates: list[float]) -> None:
    with pytest.raises(StowageInputError):
        Hazard(np.array(ages, float), np.array(rates, float))
    with pytest.raises(StowageInputError, match="no fault"):
        fit_hazard(np.zeros(1), np.ones(1), np.zeros(1, bool))
