"""The published lies on small instances: what the bench of lies reckons is what running MOHAF again gives."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.auction.market import UNPLACED
from scheduler.core.auction.mohaf import MohafRules, mohaf
from scheduler.core.auction.paper_instance import PaperInstance, draw_instance, market_of, paper_terms
from scheduler.core.auction.terms import Award
from tests.benchmarks.bench_auction_lies import KINDS, PAPER, published_win, tell, winning_bids

REQUESTS = 72


def an_instance(seed: int) -> PaperInstance:
    draw = np.random.default_rng(seed)
    return draw_instance(draw.integers(0, 4, REQUESTS).tolist(), [f"user-{n % 7}" for n in range(REQUESTS)], seed)


def run_mohaf(instance: PaperInstance) -> Award:
    market = market_of(instance, PAPER, exclusive=True)
    return mohaf(market, paper_terms(instance, market), MohafRules())


@pytest.mark.parametrize("kind", KINDS)
def test_the_bench_of_lies_finds_the_winners_that_mohaf_finds(kind: str) -> None:
    wins = sum(wins_of_liars(kind, seed) for seed in (1, 2, 3))
    assert wins > 0


def wins_of_liars(kind: str, seed: int) -> int:
    """How many losers win with this lie; each is told to both, and they must agree."""
    instance, draw = an_instance(seed), np.random.default_rng(seed)
    truth = run_mohaf(instance)
    threshold = winning_bids(market_of(instance, PAPER, exclusive=True), truth.at)
    losers = np.flatnonzero(truth.at == UNPLACED).tolist()
    assert len(losers) >= REQUESTS // 2
    wins = 0
    for j in losers:
        said = tell(instance, j, kind, draw)
        reckoned, again = published_win(threshold, j, said), run_mohaf(said)
        assert (again.at[j] == UNPLACED) == (reckoned is None)
        if reckoned is not None:
            assert reckoned == (again.at[j], pytest.approx(again.payment[j]))
            wins += 1
    return wins
