"""What breaks while a plan is carried out, on a real control plane: the plan ends as stated, nobody is lost.

A plan is held in its middle by a disruption budget that allows nothing: it has begun, its reservations stand, and the
API server refuses its evictions until the test says otherwise.
"""

from __future__ import annotations

import os
import random
import time

import msgspec
import pytest

from scheduler.core.kube_types import LabelSelector
from scheduler.core.snapshot import Budget, encode_snapshot, read_node
from scheduler.live.api import Api, ApiError
from scheduler.live.kube_objects import LiveNode, LivePod, ObjectList
from scheduler.live.planner.budget import DisruptionBudget
from scheduler.live.planner.kube_api import PlannerApi
from scheduler.live.planner.phases import Limits
from scheduler.live.planner.plan_resource import PATH, Plan
from scheduler.live.planner.proposal import Scope, candidates, make_plan, snapshot_for
from scheduler.live.planner.runner import Runner
from scheduler.live.planner.solver import Question, answer
from scheduler.live.planner.world import World, view_of
from tests.cluster.api_client import wait_for
from tests.cluster.objects import a_pod
from tests.cluster.planning import (
    PLANS,
    PlannerProcess,
    check_the_end,
    delete_plans,
    fragment,
    install_definition,
    plans_of,
    running,
    start_scheduler,
    wait_for_end,
    watched,
)
from tests.cluster.troubles import Clock, Wire

KILLS = int(os.environ.get("STOWAGE_KILLS", "100"))
BUDGET = "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/small"


@pytest.fixture(autouse=True)
def definition(control_plane):
    install_definition(control_plane)
    delete_plans(control_plane.client)
    yield
    for name in [n for n in control_plane.component if n.startswith("planner")]:
        control_plane.end_program(name)
    delete_plans(control_plane.client)


def allow(client, namespace, disruptions):
    """Set how many small pods may be disturbed, and wait until the controller has counted."""
    path = BUDGET.format(namespace)
    client.patch(path, {"spec": {"maxUnavailable": disruptions}})

    def is_counted():
        budget = client.get(path)
        seen = budget["status"].get("observedGeneration") == budget["metadata"]["generation"]
        return seen and budget["status"]["disruptionsAllowed"] <= disruptions

    wait_for("the budget to be counted", is_counted)


def held_in_the_middle(control_plane, namespace, **settings):
    """A planner whose plan has begun and whose evictions are refused; the plan."""
    client = control_plane.client
    start_scheduler(control_plane)
    fragment(control_plane, namespace, unavailable=6)
    settings = {"rest_s": 300, "eviction_s": 60, "drain_s": 5, **settings}
    PlannerProcess(control_plane, mode="approve", **settings)
    plan = wait_for("a plan that waits", lambda: next(iter(with_phase(client, "Waiting")), None), 60)
    allow(client, namespace, 0)
    client.patch(f"{PLANS}/{plan['metadata']['name']}", {"spec": {"approved": True}})

    def is_refused():
        plans = with_phase(client, "Executing")
        return plans and any(s.get("attempts") for s in plans[0]["status"]["steps"]) and plans[0]

    return wait_for("its evictions refused", is_refused, 30)


def with_phase(client, phase):
    return [p for p in plans_of(client) if p.get("status", {}).get("phase") == phase]


def stopped(client, plan, timeout_s=40):
    """The reason for which the plan stopped."""
    path = f"{PLANS}/{plan['metadata']['name']}"

    def is_stopped():
        found = client.get(path)
        return found if found["status"]["phase"] == "Stopped" else None

    ended = wait_for("the plan stopped", is_stopped, timeout_s)
    return next(c["reason"] for c in ended["status"]["conditions"] if c["type"] == "Stopped")


def all_small_run(client, namespace, count=12):
    wait_for(f"{count} small pods run", lambda: len(running(client, namespace, "small")) == count, 30)


def target(plan):
    """The node that the first move leads to."""
    return next(s["to"] for s in plan["spec"]["steps"] if s["action"] == "move")


def test_an_eviction_refused_by_a_budget_stops_the_plan_in_time(control_plane, namespace):
    client = control_plane.client
    with watched(control_plane, namespace, at_least=0) as checker:
        plan = held_in_the_middle(control_plane, namespace, eviction_s=4)
        assert stopped(client, plan) == "EvictionRefused"
    assert checker.evicted == set()
    check_the_end(client)


