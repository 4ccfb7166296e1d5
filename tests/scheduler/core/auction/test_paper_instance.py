from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.auction.paper_instance import (
    THIRD,
    UTILITIES,
    WHOLE,
    PaperInstance,
    draw_instance,
    market_of,
    utility,
)
from scheduler.core.errors import StowageInputError


def a_pair(**changes: object) -> PaperInstance:
    """One request 100 away from one machine."""
    instance = PaperInstance(
        requests=("request-0",), demand=np.array([2 * THIRD]), budget=np.array([160 / 3]), priority=np.array([8]),
        history=np.array([0]), request_position=np.array([[60.0, 80.0]]), user=np.array([0], np.int32), users=("u",),
        machines=("machine-0",), room=np.array([WHOLE]), cost=np.array([0.5]), reliability=np.array([0.96]),
        availability=np.array([0.98]), energy=np.array([0.7]), machine_position=np.array([[0.0, 0.0]]),
    )  # fmt: skip
    return replace(instance, **changes)


def test_utility_is_the_weighted_sum_worked_out_by_hand():
    # cost 1 - 0.5 * 2/3 / (160/3) = 0.99375; near 1 - 100/200 = 0.5; steady 0.97; energy 0.7; fairness 0.8
    assert utility(a_pair(), UTILITIES["as-run"])[0, 0] == pytest.approx(
        0.3 * 0.99375 + 0.3 * (0.97 + 0.25) + 0.2 * 0.7 + 0.2 * 0.8
    )
    assert utility(a_pair(), UTILITIES["paper"])[0, 0] == pytest.approx(
        0.4 * 0.99375 + 0.3 * (0.485 + 0.25) + 0.1 * 0.7 + 0.2 * 0.8
    )


def test_qos_as_run_exceeds_one_and_normalised_does_not():
    best = a_pair(
        request_position=np.zeros((1, 2)), reliability=np.ones(1), availability=np.ones(1), energy=np.ones(1),
        cost=np.zeros(1), priority=np.array([10]),
    )  # fmt: skip
    assert utility(best, UTILITIES["as-run"])[0, 0] == pytest.approx(0.3 + 0.3 * 1.5 + 0.2 + 0.2)
    assert utility(best, UTILITIES["paper"])[0, 0] == pytest.approx(1.0)


def test_past_allocations_cost_fairness_down_to_nothing():
    for history, fairness in ((1, 0.3), (2, 0.0), (9, 0.0)):
        lost = utility(a_pair(), UTILITIES["paper"]) - utility(a_pair(history=np.array([history])), UTILITIES["paper"])
        assert lost[0, 0] == pytest.approx(0.2 * (0.8 - fairness))


def test_without_a_budget_only_what_is_free_is_of_use():
    broke = a_pair(budget=np.zeros(1))
    full = utility(a_pair(cost=np.zeros(1)), UTILITIES["paper"])[0, 0]
    assert utility(broke, UTILITIES["paper"])[0, 0] == pytest.approx(full - 0.4)
    assert utility(replace(broke, demand=np.zeros(1, np.int64)), UTILITIES["paper"])[0, 0] == pytest.approx(full)


def test_draws_follow_the_published_order():
    instance = draw_instance([0, 1, 2, 3, 1, 1, 2, 0], ["b", "a"] * 4, seed=42)
    draw = random.Random(42).uniform
    ranges = ((0.5, 1), (0.3, 0.8), (-100, 100), (-100, 100), (0.95, 1), (0.95, 1), (0.6, 0.9))
    machines = [[draw(*limits) for limits in ranges] for _ in range(2)]
    positions = [[draw(-100, 100), draw(-100, 100)] for _ in range(8)]
    assert instance.room.tolist() == [int(one[0] * WHOLE) for one in machines]
    assert instance.cost.tolist() == [one[1] for one in machines]
    assert instance.machine_position.tolist() == [one[2:4] for one in machines]
    assert instance.request_position.tolist() == positions
    assert instance.demand.tolist() == [0, THIRD, 2 * THIRD, 3 * THIRD, THIRD, THIRD, 2 * THIRD, 0]
    budget = [40, 40 + 20 / 3, 40 + 40 / 3, 60]
    assert instance.budget.tolist() == pytest.approx([budget[one] for one in (0, 1, 2, 3, 1, 1, 2, 0)])
    assert [instance.users[user] for user in instance.user] == ["b", "a"] * 4


def test_only_pairs_that_fit_are_offers():
    market = market_of(draw_instance([0, 1, 2, 3], list("abcd")), UTILITIES["paper"], exclusive=False)
    # the capacity drawn is 0.8197: two thirds fit, a whole does not
    assert np.diff(market.first).tolist() == [1, 1, 1, 0]
    assert market.fits().all()


@pytest.mark.parametrize(
    ("classes", "message"), [([0, 1], "2 requests make no machine"), ([0, 1, 2, 4], "request 3 is 4")]
)
def test_what_makes_no_instance_is_refused(classes, message):
    with pytest.raises(StowageInputError, match=message):
        draw_instance(classes, ["u"] * len(classes))
