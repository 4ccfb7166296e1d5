from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.gpu.fragmentation import Nodes, Types, types_of
from scheduler.core.gpu.fragmentation_mix import Mix, fade, observe, refresh, unknown_mix

ANY, T4_ONLY = 0, 1
ALLOWED = np.array([[True, True], [False, True]])


def nodes_with(g2: int, t4: int) -> Nodes:
    """Idle nodes of one GPU: so many of model 0, so many of model 1."""
    model = np.repeat([0, 1], [g2, t4])
    count = g2 + t4
    return Nodes(
        np.full(count, 16_000), np.full(count, 65_536), np.full((count, 1), 1000), np.ones(count, np.int64), model
    )


def two_types() -> Types:
    """One whole GPU with 8 cores, and CPU only."""
    return types_of(np.array([8000, 4000]), np.array([1, 0]), np.array([1000, 0]))


def mix_of(arrivals: dict[tuple[int, int], int], nodes: Nodes, memory_mib: int = 1024) -> Mix:
    """What was learned from so many arrivals of (type, class)."""
    types = two_types()
    mix = unknown_mix(types, ALLOWED)
    for (kind, group), count in arrivals.items():
        for _ in range(count):
            observe(mix, kind, group, memory_mib)
    refresh(mix, nodes, types)
    return mix


def test_nothing_is_known_before_anything_arrived() -> None:
    mix = mix_of({}, nodes_with(1, 1))
    assert not mix.weight.any()
    assert not mix.price.any()
    assert mix.cpu_ratio[0] == 0.0


def test_weights_are_frequencies_among_all_pods_by_what_may_use_the_model() -> None:
    mix = mix_of({(0, ANY): 5, (0, T4_ONLY): 3, (1, ANY): 2}, nodes_with(4, 4))
    assert mix.weight[0, 0] == pytest.approx(0.5)
    assert mix.weight[1, 0] == pytest.approx(0.8)
    assert mix.weight[:, 1] == pytest.approx([0.2, 0.2])
    assert mix.cpu_ratio[0] == pytest.approx(8.0)
    assert mix.memory_of[0] == pytest.approx(1024.0)


def test_models_cost_nothing_while_every_pod_may_use_all() -> None:
    assert mix_of({(0, ANY): 10}, nodes_with(6, 2)).price == pytest.approx(np.zeros(2))


def test_a_model_is_dear_when_those_bound_to_it_want_more_than_the_others_leave() -> None:
    mix = mix_of({(0, ANY): 6, (0, T4_ONLY): 4}, nodes_with(8, 2))  # 40 % of the demand for 20 % of the GPUs
    assert mix.price[0] == pytest.approx(0.0, abs=1e-6)
    assert mix.price[1] == pytest.approx(1.0 - (6 / 8) / (4 / 2), abs=0.01)


def test_a_model_is_free_while_those_bound_to_it_leave_room() -> None:
    mix = mix_of({(0, ANY): 9, (0, T4_ONLY): 1}, nodes_with(5, 5))
    assert mix.price == pytest.approx(np.zeros(2), abs=0.01)


def test_a_price_follows_what_is_left_of_a_model() -> None:
    arrivals = {(0, ANY): 8, (0, T4_ONLY): 2}
    assert mix_of(arrivals, nodes_with(8, 1)).price[1] > mix_of(arrivals, nodes_with(8, 3)).price[1]


def test_old_work_fades() -> None:
    types, nodes = two_types(), nodes_with(4, 4)
    mix = mix_of({(0, T4_ONLY): 8}, nodes)
    fade(mix, 0.25)
    for _ in range(2):
        observe(mix, 0, ANY, 1024)
    refresh(mix, nodes, types)
    assert mix.weight[0, 0] == pytest.approx(0.5)
    assert mix.memory_of[0] == pytest.approx(1024.0)


def test_cpu_is_dear_where_it_runs_out_before_the_gpus() -> None:
    plenty = mix_of({(0, ANY): 10}, nodes_with(6, 2))  # 8 cores a GPU asked for, 16 there
    assert plenty.cpu_price[0] == pytest.approx(1 / (1 + 2**8))
    assert mix_of({(0, ANY): 10, (1, ANY): 20}, nodes_with(6, 2)).cpu_price[0] == pytest.approx(0.5)
    assert mix_of({(0, ANY): 10, (1, ANY): 60}, nodes_with(6, 2)).cpu_price[0] > 0.99
