"""Single rules of carrying out a plan, on a small cluster in memory; time moves because the test moves it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import pytest

from scheduler.live.planner.budget import DisruptionBudget
from scheduler.live.planner.plan_resource import condition
from tests.scheduler.live.planner.fake_cluster import FakeApi, FakeCluster
from tests.scheduler.live.planner.plans import QUICK, a_runner, a_spec, a_step, drive, fragmented

TWO_BUDGETS = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


def step_states(cluster):
    return [step.state for step in cluster.plans["plan-1"].status.steps]


def reason(cluster):
    return condition(cluster.plans["plan-1"].status, "Complete").reason


def turn(cluster, runner, api):
    api.observe(runner.world, runner)
    runner.turn()


def with_spec(cluster, **changes):
    plan = cluster.plans["plan-1"]
    cluster.store_plan(msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, **changes)))


def test_the_plan_is_carried_out_and_its_pods_are_where_it_said():
    cluster = fragmented()
    runner, api = a_runner(cluster)
    drive(cluster, runner, api)
    assert step_states(cluster) == ["bound", "bound"]
    assert cluster.pods["default/wide-0"].pod.node == "node-0"
    assert cluster.pods["default/small-r1"].pod.node == "node-1"
    assert len(cluster.evictions) == 1


def test_nothing_is_written_to_a_pod_before_the_status_says_so():
    verbs: list[str] = []
    cluster = fragmented()
    runner, api = a_runner(cluster, FakeApi(cluster, lambda verb, before: verbs.append(verb) if before else None))
    drive(cluster, runner, api)
    assert verbs[:4] == ["write_finalizers", "write_plan_status", "write_plan_status", "evict"]


@pytest.mark.parametrize(("jump", "why"), [(-3600, "ClockWentBack"), (3600, "DeadlineExceeded")])
def test_a_clock_that_jumps_ends_the_plan_and_nobody_stays_behind(jump, why):
    cluster = fragmented()
    runner, api = a_runner(cluster)
    turn(cluster, runner, api)
    turn(cluster, runner, api)
    assert cluster.evictions
    cluster.now += jump
    drive(cluster, runner, api)
    assert reason(cluster) == why
    assert cluster.pods["default/small-r1"].pod.node
    assert len(cluster.evictions) == 1


@pytest.mark.parametrize(("mode", "phase"), [("observe", "Proposed"), ("approve", "Waiting")])
def test_without_leave_nothing_is_touched(mode, phase):
    cluster = fragmented()
    with_spec(cluster, mode=mode)
    before = dict(cluster.pods)
    runner, api = a_runner(cluster)
    for _ in range(20):
        turn(cluster, runner, api)
    assert cluster.plans["plan-1"].status.phase == phase
    assert cluster.plans["plan-1"].status.reservations == []
    assert cluster.pods == before


def test_an_approved_plan_begins():
    cluster = fragmented()
    with_spec(cluster, mode="approve")
    runner, api = a_runner(cluster)
    turn(cluster, runner, api)
    with_spec(cluster, approved=True)
    drive(cluster, runner, api)
    assert reason(cluster) == "Done"


def test_a_reservation_names_the_owner_only_between_eviction_and_replacement():
    cluster = fragmented()
    runner, api = a_runner(cluster)
    turn(cluster, runner, api)
    kept = {r.node: r for r in cluster.plans["plan-1"].status.reservations}
    assert (kept["node-1"].pod, kept["node-1"].hard) == ("default/small-0", False)
    assert kept["node-0"].requests["cpu"] == 1000  # the other half is that of the pod that is still to go
    turn(cluster, runner, api)
    kept = {r.node: r for r in cluster.plans["plan-1"].status.reservations}
    assert (kept["node-1"].owner.uid, kept["node-1"].hard) == ("small", True)
    assert (kept["node-0"].pod, kept["node-0"].hard) == ("default/wide-0", False)
    assert kept["node-0"].requests["cpu"] == 2000


def test_reservations_are_renewed_before_they_expire():
    cluster = fragmented()
    cluster.refuse["u1"] = (429, "no")
    runner, api = a_runner(cluster, limits=replace(QUICK, eviction_s=1000, plan_s=1000))
    for _ in range(400):
        turn(cluster, runner, api)
        cluster.now += 0.5
        assert cluster.plans["plan-1"].status.phase != "Executing" or cluster.reservations()


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [((500, TWO_BUDGETS), "EvictionRefused"), ((403, "no"), "EvictionForbidden"), ((429, "no"), "EvictionRefused")],
)
def test_a_refused_eviction_stops_the_plan_and_moves_nobody(refusal, expected):
    cluster = fragmented()
    cluster.refuse["u1"] = refusal
    runner, api = a_runner(cluster)
    drive(cluster, runner, api)
    assert reason(cluster) == expected
    assert step_states(cluster) == ["skipped", "skipped"]
    assert cluster.evictions == []


def test_a_refused_eviction_is_tried_again_ever_more_slowly():
    cluster = fragmented()
    cluster.refuse["u1"] = (429, "no")
    times: list[float] = []

    def note(verb, before):
        if (verb, before) == ("evict", True):
            times.append(cluster.now)

    runner, api = a_runner(cluster, FakeApi(cluster, note))
    drive(cluster, runner, api)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[0] >= 1.0  # the server asked for a second


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.put_node(msgspec.structs.replace(c.nodes["node-1"], unschedulable=True)), "NodeCordoned"),
        (lambda c: c.put_node(msgspec.structs.replace(c.nodes["node-1"], ready=False)), "NodeNotReady"),
        (lambda c: c.drop_node("node-1"), "NodeGone"),
        (lambda c: c.add_pod("stranger", 500, "node-1"), "RoomTaken"),
        (lambda c: c.remove("default/wide-0"), "NothingToGain"),
        (lambda c: with_spec(c, stopped=True), "StoppedByUser"),
        (lambda c: with_spec(c, mode="observe"), "ModeChanged"),
    ],
)
def test_a_plan_whose_world_changes_before_its_first_eviction_evicts_nobody(change, expected):
    cluster = fragmented()
    runner, api = a_runner(cluster)
    turn(cluster, runner, api)
    assert cluster.plans["plan-1"].status.phase == "Executing"
    change(cluster)
    cluster.owners["wide"].is_broken = True
    drive(cluster, runner, api)
    assert reason(cluster) == expected
    assert cluster.evictions == []
    assert cluster.plans["plan-1"].status.reservations == []


def test_a_replacement_that_never_comes_stops_the_plan():
    cluster = fragmented()
    cluster.owners["small"].is_broken = True
    runner, api = a_runner(cluster)
    drive(cluster, runner, api)
    assert reason(cluster) == "ReplacementMissing"


def test_an_evicted_pod_whose_node_fails_goes_back_where_it_was():
    cluster = fragmented(nodes=2, guard=True)
    runner, api = a_runner(cluster)
    for _ in range(2):
        turn(cluster, runner, api)
    assert len(cluster.evictions) == 1
    cluster.put_node(msgspec.structs.replace(cluster.nodes["node-1"], unschedulable=True))
    drive(cluster, runner, api)
    assert reason(cluster) == "NodeCordoned"
    assert cluster.pods["default/small-r1"].pod.node == "node-0"


def test_the_disruption_budget_is_kept_over_plans_and_planners():
    cluster = fragmented()
    budget = DisruptionBudget(window_s=100, total=1, per_namespace=1)
    runner, api = a_runner(cluster, budget=budget)
    drive(cluster, runner, api)
    steps = [a_step(0, "move", cluster.pods["default/small-1"], "node-2")]
    cluster.create_plan("plan-2", a_spec(steps, purpose="consolidate"))
    runner, api = a_runner(cluster, budget=budget)  # a new planner knows only what the Plans say
    turn(cluster, runner, api)
    assert cluster.plans["plan-2"].status.phase == "Waiting"
    assert condition(cluster.plans["plan-2"].status, "Executing").reason == "BudgetExhausted"
    cluster.now += 100
    drive(cluster, runner, api)
    assert cluster.plans["plan-2"].status.phase == "Succeeded"


def test_a_plan_that_no_window_allows_ends_at_once():
    cluster = fragmented()
    runner, api = a_runner(cluster, budget=DisruptionBudget(total=0))
    turn(cluster, runner, api)
    assert reason(cluster) == "ExceedsBudget"


def a_gang(cluster: FakeCluster, size: int, owned: bool = True):
    members = [cluster.add_pod(f"g-{i}", 1000, None, "gang" if owned else "", gated=True) for i in range(size)]
    if owned:
        cluster.add_owner("gang", size, 1000, gated=True)
    steps = [a_step(i, "place", live, f"node-{i % 2}", gang="default/g") for i, live in enumerate(members)]
    cluster.create_plan("plan-1", a_spec(steps))
    return members


def test_a_gang_is_released_in_one_turn_with_one_write_per_pod():
    cluster = FakeCluster()
    for n in range(2):
        cluster.add_node(f"node-{n}", 4000)
    a_gang(cluster, 8)
    verbs: list[str] = []
    runner, api = a_runner(cluster, FakeApi(cluster, lambda verb, before: verbs.append(verb) if before else None))
    turn(cluster, runner, api)
    turn(cluster, runner, api)
    assert verbs == ["write_finalizers", "write_plan_status", "write_plan_status"] + 8 * ["release"]
    drive(cluster, runner, api)
    assert {cluster.pods[f"default/g-{i}"].pod.node for i in range(0, 8, 2)} == {"node-0"}
    assert {cluster.pods[f"default/g-{i}"].pod.node for i in range(1, 8, 2)} == {"node-1"}


def test_a_gang_waits_when_one_member_has_no_room_yet():
    cluster = FakeCluster()
    for n in range(2):
        cluster.add_node(f"node-{n}", 4000)
    going = cluster.add_pod("going", 3500, "node-1", "x")
    cluster.store(replace(going, pod=msgspec.structs.replace(going.pod, terminating=True)))
    a_gang(cluster, 2)
    runner, api = a_runner(cluster)
    for _ in range(5):
        turn(cluster, runner, api)
    assert step_states(cluster) == ["pending", "pending"]
    assert all(cluster.pods[f"default/g-{i}"].is_gated for i in range(2))
    drive(cluster, runner, api)
    assert reason(cluster) == "Done"


def test_a_pod_that_nobody_would_replace_is_released_but_not_pinned():
    cluster = FakeCluster()
    for n in range(2):
        cluster.add_node(f"node-{n}", 4000)
    a_gang(cluster, 2, owned=False)
    runner, api = a_runner(cluster)
    drive(cluster, runner, api)
    assert cluster.pods["default/g-0"].pod.affinity.node_affinity is None
    assert reason(cluster) == "Done"


def test_two_pods_that_block_each_other_change_places():
    cluster = FakeCluster()
    for n in range(2):
        cluster.add_node(f"node-{n}", 2000)
    cluster.add_owner("a", 1, 2000)
    cluster.add_owner("b", 1, 1900)
    one, other = cluster.add_pod("a-0", 2000, "node-0", "a"), cluster.add_pod("b-0", 1900, "node-1", "b")
    steps = [a_step(0, "move", one, "node-1", room_is_free=False), a_step(1, "move", other, "node-0")]
    cluster.create_plan("plan-1", a_spec(steps, purpose="consolidate"))
    runner, api = a_runner(cluster)
    drive(cluster, runner, api)
    assert cluster.plans["plan-1"].status.phase == "Succeeded"
    assert cluster.pods["default/a-r1"].pod.node == "node-1"


def test_a_deleted_plan_stops_and_lets_go():
    cluster = fragmented()
    runner, api = a_runner(cluster)
    turn(cluster, runner, api)
    plan = cluster.plans["plan-1"]
    meta = msgspec.structs.replace(plan.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    cluster.store_plan(msgspec.structs.replace(plan, metadata=meta))
    drive(cluster, runner, api)
    assert cluster.plans == {}
    assert cluster.evictions == []
