"""Health of nodes on a real control plane: what a monitor shows becomes annotation and taint, and goes again."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from scheduler.live.api import Api
from scheduler.live.cleanup import clean_up
from tests.cluster.api_client import wait_for
from tests.cluster.control_plane import post_json
from tests.cluster.objects import a_pod, node_condition
from tests.cluster.planning import PlannerProcess, start_scheduler, tidy_planners

TAINT, ANNOTATION = "stowage.dev/quarantine", "stowage.dev/health"
FAST = {"node_health": "auto", "node_scan_s": 0.5, "mode": "observe"}


@pytest.fixture(autouse=True)
def definition(control_plane):
    with tidy_planners(control_plane):
        yield


def show(plane: Any, node: str, status: str, message: str = "[79] gone - RecommendedAction: RESTART_BM") -> None:
    """Set NVSentinel's condition as its monitor would."""
    condition = node_condition("SysLogsXIDError", status, "Test") | {"message": message}
    plane.client.patch(f"/api/v1/nodes/{node}/status", {"status": {"conditions": [condition]}}, "strategic")


def state(plane: Any, node: str) -> tuple[str, bool]:
    """The state in our annotation, and whether our taint is there."""
    found = plane.client.get(f"/api/v1/nodes/{node}")
    text = found["metadata"].get("annotations", {}).get(ANNOTATION)
    has_taint = any(taint["key"] == TAINT for taint in found["spec"].get("taints", ()))
    return (json.loads(text)["state"] if text else "", has_taint)


def events(plane: Any, node: str) -> set[str]:
    found = plane.client.items("/api/v1/namespaces/default/events")
    return {one["reason"] for one in found if one["involvedObject"]["name"] == node}


def held_back(planner: PlannerProcess) -> float:
    """How many nodes the breaker keeps in service, as the planner's metrics say; -1 before its first look."""
    found = re.search(rb'stowage_planner_marked_nodes\{state="held_back"\} (\S+)', planner.get("/metrics")[1])
    return float(found[1]) if found else -1.0


def test_a_broken_node_is_taken_and_given_back(control_plane, namespace):
    bad, good = control_plane.add_nodes(2, cpu=4, prefix=namespace)
    start_scheduler(control_plane)
    PlannerProcess(control_plane, quarantine_s=4.0, **FAST)
    show(control_plane, bad, "True")
    wait_for("the node is taken", lambda: state(control_plane, bad) == ("failing", True))
    taint = next(t for t in control_plane.client.get(f"/api/v1/nodes/{bad}")["spec"]["taints"] if t["key"] == TAINT)
    assert (taint["effect"], taint["value"]) == ("NoSchedule", "xid-79")
    assert state(control_plane, good) == ("", False)
    pinned = a_pod("pinned", namespace, cpu="1", scheduler="stowage", nodeSelector={"kubernetes.io/hostname": bad})
    control_plane.client.create(pinned)
    assert "untolerated taint" in control_plane.wait_until_refused(namespace, "pinned")
    port = json.loads((control_plane.folder / "serve.json").read_text())["port"]
    answer = post_json(f"http://127.0.0.1:{port}/filter", {"Pod": pinned, "NodeNames": [bad, good]})
    assert answer["NodeNames"] == [good]
    assert f"node {bad} is in quarantine: xid-79" in answer["FailedAndUnresolvableNodes"][bad]
    control_plane.client.create(a_pod("free", namespace, cpu="1", scheduler="stowage"))
    wait_for("another node is used", lambda: control_plane.nodes_of_pods(namespace).get("free") == good)
    show(control_plane, bad, "False")
    wait_for("the node is given back", lambda: state(control_plane, bad) == ("suspect", False))
    wait_for("its pod runs there", lambda: control_plane.nodes_of_pods(namespace).get("pinned") == bad)
    wait_for("events", lambda: {"NodeQuarantined", "NodeReleased"} <= events(control_plane, bad))


def test_the_breaker_holds_when_a_monitor_calls_everything_broken(control_plane, namespace):
    names = control_plane.add_nodes(30, cpu=1, prefix=namespace)
    allowed = max(1, len(control_plane.client.items("/api/v1/nodes")) // 10)
    for name in names:
        show(control_plane, name, "True")
    planner = PlannerProcess(control_plane, quarantine_s=600.0, **FAST)

    def states() -> list[tuple[str, bool]]:
        return [state(control_plane, name) for name in names]

    wait_for("every node is judged", lambda: all(one[0] for one in states()))
    assert states().count(("failing", True)) == allowed
    assert states().count(("suspect", False)) == len(names) - allowed
    assert held_back(planner) == len(names) - allowed
    control_plane.end_program("planner")
    second = PlannerProcess(control_plane, name="planner2", quarantine_s=600.0, **FAST)  # reads what was spent
    wait_for("the next leader has looked", lambda: held_back(second) == len(names) - allowed)
    assert states().count(("failing", True)) == allowed
    assert {"QuarantineHeldBack"} <= set().union(*(events(control_plane, name) for name in names))


def test_in_observe_it_is_told_and_nothing_is_written(control_plane, namespace):
    (bad,) = control_plane.add_nodes(1, cpu=4, prefix=namespace)
    show(control_plane, bad, "True")
    PlannerProcess(control_plane, **FAST | {"node_health": "observe"})
    wait_for("an event", lambda: "NodeQuarantined" in events(control_plane, bad))
    assert state(control_plane, bad) == ("", False)
    control_plane.end_program("planner")


def test_uninstalling_takes_the_marks_off(control_plane, namespace):
    (bad,) = control_plane.add_nodes(1, cpu=4, prefix=namespace)
    show(control_plane, bad, "True")
    PlannerProcess(control_plane, **FAST)
    wait_for("the node is taken", lambda: state(control_plane, bad) == ("failing", True))
    control_plane.end_program("planner")
    assert bad in clean_up(Api.connect(str(control_plane.kubeconfig))).nodes
    assert state(control_plane, bad) == ("", False)
