"""Marks of nodes: what monitors show becomes annotation and taint, slowly enough, and goes again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from scheduler.live.api import ApiError
from scheduler.live.kube_objects import Health
from scheduler.live.node_health import ShownNode
from scheduler.live.planner.node_marks import Mark, Rules, decide_marks
from scheduler.live.planner.node_scan import NodeScan
from scheduler.live.planner.plan_resource import seconds_of
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.settings import PlannerSettings

NOW = 1_790_000_000.0
DAY = 86_400.0
FAULT = {"type": "SysLogsXIDError", "status": "True", "message": "[79] gone - RecommendedAction: RESTART_BM"}
OF_GPU = FAULT | {"message": "[79] GPU:3 - RecommendedAction: RESTART_BM"}
MILD = {"type": "FrequentKubeletRestart", "status": "True", "message": "often"}
SOFTWARE = FAULT | {"message": "[31] page fault - RecommendedAction: NONE"}


def a_node(name: str = "n0", *conditions: dict[str, str], gpus: tuple[int, int] = (8, 8), **rest: Any) -> ShownNode:
    """gpus: that the node has, that it offers. rest: annotations, labels, taints."""
    return msgspec.convert({
        "metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1",
                     "annotations": rest.get("annotations"), "labels": rest.get("labels")},
        "spec": {"taints": rest.get("taints")},
        "status": {"conditions": list(conditions), "capacity": {"nvidia.com/gpu": str(gpus[0])},
                   "allocatable": {"nvidia.com/gpu": str(gpus[1])}},
    }, ShownNode)  # fmt: skip


class Cluster:
    """Nodes that take marks as an API server does; versions rise with every write."""

    def __init__(self, *nodes: ShownNode, **settings: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.now = NOW
        self.refuses: int | None = None
        self.written: list[Mark] = []
        recorder = Recorder.make(self.events.append, None, "me", lambda: self.now)
        self.scan = NodeScan(PlannerSettings(**({"node_health": "auto"} | settings)), self, recorder, lambda: self.now)
        for node in nodes:
            self.put(node)

    def put(self, node: ShownNode) -> None:
        self.scan.nodes[node.metadata.name] = node

    def show(self, name: str, *conditions: dict[str, str]) -> None:
        node = self.scan.nodes[name]
        shown = msgspec.convert({"conditions": list(conditions)}, type(node.status))
        self.put(msgspec.structs.replace(node, status=shown))

    def mark_node(self, node: ShownNode, mark: Mark) -> ShownNode:
        if self.refuses is not None:
            raise ApiError(self.refuses, "Refused", "no")
        self.written.append(mark)
        raw = msgspec.to_builtins(node)
        notes = raw["metadata"].get("annotations") or {}
        notes.pop("stowage.dev/health", None)
        if mark.health is not None:
            notes["stowage.dev/health"] = msgspec.json.encode(mark.health).decode()
        taints = [one for one in raw.get("spec", {}).get("taints") or () if one["key"] != "stowage.dev/quarantine"]
        if mark.is_tainted:
            taints.append({"key": "stowage.dev/quarantine", "effect": "NoSchedule", "value": mark.taint})
        raw["metadata"]["annotations"] = notes
        raw["spec"] = {"taints": taints}
        return msgspec.convert(raw, ShownNode)

    def look(self, after_s: float = 0.0) -> dict[str, str]:
        """One look, later; each node's state, with ! where it is tainted."""
        self.now += after_s
        self.scan.scan()
        return self.states()

    def states(self) -> dict[str, str]:
        return {name: self.health(name).state + "!" * self.is_tainted(name) for name in sorted(self.scan.nodes)}

    def health(self, name: str) -> Health:
        text = (self.scan.nodes[name].metadata.annotations or {}).get("stowage.dev/health", "{}")
        return msgspec.json.decode(text, type=Health)

    def is_tainted(self, name: str) -> bool:
        return any(taint.key == "stowage.dev/quarantine" for taint in self.scan.nodes[name].spec.taints or ())

    def told(self) -> list[str]:
        return [event["reason"] for event in self.events]


def test_a_healthy_node_gets_nothing() -> None:
    cluster = Cluster(a_node("n0", FAULT | {"status": "False"}), a_node("n1", SOFTWARE))
    assert cluster.look() == {"n0": "healthy", "n1": "healthy"}
    assert cluster.written == []
    assert cluster.events == []


def test_a_fatal_fault_takes_the_node_and_its_end_gives_it_back_on_probation() -> None:
    cluster = Cluster(a_node("n0", FAULT))
    assert cluster.look() == {"n0": "failing!"}
    assert cluster.written[0].taint == "xid-79"
    mark = cluster.health("n0")
    assert mark.reason == "xid-79 (nvsentinel): [79] gone - RecommendedAction: RESTART_BM"
    assert seconds_of(mark.until) == NOW + 600
    assert seconds_of(mark.quarantined) == NOW
    assert cluster.look(100) == {"n0": "failing!"}
    assert len(cluster.written) == 1  # nothing to say
    cluster.show("n0")
    assert cluster.look(100) == {"n0": "failing!"}  # monitors flap
    assert cluster.look(500) == {"n0": "suspect"}
    assert cluster.health("n0").repaired
    assert cluster.look(DAY) == {"n0": "suspect"}  # the day after a repair is the worst
    assert cluster.look(60 * DAY) == {"n0": "healthy"}
    assert "stowage.dev/health" not in (cluster.scan.nodes["n0"].metadata.annotations or {})
    assert cluster.told() == ["NodeQuarantined", "NodeReleased", "NodeHealthy"]


