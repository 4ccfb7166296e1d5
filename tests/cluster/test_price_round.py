"""Prices on a real control plane: contended nodes get them, pods go where it is cheap, and all can be taken back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from scheduler.live.api import Api
from scheduler.live.cleanup import take_prices
from tests.cluster.api_client import wait_for
from tests.cluster.control_plane import post_json
from tests.cluster.objects import a_pod
from tests.cluster.planning import PlannerProcess, start_scheduler, tidy_planners
from tests.cluster.test_plans import run_stowage

PRICE, NOTE = "stowage.dev/price-milli", "stowage.dev/price-of-round"
FAST = {"price_round": "auto", "price_round_s": 0.5, "price_pace": 1.0, "mode": "observe", "journal_flush_s": 0.5}


@pytest.fixture(autouse=True)
def definition(control_plane):
    with tidy_planners(control_plane):
        yield


def annotate(plane: Any, path: str, **annotations: str | None) -> None:
    """Of our domain, with dashes for underscores."""
    written = {f"stowage.dev/{key.replace('_', '-')}": text for key, text in annotations.items()}
    plane.client.patch(path, {"metadata": {"annotations": written}})


def price(plane: Any, node: str) -> int:
    """In thousandths, 0 for none; ours only if the note beside it says so."""
    notes = plane.client.get(f"/api/v1/nodes/{node}")["metadata"].get("annotations", {})
    assert notes.get(PRICE) == notes.get(NOTE)
    return int(notes.get(PRICE, 0))


def two_pools(plane: Any, namespace: str) -> tuple[list[str], list[str]]:
    """Two nodes of each kind, equally used; names of the first kind come first."""
    return tuple(  # type: ignore[return-value]
        plane.add_nodes(2, prefix=f"{namespace}-{kind}", cpu=4, labels={"kind": f"{namespace}-{kind}"})
        for kind in ("a", "b")
    )


def crowd(plane: Any, namespace: str, kind: str, where: str = "", count: int = 4, **rest: Any) -> None:
    """Pods of 3 CPUs that want nodes of one kind; one fits on each. where: the prefix of the kind."""
    selector = {"kind": f"{where or namespace}-{kind}"}
    plane.client.create_all(
        a_pod(f"{kind}-{n}", namespace, cpu="3", scheduler="stowage", nodeSelector=selector, **rest)
        for n in range(count)
    )


def preferred(plane: Any, namespace: str, nodes: list[str]) -> str:
    """The node that the extender likes best for a small pod without wishes."""
    port = json.loads((plane.folder / "serve.json").read_text())["port"]
    pod = a_pod("any", namespace, cpu="100m", scheduler="stowage")
    answer = post_json(f"http://127.0.0.1:{port}/prioritize", {"Pod": pod, "NodeNames": nodes})
    return str(max(answer, key=lambda one: one["Score"])["Host"])


def reasons(plane: Any, namespace: str) -> list[str]:
    events = plane.client.items(f"/api/v1/namespaces/{namespace}/events")
    return [one["note"] if "note" in one else one["message"] for one in events if one["reason"] == "AnnotationIgnored"]


def metric(planner: PlannerProcess, name: str) -> float:
    found = re.search(rf"^stowage_planner_{re.escape(name)} (\S+)$", planner.get("/metrics")[1].decode(), re.MULTILINE)
    return float(found[1]) if found else -1.0


def test_contended_nodes_get_prices_and_pods_go_where_it_is_cheap(control_plane, namespace):
    start_scheduler(control_plane)
    dear, cheap = two_pools(control_plane, namespace)
    both = [*dear, *cheap]
    crowd(control_plane, namespace, "a")  # two of them wait
    taken = [a_pod(f"taken-{n}", namespace, cpu="3", nodeName=name) for n, name in enumerate(cheap)]
    control_plane.client.create_all(taken)  # another scheduler's: used alike, contended by nobody
    control_plane.wait_until_running(namespace, 4)
    wait_for("equal nodes go by name", lambda: preferred(control_plane, namespace, both) in dear)
    planner = PlannerProcess(control_plane, **FAST)
    wait_for("prices", lambda: min(price(control_plane, name) for name in dear) > 0)
    assert [price(control_plane, name) for name in dear] == [price(control_plane, dear[0])] * 2
    assert [price(control_plane, name) for name in cheap] == [0, 0]
    wait_for("the extender knows", lambda: preferred(control_plane, namespace, both) in cheap)
    control_plane.client.create(a_pod("any", namespace, cpu="100m", memory="16Mi", scheduler="stowage"))
    wait_for("it runs", lambda: "any" in control_plane.nodes_of_pods(namespace))
    assert control_plane.nodes_of_pods(namespace)["any"] in cheap
    written = metric(planner, 'price_writes_total{answer="written"}')
    rounds = metric(planner, 'price_rounds_total{verdict="optimal"}')
    assert rounds >= 1
    wait_for("five more rounds", lambda: metric(planner, 'price_rounds_total{verdict="optimal"}') >= rounds + 5)
    assert metric(planner, 'price_writes_total{answer="written"}') == written == 2  # nothing changed
    assert metric(planner, 'node_price{quantile="1"}') == price(control_plane, dear[0]) / 1000
    waits = next(name for name in ("a-0", "a-1", "a-2", "a-3") if name not in control_plane.nodes_of_pods(namespace))
    wait_for("a segment", lambda: list(planner.journal.glob("segment-*.parquet")))
    words = ("explain", "--live", f"{namespace}/{waits}", "--journal", str(planner.journal), "--json")
    told = json.loads(run_stowage(control_plane, *words))
    assert told["auction"]["node"] in dear
    assert told["auction"]["bid_per_bundle"] == pytest.approx(1.0)  # priority 0
    assert told["auction"]["price"] * 1000 == price(control_plane, dear[0])
    assert "outbid" in {one["verdict"] for one in told["decisions"]}


def test_the_weight_of_a_namespace_changes_who_wins_and_what_is_dear(control_plane, namespace):
    start_scheduler(control_plane)
    kinds = two_pools(control_plane, namespace)
    other = control_plane.make_namespace(f"{namespace}-other")
    crowd(control_plane, namespace, "a")
    crowd(control_plane, other, "b", where=namespace)
    wait_for("four run", lambda: len(control_plane.nodes_of_pods(namespace) | control_plane.nodes_of_pods(other)) == 4)
    both = [*kinds[0], *kinds[1]]
    mine, theirs = (f"/api/v1/namespaces/{name}" for name in (namespace, other))
    annotate(control_plane, mine, auction_weight="4")
    planner = PlannerProcess(control_plane, **FAST)

    def prices() -> list[int]:
        return [price(control_plane, pool[0]) for pool in kinds]

    wait_for("ours are dear", lambda: prices()[0] > 2 * prices()[1] > 0)
    wait_for("pods go to theirs", lambda: preferred(control_plane, namespace, both) in kinds[1])
    annotate(control_plane, mine, auction_weight=None)
    annotate(control_plane, theirs, auction_weight="4")
    wait_for("theirs are dear", lambda: prices()[1] > 2 * prices()[0] > 0)
    wait_for("pods go to ours", lambda: preferred(control_plane, namespace, both) in kinds[0])
    annotate(control_plane, theirs, auction_weight=None, auction_budget="0")
    wait_for("who has no budget bids nothing", lambda: prices()[1] == 0 < prices()[0])
    planner.component.stop()
    control_plane.client.delete(theirs)


def test_annotations_that_mean_nothing_are_told_and_ignored(control_plane, namespace):
    start_scheduler(control_plane)
    dear, _ = two_pools(control_plane, namespace)
    path = f"/api/v1/namespaces/{namespace}"
    annotate(control_plane, path, auction_weight="NaN", auction_budget="-1")
    crowd(control_plane, namespace, "a", annotations={"stowage.dev/bid": "a lot"})
    planner = PlannerProcess(control_plane, **FAST)
    wait_for("events", lambda: len(reasons(control_plane, namespace)) == 6)
    assert sum("a bid is a decimal number" in text for text in reasons(control_plane, namespace)) == 4
    assert sum("a budget is at least 0" in text for text in reasons(control_plane, namespace)) == 1
    wait_for("prices without them", lambda: price(control_plane, dear[0]) == pytest.approx(1000, rel=0.05))
    annotate(control_plane, path, auction_weight="2", auction_budget=None)
    wait_for("mended", lambda: price(control_plane, dear[0]) == pytest.approx(2000, rel=0.05))
    assert metric(planner, 'price_rounds_total{verdict="failed"}') == -1.0


def test_observing_writes_nothing_and_going_back_takes_prices_off(control_plane, namespace):
    start_scheduler(control_plane)
    dear, cheap = two_pools(control_plane, namespace)
    annotate(control_plane, f"/api/v1/nodes/{cheap[0]}", price_milli="77")  # a person's
    crowd(control_plane, namespace, "a")
    observer = PlannerProcess(control_plane, **FAST | {"price_round": "observe"})
    wait_for("prices", lambda: metric(observer, "priced_nodes") == 2)
    assert [price(control_plane, name) for name in dear] == [0, 0]
    control_plane.end_program("planner")
    PlannerProcess(control_plane, **FAST)
    wait_for("prices", lambda: min(price(control_plane, name) for name in dear) > 0)
    control_plane.end_program("planner")
    kept = control_plane.client.get(f"/api/v1/nodes/{cheap[0]}")["metadata"]["annotations"]
    assert (kept[PRICE], NOTE in kept) == ("77", False)
    api = Api.connect(str(control_plane.kubeconfig))
    assert set(dear) <= set(take_prices(api).nodes)
    assert [price(control_plane, name) for name in dear] == [0, 0]
    kept = control_plane.client.get(f"/api/v1/nodes/{cheap[0]}")["metadata"]["annotations"]
    assert kept[PRICE] == "77"
    assert take_prices(api).nodes == []
