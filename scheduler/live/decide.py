"""Filter, prioritize and preempt: answers from the cache and the request, nothing else.

The scheduler has already applied its own filters to the nodes it names, so ours refuse for what it cannot know: room
that a Plan keeps for another pod, a pod that a Plan sends elsewhere, quarantine, failing GPUs.

Which failure map. A refusal in FailedNodes invites the scheduler to try preemption on that node. None of ours can be
cured so: the scheduler dry-runs evictions with its own filters, and those passed already without any; it would find no
victims, or kill pods and be refused again. (Measured on 1.36.2: one refused pod of high priority killed a pod on every
node.) So every refusal goes to FailedAndUnresolvableNodes, and `preempt` keeps only nodes that `filter` then accepts.

Filtering changes nothing. Scoring remembers the node it likes best as assumed, until the watch says where the pod went:
kube-scheduler runs ahead of the API server by as many pods as its rate limit holds back, and without that memory they
would all be sent to the same node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from scheduler.core import kube_types as kube
from scheduler.core.requests import effective_requests
from scheduler.live.cluster_cache import ClusterCache, nonzero_requests, owner_uid
from scheduler.live.kube_objects import LiveNode, shape_hash
from scheduler.live.node_columns import GPU_RESOURCES, Requests
from scheduler.live.reservations import Claimant, Hold, total
from scheduler.live.scoring import ScoreRows, best_nodes
from scheduler.live.wire import MetaPod, MetaVictims, Victims

UNKNOWN: Final = "unknown-node"
RESERVED: Final = "reserved"
ELSEWHERE: Final = "planned-elsewhere"
RULES: Final = ("quarantine", "gpu-health", RESERVED, ELSEWHERE, UNKNOWN)
"""Why a node is refused, for metrics."""


class BadPod(ValueError):
    """The request's pod cannot be read."""


@dataclass(slots=True)
class PodAsked:
    """The pod a request is about; what is costly is computed when first used."""

    obj: kube.PodObject
    key: str
    uid: str
    _requests: Requests | None = None
    _nonzero: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, pod: kube.PodObject) -> PodAsked:
        """The pod of a request's body."""
        meta = pod.metadata
        return cls(pod, f"{meta.namespace or 'default'}/{meta.name}", meta.uid)

    @property
    def requests(self) -> Requests:
        """Effective requests in base units, `pods` included; BadPod if a quantity cannot be read."""
        if self._requests is None:
            try:
                amounts = effective_requests(self.obj.spec, self.obj.status, "Pod.spec")
            except ValueError as error:
                raise BadPod(str(error)) from error
            self._requests = tuple(sorted({**amounts, "pods": 1}.items()))
            self._nonzero = nonzero_requests(self.obj, amounts)
        return self._requests

    @property
    def nonzero(self) -> tuple[int, int]:
        """CPU millicores and memory MiB as kube-scheduler's scores count them."""
        _ = self.requests
        return self._nonzero

    @property
    def wants_gpu(self) -> bool:
        """Whether it asks for whole GPUs."""
        return any(name in GPU_RESOURCES for name, _ in self.requests)

    def claimant(self) -> Claimant:
        """How it claims reservations."""
        return Claimant(self.key, self.uid, owner_uid(self.obj), lambda: shape_hash(self.obj))


@dataclass(frozen=True, slots=True)
class Refused:
    """Why one node refuses."""

    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class FilterAnswer:
    """passed: names in the order asked, or None for all of them. refused: the others, with why."""

    passed: list[str] | None
    refused: dict[str, Refused] = field(default_factory=dict)


def filter_nodes(cache: ClusterCache, pod: PodAsked, names: Sequence[str], now_s: float) -> FilterAnswer:
    """Which of the named nodes the pod may use. now_s: seconds since 1970, for reservations."""
    known = cache.columns.row_of
    restricted = bool(cache.flags or cache.reservations.on_node)
    if not restricted and all(map(known.__contains__, names)):
        return FilterAnswer(None)
    refused = refusals(cache, pod, names, now_s)
    if not refused:
        return FilterAnswer(None)
    return FilterAnswer([name for name in names if name not in refused], refused)


def refusals(
    cache: ClusterCache, pod: PodAsked, names: Iterable[str], now_s: float, freed: Mapping[str, Mapping[str, int]] = {}
) -> dict[str, Refused]:
    """The named nodes that refuse the pod. freed: amounts by node that evictions would give back."""
    known, flags, on_node = cache.columns.row_of, cache.flags, cache.reservations.on_node
    claimant = pod.claimant()
    own = cache.reservations.claimed_by(claimant, now_s) if on_node else []
    planned = {hold.node: hold for hold in own if hold.is_hard}  # empty: it is free to go anywhere
    refused: dict[str, Refused] = {}
    for name in names:
        why = None
        if name not in known:
            why = Refused(UNKNOWN, f"node {name} is not known to stowage (yet)")
        elif planned and name not in planned:
            node, hold = next(iter(planned.items()))
            why = Refused(ELSEWHERE, f"plan {hold.plan} keeps node {node} for this pod")
        elif name in flags:
            why = _flagged(cache, pod, name)
        if why is None and name in on_node:
            why = _reserved(cache, pod, own, name, now_s, freed.get(name, {}))
        if why is not None:
            refused[name] = why
    return refused


