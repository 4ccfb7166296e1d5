"""What a pod of a live cluster bids, and what the nodes that it could use cost, as the last price round wrote it."""

from __future__ import annotations

from typing import Any

import msgspec

from scheduler.core.auction.from_snapshot import make_round
from scheduler.core.snapshot import a_snapshot, read_node
from scheduler.live.api import Api, ApiError
from scheduler.live.kube_objects import (
    NAMESPACES_PATH,
    NODES_PATH,
    PRICE_ANNOTATION,
    LiveNamespace,
    LiveNode,
    LivePod,
    ObjectList,
)
from scheduler.live.planner.price_marks import MILLI
from scheduler.live.planner.price_terms import read_terms
from scheduler.live.planner.world import view_of


def explain_bid(api: Api, pod: LivePod) -> dict[str, Any] | None:
    """Keys: bid (for a place), bid_per_bundle and price (of `node`) to compare with one another, node, why, ignored.

    node: where the pod is, or the cheapest it could use. ignored: annotations that count as not written. A budget of
    the namespace may lower the bid in a round; here it is told only. None where no node has a price. Raises ApiError.
    """
    nodes: list[LiveNode] = []
    for page in api.list_pages(NODES_PATH):
        nodes += msgspec.json.decode(page, type=ObjectList[LiveNode]).items or []
    prices = {one.metadata.name: _price(one) for one in nodes if PRICE_ANNOTATION in (one.metadata.annotations or {})}
    if not prices:
        return None
    live = view_of(pod, [])
    spaces = _namespace(api, live.pod.namespace)
    terms, faults = read_terms([live], spaces)
    made = make_round(a_snapshot([read_node(one, one.metadata.name) for one in nodes], [live.pod]), terms)
    out: dict[str, Any] = {"ignored": [fault.text for fault in faults]}
    if not len(made.market.node):
        return out | {"bid": 0.0, "bid_per_bundle": 0.0, "price": None, "node": None, "why": "it bids for no node"}
    usable = [name for pool in made.market.node for name in made.pools[pool]]
    node = live.pod.node or min(usable, key=lambda name: (prices.get(name, 0.0), name))
    bid, size = float(made.market.value.max()), float(made.sizes()[0])
    price, rate = prices.get(node, 0.0), bid / size if size else 0.0
    where = "its node" if live.pod.node else f"the cheapest node that it could use, {node},"
    why = f"it bids {bid:.4g}, which is {rate:.4g} for a bundle; {where} costs {price:.4g} a bundle"
    if live.pod.namespace in terms.budgets:
        why += f"; its namespace bids at most {terms.budgets[live.pod.namespace]:g} in all"
    return out | {"bid": bid, "bid_per_bundle": rate, "price": price, "node": node, "why": why}


def _price(node: LiveNode) -> float:
    text = (node.metadata.annotations or {})[PRICE_ANNOTATION]
    return int(text) / MILLI if text.isascii() and text.lstrip("-").isdigit() else 0.0


def _namespace(api: Api, name: str) -> dict[str, LiveNamespace]:
    try:
        return {name: msgspec.json.decode(api.get(f"{NAMESPACES_PATH}/{name}"), type=LiveNamespace)}
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return {}
