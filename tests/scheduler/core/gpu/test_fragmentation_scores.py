from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.gpu import fragmentation_scores as scores
from scheduler.core.gpu.fragmentation import Nodes, Types, scratch_for, types_of
from scheduler.core.gpu.fragmentation_mix import Mix, observe, refresh, unknown_mix

SHARED, WHOLE, CPU_ONLY = range(3)
AMOUNT = st.floats(1.0, 1e5)


def three_types() -> Types:
    return types_of(np.array([4000, 8000, 2000]), np.array([1, 1, 0]), np.array([400, 1000, 0]))


def a_node(*left: int, cpu_milli: int = 96_000) -> Nodes:
    gpus = np.array([len(left)])
    return Nodes(np.array([cpu_milli]), np.array([393_216]), np.array([list(left)]), gpus, np.array([0]))


def learned(nodes: Nodes, *arrivals: int) -> Mix:
    """A mix of these types' arrivals, all of which may use the only model."""
    types = three_types()
    mix = unknown_mix(types, np.ones((1, 1), np.bool_))
    for kind in arrivals:
        observe(mix, kind, 0, 1024)
    refresh(mix, nodes, types)
    return mix


@given(AMOUNT, AMOUNT, st.floats(0.1, 100.0), st.floats(0.01, 100.0))
def test_usable_capacity_is_in_proportion_to_the_node_and_below_what_either_could_serve(
    free: float, cpu: float, ratio: float, times: float
) -> None:
    usable = scores.usable_milli(free, cpu, ratio)
    assert scores.usable_milli(times * free, times * cpu, ratio) == pytest.approx(times * usable)
    low, high = sorted((free, cpu / ratio))
    assert low <= usable * (1 + 1e-9)
    assert usable <= min(high, low * 2 ** (1 / scores.SHARPNESS)) * (1 + 1e-9)


def test_usable_capacity_at_the_edges() -> None:
    assert scores.usable_milli(0.0, 8000.0, 8.0) == 0.0
    assert scores.usable_milli(1000.0, 0.0, 8.0) == 0.0
    assert scores.usable_milli(1000.0, 8000.0, 8.0) == pytest.approx(1000.0)
    assert scores.usable_milli(1000.0, 0.0, 0.0) == 1000.0  # nothing known, nothing missed


def test_a_pod_with_much_cpu_prefers_the_node_with_much_cpu() -> None:
    """Same GPUs, same fragment; the one with 52 cores a GPU instead of 12 wins though best fit would fill the other."""
    rich, poor = a_node(1000, 1000, cpu_milli=104_000), a_node(1000, 1000, cpu_milli=24_000)
    mix = learned(poor, *[WHOLE] * 5)
    wide = types_of(np.array([4000, 20_000, 2000]), np.array([1, 1, 0]), np.array([400, 1000, 0]))
    on = [scores.score_stowage(node, 0, wide, WHOLE, mix, scratch_for(node, wide))[0] for node in (rich, poor)]
    assert on[0] > on[1]


def test_a_pod_without_a_gpu_leaves_idle_gpus_their_cpu() -> None:
    full, idle = a_node(0, 0, cpu_milli=24_000), a_node(1000, 1000, cpu_milli=24_000)
    mix, types = learned(idle, *[WHOLE] * 5), three_types()
    on = [scores.score_stowage(node, 0, types, CPU_ONLY, mix, scratch_for(node, types))[0] for node in (full, idle)]
    assert on[0] > on[1]


def test_fgd_scores_in_whole_points_of_a_sigmoid() -> None:
    node, types = a_node(1000, 1000), three_types()
    mix = learned(node, SHARED, WHOLE)
    # on an idle GPU: half of the pods, the whole ones, lose the 600 that are left
    assert scores.score_fgd(node, 0, types, SHARED, mix, scratch_for(node, types)) == (int(100 / (1 + np.exp(0.3))), 0)


def test_best_fit_and_dot_product_by_hand() -> None:
    node, types = a_node(1000, 1000, cpu_milli=64_000), three_types()
    assert scores.score_best_fit(node, 0, types, WHOLE) == int((1 - 0.5 * 56 / 128 - 0.5 * 1 / 8) * 100)
    assert scores.score_dot_product(node, 0, types, WHOLE) == int(100 * (1 - (0.5 * 8 / 128 + 0.25 * 0.125) / 2))


@pytest.mark.parametrize(
    ("left", "kind", "score"),
    [
        ((1000,) * 8, WHOLE, 25),  # a node without pods: 33 less its idle GPUs
        ((1000, 0), WHOLE, 49),  # an idle GPU of a used node
        ((1000, 300), SHARED, 49),  # the only one with room is idle
        ((1000, 600), SHARED, 94),  # a shared one: 100 less a tenth of its 60 % free
        ((600, 400), SHARED, 96),  # the tightest
        ((600, 400), CPU_ONLY, 0),
    ],
)
def test_packing_prefers_shared_gpus(left: tuple[int, ...], kind: int, score: int) -> None:
    assert scores.score_packing(a_node(*left), 0, three_types(), kind) == score


@pytest.mark.parametrize(
    ("on", "kind", "score"),
    [
        ([1, 0, 0], SHARED, 75 + 20),  # its own kind only; 1.4 of 8 GPUs free
        ([1, 2, 0], SHARED, 50 + 20),
        ([0, 0, 0], SHARED, 25 + 20),
        ([0, 2, 0], SHARED, 20),
        ([0, 2, 0], WHOLE, 75 + 20),
        ([1, 0, 0], CPU_ONLY, 0),
    ],
)
def test_clustering_prefers_pods_of_its_kind(on: list[int], kind: int, score: int) -> None:
    assert scores.score_clustering(a_node(1000, 400), 0, three_types(), kind, np.array([on])) == score