def prioritize_nodes(
    cache: ClusterCache,
    score_rows: ScoreRows,
    pod: PodAsked,
    names: Sequence[str],
    now_s: float,
    *,
    count: int,
    price_weight: float = 0.0,
    clock_s: float | None = None,
    skip_refused: bool = False,
) -> list[tuple[str, int]]:
    """The best nodes for the pod with their points (10 for the first), best first, at most `count`.

    clock_s: a clock that only goes forward, by which the best node is then assumed; None: assume nothing.
    skip_refused: leave out nodes that `filter_nodes` would refuse, for callers that let them pass.
    """
    if clock_s is not None:
        cache.forget(pod.key)
    if skip_refused and (cache.flags or cache.reservations.on_node):
        refused = refusals(cache, pod, names, now_s)
        names = [name for name in names if name not in refused]
    columns = cache.columns
    demand = columns.demand(pod.requests, grow=False)  # what no node has needs no column
    rows = np.array(_rows(columns.row_of, names), np.int64)
    best = best_nodes(
        score_rows, columns, demand, pod.nonzero, names, rows, _draw(pod.uid or pod.key), count, price_weight
    )
    if best and clock_s is not None:
        cache.assume(pod.key, best[0][0], clock_s)
    return best


def veto_preemption(
    cache: ClusterCache, pod: PodAsked, victims: Mapping[str, MetaVictims], now_s: float
) -> tuple[dict[str, MetaVictims], dict[str, Refused]]:
    """The nodes where evicting these victims lets the pod in, unchanged, and why not the others.

    A victim that the cache does not know gives back nothing.
    """
    on_node = cache.reservations.on_node
    freed = {node: _freed(cache, node, asked.pods or []) for node, asked in victims.items() if node in on_node}
    refused = refusals(cache, pod, victims, now_s, freed)
    return {node: asked for node, asked in victims.items() if node not in refused}, refused


def as_meta(victims: Mapping[str, Victims]) -> dict[str, MetaVictims]:
    """The same victims by uid."""
    return {
        node: MetaVictims(
            pods=[MetaPod(uid=one.metadata.uid) for one in asked.pods or ()],
            num_pdb_violations=asked.num_pdb_violations,
        )
        for node, asked in victims.items()
    }


def cache_of_nodes(items: Iterable[msgspec.Raw]) -> ClusterCache:
    """A cache of these nodes, empty: what a request with whole nodes in its body says. Raises msgspec.MsgspecError."""
    cache = ClusterCache()
    decode: Callable[[msgspec.Raw], LiveNode] = msgspec.json.Decoder(LiveNode).decode
    for raw in items:
        cache.put_node(decode(raw))
    return cache


def _rows(row_of: Mapping[str, int], names: Sequence[str]) -> list[int]:
    """The rows of the names, -1 for a name without one; hundreds of names, so the loop is C where it can be."""
    try:
        return list(map(row_of.__getitem__, names))
    except KeyError:
        return [row_of.get(name, -1) for name in names]


def _flagged(cache: ClusterCache, pod: PodAsked, name: str) -> Refused | None:
    flag = cache.flags[name]
    if flag.gpus_only and not pod.wants_gpu:
        return None
    if flag.taints and all(_tolerates(pod.obj.spec.tolerations or (), taint) for taint in flag.taints):
        return None
    return Refused(flag.rule, flag.reason)


def _tolerates(tolerations: Sequence[kube.Toleration], taint: kube.Taint) -> bool:
    """Source: k8s.io/api v0.36.2, core/v1/toleration.go ToleratesTaint."""
    return taint.effect == "PreferNoSchedule" or any(
        one.effect in ("", taint.effect)
        and one.key in ("", taint.key)
        and (one.operator == "Exists" or (one.operator in ("", "Equal") and one.value == taint.value))
        for one in tolerations
    )


def _reserved(
    cache: ClusterCache, pod: PodAsked, own: Sequence[Hold], name: str, now_s: float, freed: Mapping[str, int]
) -> Refused | None:
    """Refused if the pod would use room that is kept for others; one reservation of its own does not count."""
    mine_here = next((hold for hold in own if hold.node == name), None)
    others = [hold for hold in cache.holds_against(name, now_s) if hold is not mine_here]
    if not others:
        return None
    kept, node = total(others), cache.nodes[name]
    mine = cache.assumed_requests(pod.key, name)
    for resource, need in pod.requests:
        if not kept.get(resource):
            continue
        used = node.used.get(resource, 0) - freed.get(resource, 0) - mine.get(resource, 0)
        if need > node.allocatable.get(resource, 0) - used - kept[resource]:
            hold = next(one for one in others if dict(one.requests).get(resource))
            whom = hold.pod or "a pod to come"
            return Refused(RESERVED, f"plan {hold.plan} keeps {resource} on node {name} for {whom}")
    return None


def _freed(cache: ClusterCache, node: str, victims: Iterable[MetaPod]) -> dict[str, int]:
    freed: dict[str, int] = {}
    for victim in victims:
        state = cache.pods.get(cache.pod_of_uid.get(victim.uid, ""))
        if state is not None and state.node == node:
            for resource, amount in state.requests:
                freed[resource] = freed.get(resource, 0) + amount
    return freed


def _draw(text: str) -> int:
    """The pod's own chance: the same pod, asked about again, gets the same answer."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
