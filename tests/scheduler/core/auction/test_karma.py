from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.auction.karma import Shares, allocate, bid_weights, join, settle
from scheduler.core.errors import StowageInputError

MANY = 10_000


def ints(*values):
    return np.array(values, np.int64)


def slice_by_slice(credits, demand, shares):
    """The paper's algorithm as it is told: one slice after the other."""
    tenants = range(len(credits))
    credits = [c + shares.fair - shares.guaranteed for c in credits]
    given_now = [min(d, shares.guaranteed) for d in demand]
    lent = [max(shares.guaranteed - d, 0) for d in demand]
    common = (shares.fair - shares.guaranteed) * len(demand)
    paid = list(credits)
    borrowed = 0
    while borrowed < sum(lent) + common:
        borrowers = [t for t in tenants if given_now[t] < demand[t] and paid[t] > 0]
        if not borrowers:
            break
        richest = max(borrowers, key=lambda t: (paid[t], -t))
        paid[richest] -= 1
        given_now[richest] += 1
        borrowed += 1
    earned = [0] * len(demand)
    for _ in range(borrowed):
        lenders = [t for t in tenants if earned[t] < lent[t]]
        if lenders:
            poorest = min(lenders, key=lambda t: (credits[t] + earned[t], t))
            earned[poorest] += 1
    return given_now, [p + e for p, e in zip(paid, earned, strict=True)]


def test_who_lent_borrows_before_who_borrowed():
    """Fair share 2, all guaranteed: the first quantum takes from C, the second gives C everything that is spare."""
    shares = Shares(fair=2, guaranteed=2)
    first = allocate(ints(6, 6, 6), ints(3, 3, 0), shares)
    assert first.allocation.tolist() == [3, 3, 0]
    assert first.credits.tolist() == [5, 5, 8]
    second = allocate(first.credits, ints(0, 4, 4), shares)
    assert second.allocation.tolist() == [0, 2, 4]
    assert second.credits.tolist() == [7, 5, 6]


def test_lent_slices_are_used_before_common_ones():
    quantum = allocate(ints(5, 5, 5), ints(4, 0, 2), Shares(fair=2, guaranteed=1))
    assert quantum.allocation.tolist() == [4, 0, 2]
    assert quantum.credits.tolist() == [3, 7, 5]  # four slices were borrowed and one of them was lent


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 14)), min_size=1, max_size=6), st.data())
def test_the_answer_is_that_of_one_slice_after_the_other(tenants, data):
    fair = data.draw(st.integers(0, 6))
    shares = Shares(fair, data.draw(st.integers(0, fair)))
    credits, demand = zip(*tenants, strict=True)
    quantum = allocate(ints(*credits), ints(*demand), shares)
    expected = slice_by_slice(credits, demand, shares)
    assert (quantum.allocation.tolist(), quantum.credits.tolist()) == expected
    assert settle(ints(*credits), ints(*demand), quantum.allocation, shares).tolist() == expected[1]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8), st.integers(0, 10**8), st.integers(0, 100))
