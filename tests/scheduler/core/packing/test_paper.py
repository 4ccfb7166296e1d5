"""The published model against brute force over its own rules, on cases small enough to enumerate."""

import time
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from scheduler.core.packing.paper import PENDING, PaperProblem, PaperResult, solve_model, solve_paper
from scheduler.core.packing.problem import Budget, DisruptionBudget, Problem, problem_from_arrays

FOREVER_S = 60.0


def solve(problem: PaperProblem, limit_s: float = FOREVER_S) -> PaperResult:
    return solve_model(problem, limit_s, time.monotonic, workers=1, seed=1)


def a_problem(
    demand: list[list[int]], capacity: list[list[int]], priority: list[int], node_of: list[int]
) -> PaperProblem:
    return PaperProblem(
        np.array(demand, dtype=np.int64).reshape(len(priority), len(capacity[0])),
        np.array(capacity, dtype=np.int64),
        np.array(priority, dtype=np.int64),
        np.array(node_of, dtype=np.int64),
    )


def enumerate_best(problem: PaperProblem) -> tuple[int, ...] | None:
    """The best score in the interleaved order, by trying every assignment; None where no pending pod can be placed."""
    pods, nodes = len(problem.demand), len(problem.capacity)
    pending = [pod for pod in range(pods) if problem.node_of[pod] == PENDING]
    tiers = sorted(set(problem.priority.tolist()), reverse=True)
    best = None
    for choice in product(range(PENDING, nodes), repeat=pods):
        plan = np.array(choice)
        loads = [problem.demand[plan == node].sum(axis=0) for node in range(nodes)]
        if any((load > room).any() for load, room in zip(loads, problem.capacity, strict=True)):
            continue
        if pending and all(plan[pod] == PENDING for pod in pending):
            continue
        score = []
        for tier in tiers:
            these = problem.priority >= tier
            running = these & (problem.node_of != PENDING)
            score.append(int((plan[these] != PENDING).sum()))
            score.append(-disturbance(problem, plan, running))
        best = max(best, tuple(score)) if best else tuple(score)
    return best


def disturbance(problem: PaperProblem, plan: np.ndarray, running: np.ndarray) -> int:
    evicted = running & (plan == PENDING)
    moved = running & (plan != PENDING) & (plan != problem.node_of)
    return int(evicted.sum() + 2 * moved.sum())


def score_of(problem: PaperProblem, plan: np.ndarray) -> tuple[int, ...]:
    score = []
    for tier in sorted(set(problem.priority.tolist()), reverse=True):
        these = problem.priority >= tier
        score.append(int((plan[these] != PENDING).sum()))
        score.append(-disturbance(problem, plan, these & (problem.node_of != PENDING)))
    return tuple(score)


@pytest.mark.parametrize("seed", range(40))
def test_optimal_agrees_with_brute_force(seed: int) -> None:
    stream = np.random.default_rng(seed)
    pods, nodes = int(stream.integers(2, 6)), int(stream.integers(1, 4))
    demand = stream.integers(1, 6, (pods, 2))
    capacity = stream.integers(3, 9, (nodes, 2))
    node_of = np.full(pods, PENDING)
    free = capacity.copy()
    for pod in range(pods):  # a start that holds
        node = int(stream.integers(nodes))
        if stream.random() < 0.6 and (demand[pod] <= free[node]).all():
            node_of[pod], free[node] = node, free[node] - demand[pod]
    problem = PaperProblem(demand, capacity, stream.integers(1, 4, pods), node_of)
    best, result = enumerate_best(problem), solve(problem)
    if best is None:
        assert result.status == "INFEASIBLE"
        assert result.node_of is None
    else:
        assert result.status == "OPTIMAL"
        assert score_of(problem, result.node_of) == best


