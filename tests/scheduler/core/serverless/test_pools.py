"""Pool sizes against plain Python, and the bound against every choice of sizes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import StowageInputError
from scheduler.core.serverless.pools import best_sizes, serve, size_pools

DAY = 1440


def some_counts(seed: int, pools: int, days: int) -> np.ndarray:
    return np.random.default_rng(seed).negative_binomial(1, 0.3, (pools, days * DAY))


@given(
    st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 4), st.floats(0, 1), st.integers(1, 3), st.booleans()
)  # fmt: skip
def test_a_size_is_the_least_that_serves_that_share_of_past_minutes(
    seed: int, pools: int, days: int, quantile: float, past: int, by_hour: bool
) -> None:
    counts = some_counts(seed, pools, days)
    sizes = size_pools(counts, np.full(pools, quantile), past, by_hour)
    assert sizes.shape == (pools, 24 * (days - 1))
    rng = np.random.default_rng(seed)
    for _ in range(5):
        pool, hour = int(rng.integers(pools)), int(rng.integers(24, 24 * days))
        first = max(hour // 24 - past, 0)
        hours = [24 * day + hour % 24 for day in range(first, hour // 24)] if by_hour else range(
            24 * first, 24 * (hour // 24)
        )  # fmt: skip
        seen = [int(count) for each in hours for count in counts[pool, each * 60 : each * 60 + 60]]
        needed = math.ceil(quantile * len(seen) - 1e-9)
        least = next(n for n in itertools.count() if n in seen and sum(count <= n for count in seen) >= needed)
        assert sizes[pool, hour - 24] == least


def test_a_size_does_not_depend_on_its_own_day() -> None:
    counts = some_counts(1, 2, 3)
    changed = counts.copy()
    changed[:, 2 * DAY :] += 7
    before, after = (size_pools(each, np.full(2, 0.9), 2) for each in (counts, changed))
    np.testing.assert_array_equal(before, after)
    changed = counts.copy()
    changed[:, DAY : 2 * DAY] += 7
    assert (size_pools(changed, np.full(2, 0.9), 2)[:, 24:] > before[:, 24:]).any()


@given(st.lists(st.integers(0, 5), min_size=60, max_size=60), st.integers(0, 6))
def test_serving_counts_minute_by_minute(minutes: list[int], size: int) -> None:
    found = serve(np.array([minutes]), np.array([[size]]))
    assert found.hits.tolist() == [sum(min(count, size) for count in minutes)]
    assert found.idle_minutes.tolist() == [sum(max(size - count, 0) for count in minutes)]


@given(st.integers(0, 10**6), st.sampled_from([(1.0, 1.0), (0.25, 2.0)]))
def test_no_sizes_do_better_than_the_bound_and_some_reach_its_corners(seed: int, cost: tuple[float, float]) -> None:
    counts = np.random.default_rng(seed).integers(0, 4, (2, 60)) * np.random.default_rng(seed + 1).integers(0, 2, 60)
    price = np.array(cost)
    bound = best_sizes(counts, price)
    reached = set()
    for sizes in itertools.product(range(5), repeat=2):
        found = serve(counts, np.array(sizes)[:, None])
        spent = float(found.idle_minutes @ price)
        assert found.hits.sum() <= bound.at(spent) + 1e-9
        reached.add((round(spent, 9), int(found.hits.sum())))
    ends = [(round(a, 9), round(b)) for a, b in zip(bound.cost.tolist(), bound.hits.tolist(), strict=True)]
    # Pods that bring equally much per cost may come in either order, so not every corner is reached by whole sizes.
    assert ends[0] in reached
    assert ends[-1] in reached
    assert (np.diff(bound.hits) >= 0).all()


def test_what_is_no_demand_is_refused() -> None:
    counts = np.zeros((1, 2 * DAY), np.int64)
    for bad, quantile, days in (
        (counts[:, :DAY], 0.5, 1),
        (counts[:, :-1], 0.5, 1),
        (counts, 1.5, 1),
        (counts, 0.5, 0),
    ):
        with pytest.raises(StowageInputError):
            size_pools(bad, np.array([quantile]), days)
    with pytest.raises(StowageInputError):
        serve(counts, np.zeros((1, 3), np.int64))
    with pytest.raises(StowageInputError):
        serve(-1 - counts, np.zeros((1, 48), np.int64))
    with pytest.raises(StowageInputError):
        best_sizes(counts, np.zeros(1))
