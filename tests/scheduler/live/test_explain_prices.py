"""What a pod bids and meets, read from a cluster in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from scheduler.live.api import ApiError
from scheduler.live.explain_prices import explain_bid
from scheduler.live.kube_objects import LivePod
from tests.cluster.objects import a_node
from tests.cluster.objects import a_pod as a_pod_object


class MemoryApi:
    """Nodes and one namespace."""

    def __init__(self, *nodes: dict[str, Any], namespace: dict[str, str] | int = 404) -> None:
        self.nodes, self.namespace = nodes, namespace

    def list_pages(self, path: str) -> Iterator[bytes]:
        assert path == "/api/v1/nodes"
        for node in self.nodes:
            yield json.dumps({"items": [node]}).encode()

    def get(self, path: str) -> bytes:
        assert path == "/api/v1/namespaces/shop"
        if isinstance(self.namespace, int):
            raise ApiError(self.namespace, "Refused", path)
        return json.dumps({"metadata": {"name": "shop", "annotations": self.namespace}}).encode()


def a_pod(node: str | None = None, bid: str | None = None, **spec: Any) -> LivePod:
    """2 CPUs in the namespace shop."""
    notes = {} if bid is None else {"stowage.dev/bid": bid}
    made = a_pod_object("p", "shop", cpu="2", memory="1Gi", annotations=notes, **spec)
    if node is not None:
        made["spec"]["nodeName"] = node
    return msgspec.convert(made, LivePod)


def priced(name: str, price: str | None, **rest: Any) -> dict[str, Any]:
    return a_node(name, annotations={} if price is None else {"stowage.dev/price-milli": price}, **rest)


def explain(api: MemoryApi, pod: LivePod) -> dict[str, Any] | None:
    return explain_bid(api, pod)  # type: ignore[arg-type]


def test_a_running_pod_meets_the_price_of_its_node_and_a_waiting_one_the_cheapest_it_could_use() -> None:
    api = MemoryApi(priced("a", "900", cpu=8), priced("b", "400", cpu=4), priced("c", None, labels={"kind": "c"}))
    runs = explain(api, a_pod("a"))
    assert runs is not None
    assert (runs["node"], runs["price"], runs["bid"], runs["bid_per_bundle"]) == ("a", 0.9, 0.25, 1.0)
    assert runs["why"] == "it bids 0.25, which is 1 for a bundle; its node costs 0.9 a bundle"
    waits = explain(api, a_pod())
    assert waits is not None
    assert (waits["node"], waits["price"]) == ("c", 0.0)
    tied = explain(api, a_pod(nodeSelector={"kubernetes.io/hostname": "b"}))
    assert tied is not None
    assert (tied["node"], tied["price"]) == ("b", 0.4)
    assert "the cheapest node that it could use, b, costs 0.4 a bundle" in tied["why"]


@pytest.mark.parametrize("namespace", [403, 404, {}])
def test_a_namespace_that_says_nothing_or_may_not_be_read_weighs_one(namespace: Any) -> None:
    found = explain(MemoryApi(priced("a", "900", cpu=8), namespace=namespace), a_pod("a"))
    assert found is not None
    assert found["bid"] == 0.25
    with pytest.raises(ApiError):
        explain(MemoryApi(priced("a", "900"), namespace=500), a_pod("a"))


def test_what_people_wrote_counts_and_what_cannot_be_read_is_told() -> None:
    wishes = {"stowage.dev/auction-weight": "2", "stowage.dev/auction-budget": "30"}
    found = explain(MemoryApi(priced("a", "900", cpu=8), namespace=wishes), a_pod("a", bid="3"))
    assert found is not None
    assert (found["bid"], found["bid_per_bundle"], found["ignored"]) == (6.0, 24.0, [])
    assert found["why"].endswith("; its namespace bids at most 30 in all")
    odd = explain(MemoryApi(priced("a", "cheap", cpu=8)), a_pod("a", bid="-3"))
    assert odd is not None
    assert (odd["bid"], odd["price"]) == (0.25, 0.0)
    assert odd["ignored"] == ["stowage.dev/bid: '-3' is ignored: a bid is at least 0"]


def test_there_is_nothing_to_tell_without_prices_and_little_about_a_pod_that_fits_nowhere() -> None:
    assert explain(MemoryApi(priced("a", None)), a_pod("a")) is None
    lost = explain(MemoryApi(priced("a", "900", cpu=1)), a_pod())
    assert lost is not None
    assert (lost["node"], lost["why"]) == (None, "it bids for no node")
