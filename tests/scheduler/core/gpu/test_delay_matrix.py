"""Slow ports, ranks and connections from the times of messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.gpu.delay_matrix import delay_matrix, find_slow, slow_connections
from tests.scheduler.core.gpu.message_simulator import PATTERNS, all_to_all, messages, pipelines, ring, what_shows

SEEDS = st.integers(0, 2**32 - 1)


def found(*window):
    return [(one.kind, one.source, one.target) for one in find_slow(delay_matrix(*window))]


@settings(max_examples=25)
@given(st.sampled_from(sorted(PATTERNS)), st.sampled_from(["row", "column", "node"]), st.integers(0, 31), SEEDS)
def test_a_slow_port_or_rank_is_told_apart_where_the_pattern_shows_it(pattern, kind, rank, seed):
    pairs = PATTERNS[pattern](32)
    slow = found(*messages(pairs, 20, 0.15, np.random.default_rng(seed), (kind, rank, rank), 2.0))
    if what_shows(pairs, kind, rank) == "cell":
        assert all(one == "cell" for one, _, _ in slow)
        assert all(rank in ends for _, *ends in slow)
    else:
        assert slow == [(kind, rank if kind != "column" else -1, rank if kind != "row" else -1)]


@settings(max_examples=25)
@given(st.sampled_from(sorted(PATTERNS)), st.integers(0, 10**6), SEEDS)
def test_one_slow_connection_accuses_no_rank(pattern, which, seed):
    pairs = PATTERNS[pattern](32)
    source, target = pairs[which % len(pairs)].tolist()
    window = messages(pairs, 20, 0.15, np.random.default_rng(seed), ("cell", source, target), 2.0)
    (one,) = slow_connections(delay_matrix(*window))
    assert (one.rank, one.link, one.syndrome) == (None, (source, target), "communication slow")


@settings(max_examples=25)
@given(st.sampled_from(sorted(PATTERNS)), st.floats(0.0, 0.4), st.integers(5, 40), SEEDS)
def test_jitter_accuses_nobody(pattern, jitter, samples, seed):
    assert found(*messages(PATTERNS[pattern](32), samples, jitter, np.random.default_rng(seed), None, 1.0)) == []


def test_several_slow_things_at_once_are_all_found():
    rng = np.random.default_rng(2)
    source, target, seconds, size = messages(all_to_all(32), 20, 0.15, rng, ("row", 3, 3), 2.0)
    seconds[target == 7] *= 1.8
    seconds[(source == 11) & (target == 12)] *= 2.5
    assert found(source, target, seconds, size) == [("row", 3, -1), ("column", -1, 7), ("cell", 11, 12)]


def test_pairs_of_which_less_is_expected_are_compared_with_their_like():
    rng = np.random.default_rng(3)
    source, target, seconds, size = messages(all_to_all(32), 20, 0.1, rng, ("row", 3, 3), 2.0)
    is_far = source // 8 != target // 8
    seconds[is_far] *= 6
    assert found(source, target, seconds, size, is_far.astype(int)) == [("row", 3, -1)]


def test_what_all_share_is_nobodys_fault_and_little_says_nothing():
    rng = np.random.default_rng(4)
    source, target, seconds, size = messages(ring(8), 20, 0.1, rng, None, 1.0)
    assert found(source, target, 10 * seconds, size) == []
    assert found(*messages(ring(3), 20, 0.1, rng, ("cell", 0, 1), 5.0)) == []
    assert found(*messages(pipelines(16), 4, 0.1, rng, ("cell", 0, 1), 5.0)) == []
    assert found(*(np.empty(0, int) for _ in range(4))) == []
    seconds[:] = np.nan
    assert found(source, target, seconds, size) == []
    with pytest.raises(ValueError, match="unequal length"):
        delay_matrix(source, target[1:], seconds)
