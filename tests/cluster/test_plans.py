"""Plans end to end on a real control plane: what the stock scheduler leaves pending runs after some moves."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import datetime

import pytest

from tests.cluster.api_client import ApiFailure, wait_for
from tests.cluster.objects import a_deployment
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


@pytest.fixture(autouse=True)
def definition(control_plane):
    install_definition(control_plane)
    delete_plans(control_plane.client)
    yield
    for name in [n for n in control_plane.component if n.startswith("planner")]:
        control_plane.end_program(name)
    delete_plans(control_plane.client)


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("unavailable", [6, 2])
def test_in_auto_all_that_the_optimum_allows_runs_and_every_move_lands_where_planned(
    control_plane, namespace, unavailable
):
    """With a budget of 6 one plan does it; with 2 it takes one after the other, as the budget allows."""
    start_scheduler(control_plane)
    fragment(control_plane, namespace, unavailable=unavailable)
    client = control_plane.client
    wait_for("wide pods refused", lambda: len(refused(client, namespace)) == 4)
    on_node = Counter(p["spec"]["nodeName"] for p in running(client, namespace, "small"))
    to_move = sum(sorted(on_node.values())[:3])  # the three nodes that are emptied with least harm
    with watched(control_plane, namespace, at_least=12 - unavailable) as checker:
        PlannerProcess(control_plane, rest_s=300)
        wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 60)
        plans = wait_for_end(client)
        wait_for("all small pods run", lambda: len(running(client, namespace, "small")) == 12)
    nodes = {p["metadata"]["name"]: p["spec"].get("nodeName") for p in control_plane.pods(namespace)}
    moved = 0
    for plan in plans:
        assert plan["status"]["phase"] == "Succeeded", plan["status"]["message"]
        assert plan["spec"]["verdict"] == "optimal"
        for step, state in zip(plan["spec"]["steps"], plan["status"]["steps"], strict=True):
            assert state["state"] == "bound"
            assert nodes[state["replacement"]] == step["to"]
            moved += step["action"] == "move"
        solved = seconds(plan["metadata"]["creationTimestamp"])
        assert seconds(plan["status"]["finishedAt"]) - solved <= 11  # creation times are whole seconds
    assert len(plans) == (1 if unavailable == 6 else 3)
    assert moved == to_move  # 6 where the scheduler has spread them evenly
    assert len(checker.evicted) <= moved
    check_the_end(client)


def refused(client, namespace):
    pods = client.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector="app=wide")
    return [p for p in pods if any(c.get("reason") == "Unschedulable" for c in p["status"].get("conditions", ()))]


def test_in_observe_nothing_is_evicted_and_the_plan_says_the_same(control_plane, namespace):
    start_scheduler(control_plane)
    fragment(control_plane, namespace, unavailable=6)
    client = control_plane.client
    before = {p["metadata"]["uid"] for p in running(client, namespace, "small")}
    with watched(control_plane, namespace, at_least=12) as checker:
        PlannerProcess(control_plane, mode="observe")
        plan = wait_for("a proposal", lambda: next((p for p in plans_of(client) if p.get("status")), None), 60)
        time.sleep(5)
    assert plan["status"]["phase"] == "Proposed"
    assert sum(s["action"] == "place" for s in plan["spec"]["steps"]) == 3
    assert any(s["action"] == "move" for s in plan["spec"]["steps"])
    assert {p["metadata"]["uid"] for p in running(client, namespace, "small")} == before
    assert checker.evicted == set()
    assert len(plans_of(client)) == 1  # the same proposal is not made again
    with pytest.raises(ApiFailure, match="only proposes"):
        client.patch(f"{PLANS}/{plan['metadata']['name']}", {"spec": {"approved": True}})


def test_in_approve_it_waits_for_a_person(control_plane, namespace):
    start_scheduler(control_plane)
    fragment(control_plane, namespace, unavailable=6)
    client = control_plane.client
    with watched(control_plane, namespace, at_least=6) as checker:
        PlannerProcess(control_plane, mode="approve")
        plan = wait_for(
            "a plan that waits",
            lambda: next((p for p in plans_of(client) if p.get("status", {}).get("phase") == "Waiting"), None),
            60,
        )
        time.sleep(3)
        assert checker.evicted == set()
        run_stowage(control_plane, "plan", "approve", plan["metadata"]["name"])
        wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 60)
        wait_for_end(client)
    check_the_end(client)


def test_a_plan_is_shown_and_stopped_from_the_command_line(control_plane, namespace):
    start_scheduler(control_plane)
    fragment(control_plane, namespace)
    client = control_plane.client
    PlannerProcess(control_plane, mode="approve")
    plan = wait_for(
        "a plan that waits",
        lambda: next((p for p in plans_of(client) if p.get("status", {}).get("phase") == "Waiting"), None),
        60,
    )
    name = plan["metadata"]["name"]
    listed = json.loads(run_stowage(control_plane, "plan", "list", "--json"))["plans"]
    assert [row["name"] for row in listed] == [name]
    shown = run_stowage(control_plane, "plan", "show", name)
    assert "move" in shown
    assert "makes room for" in shown
    run_stowage(control_plane, "plan", "stop", name)
    ended = wait_for_end(client)[0]
    assert ended["status"]["phase"] == "Stopped"
    assert next(c for c in ended["status"]["conditions"] if c["type"] == "Stopped")["reason"] == "StoppedByUser"
    with pytest.raises(ApiFailure, match="stays finished"):
        client.patch(f"{PLANS}/{name}/status", {"status": {"phase": "Executing"}})


def test_a_gated_gang_is_released_at_once_onto_its_planned_nodes(control_plane, namespace):
    start_scheduler(control_plane)
    client = control_plane.client
    control_plane.add_nodes(32, cpu=4, prefix=namespace)
    PlannerProcess(control_plane)
    gang = a_deployment("gang", namespace, 32, cpu="2", memory="16Mi", scheduler="stowage")
    template = gang["spec"]["template"]
    template["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] = "ring"
    template["metadata"]["annotations"] = {"pod-group.scheduling.sigs.k8s.io/min-available": "32"}
    template["spec"]["schedulingGates"] = [{"name": "stowage.dev/hold"}]
    client.create(gang)
    control_plane.wait_until_running(namespace, 32, 60)
    (plan,) = wait_for_end(client)
    assert plan["status"]["phase"] == "Succeeded"
    nodes = control_plane.nodes_of_pods(namespace)
    assert {step["pod"]: step["to"] for step in plan["spec"]["steps"]} == nodes
    pods = control_plane.pods(namespace)
    assert all(p["spec"]["affinity"]["nodeAffinity"] for p in pods)  # tied to the node by the patch that freed them
    started = seconds(plan["status"]["startedAt"])
    ended = seconds(plan["status"]["finishedAt"])
    print(f"32 pods from the plan's start to all seen bound: {ended - started:.2f} s")
    check_the_end(client)


def test_a_gang_without_room_for_all_stays_held(control_plane, namespace):
    start_scheduler(control_plane)
    client = control_plane.client
    control_plane.add_nodes(2, cpu=4, prefix=namespace)
    planner = PlannerProcess(control_plane)
    gang = a_deployment("gang", namespace, 3, cpu="3", memory="16Mi", scheduler="stowage")
    template = gang["spec"]["template"]
    template["metadata"]["labels"]["pod-group.scheduling.sigs.k8s.io"] = "ring"
    template["metadata"]["labels"]["pod-group.scheduling.sigs.k8s.io/min-available"] = "3"
    template["spec"]["schedulingGates"] = [{"name": "stowage.dev/hold"}]
    client.create(gang)
    wait_for("three pods", lambda: len(control_plane.pods(namespace)) == 3)
    name = control_plane.pods(namespace)[0]["metadata"]["name"]
    record = wait_for("why it waits", lambda: planner.get(f"/pods/{namespace}/{name}")[0] == 200, 30)
    assert record
    assert control_plane.nodes_of_pods(namespace) == {}
    assert all(p["spec"]["schedulingGates"] for p in control_plane.pods(namespace))


def test_a_pod_is_explained_from_the_live_cluster(control_plane, namespace):
    start_scheduler(control_plane)
    fragment(control_plane, namespace, unavailable=6)
    client = control_plane.client
    planner = PlannerProcess(control_plane, journal_flush_s=1)
    wait_for("three wide pods run", lambda: len(running(client, namespace, "wide")) == 3, 60)
    wait_for_end(client)
    placed = running(client, namespace, "wide")[0]["metadata"]["name"]
    told = json.loads(run_stowage(control_plane, "explain", "--live", f"{namespace}/{placed}", "--json"))
    assert told["answer"] == "runs"
    assert "waiting, priority" in told["why"]
    pods = client.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector="app=wide")
    waits = next(p["metadata"]["name"] for p in pods if not p["spec"].get("nodeName"))
    told = json.loads(run_stowage(control_plane, "explain", "--live", f"{namespace}/{waits}", "--json"))
    assert told["answer"] == "impossible"
    assert told["verdict"] == "optimal"
    assert told["decisions"]
    events = client.items(f"/api/v1/namespaces/{namespace}/events")
    reasons = {e["reason"] for e in events}
    assert {"EvictedByPlan", "PlacedByPlan"} <= reasons
    delete_plans(client)  # the journal remembers what Plans and events have forgotten
    words = ("--journal", str(planner.journal), "--json")
    wait_for("a segment", lambda: list(planner.journal.glob("segment-*.parquet")))
    told = json.loads(run_stowage(control_plane, "explain", "--live", f"{namespace}/{waits}", *words))
    assert any("no plan places more" in d["why"] for d in told["decisions"])


def run_stowage(control_plane, *words):
    import subprocess
    import sys

    from tests.cluster.planning import ROOT

    command = [sys.executable, str(ROOT / "stowage.py"), *words, "--kubeconfig", str(control_plane.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
