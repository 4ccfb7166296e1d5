"""A price round against a cluster in memory: few writes, none blindly, none while another leads."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from prometheus_client import generate_latest

from scheduler.core.snapshot import Node, Pod, parse_snapshot
from scheduler.live.api import ApiError
from scheduler.live.journal import Journal
from scheduler.live.kube_objects import LiveNamespace
from scheduler.live.node_health import ShownNode
from scheduler.live.planner.child import SolverFailed
from scheduler.live.planner.kube_api import PlannerApi
from scheduler.live.planner.price_marks import own_price, price_annotations
from scheduler.live.planner.price_round import PriceRound
from scheduler.live.planner.price_solver import PodBid, PoolPrice, PriceAnswer, PriceQuestion
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.planner.world import PodView, World

Answering = Callable[[PriceQuestion], PriceAnswer]


def an_answer(prices: dict[str, float], *waiting: PodBid) -> PriceAnswer:
    """A pool per node."""
    pools = [PoolPrice([name], price, 0.5) for name, price in prices.items()]
    return PriceAnswer("feasible", 9.0, 10.0, 1, 4, 0.1, pools, list(waiting))


class Cluster:
    """Nodes n0, n1, ... whose annotations an API server keeps; the prices are what the test says."""

    def __init__(self, nodes: int = 2, journal: Path | None = None, **settings: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.written: list[tuple[str, int]] = []
        self.asked: list[PriceQuestion] = []
        self.refuses: dict[str, int] = {}
        self.answer: Answering = lambda question: an_answer({})
        self.leads = True
        self.world = World()
        self.nodes: dict[str, ShownNode] = {}
        self.version = 1
        for n in range(nodes):
            self.world.put_node(Node(name=f"n{n}", allocatable={"cpu": 4000, "pods": 110}))
            self.show(f"n{n}", {})
        self.journal = Journal(journal, "test") if journal is not None else None
        self.recorder = Recorder.make(self.events.append, self.journal, "me", lambda: 1_790_000_000.0)
        whole = {"price_round": "auto", "price_pace": 1.0} | settings
        self.round = PriceRound(PlannerSettings(**whole), self.nodes, self, self.recorder, self)

    def show(self, name: str, annotations: dict[str, str]) -> None:
        self.version += 1
        meta = {"name": name, "resourceVersion": str(self.version), "annotations": annotations}
        self.nodes[name] = msgspec.convert({"metadata": meta}, ShownNode)

    def price_node(self, node: ShownNode, price_milli: int) -> None:
        name = node.metadata.name
        if name in self.refuses:
            raise ApiError(self.refuses[name], "Refused", "no")
        if node.metadata.resource_version != self.nodes[name].metadata.resource_version:
            raise ApiError(409, "Conflict", "changed")
        self.written.append((name, price_milli))
        merged = dict(node.metadata.annotations or {}) | price_annotations(price_milli)
        self.show(name, {key: text for key, text in merged.items() if text is not None})

    def ask(self, question: PriceQuestion) -> PriceAnswer:
        self.asked.append(question)
        return self.answer(question)

    def stop(self) -> None:
        pass

    def hold(self, **prices: float) -> list[tuple[str, int]]:
        """One round that finds these prices; what it wrote."""
        self.answer = lambda question: an_answer(prices)
        return self.go()

    def go(self) -> list[tuple[str, int]]:
        before = len(self.written)
        running = self.round.begin(self.world, {}, lambda: self.leads)
        assert running is not None
        running.result(10)
        return self.written[before:]

    def prices(self) -> dict[str, int | None]:
        return {name: own_price(node.metadata.annotations or {}) for name, node in sorted(self.nodes.items())}

    def metric(self, name: str) -> float:
        text = generate_latest(self.recorder.metrics.registry).decode()
        found = re.search(rf"^stowage_planner_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])


def a_pod(name: str, namespace: str = "default", scheduler: str = "stowage", **rest: Any) -> PodView:
    return PodView(Pod(name=name, namespace=namespace, uid=name, requests={"cpu": 1000}, **rest), scheduler=scheduler)


def test_prices_are_written_once_and_again_only_when_they_move_by_a_step() -> None:
    cluster = Cluster()
    assert cluster.hold(n0=2.0, n1=0.0) == [("n0", 2000)]
    assert cluster.hold(n0=2.05, n1=0.0) == []
    assert cluster.hold(n0=3.0, n1=0.5) == [("n0", 3000), ("n1", 500)]
    assert cluster.hold(n0=0.0, n1=0.0) == [("n0", 0), ("n1", 0)]
    assert cluster.prices() == {"n0": 0, "n1": 0}
    assert not any(node.metadata.annotations for node in cluster.nodes.values())


def test_a_round_writes_no_more_than_it_may_and_the_next_goes_on() -> None:
    cluster = Cluster(nodes=5, price_writes=2)
    prices = {f"n{n}": 1.0 + n for n in range(5)}
    assert cluster.hold(**prices) == [("n4", 5000), ("n3", 4000)]
    assert cluster.hold(**prices) == [("n2", 3000), ("n1", 2000)]
    assert cluster.hold(**prices) == [("n0", 1000)]
    assert cluster.hold(**prices) == []


def test_in_observe_nothing_is_written_and_all_is_told(tmp_path: Path) -> None:
    cluster = Cluster(price_round="observe", journal=tmp_path)
    assert cluster.hold(n0=2.0, n1=1.0) == []
    assert cluster.hold(n0=2.0, n1=1.0) == []
    assert cluster.metric('price_writes_total{answer="observed"}') == 2  # each change once
    assert cluster.metric("priced_nodes") == 2
    assert cluster.metric('node_price{quantile="1"}') == 2.0
    assert cluster.metric("price_gap_ratio") == pytest.approx(0.1)
    assert cluster.journal is not None
    table = pq.read_table(cluster.journal.flush()).to_pylist()
    assert [row["kind"] for row in table] == ["prices", "prices"]
    assert "2 of 2 changed prices would be written" in table[0]["message"]
    assert json.loads(table[0]["details"])["pools"][0] == {"node": "n0", "nodes": 1, "price": 2.0, "utilisation": 0.5}


def test_a_node_that_others_write_at_the_same_moment_is_left_for_the_next_round() -> None:
    cluster = Cluster(nodes=3)
    cluster.refuses = {"n2": 409, "n1": 404}
    assert cluster.hold(n0=1.0, n1=1.0, n2=1.0) == [("n0", 1000)]
    cluster.refuses = {}
    assert cluster.hold(n0=1.0, n1=1.0, n2=1.0) == [("n1", 1000), ("n2", 1000)]


def test_who_may_not_write_does_not_try_every_node() -> None:
    cluster = Cluster(nodes=3)
    cluster.refuses = {"n0": 403, "n1": 403, "n2": 403}
    assert cluster.hold(n0=1.0, n1=1.0, n2=1.0) == []
    assert cluster.metric('price_writes_total{answer="403"}') == 1


def test_who_does_not_lead_any_more_writes_nothing_more() -> None:
    cluster = Cluster(nodes=3)
    answers = iter([True, False])
    cluster.answer = lambda question: an_answer({"n0": 1.0, "n1": 1.0, "n2": 1.0})
    running = cluster.round.begin(cluster.world, {}, lambda: next(answers))
    assert running is not None
    running.result(10)
    assert cluster.written == [("n0", 1000)]


def test_a_price_changed_by_a_person_while_the_round_ran_is_left_alone() -> None:
    cluster = Cluster()

    def meanwhile(question: PriceQuestion) -> PriceAnswer:
        cluster.show("n0", {"stowage.dev/price-milli": "7"})
        return an_answer({"n0": 2.0, "n1": 2.0})

    cluster.answer = meanwhile
    assert cluster.go() == [("n1", 2000)]
    assert cluster.prices() == {"n0": None, "n1": 2000}


def test_a_round_that_is_not_over_is_not_begun_twice_and_does_not_hold_up_its_caller() -> None:
    cluster = Cluster()
    let_go = threading.Event()

    def slow(question: PriceQuestion) -> PriceAnswer:
        assert let_go.wait(10)
        return an_answer({"n0": 1.0})

    cluster.answer = slow
    running = cluster.round.begin(cluster.world, {}, lambda: True)
    assert running is not None
    assert cluster.round.begin(cluster.world, {}, lambda: True) is None
    assert cluster.written == []
    let_go.set()
    running.result(10)
    assert cluster.written == [("n0", 1000)]
    assert len(cluster.asked) == 1


@pytest.mark.parametrize("error", [SolverFailed("the solver process died"), ZeroDivisionError()])
def test_a_round_that_fails_is_counted_and_the_next_one_is_held(error: Exception) -> None:
    cluster = Cluster()

    def fail(question: PriceQuestion) -> PriceAnswer:
        if isinstance(error, SolverFailed):
            raise error
        return an_answer({"n0": float("nan")})  # no such price is ever found; whatever goes wrong must end here

    cluster.answer = fail
    assert cluster.go() == []
    assert cluster.metric('price_rounds_total{verdict="failed"}') == 1
    assert cluster.hold(n0=1.0) == [("n0", 1000)]


def test_the_question_is_the_world_and_what_people_wrote() -> None:
    cluster = Cluster()
    spaces = {"shop": {"stowage.dev/auction-weight": "3"}, "lab": {"stowage.dev/auction-budget": "0"}}
    sinks = cluster.round.sinks()
    for name, notes in spaces.items():
        sinks[0].put(msgspec.convert({"metadata": {"name": name, "annotations": notes}}, LiveNamespace))
    cluster.world.put_pod(a_pod("p", "shop", annotations={"stowage.dev/bid": "2"}, gang="shop/g"))
    cluster.world.put_pod(a_pod("q", "lab", node="n0"))
    cluster.world.put_pod(a_pod("theirs", scheduler="default-scheduler", node="n0"))
    cluster.world.put_pod(a_pod("lost", node="gone"))
    cluster.round.begin(cluster.world, {"shop/g": 4}, lambda: True).result(10)  # type: ignore[union-attr]
    (asked,) = cluster.asked
    assert asked.pods == ["default/lost", "lab/q", "shop/p"]
    assert (asked.bids, asked.weights, asked.budgets) == ({"shop/p": 2.0}, {"shop": 3.0}, {"lab": 0.0})
    snapshot = parse_snapshot(asked.snapshot)
    assert [pod.key for pod in snapshot.pods] == ["default/theirs", "lab/q", "shop/p"]
    assert snapshot.pods[2].gang_size == 4
    sinks[0].drop("shop")
    cluster.hold()
    assert cluster.asked[1].weights == {}


def test_a_bad_annotation_is_told_once_and_again_when_it_changes() -> None:
    cluster = Cluster()
    put = cluster.round.sinks()[0].put

    def weigh(text: str) -> list[str]:
        meta = {"name": "shop", "uid": "u", "annotations": {"stowage.dev/auction-weight": text}}
        put(msgspec.convert({"metadata": meta}, LiveNamespace))
        before = len(cluster.events)
        cluster.hold(n0=1.0)
        return [event["note"] for event in cluster.events[before:]]

    cluster.world.put_pod(a_pod("p", annotations={"stowage.dev/bid": "a lot"}))
    assert weigh("-1") == [
        "stowage.dev/bid: 'a lot' is ignored: a bid is a decimal number such as 2 or 0.5",
        "stowage.dev/auction-weight: '-1' is ignored: a weight is above 0",
    ]
    assert [event["regarding"]["kind"] for event in cluster.events] == ["Pod", "Namespace"]
    assert cluster.events[1]["metadata"]["namespace"] == "shop"
    assert weigh("-1") == []
    (told,) = weigh("nan")
    assert told == "stowage.dev/auction-weight: 'nan' is ignored: a weight is a decimal number such as 2 or 0.5"
    assert weigh("2") == []
    assert len(weigh("nan")) == 1


def test_very_many_bad_annotations_are_told_some_at_a_time() -> None:
    cluster = Cluster()
    for n in range(120):
        cluster.world.put_pod(a_pod(f"p{n}", annotations={"stowage.dev/bid": "?"}))
    told = []
    for _ in range(4):
        cluster.hold(n0=1.0)
        told.append(len(cluster.events))
    assert told == [50, 100, 120, 120]


def test_a_waiting_pod_is_told_what_it_bid_and_met_when_that_changes(tmp_path: Path) -> None:
    cluster = Cluster(journal=tmp_path)
    lost = PodBid("a/p", 0.5, 0.75, "n0", won=False, rival="b/q", rival_bid=0.8)
    won = PodBid("a/p", 0.8, 0.75, "n0", won=True)
    nearly = msgspec.structs.replace(lost, price=0.7501, rival="b/r")
    for bid in (lost, nearly, won, PodBid("a/q", 0.0, 0.0, "", won=False)):
        cluster.answer = lambda question, bid=bid: an_answer({"n0": 1.0}, bid)  # type: ignore[misc]
        cluster.go()
    assert cluster.journal is not None
    rows = [row for row in pq.read_table(cluster.journal.flush()).to_pylist() if row["kind"] == "bid"]
    assert [(row["pod"], row["verdict"], row["node"]) for row in rows] == [
        ("p", "outbid", "n0"), ("p", "won", "n0"), ("q", "outbid", ""),
    ]  # fmt: skip
    assert rows[0]["message"] == (
        "it bids 0.5; the cheapest place, among nodes like n0, costs 0.75; the last that got in is b/q, which bids 0.8"
    )
    assert cluster.metric("outbid_pods") == 1


def test_where_it_is_off_nothing_is_watched_and_nothing_is_measured() -> None:
    cluster = Cluster(price_round="disabled")
    assert not cluster.round.is_on
    assert cluster.round.sinks() == []
    assert b"price" not in generate_latest(cluster.recorder.metrics.registry)
    assert not PriceRound(PlannerSettings(), {}, cluster, cluster.recorder, cluster).is_on


def test_a_price_is_one_patch_of_the_version_that_was_looked_at() -> None:
    sent: list[tuple[str, Any]] = []

    class Api:
        def patch(self, path: str, body: bytes, kind: str) -> bytes:
            sent.append((path, json.loads(body)))
            return b"{}"

    meta = {"name": "n0", "resourceVersion": "41", "annotations": {"example.org/rack": "r1"}}
    node = msgspec.convert({"metadata": meta}, ShownNode)
    writes = PlannerApi(Api())  # type: ignore[arg-type]
    writes.price_node(node, 250)
    writes.price_node(node, 0)
    keys = ("stowage.dev/price-milli", "stowage.dev/price-of-round")
    assert sent == [
        ("/api/v1/nodes/n0", {"metadata": {"resourceVersion": "41", "annotations": dict.fromkeys(keys, text)}})
        for text in ("250", None)
    ]