def test_a_plan_goes_on_when_the_budget_allows_again(control_plane, namespace):
    client = control_plane.client
    held_in_the_middle(control_plane, namespace)
    allow(client, namespace, 6)
    wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 60)
    plans = wait_for_end(client)
    assert [p["status"]["phase"] for p in plans] == ["Succeeded"]
    all_small_run(client, namespace)
    check_the_end(client)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("cordon", "NodeCordoned"),
        ("not ready", "NodeNotReady"),
        ("stranger", "RoomTaken"),
        ("delete", "NodeGone"),
    ],
)
def test_a_plan_stops_when_its_node_changes(control_plane, namespace, change, reason):
    client = control_plane.client
    plan = held_in_the_middle(control_plane, namespace)
    before = {p["metadata"]["uid"] for p in running(client, namespace, "small")}
    node = target(plan)
    if change == "cordon":
        client.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})
    elif change == "not ready":
        control_plane.forget_node(node)
    elif change == "stranger":  # bound by hand, past every scheduler
        client.create(a_pod("stranger", namespace, cpu="1500m", memory="16Mi", nodeName=node))
    else:
        client.delete(f"/api/v1/nodes/{node}")
    assert stopped(client, plan) == reason
    if change in ("cordon", "stranger"):
        assert {p["metadata"]["uid"] for p in running(client, namespace, "small")} == before
    if change == "not ready":
        control_plane.remember_node(node)
    if change == "cordon":
        client.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": None}})
    if change != "delete":
        all_small_run(client, namespace)
    check_the_end(client)


def test_a_replacement_that_never_appears_stops_the_plan(control_plane, namespace):
    client = control_plane.client
    plan = held_in_the_middle(control_plane, namespace, replacement_s=3, at_once=1)
    allow(client, namespace, 6)
    wait_for(
        "an eviction",
        lambda: any(s["state"] in ("evicted", "placed") for s in client.get(path_of(plan))["status"]["steps"]),
        every_s=0.01,
    )
    control_plane.component["kube-controller-manager"].pause()  # nobody makes pods any more
    reason = stopped(client, plan)
    control_plane.component["kube-controller-manager"].resume()
    assert reason in ("ReplacementMissing", "EvictionRefused")
    all_small_run(client, namespace)
    check_the_end(client)


def path_of(plan):
    return f"{PLANS}/{plan['metadata']['name']}"


@pytest.mark.parametrize("compact", [False, True])
def test_a_plan_goes_on_after_the_api_server_was_away(control_plane, namespace, compact):
    client = control_plane.client
    held_in_the_middle(control_plane, namespace)
    if compact:
        control_plane.compact_etcd()
    control_plane.component["kube-apiserver"].restart()
    allow(client, namespace, 6)
    wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 60)
    wait_for_end(client)
    all_small_run(client, namespace)
    check_the_end(client)


@pytest.mark.parametrize("trouble", ["cut", "freeze"])
def test_a_plan_goes_on_after_its_watches_broke_off(control_plane, namespace, trouble):
    client = control_plane.client
    with Wire(control_plane.port) as wire:
        kubeconfig = str(control_plane.kubeconfig_through(wire.port))
        plan = held_in_the_middle(control_plane, namespace, kubeconfig=kubeconfig)
        getattr(wire, trouble)()
        time.sleep(5)
        allow(client, namespace, 6)
        time.sleep(1)
        assert len(running(client, namespace, "small")) == 12
        wire.mend()
        wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 60)
        wait_for_end(client)
        assert client.get(path_of(plan))["status"]["phase"] == "Succeeded"
        all_small_run(client, namespace)
        check_the_end(client)
        control_plane.end_program("planner")


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_clock_that_jumps_is_no_matter_to_a_plan(control_plane, namespace, tmp_path, jump_s):
    client = control_plane.client
    clock = Clock(tmp_path)
    plan = held_in_the_middle(control_plane, namespace, program=clock.program)
    with watched(control_plane, namespace, at_least=6):
        clock.jump(jump_s)
        time.sleep(3)
        assert client.get(path_of(plan))["status"]["phase"] == "Executing"
        allow(client, namespace, 6)
        wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 30)
        (ended,) = wait_for_end(client)
    assert ended["status"]["phase"] == "Succeeded"
    all_small_run(client, namespace)
    check_the_end(client)


def test_two_planners_that_both_lead_do_no_harm(control_plane, namespace):
    client = control_plane.client
    start_scheduler(control_plane)
    fragment(control_plane, namespace, unavailable=2)
    with watched(control_plane, namespace, at_least=10):
        for name in ("planner-a", "planner-b"):  # a Lease each, so neither knows of the other
            PlannerProcess(control_plane, name, lease_name=name, rest_s=300)
        wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 90)
        wait_for_end(client)
        all_small_run(client, namespace)
    check_the_end(client)


def test_another_planner_takes_over_when_the_leader_is_killed(control_plane, namespace):
    client = control_plane.client
    plan = held_in_the_middle(control_plane, namespace)
    PlannerProcess(control_plane, "planner-second", mode="approve", rest_s=300)
    control_plane.component["planner"].kill()
    allow(client, namespace, 6)
    wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 60)
    wait_for_end(client)
    assert client.get(path_of(plan))["status"]["phase"] == "Succeeded"
    all_small_run(client, namespace)
    check_the_end(client)


