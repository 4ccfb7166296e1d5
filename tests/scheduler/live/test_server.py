"""The extender's answers to what kube-scheduler sends, without a socket."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.http_server import Response
from scheduler.live.kube_objects import LiveNode, LivePlan, LivePod, shape_hash
from scheduler.live.scoring import Ranking, scorer
from scheduler.live.server import Clocks, Extender
from scheduler.live.settings import ServeSettings
from tests.scheduler.live.api_world import RS_1, Object, a_node, a_plan, a_pod, a_reservation


@dataclass
class Bench:
    """An extender over a cache that the test fills, and two clocks that it moves."""

    extender: Extender
    cache: ClusterCache
    now_s: float = 1_790_000_000.0
    monotonic_s: float = 1000.0
    stale: str = ""

    def node(self, name: str, **options: Any) -> None:
        self.cache.put_node(msgspec.convert(a_node(name, **options), LiveNode))

    def pod(self, name: str, **options: Any) -> LivePod:
        pod = msgspec.convert(a_pod(name, **options), LivePod)
        self.cache.put_pod(pod)
        return pod

    def plan(self, *reservations: Object, name: str = "plan-1") -> None:
        self.cache.put_plan(msgspec.convert(a_plan(name, list(reservations)), LivePlan))

    def post(self, verb: str, body: Any) -> Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.extender.handle(b"POST", f"/{verb}".encode(), data)

    def ask(self, verb: str, body: Any) -> Any:
        response = self.post(verb, body)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def filter(self, pod: Object, *names: str) -> tuple[list[str], dict[str, str]]:
        """Names that passed, and the reasons of the others."""
        result = self.ask("filter", {"Pod": pod, "Nodes": None, "NodeNames": list(names)})
        assert result["FailedNodes"] == {}
        assert result["Error"] == ""
        return result["NodeNames"], result["FailedAndUnresolvableNodes"]

    def prioritize(self, pod: Object, *names: str) -> list[tuple[str, int]]:
        scores = self.ask("prioritize", {"Pod": pod, "Nodes": None, "NodeNames": list(names)})
        return [(one["Host"], one["Score"]) for one in scores]


def a_bench(**settings: Any) -> Bench:
    cache = ClusterCache()
    bench: Bench
    clocks = Clocks(lambda: bench.now_s, lambda: bench.monotonic_s)
    extender = Extender(ServeSettings(**settings), cache, lambda: bench.stale, clocks=clocks)
    extender.ranking = Ranking(scorer(extender.settings.policy), extender.settings.price_weight)
    bench = Bench(extender, cache)
    return bench


@pytest.fixture
def bench() -> Bench:
    """Three empty nodes."""
    made = a_bench()
    for n in range(3):
        made.node(f"n{n}")
    return made


# ---- the recorded bodies of kube-scheduler 1.36.2


@pytest.fixture
def recorded(shared_data: Callable[[str], Path]) -> Callable[[str], bytes]:
    folder = shared_data("extender")
    return lambda name: (folder / name).read_bytes()


@pytest.fixture
def three_nodes() -> Bench:
    made = a_bench()
    for n in range(3):
        made.node(f"node-{n:05}", cpu="32", memory="256Gi", gpus=8)
    return made


@pytest.mark.parametrize("name", ["filter.nodecache.json", "filter.podgroup-1.36alpha.json"])
def test_recorded_filter_passes_the_nodes_in_the_order_sent(
    recorded: Callable[[str], bytes], three_nodes: Bench, name: str
) -> None:
    sent = json.loads(recorded(name))
    for n in range(100):
        three_nodes.node(f"node-{n:05}")
    assert three_nodes.ask("filter", recorded(name)) == {
        "Nodes": None, "NodeNames": sent["NodeNames"], "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": "",
    }  # fmt: skip


def test_recorded_filter_with_whole_nodes_gives_them_back_unchanged(
    recorded: Callable[[str], bytes], three_nodes: Bench
) -> None:
    sent = json.loads(recorded("filter.fullnodes.json"))
    result = three_nodes.ask("filter", recorded("filter.fullnodes.json"))
    assert result["Nodes"]["items"] == sent["Nodes"]["items"]
    assert (result["NodeNames"], result["FailedNodes"], result["Error"]) == (None, {}, "")


@pytest.mark.parametrize("name", ["prioritize.nodecache.json", "prioritize.fullnodes.json"])
def test_recorded_prioritize_scores_known_nodes_within_the_range(
    recorded: Callable[[str], bytes], three_nodes: Bench, name: str
) -> None:
    scores = three_nodes.ask("prioritize", recorded(name))
    assert [(one["Host"], one["Score"]) for one in scores] == [
        ("node-00000", 10), ("node-00001", 9), ("node-00002", 9),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["preempt.nodecache.json", "preempt.fullnodes.json"])
def test_recorded_preempt_keeps_every_candidate_with_its_victims(
    recorded: Callable[[str], bytes], three_nodes: Bench, name: str
) -> None:
    sent = json.loads(recorded(name))
    result = three_nodes.ask("preempt", recorded(name))["NodeNameToMetaVictims"]
    if sent["NodeNameToMetaVictims"]:
        assert result == sent["NodeNameToMetaVictims"]
    else:
        assert {node: [one["UID"] for one in victims["Pods"]] for node, victims in result.items()} == {
            node: [one["metadata"]["uid"] for one in victims["Pods"]]
            for node, victims in sent["NodeNameToVictims"].items()
        }


# ---- filter


def test_a_node_nobody_told_us_of_is_refused_with_a_reason(bench: Bench) -> None:
    passed, refused = bench.filter(a_pod("p"), "n0", "ghost", "n2")
    assert passed == ["n0", "n2"]
    assert refused == {"ghost": "node ghost is not known to stowage (yet)"}


def test_nodes_that_are_all_too_new_are_an_error_because_that_is_tried_again(bench: Bench) -> None:
    result = bench.ask("filter", {"Pod": a_pod("p"), "NodeNames": ["ghost", "ghoul"]})
    assert result["Error"] == "node ghost is not known to stowage (yet)"
    bench.node("n1", taints=[{"key": "stowage.dev/quarantine", "effect": "NoSchedule"}])
    assert list(bench.filter(a_pod("p"), "ghost", "n1")[1]) == ["ghost", "n1"]


def test_quarantine_refuses_all_but_those_who_tolerate_it(bench: Bench) -> None:
    bench.node("n1", taints=[{"key": "stowage.dev/quarantine", "effect": "NoSchedule", "value": "Xid-79"}])
    assert bench.filter(a_pod("p"), "n0", "n1") == (["n0"], {"n1": "node n1 is in quarantine: Xid-79"})
    doctor = a_pod("p", spec={"tolerations": [{"key": "stowage.dev/quarantine", "operator": "Exists"}]})
    assert bench.filter(doctor, "n0", "n1") == (["n0", "n1"], {})
    bench.node("n1")
    assert bench.filter(a_pod("p"), "n0", "n1") == (["n0", "n1"], {})


def test_failing_gpus_refuse_only_pods_that_ask_for_gpus(bench: Bench) -> None:
    bench.node("n1", gpus=8, annotations={"stowage.dev/health": '{"state":"failing","reason":"Xid 48 on GPU 3"}'})
    assert bench.filter(a_pod("p", gpus=1), "n1") == ([], {"n1": "the GPUs of node n1 are failing: Xid 48 on GPU 3"})
    assert bench.filter(a_pod("p"), "n1") == (["n1"], {})


def test_reserved_room_is_refused_to_others_and_given_to_its_pod(bench: Bench) -> None:
    bench.pod("old", node="n0", cpu="6")
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 2000}))
    assert bench.filter(a_pod("other"), "n0", "n1") == (
        ["n1"], {"n0": "plan plan-1 keeps cpu on node n0 for default/mine"},
    )  # fmt: skip
    assert bench.filter(a_pod("mine", cpu="2"), "n0", "n1") == (["n0", "n1"], {})
    assert bench.filter(a_pod("tiny", cpu=None, memory="1Gi"), "n0") == (["n0"], {})  # asks for none of what is short


def test_room_beside_a_reservation_stays_usable(bench: Bench) -> None:
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 2000}))
    assert bench.filter(a_pod("p", cpu="6"), "n0") == (["n0"], {})
    assert bench.filter(a_pod("p", cpu="6001m"), "n0")[0] == []


def test_a_reservation_keeps_one_place_for_a_pod(bench: Bench) -> None:
    bench.node("n0", pods=2)
    bench.pod("there", node="n0")
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 1000}))
    assert bench.filter(a_pod("p", cpu=None, memory=None), "n0")[1] == {
        "n0": "plan plan-1 keeps pods on node n0 for default/mine"
    }


def test_a_replacement_is_known_by_owner_and_shape(bench: Bench) -> None:
    mine = a_pod("web-x7", cpu="7", owner="rs-1")
    shape = shape_hash(msgspec.convert(mine, LivePod))
    bench.plan(a_reservation("n0", owner=RS_1, shapeHash=shape, requests={"cpu": 7000}))
    assert bench.filter(mine, "n0")[0] == ["n0"]
    assert bench.filter(a_pod("web-x8", cpu="6", owner="rs-1"), "n0")[0] == []  # another shape
    assert bench.filter(a_pod("web-x7", cpu="7", owner="rs-2"), "n0")[0] == []  # another owner


def test_a_replacement_that_a_plan_has_recognised_leaves_the_room_of_the_next(bench: Bench) -> None:
    mine = a_pod("web-x7", cpu="4", owner="rs-1", uid="u7")
    shape = shape_hash(msgspec.convert(mine, LivePod))
    described = a_reservation("n1", owner=RS_1, shapeHash=shape, requests={"cpu": 4000}, hard=True)
    named = a_reservation("n0", pod="default/web-x7", uid="u7", requests={"cpu": 4000}, hard=True)
    bench.plan(described, named)
    assert bench.filter(mine, "n0", "n1")[0] == ["n0"]
    assert bench.filter(a_pod("web-x8", cpu="4", owner="rs-1", uid="u8"), "n0", "n1")[0] == ["n1"]


def test_one_replacement_takes_one_of_two_reservations(bench: Bench) -> None:
    mine = a_pod("web-x7", cpu="4", owner="rs-1")
    shape = shape_hash(msgspec.convert(mine, LivePod))
    held = a_reservation("n0", owner=RS_1, shapeHash=shape, requests={"cpu": 4000})
    bench.plan(held, held)
    assert bench.filter(mine, "n0")[0] == ["n0"]
    bench.pod("foreign", node="n0", cpu="1")
    assert bench.filter(mine, "n0")[0] == []  # 7 are free, 4 of them for the other


def test_a_uid_decides_alone(bench: Bench) -> None:
    bench.plan(a_reservation("n0", pod="default/p", uid="the-first", requests={"cpu": 8000}))
    assert bench.filter(a_pod("p", uid="the-second"), "n0")[0] == []
    assert bench.filter(a_pod("p", uid="the-first"), "n0")[0] == ["n0"]


def test_a_hard_reservation_refuses_its_pod_elsewhere(bench: Bench) -> None:
    bench.plan(a_reservation("n1", pod="default/p", hard=True))
    assert bench.filter(a_pod("p"), "n0", "n1", "n2") == (
        ["n1"], dict.fromkeys(("n0", "n2"), "plan plan-1 keeps node n1 for this pod"),
    )  # fmt: skip
    assert bench.filter(a_pod("q"), "n0", "n2")[0] == ["n0", "n2"]


def test_a_reservation_ends_when_it_expires(bench: Bench) -> None:
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 8000}, expires="2026-11-21T10:00:00Z"))
    bench.now_s = 1795255199.0
    assert bench.filter(a_pod("p"), "n0")[0] == []
    bench.now_s = 1795255200.0
    assert bench.filter(a_pod("p"), "n0")[0] == ["n0"]


def test_filter_changes_nothing(bench: Bench) -> None:
    bench.pod("p")
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 8000}))
    before = bench.cache.fingerprint()
    first = bench.filter(a_pod("p"), "n0", "n1")
    assert bench.filter(a_pod("p"), "n0", "n1") == first
    assert (bench.cache.fingerprint(), bench.cache.assumed) == (before, 0)


def test_prefer_mode_refuses_nobody_and_scores_those_it_would_refuse_not_at_all() -> None:
    bench = a_bench(mode="prefer")
    for n in range(3):
        bench.node(f"n{n}")
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 8000}))
    bench.node("n1", taints=[{"key": "stowage.dev/quarantine", "effect": "NoSchedule"}])
    assert bench.filter(a_pod("p"), "n0", "n1", "n2", "ghost") == (["n0", "n1", "n2", "ghost"], {})
    assert bench.prioritize(a_pod("p"), "n0", "n1", "n2", "ghost") == [("n2", 10)]
    victims = {"n0": {"Pods": [{"UID": "u"}], "NumPDBViolations": 0}}
    result = bench.ask("preempt", {"Pod": a_pod("p"), "NodeNameToMetaVictims": victims})
    assert result["NodeNameToMetaVictims"] == victims


# ---- whole nodes in the body


def test_an_answer_to_whole_nodes_comes_from_the_body_alone(bench: Bench) -> None:
    bench.stale = "nothing is known"
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 8000}))
    bad = a_node("never-seen", taints=[{"key": "stowage.dev/quarantine", "effect": "NoSchedule"}])
    body = {"Pod": a_pod("p"), "Nodes": {"metadata": {}, "items": [a_node("n0"), bad]}, "NodeNames": None}
    before = bench.cache.fingerprint()
    result = bench.ask("filter", body)
    assert [node["metadata"]["name"] for node in result["Nodes"]["items"]] == ["n0"]
    assert result["FailedAndUnresolvableNodes"] == {"never-seen": "node never-seen is in quarantine"}
    assert [one["Host"] for one in bench.ask("prioritize", body)] == ["n0", "never-seen"]
    assert (bench.cache.fingerprint(), bench.cache.assumed) == (before, 0)


# ---- the short list


@pytest.fixture
def wide() -> Bench:
    """Nine nodes, the higher their number the fuller, of which filter passes on four."""
    made = a_bench(policy="best-fit", shortlist=4)
    for n in range(9):
        made.node(f"n{n}")
        made.pod(f"there-{n}", node=f"n{n}", cpu=f"{500 * n}m")
    return made


ALL_NINE = ("n8", "n0", "n1", "n2", "n3", "n7", "n4", "n5", "n6")


def test_a_pod_without_wishes_gets_the_best_nodes_best_first(wide: Bench) -> None:
    assert wide.filter(a_pod("p"), *ALL_NINE) == (["n8", "n7", "n6", "n5"], {})
    assert wide.prioritize(a_pod("p"), "n8", "n7", "n5", "n6")[0] == ("n8", 10)


def test_what_is_passed_on_holds_the_node_that_all_of_them_would_give(wide: Bench) -> None:
    best = wide.prioritize(a_pod("p"), *ALL_NINE)[0][0]
    assert best in wide.filter(a_pod("p"), *ALL_NINE)[0]


@pytest.mark.parametrize(
    "spec",
    [
        {"affinity": {"podAntiAffinity": {}}},
        {"topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ]},
        {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
        {"volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": {}}}]},
        {"resourceClaims": [{"name": "gpu"}]},
    ],
)  # fmt: skip
def test_a_pod_with_wishes_gets_every_node(wide: Bench, spec: Object) -> None:
    assert wide.filter(a_pod("p", spec=spec), *ALL_NINE) == (list(ALL_NINE), {})


def test_nodes_that_are_better_avoided_leave_the_choice_to_the_scheduler(wide: Bench) -> None:
    wide.node("n3", taints=[{"key": "old", "effect": "PreferNoSchedule"}])
    assert wide.filter(a_pod("p"), *ALL_NINE) == (list(ALL_NINE), {})
    wide.node("n3")
    assert len(wide.filter(a_pod("p"), *ALL_NINE)[0]) == 4


def test_no_short_list_where_so_few_nodes_look_free_that_the_cache_may_be_behind(wide: Bench) -> None:
    assert wide.filter(a_pod("p", cpu="7"), *ALL_NINE) == (list(ALL_NINE), {})  # fits n0, n1, n2


def test_refusals_come_before_the_short_list(wide: Bench) -> None:
    wide.node("n8", taints=[{"key": "stowage.dev/quarantine", "effect": "NoSchedule"}])
    passed, refused = wide.filter(a_pod("p"), *ALL_NINE, "ghost")
    assert passed == ["n7", "n6", "n5", "n4"]
    assert sorted(refused) == ["ghost", "n8"]
    wide.cache.drop_node("n7")
    assert wide.filter(a_pod("p"), *ALL_NINE)[0] == ["n6", "n5", "n4", "n3"]


def test_with_a_list_of_one_filter_decides_and_remembers() -> None:
    made = a_bench(policy="best-fit", shortlist=1)
    for n in range(3):
        made.node(f"n{n}", cpu="2")
    for p in range(4):
        made.pod(f"p{p}")
    chosen = [made.filter(a_pod(f"p{p}"), "n2", "n1", "n0")[0] for p in range(4)]
    assert chosen == [["n0"], ["n0"], ["n1"], ["n1"]]
    assert made.filter(a_pod("p0"), "n2", "n1", "n0")[0] == ["n0"]  # asked again, it does not count against itself


def test_a_short_list_can_be_switched_off_and_prefer_mode_has_none() -> None:
    for settings in ({"shortlist": 0}, {"shortlist": 1, "mode": "prefer"}):
        made = a_bench(**settings)
        for n in range(3):
            made.node(f"n{n}")
        assert made.filter(a_pod("p"), "n0", "n1", "n2") == (["n0", "n1", "n2"], {})


def test_a_node_that_went_and_came_back_is_asked_about_by_its_new_row(wide: Bench) -> None:
    body = {"Pod": a_pod("p"), "NodeNames": list(ALL_NINE)}
    before = wide.post("filter", body).body
    wide.cache.drop_node("n0")
    wide.cache.drop_node("n8")
    wide.node("n8")
    wide.node("n0")
    assert wide.post("filter", body).body == before


# ---- prioritize


def test_prioritize_is_sparse_and_in_the_policys_order() -> None:
    bench = a_bench(policy="best-fit", scored_nodes=3)
    for n in range(6):
        bench.node(f"n{n}")
        if n:
            bench.pod(f"p{n}", node=f"n{n}", cpu=str(n))
    names = [f"n{n}" for n in (5, 0, 4, 1, 3, 2)]
    # Points in proportion: n0, empty, is the worst candidate; n5 the best.
    assert bench.prioritize(a_pod("p", cpu="2"), *names) == [("n5", 10), ("n4", 8), ("n3", 6)]
    assert bench.prioritize(a_pod("p", cpu="4"), *names) == [("n4", 10), ("n3", 8), ("n2", 5)]  # n5 has 3 left


def test_equal_nodes_go_by_name(bench: Bench) -> None:
    assert bench.prioritize(a_pod("p"), "n2", "n0", "n1") == [("n0", 10), ("n1", 9), ("n2", 9)]


def test_a_cheaper_node_wins_among_equals_and_the_weight_decides_otherwise() -> None:
    for weight, first in ((0.1, "full"), (3.0, "cheap"), (0.0, "full")):
        bench = a_bench(policy="best-fit", price_weight=weight)
        bench.node("full", annotations={"stowage.dev/price-milli": "3000"})
        bench.node("cheap", annotations={"stowage.dev/price-milli": "1000"})
        bench.pod("there", node="full", cpu="4")
        assert bench.prioritize(a_pod("p"), "full", "cheap")[0] == (first, 10)
    bench = a_bench()
    bench.node("a", annotations={"stowage.dev/price-milli": "2"})
    bench.node("b", annotations={"stowage.dev/price-milli": "1"})
    assert bench.prioritize(a_pod("p"), "a", "b") == [("b", 10), ("a", 1)]


def test_suspect_gpus_come_last_for_pods_that_use_them(bench: Bench) -> None:
    bench.node("n0", gpus=8, annotations={"stowage.dev/health": '{"state":"suspect"}'})
    bench.node("n1", gpus=8)
    bench.pod("there", node="n1", cpu="7", gpus=1)
    assert [name for name, _ in bench.prioritize(a_pod("p", gpus=1), "n0", "n1")] == ["n1", "n0"]
    assert [name for name, _ in bench.prioritize(a_pod("p"), "n0", "n1")] == ["n0", "n1"]


def test_a_scored_pod_counts_on_its_best_node_until_the_watch_speaks(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        bench.pod(name)
    chosen = [bench.prioritize(a_pod(name), "n0", "n1", "n2")[0][0] for name in ("a", "b", "c")]
    assert chosen == ["n0", "n1", "n2"]
    assert bench.prioritize(a_pod("a"), "n0", "n1", "n2")[0][0] == "n0"  # its own place does not count against it
    bench.pod("b", node="n0")  # the scheduler took another node
    assert bench.prioritize(a_pod("d"), "n0", "n1", "n2")[0][0] == "n1"


def test_a_pod_refused_by_the_scheduler_is_no_longer_assumed(bench: Bench) -> None:
    bench.pod("a")
    bench.prioritize(a_pod("a"), "n0", "n1")
    assert bench.cache.assumed == 1
    refused = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}
    bench.pod("a", status=refused)
    assert bench.cache.assumed == 0


def test_random_gives_one_pod_one_answer() -> None:
    bench = a_bench(policy="random", assume=False)
    for n in range(50):
        bench.node(f"n{n:02}")
    names = [f"n{n:02}" for n in range(50)]
    answers = {pod: bench.prioritize(a_pod(pod), *names) for pod in ("a", "b", "c")}
    assert answers["a"] == bench.prioritize(a_pod("a"), *reversed(names))
    assert len({answer[0][0] for answer in answers.values()}) > 1


# ---- preempt


def preempt(bench: Bench, pod: Object, **victims: list[str]) -> dict[str, list[str]]:
    asked = {node: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": 0} for node, uids in victims.items()}
    result = bench.ask("preempt", {"Pod": pod, "NodeNameToVictims": None, "NodeNameToMetaVictims": asked})
    return {node: [one["UID"] for one in found["Pods"]] for node, found in result["NodeNameToMetaVictims"].items()}


def test_preempt_vetoes_what_filter_would_refuse_afterwards(bench: Bench) -> None:
    for n in range(3):
        bench.pod(f"low{n}", node=f"n{n}", cpu="4")
        bench.pod(f"stays{n}", node=f"n{n}", cpu="4")
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 3000}))
    bench.node("n2", taints=[{"key": "stowage.dev/quarantine", "effect": "NoSchedule"}])
    asked = {"n0": ["uid-low0"], "n1": ["uid-low1"], "n2": ["uid-low2"], "ghost": ["x"]}
    assert preempt(bench, a_pod("high", cpu="2"), **asked) == {"n1": ["uid-low1"]}
    # 4 freed, 3 of them kept for another: 1 fits.
    assert preempt(bench, a_pod("high", cpu="1"), n0=["uid-low0"]) == {"n0": ["uid-low0"]}
    assert preempt(bench, a_pod("high", cpu="1"), n0=["unknown"]) == {}
    assert preempt(bench, a_pod("high", cpu="1"), n0=["uid-low1"]) == {}  # runs elsewhere: frees nothing here
    assert preempt(bench, a_pod("mine", cpu="3"), n0=["uid-low0"]) == {"n0": ["uid-low0"]}


def test_preempt_accepts_empty_victims_and_never_makes_them(bench: Bench) -> None:
    assert preempt(bench, a_pod("high"), n0=[], n1=["uid-a"]) == {"n0": [], "n1": ["uid-a"]}
    body = {"Pod": a_pod("high"), "NodeNameToMetaVictims": {"n0": {"Pods": None, "NumPDBViolations": 0}}}
    assert bench.ask("preempt", body) == {
        "NodeNameToMetaVictims": {"n0": {"Pods": None, "NumPDBViolations": 0}}
    }


# ---- trust


def test_a_stale_cache_answers_with_an_error(bench: Bench) -> None:
    bench.stale = "stowage has not heard of the cluster's pods for 11 s"
    asked = {"Pod": a_pod("p"), "NodeNames": ["n0"]}
    result = bench.ask("filter", asked)
    assert result["Error"] == bench.stale
    assert result["NodeNames"] is None
    assert bench.post("prioritize", asked).status == 503
    assert bench.post("preempt", {"Pod": a_pod("p"), "NodeNameToMetaVictims": {}}).status == 503
    assert bench.extender.handle(b"GET", b"/readyz", b"").status == 503
    assert bench.extender.handle(b"GET", b"/healthz", b"").status == 200


def test_ready_means_trusted_compiled_and_not_stopping(bench: Bench) -> None:
    ready = lambda: bench.extender.handle(b"GET", b"/readyz", b"").status  # noqa: E731
    assert ready() == 200
    bench.extender.is_stopping = True
    assert ready() == 503
    bench.extender.is_stopping = False
    bench.extender.ranking = None
    assert ready() == 503
    assert bench.post("prioritize", {"Pod": a_pod("p"), "NodeNames": ["n0"]}).status == 503


# ---- bad bodies


@pytest.mark.parametrize("verb", ["filter", "prioritize", "preempt"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"Pod":null,"NodeNames":["n0"]}',
        b'{"Pod":[],"NodeNames":[]}',
        b'{"Pod":{"spec":{"containers":[{"resources":{"requests":{"cpu":"nonsense"}}}]}},"NodeNames":["n0"],'
        b'"NodeNameToMetaVictims":7}', b'{"Pod":' + b"[" * 100_000, b'{"Pod":{},"NodeNames":{"a":1},'
        b'"NodeNameToMetaVictims":[]}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_client_error(bench: Bench, verb: str, body: bytes) -> None:
    bench.plan(a_reservation("n0", pod="default/mine"))
    assert bench.post(verb, body).status == 400


def test_unknown_fields_are_skipped(bench: Bench) -> None:
    pod = {**a_pod("p"), "future": {"x": [1, 2]}}
    assert bench.ask("filter", {"Pod": pod, "NodeNames": ["n0"], "Future": {}})["NodeNames"] == ["n0"]


def test_a_million_names_are_refused_in_bounded_memory() -> None:
    bench = a_bench()
    names = b'{"Pod":{},"NodeNames":[' + b'"node-1",' * 999_999 + b'"n"]}'
    victims = b'{"Pod":{},"NodeNameToMetaVictims":{"n":{"Pods":[' + b'{"UID":"u"},' * 999_999 + b'{"UID":"u"}]}}}'
    for verb, body in (("filter", names), ("prioritize", names), ("preempt", victims)):
        tracemalloc.start()
        assert bench.post(verb, body).status == 413
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(body)


def test_a_huge_pod_is_refused(bench: Bench) -> None:
    pod = a_pod("p", annotations={"a": "x" * (2 << 20)})
    assert bench.post("filter", {"Pod": pod, "NodeNames": ["n0"]}).status == 413


def test_other_paths_and_methods_are_refused(bench: Bench) -> None:
    assert bench.extender.handle(b"GET", b"/filter", b"").status == 405
    assert bench.extender.handle(b"POST", b"/healthz", b"").status == 405
    assert bench.extender.handle(b"POST", b"/bind", b"{}").status == 404


# ---- metrics


def test_metrics_count_requests_refusals_and_the_cache_in_base_units(bench: Bench) -> None:
    bench.plan(a_reservation("n0", pod="default/mine", requests={"cpu": 8000}))
    bench.pod("p", node="n1")
    bench.filter(a_pod("q"), "n0", "n1", "ghost")
    bench.post("filter", b"{")
    preempt(bench, a_pod("q"), n0=["u"])
    text = bench.extender.handle(b"GET", b"/metrics", b"").body.decode()
    for line in (
        'stowage_extender_requests_total{code="200",verb="filter"} 1.0',
        'stowage_extender_requests_total{code="400",verb="filter"} 1.0',
        'stowage_extender_rejected_requests_total{code="400"} 1.0',
        'stowage_extender_request_duration_seconds_count{verb="filter"} 2.0',
        'stowage_extender_refused_nodes_total{rule="reserved"} 1.0',
        'stowage_extender_refused_nodes_total{rule="unknown-node"} 1.0',
        'stowage_extender_vetoed_nodes_total{rule="reserved"} 1.0',
        'stowage_cache_objects{kind="nodes"} 3.0',
        'stowage_cache_objects{kind="pods"} 1.0',
        "stowage_cache_reservations 1.0",
        "process_cpu_seconds_total",
    ):
        assert line in text, line
