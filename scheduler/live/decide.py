"""Filter, prioritize and preempt: answers from the cache and the request, nothing else.

The scheduler has already applied its own filters to the nodes it names, so ours refuse for what it cannot know: room
that a Plan keeps for another pod, a pod that a Plan sends elsewhere, quarantine, failing GPUs.

Which failure map. A refusal in FailedNodes invites the scheduler to try preemption on that node. None of ours can be
cured so: the scheduler dry-runs evictions with its own filters, and those passed already without any; it would find no
victims, or kill pods and be refused again. (Measured on 1.36.2: one refused pod of high priority killed a pod on every
node.) So every refusal goes to FailedAndUnresolvableNodes, and `preempt` keeps only nodes that `filter` then accepts.

Filtering changes nothing, unless it leaves one node only. Scoring remembers the node it likes best as assumed, until
the watch says where the pod went: kube-scheduler runs ahead of the API server by as many pods as its rate limit holds
back, and without that memory they would all be sent to the same node.

A short list. kube-scheduler stops looking for nodes once it has a sample of them (10 % of 5,000 nodes, never fewer than
100) and then weighs each one. What it takes into account beyond our policy are mostly wishes: of the pod (affinity,
spreading, volumes), of nodes (PreferNoSchedule). Where there are none, `filter` passes on only as many as that least
sample, the best by the policy. The scheduler then has less to weigh and to send. What it still weighs, such as images,
or spreading that is configured for the whole cluster, it weighs among those. Of a list of one it weighs nothing, and it
asks for no scores: the policy alone decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from scheduler.core import kube_types as kube
from scheduler.core.columns import Ints
from scheduler.core.requests import effective_requests
from scheduler.live.cluster_cache import ClusterCache, nonzero_requests, owner_uid
from scheduler.live.kube_objects import LiveNode, shape_hash
from scheduler.live.name_index import UNKNOWN_ROW
from scheduler.live.node_columns import GPU_RESOURCES, Requests
from scheduler.live.reservations import Claimant, Hold, total
from scheduler.live.scoring import Ranking
from scheduler.live.wire import MetaPod, MetaVictims, Victims, names_decoder

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
    _nonzero: Ints | None = None

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
            self._nonzero = np.array(nonzero_requests(self.obj, amounts), np.int64)
        return self._requests

    @property
    def nonzero(self) -> Ints:
        """(2,), CPU millicores and memory MiB as kube-scheduler's scores count them."""
        _ = self.requests
        assert self._nonzero is not None
        return self._nonzero

    @property
    def wants_gpu(self) -> bool:
        """Whether it asks for whole GPUs."""
        return any(name in GPU_RESOURCES for name, _ in self.requests)

    @property
    def has_wishes(self) -> bool:
        """Whether it cares about where it goes in a way that only the scheduler weighs; in doubt it does."""
        spec = self.obj.spec
        return bool(
            spec.affinity is not None or spec.topology_spread_constraints or spec.resource_claims
            or any(one.persistent_volume_claim or one.ephemeral for one in spec.volumes or ())
        )  # fmt: skip

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
    """passed: names, or None for all that were asked about. refused: the others, with why.

    shortlist: (passed,), rows of those passed where they are only the best of what could have, best first.
    """

    passed: list[str] | None
    refused: dict[str, Refused] = field(default_factory=dict)
    shortlist: Ints | None = None


class Candidates:
    """The nodes that a request names, in its order.

    rows: (names,), their rows in the cache, -1 for an unknown node. are_known: whether there is none of these.
    """

    def __init__(self, cache: ClusterCache, raw: bytes, rows: Ints | None = None) -> None:
        """raw: a JSON array of strings, or null. rows: where the caller knows them. Raises msgspec.MsgspecError."""
        self._raw, self._index = raw, cache.columns.index
        self._names: list[str] | None = None
        self.are_known = True
        if rows is None:
            found = self._index.rows_in(raw)
            if found is None:
                rows = np.array([cache.columns.row_of.get(name, UNKNOWN_ROW) for name in self.names], np.int64)
                found = rows, bool((rows >= 0).all())
            rows, self.are_known = found
        self.rows: Ints = rows

    def __len__(self) -> int:
        return len(self.rows)

    def is_of(self, cache: ClusterCache, raw: bytes) -> bool:
        """Whether these are the candidates that such a request names, and the cache still has the same nodes."""
        return self._index is cache.columns.index and self._raw == raw

    @property
    def names(self) -> list[str]:
        """Their names, read when first asked for."""
        if self._names is None:
            self._names = names_decoder.decode(self._raw) or []
        return self._names