def test_an_open_fault_renews_the_quarantine_also_after_a_time_without_a_planner() -> None:
    cluster = Cluster(a_node("n0", FAULT))
    cluster.look()
    for _ in range(3):
        assert cluster.look(400) == {"n0": "failing!"}
    assert seconds_of(cluster.health("n0").until) == NOW + 1200 + 600
    assert cluster.look(30 * DAY) == {"n0": "failing!"}
    assert seconds_of(cluster.health("n0").quarantined) == NOW  # not a new entry for the breaker


def test_the_breaker_keeps_back_what_is_too_much_at_once() -> None:
    cluster = Cluster(*(a_node(f"n{n:02d}", FAULT) for n in range(10)), *(a_node(f"ok{n:02d}") for n in range(20)))
    states = cluster.look()
    assert [name for name, state in states.items() if state == "failing!"] == ["n00", "n01", "n02"]
    assert [name for name, state in states.items() if state == "suspect"] == [f"n{n:02d}" for n in range(3, 10)]
    assert "too many nodes were taken at once" in cluster.health("n05").reason
    assert cluster.told().count("QuarantineHeldBack") == 7
    again = Cluster(*cluster.scan.nodes.values())  # another planner, that knows only what is written
    again.now = cluster.now
    assert again.look(200) == states
    assert set(again.told()) == {"QuarantineHeldBack"}
    assert again.written == []
    later = again.look(401)
    assert sum(state == "failing!" for state in later.values()) == 6


def test_a_gpu_that_its_plugin_took_away_leaves_the_node_at_work() -> None:
    kept = Cluster(a_node("n0", OF_GPU, gpus=(8, 7)))
    assert kept.look() == {"n0": "suspect"}
    assert "on GPU 3" in kept.health("n0").reason
    assert Cluster(a_node("n0", OF_GPU)).look() == {"n0": "failing!"}  # pods may still be given it


def test_a_degraded_node_is_scored_last_and_forgotten_when_it_is_well() -> None:
    cluster = Cluster(a_node("n0", MILD))
    assert cluster.look() == {"n0": "suspect"}
    since = cluster.health("n0").since
    cluster.show("n0", MILD | {"message": "still"})
    assert cluster.look(10) == {"n0": "suspect"}
    assert cluster.health("n0").since == since
    cluster.show("n0")
    assert cluster.look(10) == {"n0": "healthy"}


@pytest.mark.parametrize(
    "rest",
    [
        {"taints": [{"key": "stowage.dev/quarantine", "effect": "NoSchedule", "value": "by-hand"}]},
        {"annotations": {"stowage.dev/health": '{"state":"failing","reason":"by hand"}'}},
        {"annotations": {"stowage.dev/health": "broken"}},
    ],
)
@pytest.mark.parametrize("mode", ["observe", "auto"])
def test_what_a_person_wrote_is_left_alone(rest: dict[str, Any], mode: str) -> None:
    cluster = Cluster(a_node("n0", FAULT, **rest), node_health=mode)
    before = cluster.scan.nodes["n0"]
    marks = cluster.scan.scan()
    assert marks.foreign == ["n0"]
    assert cluster.scan.nodes["n0"] is before
    assert cluster.events == []


def test_other_taints_stay_whole() -> None:
    other = {"key": "dedicated", "effect": "NoExecute", "value": "a", "timeAdded": "2026-03-01T10:00:00Z"}
    cluster = Cluster(a_node("n0", FAULT, taints=[other]))
    cluster.look()
    assert msgspec.to_builtins(cluster.scan.nodes["n0"].spec.taints)[0] == other


def test_observing_writes_nothing_and_tells_each_change_once() -> None:
    cluster = Cluster(*(a_node(f"n{n}", FAULT) for n in range(3)), *(a_node(f"ok{n}") for n in range(7)),
                      node_health="observe")  # fmt: skip
    for _ in range(3):
        cluster.look(10)
    assert cluster.written == []
    assert set(cluster.states().values()) == {"healthy"}
    assert sorted(cluster.told()) == [
        "NodeQuarantined", "NodeSuspect", "NodeSuspect", "QuarantineHeldBack", "QuarantineHeldBack",
    ]  # fmt: skip
    assert all(event["note"].startswith("Would be: ") for event in cluster.events if event["reason"].startswith("Node"))
    assert cluster.events[0]["regarding"] == {"apiVersion": "v1", "kind": "Node", "name": "n0", "uid": "uid-n0"}
    del cluster.scan.nodes["n0"]
    cluster.look(10)


@pytest.mark.parametrize("status", [403, 409, 404, 500])
def test_a_refused_write_is_tried_again(status: int) -> None:
    cluster = Cluster(a_node("n0", FAULT), a_node("n1", FAULT), a_node("n2", MILD))
    cluster.refuses = status
    assert set(cluster.look().values()) == {"healthy"}
    assert cluster.events == [] or set(cluster.told()) == {"QuarantineHeldBack"}
    cluster.refuses = None
    assert cluster.look(10) == {"n0": "failing!", "n1": "suspect", "n2": "suspect"}


def test_what_cannot_be_read_of_a_node_is_told_and_the_rest_decided() -> None:
    marks = decide_marks({"n0": a_node("n0", FAULT, annotations={"quarantineHealthEvent": "{"})}, NOW, Rules())
    assert [mark.node for mark in marks.changed] == ["n0"]
    assert "quarantineHealthEvent" in marks.unreadable[0]
    assert decide_marks({}, NOW, Rules()).changed == []
