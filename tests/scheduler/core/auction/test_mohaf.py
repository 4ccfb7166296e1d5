from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.auction.clusters import bids_nearby, cluster_machines
from scheduler.core.auction.market import UNPLACED, broken_rules
from scheduler.core.auction.mohaf import MohafRules, mohaf, move_price, offer_price, used_share
from scheduler.core.auction.terms import terms_of
from scheduler.core.auction.walk import take_in_order
from scheduler.core.errors import StowageInputError
from tests.scheduler.core.auction.markets import a_market, random_market


def contended(exclusive: bool = True):
    """x values a most and b a little less; y wants a only a little less than x does."""
    return a_market(
        {"a": [4], "b": [4]},
        {"x": ([2], {"a": 1.0, "b": 0.99}), "y": ([2], {"a": 0.99, "b": 0.0})},
        exclusive=exclusive,
    )


def test_greedy_takes_the_highest_utility_first_and_can_lose_half_of_the_welfare():
    at = mohaf(contended(), terms_of(contended()), MohafRules()).at
    assert at.tolist() == [0, 1]  # 1.00 + 0, where 0.99 + 0.99 was to be had


def test_several_requests_share_a_machine_where_they_fit():
    assert mohaf(contended(False), terms_of(contended(False)), MohafRules()).at.tolist() == [0, 0]
    full = replace(contended(False), room=np.array([[3], [4]]))
    assert mohaf(full, terms_of(full), MohafRules()).at.tolist() == [0, 1]


def test_a_payment_is_the_asked_price_by_utility_and_at_most_the_budget():
    market = contended()
    terms = replace(terms_of(market), asked=np.array([0.5, 0.5, 0.5, 0.5]))
    award = mohaf(market, terms, MohafRules())
    assert award.payment[0] == pytest.approx(0.992 * 0.5 * (0.8 + 0.4 * 1.0))
    assert award.payment[1] == 0.0  # its budget at b is 0


def test_the_dynamic_price_is_paid_for_size():
    market = contended()
    terms = replace(terms_of(market), cost=np.array([0.6, 0.7]))
    award = mohaf(market, terms, MohafRules(pricing="dynamic"))
    assert award.payment[0] == pytest.approx(0.6 * 0.5 * (0.8 + 0.4 * 1.0))


def test_the_second_machines_price_is_the_request_s_own_second_choice():
    market = contended()
    terms = replace(terms_of(market), asked=np.array([0.5, 0.25, 0.5, 0.5]))
    award = mohaf(market, terms, MohafRules(payment="second-machine"))
    assert award.payment[0] == pytest.approx(0.992 * 0.25 * (0.8 + 0.4 * 0.99))  # b's, though nobody else wanted b
    alone = a_market({"a": [1]}, {"x": ([1], {"a": 1.0})})
    assert mohaf(alone, terms_of(alone), MohafRules(payment="second-machine")).payment[0] == pytest.approx(
        mohaf(alone, terms_of(alone), MohafRules()).payment[0]
    )


def test_a_price_rises_with_use_above_the_target_and_stays_within_its_limits():
    rules = MohafRules(pricing="dynamic", step=0.5, target=0.8, lowest=0.3, highest=0.9)
    moved = move_price(np.array([0.5, 0.5, 0.5, 0.85]), np.array([1.0, 0.8, 0.0, 1.0]), rules)
    assert moved.tolist() == pytest.approx([0.6, 0.5, 0.3, 0.9])


def test_rounds_decide_with_the_prices_of_the_round_before():
    market = contended()
    seen = []

    def revalue(price):
        seen.append(price.tolist())
        return np.array([0.1, 0.99, 0.99, 0.0])  # x now likes b better

    rules = MohafRules(pricing="dynamic", rounds=2, step=0.1, target=0.3)
    award = mohaf(market, terms_of(market), rules, revalue=revalue)
    assert seen == [pytest.approx([1.02, 1.02])]  # half of each was used
    assert award.at.tolist() == [1, 0]
    assert award.price.tolist() == pytest.approx([1.02, 1.02])


