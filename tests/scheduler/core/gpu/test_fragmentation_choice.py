from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.gpu import fragmentation_scores as scores
from scheduler.core.gpu.fragmentation import NO_DEVICE, Nodes, scratch_for, types_of
from scheduler.core.gpu.fragmentation_choice import (
    EXACT,
    FGD,
    NOWHERE,
    PATHS,
    POLICIES,
    RANDOM_TIES,
    SCORES10,
    SCORES10_NEAREST,
    STOWAGE,
    Board,
    board_for,
    choose,
    fits,
    kept_score,
    learn,
    place,
    points,
)
from scheduler.core.gpu.fragmentation_mix import unknown_mix
from tests.scheduler.core.gpu.small_clusters import (
    MODELS,
    naive_fragment,
    naive_node,
    naive_types,
    some_nodes,
    some_types,
)

EVERY_POLICY = range(len(POLICIES))
EVERY_PATH = range(len(PATHS))


def a_board(seed: int, count: int = 6) -> Board:
    """Idle nodes, eight kinds of pods, two classes: one may use all models, one a single model."""
    rng = np.random.default_rng(seed)
    nodes, types = some_nodes(rng, count, used=False), some_types(rng)
    allowed = np.ones((2, MODELS), np.bool_)
    allowed[1] = np.arange(MODELS) == nodes.model[0]
    rank = rng.permutation(count)
    return board_for(nodes, types, unknown_mix(types, allowed), rank, seed)


def arrive(board: Board, policy: int, path: int, kind: int, group: int, memory_mib: int) -> tuple[int, int]:
    """One arrival as the protocol does it: learn, choose, place."""
    learn(board, kind, group, memory_mib)
    node = choose(board, policy, path, kind, group, memory_mib)
    return (node, NO_DEVICE) if node == NOWHERE else (node, place(board, policy, node, kind, memory_mib))


def some_arrivals(seed: int, count: int = 60) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(seed)
    columns = rng.integers(0, 8, count), rng.integers(0, 2, count), rng.integers(0, 32, count) * 1024
    return [(int(kind), int(group), int(memory)) for kind, group, memory in zip(*columns, strict=True)]


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(EVERY_POLICY), st.sampled_from(EVERY_PATH))
def test_every_placement_fits_and_takes_what_the_pod_asks_for(seed: int, policy: int, path: int) -> None:
    board = a_board(seed)
    nodes, types = board.nodes, board.types
    for kind, group, memory_mib in some_arrivals(seed):
        before = Nodes(*(column.copy() for column in nodes))
        able = [
            n for n in range(6)
            if fits(before, n, types, kind, memory_mib) and board.mix.allowed[group, nodes.model[n]]
        ]  # fmt: skip
        node, device = arrive(board, policy, path, kind, group, memory_mib)
        if not able:
            assert node == NOWHERE
            continue
        assert node in able
        taken = before.gpu_milli - nodes.gpu_milli
        assert taken.sum() == taken[node].sum() == types.gpus[kind] * types.gpu_milli[kind]
        if device != NO_DEVICE:
            assert taken[node, device] == types.gpu_milli[kind]
        else:
            assert set(taken[node].tolist()) <= {0, 1000}
        assert before.cpu_milli[node] - nodes.cpu_milli[node] == types.cpu_milli[kind]
        assert before.memory_mib[node] - nodes.memory_mib[node] == memory_mib
        for column in (nodes.cpu_milli, nodes.memory_mib, nodes.gpu_milli):
            assert column.min() >= 0


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_scores_that_were_kept_are_those_computed_afresh(seed: int) -> None:
    board = a_board(seed)
    nodes, types = board.nodes, board.types
    for kind, group, memory_mib in some_arrivals(seed, 80):
        arrive(board, STOWAGE, SCORES10, kind, group, memory_mib)
    for kind in range(8):
        for node in range(6):
            if fits(nodes, node, types, kind, 0):
                afresh, device = scores.score_stowage(nodes, node, types, kind, board.mix, scratch_for(nodes, types))
                assert kept_score(board, STOWAGE, node, kind) == afresh
                assert board.device[kind, node] == device


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_fgd_by_name_takes_the_first_of_the_best_by_its_own_definition(seed: int) -> None:
    """Against the naive measure: every node tried, every device tried, the score cut to whole points."""
    board = a_board(seed)
    nodes, types = board.nodes, board.types
    board.mix.weight[:] = 1 / 8
    naive = naive_types(types, board.mix.weight[0], board.mix.memory_of)
    for kind, group, memory_mib in some_arrivals(seed, 25):
        points_of = {}
        for n in range(6):
            if not (fits(nodes, n, types, kind, memory_mib) and board.mix.allowed[group, nodes.model[n]]):
                continue
            before = naive_node(nodes, n)
            trial = Nodes(*(column.copy() for column in nodes))
            alone = board_for(trial, types, board.mix, board.rank, 0)
            kept_score(alone, FGD, n, kind)
            place(alone, FGD, n, kind, 0)
            gain = naive_fragment(before, naive) - naive_fragment(naive_node(alone.nodes, n), naive)
            points_of[n] = int(100 / (1 + np.exp(-gain / 1000)))
        chosen = choose(board, FGD, EXACT, kind, group, memory_mib)
        if not points_of:
            assert chosen == NOWHERE
            continue
        best = max(points_of.values())
        assert chosen == min((n for n, value in points_of.items() if value == best), key=lambda n: board.rank[n])
        place(board, FGD, chosen, kind, memory_mib)


@given(st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=20), st.sampled_from([SCORES10, SCORES10_NEAREST]))
def test_points_are_whole_in_0_to_10_and_the_best_has_10(values: list[float], path: int) -> None:
    low, high = min(values), max(values)
    if low == high:
        return
    sent = [points(value, low, high, path) for value in values]
    assert all(0 <= point <= 10 and point == int(point) for point in sent)
    assert all(point == 10 for value, point in zip(values, sent, strict=True) if value == high)
    assert sorted(values) == [value for _, value in sorted(zip(sent, values, strict=True))]


def alike(count: int, path: int, seed: int) -> int:
    """The choice among nodes that are all the same."""
    types = types_of(np.array([1000]), np.array([1]), np.array([500]))
    nodes = Nodes(
        np.full(count, 8000), np.full(count, 65_536), np.full((count, 1), 1000), np.ones(count, np.int64),
        np.zeros(count, np.int64),
    )  # fmt: skip
    board = board_for(nodes, types, unknown_mix(types, np.ones((1, 1), np.bool_)), np.arange(count)[::-1].copy(), seed)
    return choose(board, STOWAGE, path, 0, 0, 1024)


def test_equal_scores_go_by_rank_or_by_chance() -> None:
    assert {alike(5, EXACT, seed) for seed in range(20)} == {4}
    for path in (RANDOM_TIES, SCORES10, SCORES10_NEAREST):
        assert {alike(5, path, seed) for seed in range(100)} == set(range(5))


def test_chance_is_the_seed_s_own() -> None:
    assert [alike(9, SCORES10, 7) for _ in range(3)] == [alike(9, SCORES10, 7)] * 3


@pytest.mark.parametrize("policy", EVERY_POLICY)
def test_a_pod_that_fits_nowhere_is_told_so(policy: int) -> None:
    board = a_board(1)
    assert choose(board, policy, EXACT, 0, 0, 2**40) == NOWHERE