def filter_nodes(
    cache: ClusterCache,
    pod: PodAsked,
    asked: Candidates,
    now_s: float,
    ranking: Ranking | None = None,
    shortlist: int = 0,
    clock_s: float | None = None,
) -> FilterAnswer:
    """Which of the candidates the pod may use. now_s: seconds since 1970, for reservations.

    shortlist: of those, as many of the best by the ranking, if nobody has wishes about them; 0: all.
    clock_s: as for `prioritize_nodes`; the best node of a short list is then assumed.
    """
    if clock_s is not None:
        cache.forget(pod.key)
    refused, columns = _refused(cache, pod, asked, now_s), cache.columns
    rows = asked.rows
    if refused:
        rows = np.array([columns.row_of[name] for name in asked.names if name not in refused], np.int64)
    if (
        ranking is not None and 0 < shortlist < len(rows) and not pod.has_wishes
        and not (columns.avoided and columns.avoided & set(rows.tolist()))
    ):  # fmt: skip
        best = rows[rank(cache, ranking, pod, rows, shortlist)[0]]
        if len(best) == shortlist:
            passed = [columns.name_of[row] for row in best.tolist()]
            if clock_s is not None:
                cache.assume(pod.key, passed[0], clock_s)
            return FilterAnswer(passed, refused, best)
    if not refused:
        return FilterAnswer(None)
    return FilterAnswer([name for name in asked.names if name not in refused], refused)


def _refused(cache: ClusterCache, pod: PodAsked, asked: Candidates, now_s: float) -> dict[str, Refused]:
    """`refusals` of the candidates, looking only at those that may refuse the pod."""
    on_node = cache.reservations.on_node
    own = cache.reservations.claimed_by(pod.claimant(), now_s) if on_node else []
    names: Sequence[str] = ()
    if not asked.are_known or any(hold.is_hard for hold in own):
        names = asked.names
    elif cache.flags or on_node:
        names = [cache.columns.name_of[row] for row in asked.rows[cache.examined[asked.rows]].tolist()]
    return refusals(cache, pod, names, now_s) if names else {}


def rank(cache: ClusterCache, ranking: Ranking, pod: PodAsked, rows: Ints, count: int) -> tuple[Ints, Ints]:
    """Positions in `rows` of the best nodes for the pod, best first, and their points."""
    demand = cache.columns.demand(pod.requests, grow=False)  # what no node has needs no column
    return ranking.best(cache.columns, demand, pod.nonzero, rows, _draw(pod.uid or pod.key), count)


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
    ranking: Ranking,
    pod: PodAsked,
    asked: Candidates,
    now_s: float,
    *,
    count: int,
    clock_s: float | None = None,
    skip_refused: bool = False,
) -> list[tuple[str, int]]:
    """The best nodes for the pod with their points (10 for the first), best first, at most `count`.

    clock_s: a clock that only goes forward, by which the best node is then assumed; None: assume nothing.
    skip_refused: leave out nodes that `filter_nodes` would refuse, for callers that let them pass.
    """
    if clock_s is not None:
        cache.forget(pod.key)
    rows, columns = asked.rows, cache.columns
    if skip_refused and (refused := _refused(cache, pod, asked, now_s)):
        rows = np.array([columns.row_of[name] for name in asked.names if name not in refused], np.int64)
    best, points = rank(cache, ranking, pod, rows, count)
    names = [columns.name_of[row] for row in rows[best].tolist()]
    if names and clock_s is not None:
        cache.assume(pod.key, names[0], clock_s)
    return list(zip(names, points.tolist(), strict=True))


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
