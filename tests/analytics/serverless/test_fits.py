from __future__ import annotations

import numpy as np
import pytest

from analytics.errors import InputError
from analytics.serverless.fits import SHARES, fit_laws


def quantiles(sample: np.ndarray) -> np.ndarray:
    return np.quantile(sample, SHARES)


def test_a_log_normal_sample_gives_its_law_back() -> None:
    best, other = fit_laws(quantiles(np.random.default_rng(1).lognormal(0.3, 1.3, 200_000)))
    assert (best.law, other.law) == ("LogNormal", "Weibull")
    assert best.parameters["mu"] == pytest.approx(0.3, abs=0.02)
    assert best.parameters["sigma"] == pytest.approx(1.3, abs=0.02)
    assert best.mean == pytest.approx(np.exp(0.3 + 1.3**2 / 2), rel=0.05)
    assert best.distance < 0.01 < other.distance


def test_a_weibull_sample_gives_its_law_back() -> None:
    best, _ = fit_laws(quantiles(0.44 * np.random.default_rng(2).weibull(0.43, 200_000)))
    assert best.law == "Weibull"
    assert best.parameters == pytest.approx({"k": 0.43, "lambda": 0.44}, rel=0.03)
    # The paper's own pair: k 0.430, lambda 0.440 have mean 1.25 and deviation 3.66.
    assert best.mean == pytest.approx(1.25, rel=0.08)
    assert best.deviation == pytest.approx(3.66, rel=0.15)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="quantiles above 0"):
        fit_laws(np.zeros(len(SHARES)))
    with pytest.raises(InputError, match="quantiles above 0"):
        fit_laws(np.ones(3))
