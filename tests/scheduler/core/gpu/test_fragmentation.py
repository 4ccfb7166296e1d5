from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.gpu.fragmentation import NO_DEVICE, Nodes, fragment_delta, fragment_milli, scratch_for, types_of
from scheduler.core.gpu.fragmentation_choice import fits
from tests.scheduler.core.gpu.small_clusters import (
    naive_fragment,
    naive_node,
    naive_placements,
    naive_types,
    some_nodes,
    some_types,
)


def fragment_of(nodes: Nodes, row: int, types, weight, memory_of, cpu_worth=0.0) -> float:
    return fragment_milli(
        nodes.cpu_milli[row], float(nodes.memory_mib[row]), nodes.gpu_milli[row], nodes.gpus[row], types, weight,
        memory_of, cpu_worth, scratch_for(nodes, types),
    )  # fmt: skip


def some_weights(rng: np.random.Generator, types) -> np.ndarray:
    weight = rng.random(len(types.gpus))
    weight[rng.random(len(weight)) < 0.2] = 0.0
    return weight / (weight.sum() + rng.random() + 0.01)


@settings(max_examples=150)
@given(st.integers(0, 10**6))
def test_the_fragment_is_what_the_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nodes, types = some_nodes(rng), some_types(rng)
    weight, memory_of = some_weights(rng, types), rng.integers(0, 128, 8) * 1024.0
    naive = naive_types(types, weight, memory_of)
    for row in range(len(nodes.gpus)):
        found = fragment_of(nodes, row, types, weight, memory_of)
        assert found == pytest.approx(naive_fragment(naive_node(nodes, row), naive))
        with_cpu = fragment_of(nodes, row, types, weight, memory_of, 0.05)
        assert with_cpu == pytest.approx(naive_fragment(naive_node(nodes, row), naive, 0.05))
        assert -1e-9 <= found <= nodes.gpu_milli[row].sum() + 1e-9


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.05]))
def test_the_decrease_is_the_difference_of_two_fragments_on_the_best_device(seed: int, cpu_worth: float) -> None:
    rng = np.random.default_rng(seed)
    nodes, types = some_nodes(rng), some_types(rng)
    weight, memory_of = some_weights(rng, types), np.zeros(8)
    naive = naive_types(types, weight, memory_of)
    before = [column.copy() for column in nodes]
    scratch = scratch_for(nodes, types)
    for row in range(len(nodes.gpus)):
        for kind in range(8):
            if not fits(nodes, row, types, kind, 0):
                continue
            delta, device = fragment_delta(nodes, row, types, kind, weight, memory_of, cpu_worth, scratch)
            node = naive_node(nodes, row)
            after = {
                at: naive_fragment(node, naive, cpu_worth) - naive_fragment(placed, naive, cpu_worth)
                for at, placed in naive_placements(node, naive[kind]).items()
            }
            assert delta == pytest.approx(max(after.values()), abs=1e-6)
            assert after[device] == pytest.approx(delta, abs=1e-6)
    for column, was in zip(nodes, before, strict=True):
        np.testing.assert_array_equal(column, was)


def test_a_share_goes_where_it_leaves_no_waste() -> None:
    types = types_of(np.array([1000, 1000]), np.array([1, 1]), np.array([400, 600]))
    nodes = Nodes(np.array([8000]), np.array([1024]), np.array([[1000, 400]]), np.array([2]), np.array([0]))
    delta, device = fragment_delta(
        nodes, 0, types, 0, np.array([0.5, 0.5]), np.zeros(2), 0.0, scratch_for(nodes, types)
    )
    assert device == 1  # the 400 that only half of the pods could use
    assert delta == pytest.approx(200.0)


def test_whole_gpus_name_no_device() -> None:
    types = types_of(np.array([1000]), np.array([2]), np.array([1000]))
    nodes = Nodes(np.array([8000]), np.array([1024]), np.array([[1000, 1000]]), np.array([2]), np.array([0]))
    assert fragment_delta(nodes, 0, types, 0, np.ones(1), np.zeros(1), 0.0, scratch_for(nodes, types)) == (
        0.0,
        NO_DEVICE,
    )


def test_idle_gpus_beside_too_little_cpu_are_fragment() -> None:
    types = types_of(np.array([4000]), np.array([1]), np.array([500]))
    nodes = Nodes(np.array([3999]), np.array([1024]), np.array([[1000, 700]]), np.array([2]), np.array([0]))
    assert fragment_of(nodes, 0, types, np.ones(1), np.zeros(1)) == 1700.0


def test_free_cpu_beside_full_gpus_is_fragment_for_those_who_need_gpus() -> None:
    types = types_of(np.array([4000, 4000]), np.array([1, 0]), np.array([500, 0]))
    nodes = Nodes(np.array([8000]), np.array([1024]), np.array([[0]]), np.array([1]), np.array([0]))
    assert fragment_of(nodes, 0, types, np.array([0.75, 0.25]), np.zeros(2)) == 0.0
    assert fragment_of(nodes, 0, types, np.array([0.75, 0.25]), np.zeros(2), 0.1) == pytest.approx(0.75 * 800)
