"""The emulated default scheduler against placements and figures that the authors published."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analytics.packing_default import PENDING, run_default
from analytics.packing_instances import Cell, PackingInstance, derive_random, generate, published_seeds

# The authors' baseline runs, 4 nodes, 4 pods a node, one priority, 90 %: pods per node, pending pods per ReplicaSet.
PUBLISHED = {
    484806185843093489: ([4, 4, 3, 3], {5: 2}),
    4219457405427907235: ([4, 4, 4, 3], {3: 1}),
    7309940385334237743: ([4, 4, 4, 3], {5: 1}),
    5896358955358513046: ([4, 4, 4, 4], {}),
}


@pytest.mark.parametrize("seed", PUBLISHED)
@pytest.mark.parametrize("chance", range(5))
def test_published_placements_are_reproduced(seed: int, chance: int) -> None:
    instance = generate(Cell(4, 4, 1, 90), seed)
    node_of = run_default(instance, derive_random(chance, "ties"), preemption=True)
    assert describe(instance, node_of) == PUBLISHED[seed]


def test_a_published_placement_with_preemption_is_reproduced() -> None:
    instance = generate(Cell(16, 4, 4, 95), 484806185843093489)
    node_of = run_default(instance, derive_random(1, "ties"), preemption=True)
    assert np.bincount(instance.priority[node_of != PENDING])[1:].tolist() == [4, 16, 24, 15]
    assert Counter(instance.replicaset[node_of == PENDING].tolist()) == {18: 3, 21: 2}


@pytest.mark.parametrize(("priorities", "usage", "published"), [(4, 90, -0.0282), (4, 95, -0.0311), (1, 95, 0.0009)])
def test_mean_utilisation_of_start_less_baseline_is_as_published(
    shared_data: Callable[[str], Path], priorities: int, usage: int, published: float
) -> None:
    shared_data("packing")
    # 32 nodes at a limit of 1 s: every solve failed there, so the published difference is that of the two runs.
    differences = []
    for seed in published_seeds()[:12]:
        instance = generate(Cell(32, 4, priorities, usage), seed)
        runs = [run_default(instance, derive_random(seed, str(how)), preemption=how) for how in (False, True)]
        used = [instance.demand[node_of != PENDING].sum(axis=0) for node_of in runs]
        differences.append(((used[0] - used[1]) / instance.node_capacity.sum(axis=0)).mean())
    assert np.mean(differences) == pytest.approx(published, abs=0.01)


def test_no_node_is_overfull_and_every_pending_pod_fits_nowhere() -> None:
    for seed in range(6):
        instance = generate(Cell(8, 4, 4, 100), seed)
        for preemption in (False, True):
            node_of = run_default(instance, derive_random(seed, "ties"), preemption=preemption)
            used = np.zeros((8, 2), dtype=np.int64)
            np.add.at(used, node_of[node_of != PENDING], instance.demand[node_of != PENDING])
            assert (used <= instance.capacity).all()
            for pod in np.flatnonzero(node_of == PENDING):
                assert not (used + instance.demand[pod] <= instance.capacity).all(axis=1).any()


def test_preemption_gives_a_more_important_pod_the_room_of_less_important_ones() -> None:
    instance = an_instance(capacity=[100, 100], demand=[[60, 60], [60, 60]], priority=[1, 2])
    assert run_default(instance, derive_random(0, "x"), preemption=False).tolist() == [0, PENDING]
    assert run_default(instance, derive_random(0, "x"), preemption=True).tolist() == [PENDING, 0]


def test_preemption_spares_pods_that_need_not_go() -> None:
    instance = an_instance(capacity=[100, 100], demand=[[30, 30], [60, 60], [60, 60]], priority=[1, 1, 2])
    assert run_default(instance, derive_random(0, "x"), preemption=True).tolist() == [0, PENDING, 0]


def test_pods_of_one_replicaset_spread_over_nodes() -> None:
    instance = an_instance(nodes=4, capacity=[100, 100], demand=[[1, 1]] * 4, priority=[1] * 4, replicaset=[0] * 4)
    assert sorted(run_default(instance, derive_random(0, "x"), preemption=False)) == [0, 1, 2, 3]


def test_a_big_cluster_is_searched_in_part_and_in_turn() -> None:
    instance = an_instance(nodes=1000, capacity=[100, 100], demand=[[1, 1]] * 4, priority=[1] * 4)
    node_of = run_default(instance, derive_random(0, "x"), preemption=False)
    # 42 % of 1,000 nodes are looked at each time, from where the last search stopped.
    assert [(int(node) - 420 * turn) % 1000 // 420 for turn, node in enumerate(node_of)] == [0, 0, 0, 0]


def an_instance(
    *,
    capacity: list[int],
    demand: list[list[int]],
    priority: list[int],
    nodes: int = 1,
    replicaset: list[int] | None = None,
) -> PackingInstance:
    owner = np.array(replicaset if replicaset is not None else range(len(demand)))
    return PackingInstance(
        Cell(nodes, 1, max(priority), 100), 0, np.array(capacity), np.array(demand), np.array(priority), owner
    )


def describe(instance: PackingInstance, node_of: np.ndarray) -> tuple[list[int], dict[int, int]]:
    """Pods per node, fullest first, and pending pods per ReplicaSet."""
    counts = np.bincount(node_of[node_of != PENDING], minlength=instance.cell.nodes)
    return sorted(counts.tolist(), reverse=True), dict(Counter(instance.replicaset[node_of == PENDING].tolist()))
