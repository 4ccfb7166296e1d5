"""The pattern bound never undercuts an optimum found by trying everything, and its placements keep every rule."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from analytics.packing_bench import make_case
from analytics.packing_instances import Cell
from scheduler.core.packing.patterns import bound_by_patterns
from scheduler.core.packing.problem import problem_from_arrays
from scheduler.core.packing.stage import Stage, make_stage


def never(steps: int) -> bool:
    return False


def a_stage(
    *,
    capacity: list[list[int]],
    demand: list[list[int]],
    priority: list[int],
    home: list[int],
    tier: int | None = 0,
    floors: dict[int, int] | None = None,
    harm_limits: dict[int, int] | None = None,
    owner: list[int] | None = None,
) -> Stage:
    problem = problem_from_arrays(
        capacity, demand, priority, owner or list(range(len(demand))), home, resources=tuple("ab"[: len(demand[0])])
    )
    everything = np.ones(len(demand), dtype=bool)
    return make_stage(
        problem,
        problem.home,
        asked=everything,
        absent=~everything,
        nodes=np.arange(len(capacity), dtype=np.int32),
        tier=tier,
        floors=floors or {},
        harm_limits=harm_limits or {},
        harm_level=max(problem.level),
    )


def is_lawful(stage: Stage, counts: np.ndarray) -> bool:
    if (counts < 0).any() or (counts > stage.most).any() or (counts.sum(axis=1) > stage.supply).any():
        return False
    if (counts.T @ stage.demand > stage.room).any():
        return False
    if any(counts[stage.class_tier == tier].sum() < least for tier, least in stage.floors):
        return False
    gone = (stage.home - np.minimum(stage.home, counts)).sum(axis=1) * stage.cost
    return all(gone[stage.class_level <= level].sum() <= limit for level, limit in stage.harm_limits)


def enumerate_best(stage: Stage) -> int | None:
    classes, nodes = stage.most.shape
    rows = []
    for k in range(classes):
        options = [range(int(most) + 1) for most in stage.most[k]]
        rows.append([row for row in product(*options) if sum(row) <= stage.supply[k]])
    best = None
    for choice in product(*rows):
        counts = np.array(choice).reshape(classes, nodes)
        if is_lawful(stage, counts):
            value = stage.value(counts)
            best = value if best is None else max(best, value)
    return best


def a_random_stage(seed: int) -> Stage:
    stream = np.random.default_rng(seed)
    pods, nodes = int(stream.integers(2, 6)), int(stream.integers(1, 4))
    owner = np.sort(stream.integers(0, 4, pods))
    demand = stream.integers(0, 6, (4, 2))[owner]
    priority = stream.integers(1, 3, 4)[owner]
    capacity = np.tile(stream.integers(4, 10, 2), (nodes, 1)) if seed % 2 else stream.integers(3, 10, (nodes, 2))
    home = np.full(pods, -1)
    free = capacity.copy()
    for pod in range(pods):
        node = int(stream.integers(nodes))
        if stream.random() < 0.6 and (demand[pod] <= free[node]).all():
            home[pod], free[node] = node, free[node] - demand[pod]
    tiers = len(set(priority.tolist()))
    running = [int(((-priority == sorted(-np.unique(priority))[t]) & (home >= 0)).sum()) for t in range(tiers)]
    goal = None if stream.random() < 0.4 else tiers - 1
    floors = {t: running[t] for t in range(tiers) if t != goal}
    limits = {0: int(stream.integers(0, 2))} if stream.random() < 0.6 else {}
    stage = a_stage(
        capacity=capacity.tolist(),
        demand=demand.tolist(),
        priority=priority.tolist(),
        home=home.tolist(),
        owner=owner.tolist(),
        tier=goal,
        floors=floors,
        harm_limits=limits,
    )
    if stream.random() < 0.3:  # a node where one class may not come, unless it runs there
        most = stage.most.copy()
        k, node = int(stream.integers(len(most))), int(stream.integers(nodes))
        most[k, node] = min(stage.home[k, node], most[k, node])
        stage = replace(stage, most=most)
    return stage


@pytest.mark.parametrize("block", range(10))
def test_the_bound_holds_and_placements_are_lawful(block: int) -> None:
    reached = 0
    for seed in range(40 * block, 40 * block + 40):
        stage = a_random_stage(seed)
        best = enumerate_best(stage)
        answer = bound_by_patterns(stage, never)
        assert best is not None  # everything staying at home is lawful
        assert answer.bound >= best, seed
        if answer.counts is not None:
            assert is_lawful(stage, answer.counts), seed
            assert stage.value(answer.counts) <= best
            reached += stage.value(answer.counts) == best
    assert reached >= 30  # of 40: the dive is a heuristic


def test_the_bound_sees_the_waste_of_every_single_node() -> None:
    # Pooled, three pods of 4 fit into 12; node by node only two do.
    stage = a_stage(capacity=[[6], [6]], demand=[[4], [4], [4]], priority=[1, 1, 1], home=[-1, -1, -1])
    answer = bound_by_patterns(stage, never)
    assert answer.bound == 2
    assert answer.counts is not None
    assert stage.value(answer.counts) == 2


def test_a_floor_keeps_the_more_important_pod_placed() -> None:
    stage = a_stage(capacity=[[6]], demand=[[6], [3], [3]], priority=[2, 1, 1], home=[0, -1, -1], tier=1, floors={0: 1})
    assert bound_by_patterns(stage, never).bound == 0


def test_a_harm_limit_of_zero_holds_pods_where_they_run() -> None:
    stage = a_stage(
        capacity=[[6], [8]], demand=[[4], [6], [4]], priority=[2, 1, 1], home=[0, -1, 1], tier=1, floors={0: 1},
        harm_limits={0: 0},
    )  # fmt: skip
    assert bound_by_patterns(stage, never).bound == 1
    loose = replace(stage, harm_limits=((0, 1),))
    assert bound_by_patterns(loose, never).bound == 2


def test_fewest_moves_are_bounded_when_no_tier_is_packed() -> None:
    # All four fit only as 2 + 4 and 2 + 6: the pod of 4 must go to the other node.
    stage = a_stage(
        capacity=[[6], [8]], demand=[[2], [2], [4], [6]], priority=[1] * 4, home=[0, 1, 1, -1], tier=None, floors={0: 4}
    )
    answer = bound_by_patterns(stage, never)
    assert answer.bound == enumerate_best(stage) == -1


def test_a_known_goal_ends_the_search_early() -> None:
    stage = a_stage(capacity=[[6], [6]], demand=[[4], [4], [4]], priority=[1, 1, 1], home=[0, 1, -1])
    answer = bound_by_patterns(stage, never, goal=2)
    assert (answer.bound, answer.counts) == (2, None)


def test_stopped_at_once_it_still_gives_a_valid_bound() -> None:
    stage = a_stage(capacity=[[6], [6]], demand=[[4], [4], [4]], priority=[1, 1, 1], home=[0, 1, -1])
    assert bound_by_patterns(stage, lambda steps: True).bound >= 2


def test_every_better_bound_is_reported() -> None:
    seen: list[int] = []
    stage = a_benchmark_stage()
    answer = bound_by_patterns(
        stage, never, report=lambda bound, counts: seen.append(bound) if bound is not None else None
    )
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == answer.bound


def test_the_same_question_gives_the_same_answer_and_effort() -> None:
    first, second = (bound_by_patterns(a_benchmark_stage(), never) for _ in range(2))
    assert (first.bound, first.steps, first.rounds) == (second.bound, second.steps, second.rounds)
    assert first.counts is not None
    assert second.counts is not None
    assert (first.counts == second.counts).all()


def a_benchmark_stage() -> Stage:
    """The top priority of a benchmark instance, packed into the whole cluster."""
    case = make_case(Cell(8, 4, 1, 100), 5)
    instance = case.instance
    return a_stage(
        capacity=instance.node_capacity.tolist(),
        demand=instance.demand.tolist(),
        priority=instance.priority.tolist(),
        home=case.start.tolist(),
        owner=instance.replicaset.tolist(),
    )