def test_use_is_of_the_resource_that_is_used_most():
    market = a_market({"a": [4, 8], "b": [0, 0]}, {"x": ([1, 6], {"a": 1.0})})
    assert used_share(market, np.array([0], np.int32)).tolist() == [0.75, 0.0]


def test_a_machine_at_price_nothing_costs_nothing():
    market = contended()
    assert not offer_price(market, terms_of(market), np.zeros(2), "dynamic").any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pricing": "vcg"}, "pricing is as-run or dynamic"),
        ({"rounds": 0}, "at least one"),
        ({"step": float("nan")}, "a step is at least 0"),
        ({"lowest": 2.0, "highest": 1.0}, "limits ascend"),
    ],
)
def test_rules_that_make_no_sense_are_refused(change, message):
    with pytest.raises(StowageInputError, match=message):
        MohafRules(**change)


def test_machines_that_lie_together_are_a_cluster():
    found = cluster_machines(np.array([[0.0, 0], [10, 0], [0, 1], [10, 1], [0, 2]]), 2)
    west, east = found.label[0], found.label[1]
    assert found.label.tolist() == [west, east, west, east, west]
    assert found.centre[west].tolist() == [0.0, 1.0]
    assert found.centre[east].tolist() == [10.0, 0.5]


def test_more_clusters_than_places_are_as_many_as_places():
    found = cluster_machines(np.array([[0.0, 0], [0, 0], [5, 5]]), 10)
    assert len(found.centre) == 2


def test_a_request_bids_in_the_clusters_near_it_and_nowhere_else():
    machines = np.array([[0.0, 0], [10, 0], [30, 0]])
    clusters = cluster_machines(machines, 3)
    request, node = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2], np.int32)
    where = np.array([[1.0, 0.0], [29.0, 0.0]])
    assert bids_nearby(clusters, 1, where, request, node).tolist() == [True, False, False, False, False, True]
    assert bids_nearby(clusters, 2, where, request, node).tolist() == [True, True, False, False, True, True]
    assert bids_nearby(clusters, 9, where, request, node).all()
    with pytest.raises(StowageInputError, match="reaches 0 clusters"):
        bids_nearby(clusters, 0, where, request, node)


def test_no_machine_makes_no_cluster():
    with pytest.raises(StowageInputError, match="at least one of both"):
        cluster_machines(np.zeros((0, 2)), 3)


def test_only_bids_that_are_made_can_win():
    market = contended()
    award = mohaf(market, terms_of(market), MohafRules(), bids=np.array([False, True, True, False]))
    assert award.at.tolist() == [1, 0]
    assert mohaf(market, terms_of(market), MohafRules(), bids=np.zeros(4, bool)).at.tolist() == [UNPLACED, UNPLACED]


def test_a_gang_that_does_not_fit_whole_makes_room_for_others():
    market = a_market(
        {"a": [2]},
        {"x": ([1], {"a": 9.0}), "y": ([2], {"a": 8.0}), "z": ([1], {"a": 1.0})},
        gangs={"x": 0, "y": 0},
    )
    assert take_in_order(market, np.array([0, 1, 2])).tolist() == [UNPLACED, UNPLACED, 0]


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_no_rule_is_broken_and_nobody_pays_above_the_bid(seed, exclusive):
    market = random_market(np.random.default_rng(seed), exclusive=exclusive, gangs=True)
    for rules in (MohafRules(), MohafRules(payment="second-machine"), MohafRules(pricing="dynamic", rounds=3)):
        award = mohaf(market, terms_of(market), rules)
        assert broken_rules(market, award.at) == []
        request = market.offer_request()
        won = award.at[request] == market.node
        assert (award.payment[request[won]] <= market.value[won] + 1e-12).all()
        assert (award.payment >= 0).all()
        assert not award.payment[award.at == UNPLACED].any()
