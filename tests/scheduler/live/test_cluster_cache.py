"""The cache says what a fresh list would say, whatever happened on the way."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.feed import Expired, Feed, compare_versions
from scheduler.live.kube_objects import LiveNode, LivePlan, LivePod, shape_hash
from scheduler.live.watch import cache_sinks
from tests.scheduler.live.api_world import RS_1, World, a_node, a_plan, a_pod, a_reservation

KINDS = ("nodes", "pods", "plans")
HISTORIES = int(os.environ.get("STOWAGE_HISTORIES", "300"))
"""Random histories per run; 5,000 is what the design promises."""

# ---- random histories

GONE = b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","metadata":{},"code":410}}'

Step = tuple[str, int, int]
step = st.tuples(
    st.sampled_from(
        ["node", "drop-node", "pod", "bind", "end", "recreate", "resize", "drop-pod", "plan", "drop-plan"]
        + ["deliver"] * 4 + ["repeat", "cut", "lose", "expire", "bookmark", "assume"]
    ),
    st.integers(0, 3),
    st.integers(0, 4),
)  # fmt: skip

NODES = [
    {}, {"cpu": "4500m"}, {"gpus": 8, "annotations": {"stowage.dev/price-milli": "1500"}},
    {"taints": [{"key": "stowage.dev/quarantine", "effect": "NoSchedule", "value": "Xid 79"}]},
    {"gpus": 4, "annotations": {"stowage.dev/health": '{"state":"failing","reason":"Xid 48"}'}, "unschedulable": True},
]  # fmt: skip
PODS: list[dict[str, Any]] = [
    {}, {"cpu": None, "memory": None}, {"gpus": 2, "priority": 100, "owner": "rs-1"},
    {"spec": {"initContainers": [
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "250m"}}},
        {"name": "init", "resources": {"requests": {"cpu": "3", "example.com/fpga": "1"}}}],
        "overhead": {"memory": "100Mi"}}},
    {"spec": {"resources": {"requests": {"cpu": "2500m", "memory": "3Gi"}}}, "memory": "1.5Gi"},
]  # fmt: skip


def play(world: World, what: str, a: int, b: int) -> None:
    """One change of the cluster."""
    pod = f"default/p{a}"
    there = world.objects.get("pods", {}).get(pod)
    if what == "node":
        world.put("nodes", a_node(f"n{a}", **NODES[b]))
    elif what == "drop-node":
        world.delete("nodes", f"n{a}")
    elif what == "pod" and there is None:
        world.uids += 1
        world.put("pods", a_pod(f"p{a}", uid=f"u{world.uids}", **PODS[b]))
    elif what == "recreate":  # a watch that was cut sees one change: the same name, another uid
        world.delete("pods", pod)
        world.uids += 1
        world.put("pods", a_pod(f"p{a}", uid=f"u{world.uids}", node=f"n{b}", **PODS[a % 5]))
    elif what == "bind" and there is not None and not there["spec"]["nodeName"]:
        world.put("pods", {**json.loads(json.dumps(there)), "spec": {**there["spec"], "nodeName": f"n{b}"}})
    elif what == "end" and there is not None:
        world.put("pods", {**json.loads(json.dumps(there)), "status": {"phase": ("Succeeded", "Failed")[b % 2]}})
    elif what == "resize" and there is not None:
        granted = [{"name": "main", "allocatedResources": {"cpu": f"{b}500m"}}]
        status = {"phase": "Running", "containerStatuses": granted}
        world.put("pods", {**json.loads(json.dumps(there)), "status": status})
    elif what == "drop-pod":
        world.delete("pods", pod)
    elif what == "plan":
        held = [a_reservation(f"n{b}", pod=pod, hard=b == 1), a_reservation("n0", owner=RS_1, shapeHash="x")]
        world.put("plans", a_plan(f"q{a % 2}", held, phase=("Executing", "Succeeded")[b == 4]))
    elif what == "drop-plan":
        world.delete("plans", f"q{a % 2}")


@dataclass
class Channel:
    """One kind's stream to a cache: `pending` lines were sent and not delivered, `delivered` were.

    lost: some never will be.
    """

    world: World
    kind: str
    feed: Feed[Any]
    pending: list[bytes]
    delivered: list[bytes]
    read: int = 0
    lost: bool = False

    def fill(self) -> None:
        """Take over what the server logged."""
        log = self.world.log.get(self.kind, [])
        self.pending += [data for _, data in log[self.read :]]
        self.read = len(log)

    def deliver(self, count: int) -> None:
        batch, self.pending = self.pending[:count], self.pending[count:]
        self.delivered += batch
        self.feed.lines(batch)

    def reconnect(self) -> None:
        """The watch goes on from the feed's version; what was under way is sent again."""
        self.pending, self.read = self.world.since(self.kind, self.feed.version), len(self.world.log.get(self.kind, []))

    def relist(self, by_watch: bool) -> None:
        self.feed.start_list()
        if by_watch:
            self.feed.lines(self.world.initial_events(self.kind))
        else:
            for data in self.world.pages(self.kind, size=3):
                for apply in self.feed.page(data):
                    apply()
        self.reconnect()


