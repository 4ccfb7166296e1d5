"""A cluster as a round: the pods that wait bid for what is free on its nodes.

The input is what `kubectl get nodes,pods -A -o json` prints, or our own snapshot. Tenants are namespaces. A pod bids
the amount of its annotation for every node that it fits and accepts (node selector, node affinity, taints); without
one, what its priority says. Affinity and spreading between pods are not modelled: such pods are named in the notes.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from analytics.auction.market_file import MOST_MONEY
from analytics.errors import InputError
from scheduler.core.auction.from_snapshot import rate_of
from scheduler.core.auction.market import Market
from scheduler.core.auction.terms import Terms, terms_of
from scheduler.core.columns import Ints, amounts_of, intern
from scheduler.core.packing.pins import held_back
from scheduler.core.packing.selectors import affinity_accepts, affinity_terms, anti_affinity_terms, untolerated
from scheduler.core.snapshot import Node, Pod, Snapshot, parse_snapshot

BID = "stowage.dev/bid"
PODS_UNLESS_STATED = 110  # the kubelet's own default


def read_cluster(path: Path, data: bytes, *, exclusive: bool) -> tuple[Market, Terms, list[str]]:
    """The round, its terms, and what the reader should know. Raises SnapshotError, or InputError for a bad bid."""
    snapshot = parse_snapshot(data)
    nodes = [node for node in snapshot.nodes if node.ready and not node.unschedulable]
    waiting = [pod for pod in snapshot.pods if pod.node is None]
    bidders = [pod for pod in waiting if held_back(pod) is None]
    resources = ["cpu", "memory", "pods", *_others(bidders)]
    room = _free(snapshot, nodes, resources)
    demand = amounts_of([{**pod.requests, "pods": 1} for pod in bidders], resources, up=True)
    largest = np.maximum(room.max(axis=0, initial=0), 1)
    owner = intern(pod.namespace for pod in bidders)
    rows = [_accepted(pod, nodes, demand[j], room) for j, pod in enumerate(bidders)]
    bids = [_bid(path, pod, float((demand[j] / largest).max())) for j, pod in enumerate(bidders)]
    gangs: dict[str, int] = {}
    market = Market(
        nodes=np.array([node.name for node in nodes], np.str_),
        room=room,
        requests=np.array([pod.key for pod in bidders], np.str_),
        demand=demand,
        resources=tuple(resources),
        tenants=owner.values,
        tenant=owner.code,
        first=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        node=np.concatenate([np.zeros(0, np.int64), *rows]).astype(np.int32),
        value=np.repeat(np.array(bids, np.float64), [len(one) for one in rows]),
        gang=np.array([gangs.setdefault(p.gang, len(gangs)) if p.gang else -1 for p in bidders], np.int32),
        unlisted=np.zeros(len(bidders)),
        exclusive=exclusive,
    )
    terms = terms_of(market, np.array([pod.priority for pod in bidders], np.int64))
    return market, terms, _notes(snapshot, nodes, waiting, bidders)


def _others(pods: list[Pod]) -> list[str]:
    return sorted({name for pod in pods for name in pod.requests} - {"cpu", "memory", "pods"})


def _free(snapshot: Snapshot, nodes: list[Node], resources: list[str]) -> Ints:
    """(N, R) what the pods that run leave; nothing where they hold more than there is."""
    row = {node.name: n for n, node in enumerate(nodes)}
    room = amounts_of([{"pods": PODS_UNLESS_STATED, **node.allocatable} for node in nodes], resources, up=False)
    running = [pod for pod in snapshot.pods if pod.node in row]
    taken = amounts_of([{**pod.requests, "pods": 1} for pod in running], resources, up=True)
    np.subtract.at(room, np.array([row[pod.node] for pod in running if pod.node], np.int64), taken)
    return np.maximum(room, 0)


def _accepted(pod: Pod, nodes: list[Node], demand: Ints, room: Ints) -> Ints:
    """Rows of the nodes with room for the pod that it and their taints allow."""
    fits = np.flatnonzero((demand <= room).all(axis=1))
    allowed = [untolerated(pod, nodes[n]) is None and affinity_accepts(pod, nodes[n]) for n in fits.tolist()]
    return np.asarray(fits[np.array(allowed, np.bool_)], np.int64)


def _bid(path: Path, pod: Pod, size: float) -> float:
    text = pod.annotations.get(BID)
    if text is None:
        return size * rate_of(pod.priority)
    try:
        bid = float(text)
    except ValueError:
        bid = math.nan
    if not 0 <= bid <= MOST_MONEY:
        rule = f"a bid is a number from 0 to {MOST_MONEY:g}"
        raise InputError(f"{path}: pod {pod.key} is annotated {BID}: {text!r}; {rule}")
    return bid


def _notes(snapshot: Snapshot, nodes: list[Node], waiting: list[Pod], bidders: list[Pod]) -> list[str]:
    notes = []
    out_of_service = len(snapshot.nodes) - len(nodes)
    if out_of_service:
        notes.append(f"{out_of_service} nodes are cordoned or not ready: not for sale")
    if len(waiting) > len(bidders):
        notes.append(f"{len(waiting) - len(bidders)} pods that wait are held back (terminating, or gated): no bid")
    bound = [pod.key for pod in bidders if pod.spread or affinity_terms(pod) or anti_affinity_terms(pod)]
    if bound:
        notes.append(f"{len(bound)} pods are bound to others by affinity or spreading, not modelled: {bound[0]}, ...")
    return notes