def test_a_more_important_running_pod_is_not_moved_for_a_less_important_one() -> None:
    # Moving the important pod to node 1 would place everything; the interleaved order keeps it where it is.
    frozen = a_problem([[4], [4], [6]], [[6], [8]], [2, 1, 1], [0, 1, PENDING])
    assert solve(frozen).node_of.tolist() == [0, PENDING, 1]
    equal = a_problem([[4], [4], [6]], [[6], [8]], [1, 1, 1], [0, 1, PENDING])
    assert solve(equal).node_of.tolist() == [1, 1, 0]


def test_one_pending_pod_must_be_placed_even_at_the_price_of_a_running_one() -> None:
    swapped = a_problem([[5], [5]], [[5]], [1, 1], [0, PENDING])
    assert solve(swapped).node_of.tolist() == [PENDING, 0]


def test_a_stage_that_finds_nothing_leaves_no_plan() -> None:
    result = solve(a_problem([[9]], [[5]], [1], [PENDING]))
    assert (result.status, result.node_of) == ("INFEASIBLE", None)


def test_no_time_at_all_is_unknown() -> None:
    result = solve(a_problem([[5], [5]], [[5]], [1, 1], [0, PENDING]), limit_s=0.2)
    assert (result.status, result.node_of) == ("UNKNOWN", None)


def test_nothing_to_place_is_optimal() -> None:
    assert solve(a_problem([], [[5]], [], [])).status == "OPTIMAL"
    assert solve(a_problem([[5]], [[5]], [1], [0])).node_of.tolist() == [0]


def test_every_tier_is_placed_before_it_is_disturbed_from_the_top_down() -> None:
    result = solve(a_problem([[5], [5], [5]], [[5], [5]], [3, 2, 1], [0, PENDING, PENDING]))
    assert [(stage.tier, stage.goal) for stage in result.stages] == [
        (3, "place"), (3, "disturb"), (2, "place"), (2, "disturb"), (1, "place"), (1, "disturb"),
    ]  # fmt: skip


def test_columns_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="resources"):
        PaperProblem(np.ones((1, 2)), np.ones((1, 1)), np.ones(1), np.zeros(1))
    with pytest.raises(ValueError, match="one entry"):
        PaperProblem(np.ones((2, 1)), np.ones((1, 1)), np.ones(2), np.zeros(1))


def a_packing(priority: list[int], home: list[int], demand: list[list[int]]) -> Problem:
    return problem_from_arrays([[6], [8]], demand, priority, list(range(len(home))), home, resources=("cpu",))


def test_our_own_problem_is_answered_with_tiers_and_a_verdict() -> None:
    result = solve_paper(a_packing([1, 1, 1], [0, 1, -1], [[4], [4], [6]]), Budget(30), workers=1)
    assert (result.verdict, result.moves, result.evictions) == ("optimal", 1, 0)
    assert [(t.placed, t.bound, t.proven) for t in result.tiers] == [(3, 3, True)]


def test_a_node_that_is_not_allowed_is_not_used() -> None:
    problem = replace(a_packing([1, 1, 1], [0, 1, -1], [[4], [4], [6]]), allowed=np.array([[True, False]]))
    assert solve_paper(problem, Budget(30), workers=1).assign.tolist() != [1, 1, 0]


def test_a_plan_that_breaks_a_rule_is_not_taken() -> None:
    problem = a_packing([1, 1, 1], [0, 1, -1], [[4], [4], [6]])
    budget = DisruptionBudget("keep", np.arange(3, dtype=np.int32), 0)
    result = solve_paper(replace(problem, budgets=(budget,)), Budget(30), workers=1)
    assert result.assign.tolist() == [0, 1, -1]
    assert "breaks a rule" in result.notes[0]


def test_a_deterministic_budget_repeats_itself() -> None:
    problem = a_packing([2, 1, 1, 1], [0, 1, -1, -1], [[4], [4], [6], [2]])
    runs = [solve_paper(problem, Budget(5, deterministic=True), seed=3) for _ in range(2)]
    assert runs[0].assign.tolist() == runs[1].assign.tolist()
    assert runs[0].seconds == runs[1].seconds
