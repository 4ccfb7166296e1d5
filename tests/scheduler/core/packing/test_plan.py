"""Plans: steps in an order that works, and what they say."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.packing import Budget, problem_from_arrays, solve
from scheduler.core.packing.from_snapshot import make_packing
from scheduler.core.packing.plan import make_plan, order_steps
from scheduler.core.packing.text import node_lines, tier_lines
from scheduler.core.snapshot import a_snapshot, parse_snapshot
from tests.scheduler.core.packing import kubectl_list
from tests.scheduler.core.packing.builders import a_node, a_pod
from tests.scheduler.core.packing.test_solve import a_crowd


def replay(problem, steps):
    """Carry the steps out; every step marked as having its room has it. Returns where the pods end."""
    free = problem.capacity.copy()
    where = dict(zip(problem.pods, problem.home.tolist(), strict=True))
    demand = {pod: problem.demand[k] for pod, k in zip(problem.pods, problem.pod_class, strict=True)}
    for pod, node in where.items():
        if node >= 0:
            free[node] -= demand[pod]
    late, waiting = [], []

    def settle():
        for step in list(waiting):
            node = problem.nodes.index(step.target)
            if (free[node] >= demand[step.pod]).all():
                waiting.remove(step)
                free[node] -= demand[step.pod]
                where[step.pod] = node

    for step in steps:
        if step.source is not None:
            free[where[step.pod]] += demand[step.pod]
            where[step.pod] = -1
            settle()
        if step.target is None:
            continue
        if not step.room_is_free:
            late.append(step)
            waiting.append(step)
            continue
        node = problem.nodes.index(step.target)
        assert (free[node] >= demand[step.pod]).all(), step
        free[node] -= demand[step.pod]
        where[step.pod] = node
    settle()
    assert (free >= 0).all()
    return [where[pod] for pod in problem.pods], late


@pytest.mark.parametrize("seed", range(4))
def test_every_step_finds_its_room_and_all_end_where_planned(seed):
    problem = a_crowd(seed, nodes=12, usage=0.98)
    result = solve(problem, "max-pack", Budget(0.4))
    ends, late = replay(problem, order_steps(problem, result.assign))
    assert ends == result.assign.tolist()
    assert len(late) <= 6


def test_two_pods_that_change_places_are_broken_up_and_say_so():
    problem = problem_from_arrays([[2, 2], [3, 3]], [[2, 2], [3, 3]], [1, 2], [0, 1], [1, -1])
    swapped = problem_from_arrays([[2, 2], [2, 2]], [[2, 1], [2, 2]], [1, 2], [0, 1], [0, 1])
    steps = order_steps(swapped, np.array([1, 0], dtype=np.int32))
    assert [s.action for s in steps] == ["move", "move"]
    assert [s.room_is_free for s in steps] == [False, True]
    assert steps[0].pod == "pod-0"  # the less important one waits
    assert order_steps(problem, problem.home) == []


def test_plan_says_for_whom_a_pod_moves_and_why_another_stays_pending():
    nodes = [a_node("n0", cpu=4, labels={"here": "yes"}), a_node("n1", cpu=2)]
    pods = [
        a_pod("q", cpu=2, node="n0", priority=1),
        a_pod("p", cpu=4, priority=5, node_selector={"here": "yes"}),
        a_pod("big", cpu=9),
        a_pod("r", cpu=2, priority=1),
    ]
    packing = make_packing(a_snapshot(nodes, pods))
    result = solve(packing.problem, budget=Budget(5.0))
    plan = make_plan(packing, result)
    assert [(s.action, s.pod, s.target) for s in plan.steps] == [
        ("move", "default/q", "n1"),
        ("place", "default/p", "n0"),
    ]
    assert plan.steps[0].why == "makes room for default/p (priority 5)"
    why = {entry["pod"]: (entry["verdict"], entry["why"]) for entry in plan.unplaced}
    assert why["default/big"] == (
        "impossible",
        "too large for each of the 2 nodes that may run it, whatever else is moved",
    )
    assert why["default/r"][0] == "impossible"


def test_real_list_is_packed_without_touching_what_must_stay():
    packing = make_packing(parse_snapshot(kubectl_list.as_bytes()))
    result = solve(packing.problem, budget=Budget(5.0))
    assert result.verdict == "optimal"
    assert {t.priority: t.placed for t in result.tiers if t.total != t.before} == {1000: 3, 10: 1}
    plan = make_plan(packing, result)
    assert not {step.pod for step in plan.steps} & set(packing.pinned)
    assert packing.pinned["shop/db-0"] == 'disruption budget "db" allows no disruption now'
    assert packing.pinned["kube-system/etcd-control-plane"] == "it is a static or mirror pod"
    assert [entry["pod"] for entry in plan.unplaced] == ["ml/train-big"]
    assert any("proven" in line for line in tier_lines(result))
    assert len(node_lines(packing, result)) > 2
