from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scheduler.core.auction.assignment import solve_assignment
from scheduler.core.auction.candidates import solve_plane
from scheduler.core.auction.paper_instance import UTILITIES, draw_instance, market_of
from scheduler.core.auction.paper_plane import plane_of


def an_instance(requests=80):
    rng = np.random.default_rng(1)
    drawn = draw_instance(rng.integers(4, size=requests).tolist(), ["a"] * requests)
    return replace(drawn, priority=rng.integers(1, 10, requests), history=rng.integers(3, size=requests))


@pytest.mark.parametrize("rule", UTILITIES.values(), ids=UTILITIES)
def test_bids_in_the_plane_are_those_of_the_matrix(rule):
    instance = an_instance()
    market, plane = market_of(instance, rule, exclusive=True), plane_of(instance, rule)
    assert plane.of(market.offer_request(), market.node) == pytest.approx(market.value)
    assert np.isfinite(plane.score[plane.shape]).sum() == len(market.node)


def test_short_lists_reach_the_optimum_of_the_matrix():
    instance, rule = an_instance(400), UTILITIES["as-run"]
    best = solve_assignment(market_of(instance, rule, exclusive=True), tolerance=0)
    found = solve_plane(plane_of(instance, rule))
    assert best.welfare * (1 - 1e-4) <= found.welfare <= best.welfare * (1 + 1e-9) <= found.bound * (1 + 2e-9)
