"""What tasks are worth: tiers by their order, size by the dominant share."""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.worth import task_values, worth_of_tiers


def test_each_tier_is_worth_twice_the_one_below_in_whatever_order_they_come() -> None:
    assert worth_of_tiers([9, 0, 2]).tolist() == [4.0, 1.0, 2.0]
    assert worth_of_tiers([]).tolist() == []


def test_value_is_worth_times_weight_times_dominant_share() -> None:
    demand = np.array([[100, 10, 0], [10, 100, 5], [0, 0, 7]])
    values = task_values(np.array([1.0, 2.0, 8.0]), np.array([1.0, 0.5, 1.0]), demand, np.array([1000, 200, 0]))
    assert values.tolist() == [0.1, 0.5, 0.0]