def channels(world: World, cache: ClusterCache) -> list[Channel]:
    return [
        Channel(world, kind, Feed(sink), [], [], len(world.log.get(kind, [])))
        for kind, sink in zip(KINDS, cache_sinks(cache), strict=True)
    ]


def disturb(channel: Channel, what: str, b: int) -> None:
    """One fault, or some progress, of one stream."""
    if what == "deliver":
        channel.deliver(1 + 2 * b)
    elif what == "repeat":
        late = channel.delivered[-b - 1 :] if b % 2 else channel.delivered[: b + 1]
        channel.feed.lines(late)
    elif what == "cut":
        channel.reconnect()
    elif what == "lose":
        channel.lost |= bool(channel.pending)
        channel.pending = channel.pending[b + 1 :]
    elif what == "bookmark":
        channel.deliver(len(channel.pending))
        channel.feed.lines([channel.world.bookmark()])
    elif what == "expire":
        with pytest.raises(Expired):
            channel.feed.lines([GONE])
        play(channel.world, "recreate", b, b)  # what happens meanwhile is seen as one change, at most
        channel.relist(by_watch=b % 2 == 0)


def settle(channel: Channel) -> None:
    """Deliver what is left, then the check that finds silent gaps."""
    channel.fill()
    channel.deliver(len(channel.pending))
    objects = channel.world.objects.get(channel.kind, {})
    fresh = {key: obj["metadata"]["resourceVersion"] for key, obj in objects.items()}
    if compare_versions(channel.feed.known, fresh):
        assert channel.lost, "only a silent gap may leave the cache behind"
        channel.relist(by_watch=True)
    assert channel.feed.known == fresh


def fresh_cache(world: World) -> ClusterCache:
    cache = ClusterCache()
    for channel in channels(world, cache):
        channel.relist(by_watch=False)
    return cache


@settings(max_examples=HISTORIES)
@given(st.lists(step, min_size=20, max_size=80))
def test_the_cache_equals_a_fresh_list_after_any_history(history: list[Step]) -> None:
    world, cache = World(), ClusterCache()
    for b in range(3):
        play(world, "node", b, b)
    streams = channels(world, cache)
    for channel in streams:
        channel.relist(by_watch=True)
    now = 0.0
    for what, a, b in history:
        now += 7.0
        cache.expire(now)
        if what == "assume":
            cache.assume(f"default/p{a}", f"n{b}", now)
        play(world, what, a, b)
        for channel in streams:
            channel.fill()
        disturb(streams[a % 3], what, b)
        cache.check()
    for channel in streams:
        settle(channel)
    cache.check()
    fresh = fresh_cache(world)
    assert cache.fingerprint() == fresh.fingerprint()
    cache.expire(now + 60.0)
    cache.check()
    assert cache.fingerprint() == fresh.fingerprint()


def test_a_fingerprint_notices_every_kind_of_difference() -> None:
    seen = {ClusterCache().fingerprint()}
    world = World()
    changes = [
        ("nodes", a_node("n0")), ("nodes", a_node("n0", cpu="9")),
        ("pods", a_pod("p")), ("pods", a_pod("p", node="n0")),
        ("pods", a_pod("p", node="n0", uid="other")), ("pods", a_pod("p", node="n0", uid="other", gpus=1)),
        ("nodes", a_node("n0", annotations={"stowage.dev/price-milli": "5"})),
        ("nodes", a_node("n0", taints=[{"key": "stowage.dev/quarantine", "effect": "NoSchedule"}])),
        ("plans", a_plan("q", [a_reservation("n0", pod="default/x")])),
    ]  # fmt: skip
    for kind, obj in changes:
        world.put(kind, obj)
        seen.add(fresh_cache(world).fingerprint())
    assert len(seen) == len(changes) + 1


# ---- one thing at a time


def node(**options: Any) -> LiveNode:
    return msgspec.convert(a_node(options.pop("name", "n0"), **options), LiveNode)


def pod(name: str = "p", **options: Any) -> LivePod:
    return msgspec.convert(a_pod(name, **options), LivePod)