class Killed(BaseException):
    """The planner dies here."""


class DyingApi(PlannerApi):
    """A client that dies at random, before or after a call took effect."""

    risk = 0.0

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name in ("read_plan", "write_plan_status", "write_finalizers", "evict", "annotate", "release", "nominate"):

            def call(*words, **more):
                if random.random() < self.risk / 2:
                    raise Killed
                result = found(*words, **more)
                if random.random() < self.risk / 2:
                    raise Killed
                return result

            return call
        return found


class Observed:
    """A planner's executor over a world that is listed anew at every turn."""

    def __init__(self, control_plane, risk):
        self.api = Api.connect(control_plane.kubeconfig)
        self.writes = DyingApi(self.api)
        self.writes.risk = risk
        self.world = World()
        limits = Limits(eviction_s=30, replacement_s=20, bind_s=20, plan_s=120, drain_s=5)
        self.runner = Runner(
            self.writes, self.world, time.time, lambda: True, limits, DisruptionBudget(1.0, 10**6, 10**6)
        )

    def look(self):
        pods = msgspec.json.decode(self.api.get("/api/v1/pods"), type=ObjectList[LivePod]).items or []
        nodes = msgspec.json.decode(self.api.get("/api/v1/nodes"), type=ObjectList[LiveNode]).items or []
        plans = msgspec.json.decode(self.api.get(PATH), type=ObjectList[Plan]).items or []
        for key in set(self.world.pods) - {p.key for p in pods}:
            self.world.drop_pod(key)
        for name in set(self.world.nodes) - {n.metadata.name for n in nodes}:
            self.world.drop_node(name)
        for item in pods:
            self.world.put_pod(view_of(item, []))
        for item in nodes:
            self.world.put_node(read_node(item))
        self.runner.plans = {p.name: p for p in plans}

    def propose(self, namespace, allowed):
        """A plan for what waits now; None if nothing helps."""
        scope = Scope(mode="auto", rest_s=0)
        if not candidates(self.world, scope):
            return None
        budget = Budget(
            name="small", namespace=namespace, selector=LabelSelector(match_labels={"app": "small"}), allowed=allowed
        )
        snapshot = snapshot_for(self.world, [budget], scope, "auto", time.time())
        found = answer(Question(encode_snapshot(snapshot), "pending", "no-harm", 1.0, 0))
        plan = make_plan(found, self.world, snapshot, "auto", "no-harm", "pending")
        return plan and self.writes.create_plan(plan)


def test_a_planner_killed_at_random_calls_leaves_every_plan_to_the_next(control_plane, namespace):
    """Wide pods come and go, so that there is always a next plan; every planner dies at some call of one."""
    client = control_plane.client
    start_scheduler(control_plane)
    fragment(control_plane, namespace, unavailable=6)
    random.seed(4)
    kills = plans = 0
    deadline = time.monotonic() + 240
    with watched(control_plane, namespace, at_least=0):  # `scatter` deletes pods, past every budget
        while kills < KILLS and time.monotonic() < deadline:
            planner = Observed(control_plane, risk=0.25)
            try:
                while time.monotonic() < deadline:
                    time.sleep(0.02)
                    planner.look()
                    planner.runner.turn()
                    busy = [p for p in planner.runner.plans.values() if not p.is_finished]
                    if not busy:
                        scatter(client, namespace)
                        planner.look()
                        plans += planner.propose(namespace, 6) is not None
            except Killed:
                kills += 1
            except ApiError as error:
                if not (error.is_conflict or error.is_not_found):
                    raise
        planner = Observed(control_plane, risk=0.0)

        def is_over():
            planner.look()
            planner.runner.turn()
            return all(p.is_finished and not p.metadata.finalizers for p in planner.runner.plans.values())

        wait_for("the last plan ended", is_over, 60)
        all_small_run(client, namespace)
    check_the_end(client)
    print(f"{kills} kills over {plans} plans")
    assert kills >= KILLS
    assert plans >= 3


def scatter(client, namespace):
    """Take the wide pods away and spread the small ones again, so that the next plan has work to do."""
    check_the_end(client)
    delete_plans(client)
    scale = "/apis/apps/v1/namespaces/{}/deployments/{}"
    client.patch(scale.format(namespace, "wide"), {"spec": {"replicas": 0}})
    wait_for("no wide pods", lambda: not client.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector="app=wide"))
    for pod in running(client, namespace, "small"):
        client.delete(f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}")
    all_small_run(client, namespace)
    client.patch(scale.format(namespace, "wide"), {"spec": {"replicas": 4}})

    def are_refused():
        pods = client.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector="app=wide")
        return len(pods) == 4 and all(
            any(c.get("reason") == "Unschedulable" for c in p["status"].get("conditions", ())) for p in pods
        )

    wait_for("wide pods refused", are_refused)
