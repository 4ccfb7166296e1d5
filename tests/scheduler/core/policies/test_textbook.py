"""The textbook policies order nodes as their names promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scheduler.core.policies import get_policy, policy_names

Array = NDArray[np.int64]

EMPTY = [1000, 1000, 0, 0]


def test_best_fit_prefers_the_fuller_node_and_worst_fit_the_emptier() -> None:
    nodes = [EMPTY, EMPTY], [[100, 100, 0, 0], [500, 500, 0, 0]]
    assert _choice("best-fit", *nodes, demand=[100, 100, 0, 0]) == 1
    assert _choice("worst-fit", *nodes, demand=[100, 100, 0, 0]) == 0


def test_best_fit_counts_shares_and_not_amounts() -> None:
    # 400 of 1000 left over two resources is less of a node than 1000 of 10000
    nodes = [EMPTY, [10000, 10000, 0, 0]], [[600, 600, 0, 0], [9000, 9000, 0, 0]]
    assert _choice("best-fit", *nodes, demand=[0, 0, 0, 0]) == 1


def test_best_fit_keeps_a_pod_without_gpus_off_an_idle_gpu_node() -> None:
    nodes = [[1000, 1000, 0, 8000], EMPTY], [[500, 500, 0, 0], [500, 500, 0, 0]]
    assert _choice("best-fit", *nodes, demand=[100, 100, 0, 0]) == 1


def test_freeness_counts_how_many_such_pods_would_fit_in_what_is_scarcest() -> None:
    nodes = [EMPTY, EMPTY, [4000, 4000, 0, 0]], [[500, 100, 0, 0], [200, 400, 0, 0], [3900, 100, 0, 0]]
    assert _choice("freeness", *nodes, demand=[100, 100, 0, 0]) == 1
    assert _choice("freeness", *nodes, demand=[1, 100, 0, 0]) == 2
    assert _choice("freeness", *nodes, demand=[100, 1, 0, 0]) == 1


def test_dot_product_sends_a_memory_heavy_pod_where_memory_is_free() -> None:
    nodes = [EMPTY, EMPTY], [[100, 700, 0, 0], [700, 100, 0, 0]]
    assert _choice("dot-product", *nodes, demand=[10, 200, 0, 0]) == 1
    assert _choice("dot-product", *nodes, demand=[200, 10, 0, 0]) == 0


def test_first_fit_scores_every_node_the_same() -> None:
    assert _choice("first-fit", [EMPTY] * 3, [[900, 0, 0, 0], EMPTY, [0, 0, 0, 0]], demand=[0, 0, 0, 0]) == 0


@pytest.mark.parametrize("name", policy_names())
def test_the_first_of_equal_nodes_wins_except_at_random(name: str) -> None:
    nodes = [EMPTY] * 4, [[100, 300, 0, 0]] * 4
    if name == "random":
        choices = {_choice(name, *nodes, demand=[10, 10, 0, 0], draw=draw) for draw in range(40)}
        assert choices == {0, 1, 2, 3}
    else:
        assert _choice(name, *nodes, demand=[10, 10, 0, 0]) == 0


def test_random_picks_each_node_as_often_and_depends_on_the_draw_alone() -> None:
    score = get_policy("random").score
    ones = np.ones((10, 4), np.int64)
    twos = 2 * ones
    scores = np.array([[score(ones[0], ones[0], ones, ones, ones, n, d) for n in range(10)] for d in range(4000)])
    again = [[score(twos[0], ones[0], twos, ones, twos, n, d) for n in range(10)] for d in range(4000)]
    assert (scores == np.array(again)).all()
    assert 0.0 <= scores.min() < scores.max() < 1.0
    assert len(np.unique(scores)) == scores.size
    counts = np.bincount(scores.argmax(axis=1), minlength=10)
    assert abs(counts - 400).max() < 5 * np.sqrt(400 * 0.9)
    assert get_policy("random").needs_rescan


_columns = st.integers(2, 7)


@given(seed=st.integers(0, 2**32), columns=_columns)
def test_scores_equal_their_definitions(seed: int, columns: int) -> None:
    chance = np.random.default_rng(seed)
    allocatable = chance.integers(0, 10**6, (5, columns)) * chance.integers(0, 2, (5, columns))
    requested = (allocatable * chance.random((5, columns))).astype(np.int64)
    demand = chance.integers(0, 10**5, columns)
    size = np.where(allocatable == 0, 1, allocatable)
    has = allocatable > 0
    left = (has * (allocatable - requested - demand) / size).sum(axis=1)
    aligned = (has * (demand / size) * ((allocatable - requested) / size)).sum(axis=1) / columns
    for name, expected in (("best-fit", -left), ("worst-fit", left), ("dot-product", aligned)):
        assert _scores(name, allocatable, requested, demand) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", policy_names())
def test_a_score_is_finite_on_a_node_without_anything_and_on_an_over_committed_one(name: str) -> None:
    allocatable = np.array([[0] * 40, [10] * 40, [2**40] * 40])
    requested = np.array([[0] * 40, [15] * 40, [2**39] * 40])
    scores = _scores(name, allocatable, requested, np.full(40, 3))
    assert np.isfinite(scores).all()


def _scores(name: str, allocatable: Array, requested: Array, demand: Array, draw: int = 0) -> list[float]:
    score = get_policy(name).score
    nonzero = np.ascontiguousarray(requested[:, :2])
    nodes = range(len(allocatable))
    return [score(demand, demand[:2].copy(), allocatable, requested, nonzero, node, draw) for node in nodes]


def _choice(name: str, allocatable: object, requested: object, demand: object, draw: int = 0) -> int:
    return int(np.argmax(_scores(name, np.array(allocatable), np.array(requested), np.array(demand), draw)))