def plan(*reservations: dict[str, Any], phase: str = "Executing") -> LivePlan:
    return msgspec.convert(a_plan("q", list(reservations), phase), LivePlan)


def requested(cache: ClusterCache, name: str = "n0") -> dict[str, int]:
    columns = cache.columns
    row = columns.requested[columns.row_of[name]]
    return {axis: int(amount) for axis, amount in zip(columns.axes, row, strict=True) if amount}


def test_requests_count_in_the_units_of_the_core_and_exactly() -> None:
    cache = ClusterCache()
    cache.put_node(node(gpus=8))
    cache.put_pod(pod(node="n0", cpu="1500m", memory="1.5Gi", gpus=2))
    cache.put_pod(pod("q", node="n0", cpu="1", memory="100001"))
    assert requested(cache) == {"cpu_milli": 2500, "memory_mib": 1537, "gpu_milli": 2000, "pods": 2}
    assert cache.nodes["n0"].used == {"cpu": 2500, "memory": 1610612736 + 100001, "nvidia.com/gpu": 2, "pods": 2}


def test_effective_requests_follow_init_containers_sidecars_pod_level_figures_and_overhead() -> None:
    cache = ClusterCache()
    cache.put_node(node())
    cache.put_pod(pod(node="n0", spec=PODS[3]["spec"]))
    # Init at its turn: 3 CPU with the sidecar's 250m; running: 1 CPU and 250m. The larger counts, and the overhead.
    assert requested(cache) == {"cpu_milli": 3250, "memory_mib": 1124, "example.com/fpga": 1, "pods": 1}
    cache.put_pod(pod(node="n0", spec={"resources": {"requests": {"cpu": "2500m", "memory": "3Gi"}}}))
    assert requested(cache) == {"cpu_milli": 2500, "memory_mib": 3072, "pods": 1}


def test_a_resize_in_progress_counts_the_larger_figure() -> None:
    cache = ClusterCache()
    cache.put_node(node())
    granted = {"containerStatuses": [{"name": "main", "allocatedResources": {"cpu": "3"}}]}
    cache.put_pod(pod(node="n0", status=granted))
    assert requested(cache)["cpu_milli"] == 3000
    cache.put_pod(pod(node="n0"))
    assert requested(cache)["cpu_milli"] == 1000


def test_a_container_without_requests_counts_as_kube_scheduler_scores_it() -> None:
    cache = ClusterCache()
    cache.put_node(node())
    cache.put_pod(pod(node="n0", cpu=None, memory=None))
    limits = {"containers": [{"name": "a", "resources": {"limits": {"cpu": "2"}}}, {"name": "b"}]}
    cache.put_pod(pod("q", node="n0", spec=limits))
    assert cache.columns.requested_nonzero[cache.columns.row_of["n0"]].tolist() == [100 + 2000 + 100, 200 + 400]
    assert requested(cache) == {"cpu_milli": 2000, "pods": 2}


def test_a_node_that_comes_back_has_its_pods_again() -> None:
    cache = ClusterCache()
    cache.put_pod(pod(node="n0"))
    cache.put_node(node())
    assert requested(cache)["cpu_milli"] == 1000
    cache.drop_node("n0")
    assert "n0" not in cache.columns.row_of
    cache.put_node(node())
    assert requested(cache)["cpu_milli"] == 1000
    cache.drop_node("n0")
    cache.drop_pod("default/p")
    assert cache.nodes == {}


def test_rows_and_columns_grow_and_are_reused() -> None:
    cache = ClusterCache()
    for n in range(300):
        cache.put_node(node(name=f"n{n}"))
        cache.put_pod(pod(f"p{n}", node=f"n{n}"))
    rows = len(cache.columns.name_of)
    for n in range(300):
        cache.drop_node(f"n{n}")
        cache.put_node(node(name=f"m{n}"))
    assert len(cache.columns.name_of) == rows
    cache.put_pod(pod("x", node="m7", spec={"containers": [{"resources": {"requests": {"example.com/fpga": "2"}}}]}))
    cache.check()
    assert requested(cache, "m7") == {"example.com/fpga": 2, "pods": 1}


def test_an_assumed_pod_counts_until_it_is_confirmed_or_late() -> None:
    cache = ClusterCache()
    cache.put_node(node())
    cache.put_node(node(name="n1"))
    cache.put_pod(pod())
    assert cache.assume("default/p", "n0", now_s=10.0)
    assert requested(cache)["cpu_milli"] == 1000
    cache.put_pod(pod(labels={"a": "b"}))  # an event that says nothing of a node does not end it
    assert requested(cache)["cpu_milli"] == 1000
    cache.put_pod(pod(node="n1"))  # the watch has the last word
    assert (requested(cache), requested(cache, "n1")["cpu_milli"]) == ({}, 1000)
    assert not cache.assume("default/p", "n0", now_s=10.0)
    cache.put_pod(pod("q"))
    cache.assume("default/q", "n0", now_s=10.0)
    assert cache.expire(39.9) == []
    assert cache.expire(40.0) == ["default/q"]
    assert requested(cache) == {}


