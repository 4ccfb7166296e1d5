from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.balance.agents.scores import (
    RESERVED,
    SCORES,
    best_fit,
    get_score,
    score_function,
    spread,
    tightness,
)
from scheduler.core.balance.agents.settings import RANGES, Settings
from scheduler.core.balance.agents.simulate import simulate
from scheduler.core.balance.agents.world import find_scarcity
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.balance.agents.worlds import a_world

DEMAND = np.array([20, 10])
CAPACITY = np.array([[100, 100], [100, 50], [0, 100]])
BOOKED = np.array([[50, 50], [0, 0], [0, 0]])


def test_every_setting_has_a_range_and_a_default_within_it():
    assert set(RANGES) == set(Settings.__slots__)
    Settings(**{name: rule.high for name, rule in RANGES.items() if name not in ("latency_s", "timeout_s")})


def test_everything_out_of_range_is_told_at_once():
    with pytest.raises(StowageInputError) as told:
        Settings(brokers=0, loss=1.0, lease_s=float("nan"), candidates=2.5)
    assert all(name in str(told.value) for name in ("brokers is 0", "loss is 1", "lease_s is nan", "candidates is 2.5"))


def test_a_timeout_is_longer_than_a_round_trip():
    with pytest.raises(StowageInputError, match=r"over 3 x latency_s = 0\.03"):
        Settings(latency_s=0.01, timeout_s=0.03)


def test_spread_is_the_least_free_share_less_the_scarcity():
    assert spread(DEMAND, CAPACITY, BOOKED, 0, 0.0, 9.0) == pytest.approx(0.3)
    assert spread(DEMAND, CAPACITY, BOOKED, 1, 0.25, 9.0) == pytest.approx(0.55)
    assert spread(np.array([0, 10]), CAPACITY, BOOKED, 2, 0.0, 0.0) == pytest.approx(0.9)


def test_tightness_is_one_less_stranded_room_less_cost():
    assert tightness(DEMAND, CAPACITY, BOOKED, 0, 9.0, 0.2) == pytest.approx(1 - 0.1 - 0.2)
    assert tightness(DEMAND, CAPACITY, BOOKED, 1, 9.0, 0.0) == pytest.approx(1.0)


def test_best_fit_is_the_largest_share_taken():
    assert best_fit(DEMAND, CAPACITY, BOOKED, 0, 9.0, 0.2) == pytest.approx(0.7 - 0.2)


@pytest.mark.parametrize("name", RESERVED)
def test_the_names_of_the_thesis_are_reserved_and_say_so(name):
    with pytest.raises(StowageInputError, match="not reachable; there are spread, tightness, best-fit"):
        get_score(name)


def test_an_unknown_score_is_refused_with_those_there_are():
    with pytest.raises(StowageInputError, match=r"no score is called 'tight'.*spread.*sliwko-initial"):
        get_score("tight")
    with pytest.raises(StowageInputError, match="score_function"):
        get_score(lambda *_: 0.0)


@score_function
def last_row(demand, capacity, booked, node, scarcity, cost):
    return float(node)


def test_a_score_of_ones_own_takes_the_place_of_a_name():
    world = a_world([[10]] * 3, [{"demand": [1]}])
    for score, node in ((last_row, 2), (SCORES["best-fit"], 0)):
        outcome = simulate(world, np.zeros(1, np.int64), np.zeros(1, np.int32), 1.0, initial=score)
        assert outcome.home.tolist() == [node]


def test_nodes_that_few_masks_allow_are_scarce():
    eligible = np.array([[True, False, False, False], [True, True, True, False]])
    assert find_scarcity(eligible, 4) == pytest.approx([(0.75 + 0.25) / 2, 0.125, 0.125, 0.0])
    assert find_scarcity(np.zeros((0, 3), np.bool_), 3).tolist() == [0, 0, 0]
