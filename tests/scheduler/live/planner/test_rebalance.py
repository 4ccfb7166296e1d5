"""Looking for overloaded nodes against a cluster in memory: what is asked, proposed and told, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from prometheus_client import generate_latest

from scheduler.core.snapshot import Node, Pod, parse_snapshot
from scheduler.live.api import ApiError
from scheduler.live.journal import Journal
from scheduler.live.planner.child import SolverFailed
from scheduler.live.planner.plan_resource import MAX_STEPS, Plan
from scheduler.live.planner.proposal import Scope
from scheduler.live.planner.rebalance import Rebalancing
from scheduler.live.planner.rebalance_solver import RebalanceAnswer, RebalanceQuestion, answer
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.planner.usage import read_use
from scheduler.live.planner.world import PodView, World
from scheduler.live.planner_cli import _rebalance_lines
from scheduler.live.settings import SettingsError, load_settings

GIB = 1 << 30


def metrics_of(**cpu: str) -> bytes:
    """A PodMetricsList as metrics-server answers it."""
    items = [
        {"metadata": {"name": name, "namespace": "default"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15s",
         "containers": [{"name": "main", "usage": {"cpu": text, "memory": "64Mi"}},
                        {"name": "side", "usage": {"cpu": "1m"}}]}
        for name, text in cpu.items()
    ]  # fmt: skip
    return json.dumps({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "items": items}).encode()


class Cluster:
    """Two nodes of 4 cores; p0 ... p3 of 0.9 cores are on the first. `metrics` is what metrics.k8s.io answers."""

    def __init__(self, journal: Path | None = None, **settings: Any) -> None:
        self.metrics: bytes | ApiError = ApiError(404, "NotFound", "the server could not find the requested resource")
        self.asked: list[RebalanceQuestion] = []
        self.refusal: SolverFailed | None = None
        self.changed_answer: dict[str, Any] = {}
        self.world = World()
        for name in ("n0", "n1"):
            self.world.put_node(Node(name=name, allocatable={"cpu": 4000, "memory": 8 * GIB, "pods": 110}))
        for n in range(4):
            self.put(f"p{n}")
        self.journal = Journal(journal, "test") if journal is not None else None
        self.recorder = Recorder.make(lambda event: None, self.journal, "me", lambda: 1_790_000_000.0)
        whole = {"rebalance": "observe", "rebalance_solve_s": 0.2} | settings
        self.settings = PlannerSettings(**whole)
        self.rebalancing = Rebalancing(self.settings, self, self.recorder, self)

    def put(self, name: str, namespace: str = "default", scheduler: str = "stowage", **more: Any) -> None:
        pod = Pod(
            name=name, namespace=namespace, uid=name, node="n0", requests={"cpu": 900, "memory": GIB},
            owner_kind="ReplicaSet", owner="r", **more,
        )  # fmt: skip
        self.world.put_pod(PodView(pod, scheduler=scheduler, owner_name="r", shape="s"))

    def list_pages(self, path: str) -> Iterator[bytes]:
        assert path == "/apis/metrics.k8s.io/v1beta1/pods"
        if isinstance(self.metrics, ApiError):
            raise self.metrics
        yield self.metrics

    def ask(self, question: RebalanceQuestion) -> RebalanceAnswer:
        self.asked.append(question)
        if self.refusal is not None:
            raise self.refusal
        return msgspec.structs.replace(answer(question), **self.changed_answer)

    def stop(self) -> None:
        pass

    def look(self) -> Plan | None:
        settings = self.settings
        scope = Scope(settings.scheduler, settings.mode, settings.namespaces, settings.rest_s)
        running = self.rebalancing.begin(self.world, [], scope, 1_790_000_000.0, {})
        assert running is not None
        running.exception(600)  # the first may have to compile
        taken = self.rebalancing.take(self.world)
        return None if taken is None else taken[0]

    def metric(self, name: str) -> float:
        text = generate_latest(self.recorder.metrics.registry).decode()
        found = re.search(rf"^stowage_planner_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])


def test_an_overloaded_node_becomes_a_plan_that_says_what_it_gains_and_disturbs(tmp_path: Path) -> None:
    cluster = Cluster(journal=tmp_path, rebalance_threshold=0.85)
    cluster.metrics = metrics_of(p0="1500m", p1="999999999n")
    plan = cluster.look()
    assert plan is not None
    spec, found = plan.spec, plan.spec.rebalance
    assert found is not None
    (step,) = spec.steps
    assert (step.action, step.pod, step.source, step.to, step.owner.name) == ("move", "p0", "n0", "n1", "r")
    assert (spec.purpose, spec.mode, spec.verdict, spec.budget.evictions) == ("rebalance", "observe", "optimal", 1)
    assert (found.cost, found.cost_bound, found.gap_of, found.gap_milli) == (1024, 1024, "", 0)
    requests, use = found.loads
    assert (requests.basis, requests.nodes_before, requests.nodes_after) == ("requests", 1, 0)
    assert (requests.highest_milli_before, requests.overload_milli_before) == (900, 125)
    assert use.basis == "use"
    assert use.highest_milli_before == 1076  # 1501 and 1001 millicores, and two requests of 900, of 4000
    assert "overloaded nodes by requests 1 -> 0" in spec.summary
    assert any("nothing is better" in line for line in _rebalance_lines(found))
    assert cluster.metric('rebalances_total{verdict="optimal"}') == 1
    assert cluster.metric('overloaded_nodes{basis="requests"}') == 1
    assert cluster.journal is not None
    (row,) = pq.read_table(cluster.journal.flush()).to_pylist()
    assert (row["kind"], row["snapshot"]) == ("rebalance", spec.snapshot.digest.removeprefix("sha256:"))
    details = json.loads(row["details"])["question"]
    assert details["use"]["default/p0"] == {"cpu": 1501, "memory": 64 << 20}
    kept = (tmp_path / "snapshots" / f"{row['snapshot']}.json").read_bytes()
    again = RebalanceQuestion(**details | {"snapshot": kept})
    assert [one["pod"] for one in answer(again).steps] == ["default/p0"]  # a record is enough to decide it again


def test_nothing_is_proposed_below_the_threshold_and_metrics_tell_it() -> None:
    cluster = Cluster(rebalance_threshold=0.95)
    assert cluster.look() is None
    assert cluster.metric('rebalances_total{verdict="nothing"}') == 1
    assert cluster.metric('highest_node_load_ratio{basis="requests"}') == 0.9
    assert cluster.rebalancing.take(cluster.world) is None


def test_pods_of_other_schedulers_and_of_namespaces_that_only_observe_stay() -> None:
    cluster = Cluster(rebalance_threshold=0.8, rebalance="approve", namespaces={"shop": "approve"})
    for n in range(4):
        cluster.put(f"p{n}", scheduler="default-scheduler" if n < 2 else "stowage")
    assert cluster.look() is None
    for n in range(4):
        cluster.world.drop_pod(f"default/p{n}")
        cluster.put(f"p{n}", namespace="shop", scheduler="default-scheduler" if n < 2 else "stowage")
    plan = cluster.look()
    assert plan is not None
    assert plan.spec.mode == "approve"
    assert [step.key for step in plan.spec.steps] == ["shop/p2"]


def test_where_nobody_knows_what_pods_use_the_plan_says_so_or_there_is_none() -> None:
    plan = Cluster(rebalance_threshold=0.85).look()
    assert plan is not None
    assert plan.spec.rebalance is not None
    assert any("what pods use is not known" in note for note in plan.spec.rebalance.notes)
    for said in (ApiError(503, "ServiceUnavailable", "no endpoints"), b"<html>", b'{"items": [{"containers": 3}]}'):
        cluster = Cluster(rebalance_load="use")
        cluster.metrics = said
        assert cluster.look() is None
        assert cluster.metric('rebalances_total{verdict="failed"}') == 1
        assert cluster.asked == []


def test_use_that_is_no_quantity_is_left_out_of_the_sum() -> None:
    cluster = Cluster()
    cluster.metrics = metrics_of(p0="lots", p1="-1", p2="9e99", p3="250m")
    assert read_use(cluster) == {"default/p3": {"cpu": 251, "memory": 64 << 20}}


def test_a_search_that_fails_a_pod_that_is_gone_or_too_many_steps_make_no_plan() -> None:
    cluster = Cluster(rebalance_threshold=0.85)
    cluster.refusal = SolverFailed("the solver process died")
    assert cluster.look() is None
    assert cluster.metric('rebalances_total{verdict="failed"}') == 1
    cluster.refusal = None
    step = {"action": "move", "pod": "default/gone", "why": "", "source": "n0", "target": "n1", "room_is_free": True}
    cluster.changed_answer = {"steps": [step]}
    assert cluster.look() is None
    cluster.changed_answer = {"steps": [step | {"pod": "default/p0"}] * (MAX_STEPS + 1)}
    assert cluster.look() is None
    assert cluster.metric('rebalances_total{verdict="nothing"}') == 2


def test_the_question_names_what_settings_say_and_never_asks_for_more_than_the_budget() -> None:
    cluster = Cluster(
        rebalance_method="greedy", rebalance_target=0.5, rebalance_threshold=0.6, budget_total=1,
        budget_namespaces={"default": 7}, rebalance_resources=["cpu"],
    )  # fmt: skip
    plan = cluster.look()
    (asked,) = cluster.asked
    assert (asked.method, asked.target, asked.most, asked.most_by_namespace) == ("greedy", 0.5, 1, {"default": 7})
    assert len(parse_snapshot(asked.snapshot).pods) == 4
    assert plan is not None
    assert plan.spec.rebalance is not None
    assert len(plan.spec.steps) == 1  # two would have to go
    assert any("1 moves are left out" in note for note in plan.spec.rebalance.notes)
    assert (plan.spec.verdict, plan.spec.rebalance.gap_of) == ("feasible", "overload")


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"rebalance": "auto"}, "'disabled', 'observe' or 'approve'"),
        ({"rebalance": "approve"}, "needs a mode of approve or auto"),
        ({"rebalance": "observe", "rebalance_method": "magic"}, "rebalance_method magic: choose cover, greedy"),
        ({"rebalance": "observe", "rebalance_target": 0.95}, "rebalance_threshold 0.9 is below rebalance_target 0.95"),
        ({"rebalance": "observe", "rebalance_cron": "at noon"}, "rebalance_cron 'at noon'"),
        ({"rebalance": "observe", "rebalance_resources": []}, "at least one, each once"),
        ({"rebalance_target": 1.5}, "less than or equal to 1"),
        ({"rebalance_load": "guess"}, "'requests' or 'use'"),
        ({"rebalance_solve_s": 0}, "greater than 0"),
    ],
)
def test_settings_that_cannot_be_meant_stop_the_start(tmp_path: Path, values: dict[str, Any], rule: str) -> None:
    path = tmp_path / "planner.json"
    path.write_text(json.dumps(values))
    with pytest.raises(SettingsError, match=re.escape(rule)):
        load_settings(PlannerSettings, path)


def test_while_it_is_off_nothing_is_checked_or_counted() -> None:
    cluster = Cluster(rebalance="disabled", rebalance_method="magic")
    assert not cluster.rebalancing.is_on
    assert b"rebalance" not in generate_latest(cluster.recorder.metrics.registry)