def test_an_assumption_ends_with_its_pod() -> None:
    cache = ClusterCache()
    cache.put_node(node())
    cache.put_pod(pod(uid="a"))
    cache.assume("default/p", "n0", now_s=0.0)
    cache.put_pod(pod(uid="b"))
    assert requested(cache) == {}
    cache.assume("default/p", "n0", now_s=0.0)
    cache.drop_pod("default/p")
    assert requested(cache) == {}
    cache.check()


def test_a_quantity_out_of_range_leaves_the_rest_of_the_cluster_alone() -> None:
    cache = ClusterCache(keep_objects=True)
    cache.put_node(node())
    cache.put_pod(pod(node="n0", memory="99999E"))
    cache.put_pod(pod("q", node="n0"))
    assert "pod default/p" in cache.unreadable
    assert requested(cache) == {"cpu_milli": 1000, "memory_mib": 1024, "pods": 2}
    assert [one.name for one in cache.snapshot().pods] == ["q"]
    cache.put_pod(pod(node="n0"))
    assert not cache.unreadable


def test_a_reservation_counts_until_it_expires_its_plan_ends_or_its_pod_is_there() -> None:
    cache = ClusterCache()
    cache.put_node(node())
    held = a_reservation("n0", pod="default/p", expires="2026-01-01T00:00:00Z")
    cache.put_plan(plan(held))
    before, after = 1767225599.0, 1767225600.0
    assert [one.pod for one in cache.holds_against("n0", before)] == ["default/p"]
    assert cache.holds_against("n0", after) == []
    cache.put_pod(pod(node="n1"))
    assert cache.holds_against("n0", before)
    cache.put_pod(pod(node="n0"))
    assert cache.holds_against("n0", before) == []
    cache.drop_pod("default/p")
    cache.put_plan(plan(held, phase="Failed"))
    assert cache.holds_against("n0", before) == []
    cache.put_plan(plan({**held, "expires": "soon"}))
    assert cache.holds_against("n0", before) == []
    cache.drop_plan("q")
    assert len(cache.reservations) == 0


def test_a_snapshot_is_what_kubectl_would_have_printed() -> None:
    from scheduler.core.snapshot import encode_snapshot, parse_snapshot

    world, cache = World(), ClusterCache(keep_objects=True)
    world.put("nodes", a_node("n1", gpus=2))
    world.put("nodes", a_node("n0"))
    for number, options in enumerate(PODS):
        world.put("pods", a_pod(f"p{number}", node=f"n{number % 2}", **options))
    world.put("pods", a_pod("waiting"))
    for channel in channels(world, cache):
        channel.relist(by_watch=True)
    items = [*world.objects["nodes"].values(), *world.objects["pods"].values()]
    printed = parse_snapshot(json.dumps({"kind": "List", "items": items}).encode())
    assert encode_snapshot(cache.snapshot()) == encode_snapshot(printed)
    with pytest.raises(ValueError, match="keeps no objects"):
        ClusterCache().snapshot()


def test_listeners_hear_every_change_with_before_and_after() -> None:
    cache = ClusterCache(keep_objects=True)
    heard: list[tuple[str, str, bool, bool]] = []
    cache.listeners.append(lambda kind, key, old, new: heard.append((kind, key, old is not None, new is not None)))
    cache.put_pod(pod())
    cache.put_pod(pod(node="n0"))
    cache.put_pod(pod(node="n0", phase="Succeeded"))
    cache.put_node(node())
    cache.drop_node("n0")
    assert heard == [
        ("pod", "default/p", False, True), ("pod", "default/p", True, True), ("pod", "default/p", True, False),
        ("node", "n0", False, True), ("node", "n0", True, False),
    ]  # fmt: skip


def test_pods_of_one_owner_and_request_share_a_shape_wherever_they_run() -> None:
    resized = {"containerStatuses": [{"name": "main", "allocatedResources": {"cpu": "3"}}]}
    assert shape_hash(pod("a", node="n0", status=resized)) == shape_hash(pod("b"))
    assert shape_hash(pod(cpu="2")) != shape_hash(pod())
    assert shape_hash(pod(priority=5)) != shape_hash(pod())