def test_nothing_that_is_wanted_stays_idle_while_credits_last(demand, fair, percent):
    shares = Shares(fair, fair * percent // 100)
    quantum = allocate(np.full(len(demand), 10**12), ints(*demand), shares)
    assert quantum.allocation.sum() == min(sum(demand), fair * len(demand))
    assert (quantum.allocation <= demand).all()
    assert (quantum.allocation >= np.minimum(demand, shares.guaranteed)).all()


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=6), st.integers(0, 20))
def test_credits_arise_only_from_common_slices_that_nobody_used(tenants, fair):
    credits, demand = (ints(*column) for column in zip(*tenants, strict=True))
    shares = Shares(fair, fair // 2)
    quantum = allocate(credits, demand, shares)
    lent = np.maximum(shares.guaranteed - demand, 0).sum()
    borrowed = np.maximum(quantum.allocation - shares.guaranteed, 0).sum()
    unused_common = (fair - shares.guaranteed) * len(tenants) - max(borrowed - lent, 0)
    assert quantum.credits.sum() - credits.sum() == unused_common
    assert (quantum.credits >= 0).all()


def test_tenants_with_the_same_needs_at_other_times_get_the_same_in_the_long_run():
    """Two of four, drawn anew each time, want 9 slices; the fair share is 3."""
    shares = Shares(fair=3, guaranteed=2)
    credits, total, wanted = np.full(4, 50), np.zeros(4, np.int64), np.zeros(4, np.int64)
    rng = np.random.default_rng(5)
    for _ in range(4000):
        demand = rng.permutation(ints(9, 9, 0, 0))
        quantum = allocate(credits, demand, shares)
        credits, total, wanted = quantum.credits, total + quantum.allocation, wanted + demand
    assert total.sum() == 4000 * 12
    assert np.ptp(total) <= 100  # of 12,000 each: no more than the credits that anybody can gather
    assert np.ptp(credits) <= 100


def test_who_borrowed_while_others_slept_makes_room_when_they_wake():
    """One wants all always, one every second time: the second gets all but the other's guarantee when it wakes."""
    shares = Shares(fair=2, guaranteed=1)
    credits, total = np.full(2, MANY), np.zeros(2, np.int64)
    for quantum in range(1000):
        answer = allocate(credits, ints(4, 4 * (quantum % 2)), shares)
        credits, total = answer.credits, total + answer.allocation
    assert total.tolist() == [500 * 4 + 500 * 1, 500 * 3]  # equal halves each time would be 3,000 and 1,000


def test_overstating_demand_does_not_raise_useful_allocation():
    """Every lie of one tenant in one quantum, small cases, followed by a truthful quantum: never more of use."""
    shares = Shares(fair=2, guaranteed=1)
    truth = [(3, 1, 2), (4, 4, 0)]

    def useful(lie):
        credits, got = ints(3, 3, 3), 0
        for quantum, demand in enumerate(truth):
            said = (lie, *demand[1:]) if quantum == 0 else demand
            answer = allocate(credits, ints(*said), shares)
            credits, got = answer.credits, got + min(int(answer.allocation[0]), demand[0])
        return got

    honest = useful(3)
    assert all(useful(lie) <= honest for lie in range(3, 9))


def test_without_credits_a_tenant_keeps_its_guarantee_and_borrows_nothing():
    quantum = allocate(ints(0, 9), ints(5, 0), Shares(fair=2, guaranteed=2))
    assert quantum.allocation.tolist() == [2, 0]
    assert quantum.credits.tolist() == [0, 9]


def test_a_debt_that_cannot_be_paid_is_forgiven_and_nobody_earns_it():
    assert settle(ints(1, 0), ints(6, 0), ints(4, 0), Shares(2, 2)).tolist() == [0, 1]


def test_a_newcomer_starts_with_the_mean():
    assert join(ints(4, 9), 100).tolist() == [4, 9, 6]
    assert join(ints(), 100).tolist() == [100]


def test_credits_weigh_bids_by_the_mean_within_limits():
    assert bid_weights(ints(10, 20, 30)).tolist() == [0.5, 1.0, 1.5]
    assert bid_weights(ints(0, 1, 99), most=2).tolist() == pytest.approx([0.5, 0.5, 2.0])
    assert bid_weights(ints(0, 0)).tolist() == [1.0, 1.0]
    assert bid_weights(ints()).tolist() == []


def test_broken_input_is_refused():
    with pytest.raises(StowageInputError, match="guarantee of 3"):
        Shares(fair=2, guaranteed=3)
    with pytest.raises(StowageInputError, match="demand is negative"):
        allocate(ints(1), ints(-1), Shares(2, 2))
    with pytest.raises(StowageInputError, match="credits is negative"):
        allocate(ints(-1), ints(1), Shares(2, 2))
    with pytest.raises(StowageInputError, match="demand has shape"):
        allocate(ints(1, 2), ints(1), Shares(2, 2))
    with pytest.raises(StowageInputError, match="used 3 slices and wanted 2"):
        settle(ints(1), ints(2), ints(3), Shares(2, 2))
    with pytest.raises(StowageInputError, match="at least 1"):
        bid_weights(ints(1), most=np.nan)
