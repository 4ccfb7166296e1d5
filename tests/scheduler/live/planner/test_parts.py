"""The planner's smaller parts: when to solve, who replaces whom, the requests it sends, its Lease, what it proposes."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.core.kube_types import Affinity, NodeAffinity, NodeSelector, NodeSelectorTerm, Requirement
from scheduler.core.packing.pins import SAFE_TO_EVICT
from scheduler.core.snapshot import Node, Pod
from scheduler.live.api import ApiError
from scheduler.live.explain_live import from_journal, from_plans
from scheduler.live.journal import Journal
from scheduler.live.planner.gangs import GangSizes
from scheduler.live.planner.kube_api import PlannerApi
from scheduler.live.planner.leader import Elector
from scheduler.live.planner.plan_resource import Plan, PlanMetadata, PlanStatus, StepStatus, encode_plan
from scheduler.live.planner.proposal import Scope, candidates, make_plan, snapshot_for
from scheduler.live.planner.records import Recorder
from scheduler.live.planner.settings import PlannerSettings
from scheduler.live.planner.solver import Answer
from scheduler.live.planner.trigger import Trigger
from scheduler.live.planner.world import PodView, World
from scheduler.live.settings import SettingsError, load_settings
from tests.scheduler.live.planner.plans import fragmented


class Recording:
    """An API client that notes what is asked and answers with what the test says."""

    def __init__(self, answer=b"{}"):
        self.asked, self.answer, self.namespace = [], answer, "default"

    def __getattr__(self, verb):
        def call(path, body=None, *rest):
            self.asked.append((verb, path, msgspec.json.decode(body) if body else None, *rest))
            return self.answer

        return call


# ---- trigger


def test_a_question_without_an_answer_is_asked_again_though_nothing_has_changed():
    trigger = Trigger(quiet_s=0.5, patience_s=3.0, first_pause_s=2.0)
    assert not trigger.is_due({"a"}, 1, 0.0)
    for pause in (2.0, 4.0, 8.0):
        now = 100 * pause
        assert trigger.is_due({"a"}, 1, now)
        trigger.solved({"a"}, 1, now, helped=False)
        assert not trigger.is_due({"a"}, 1, now + 99)
        trigger.failed(now + 100)
        assert not trigger.is_due({"a"}, 1, now + 100 + pause - 0.1)
        assert trigger.is_due({"a"}, 1, now + 100 + pause)


def test_it_waits_until_no_more_pods_arrive_but_not_for_ever():
    trigger = Trigger(quiet_s=0.5, patience_s=3.0)
    assert not trigger.is_due({"a"}, 1, 0.0)
    assert not trigger.is_due({"a", "b"}, 1, 0.4)
    assert not trigger.is_due({"a", "b"}, 1, 0.8)
    assert trigger.is_due({"a", "b"}, 1, 0.9)
    busy = Trigger(quiet_s=0.5, patience_s=3.0)
    due = [busy.is_due({str(n) for n in range(i + 1)}, 1, i * 0.3) for i in range(12)]
    assert due.index(True) == 10


def test_the_same_pods_are_not_solved_again_until_something_changed():
    trigger = Trigger(quiet_s=0.0, first_pause_s=2.0)
    assert trigger.is_due({"a"}, 1, 0.0)
    trigger.solved({"a"}, 1, 0.0, helped=False)
    assert not trigger.is_due({"a"}, 1, 100.0)
    assert not trigger.is_due({"a"}, 2, 1.0)
    assert trigger.is_due({"a"}, 2, 2.0)
    assert trigger.is_due({"a", "b"}, 1, 0.5)


def test_plans_that_fail_again_and_again_are_made_ever_more_rarely():
    trigger = Trigger(quiet_s=0.0, first_pause_s=2.0, longest_pause_s=60.0)
    trigger.is_due({"a"}, 1, 0.0)
    trigger.plan_ended(0.0, succeeded=False)
    assert not trigger.is_due({"b"}, 2, 1.9)
    assert trigger.is_due({"b"}, 2, 2.0)
    trigger.plan_ended(2.0, succeeded=False)
    assert not trigger.is_due({"c"}, 3, 5.9)
    trigger.plan_ended(6.0, succeeded=True)
    assert trigger.is_due({"c"}, 3, 6.0)


# ---- requests


def test_an_eviction_names_the_very_pod_and_its_version():
    api = Recording()
    PlannerApi(api).evict("n", "p", "u", "7")
    verb, path, body = api.asked[0]
    assert (verb, path) == ("post", "/api/v1/namespaces/n/pods/p/eviction")
    assert body["deleteOptions"] == {"preconditions": {"uid": "u", "resourceVersion": "7"}}


def test_a_status_patch_names_every_field_so_that_nothing_old_stays():
    spec = fragmented().plans["plan-1"].spec
    meta = PlanMetadata(name="x", resource_version="9")
    plan = Plan(spec=spec, metadata=meta, status=PlanStatus(phase="Executing"))
    api = Recording(encode_plan(plan))
    PlannerApi(api).write_plan_status(plan)
    _, path, body, _ = api.asked[0]
    assert path.endswith("/plans/x/status")
    assert body["metadata"] == {"resourceVersion": "9"}
    assert body["status"]["reservations"] == []
    assert body["status"]["message"] is None
    assert body["status"]["phase"] == "Executing"


def test_a_release_adds_the_node_to_every_alternative_of_the_pods_own_affinity():
    zone = Requirement(key="zone", operator="In", values=["a"])
    terms = [NodeSelectorTerm(match_expressions=[zone]), NodeSelectorTerm(match_expressions=[zone])]
    affinity = Affinity(node_affinity=NodeAffinity(required=NodeSelector(node_selector_terms=terms)))
    live = PodView(pod=Pod(name="p", namespace="n", uid="u", affinity=affinity))
    api = Recording()
    PlannerApi(api).release(live, "5", "node-1", "plan-1", pin=True)
    body = api.asked[0][2]
    found = body["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert [t["matchFields"][0]["values"] for t in found["nodeSelectorTerms"]] == [["node-1"], ["node-1"]]
    assert all(t["matchExpressions"] for t in found["nodeSelectorTerms"])
    assert body["metadata"]["resourceVersion"] == "5"
    PlannerApi(api).release(live, "5", "node-1", "plan-1", pin=False)
    assert "affinity" not in api.asked[1][2]["spec"]


# ---- lease


class LeaseServer:
    """One Lease with a resource version."""

    def __init__(self):
        self.lease, self.version = None, 0

    def get(self, path):
        if self.lease is None:
            raise ApiError(404, "NotFound", "")
        return msgspec.json.encode(self.lease)

    def put(self, path, body):
        wanted = msgspec.json.decode(body)
        if wanted["metadata"].get("resourceVersion") != str(self.version):
            raise ApiError(409, "Conflict", "")
        self._store(wanted)
        return body

    def post(self, path, body):
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists", "")
        self._store(msgspec.json.decode(body))
        return body

    def _store(self, wanted):
        self.version += 1
        wanted["metadata"]["resourceVersion"] = str(self.version)
        self.lease = wanted


def two_electors():
    server, time = LeaseServer(), [0.0]
    names = ("a", "b")
    return server, time, *(Elector(server, "n", "lease", name, clock=lambda: time[0]) for name in names)


def test_one_leads_and_the_other_takes_over_when_it_falls_silent():
    _, time, a, b = two_electors()
    a.attempt()
    b.attempt()
    assert (a.leads(), b.leads()) == (True, False)
    time[0] = 9.0
    a.attempt()
    b.attempt()
    assert (a.leads(), b.leads()) == (True, False)
    time[0] = 20.0  # a has been silent for 11 s: it gives up before anybody takes over
    assert not a.leads()
    b.attempt()
    assert not b.leads()
    time[0] = 24.1
    b.attempt()
    assert b.leads()
    a.attempt()
    assert not a.leads()


def test_a_lease_that_was_given_back_is_taken_at_once():
    *_, a, b = two_electors()
    a.attempt()
    a.stop()
    b.attempt()
    assert (a.leads(), b.leads()) == (False, True)


def test_of_two_that_ask_at_once_one_leads():
    server, _, a, b = two_electors()
    stale = server.get
    server.lease = {"metadata": {"name": "lease", "resourceVersion": "0"}, "spec": {}}
    old = stale("")
    server.get = lambda path: old
    a.attempt()
    b.attempt()
    assert (a.leads(), b.leads()) == (True, False)


# ---- what is proposed


def a_world(**pods):
    world = World()
    world.put_node(Node(name="n1", allocatable={"cpu": 4000, "pods": 10}))
    for name, more in pods.items():
        fields = {"scheduler": "stowage", "unschedulable_since": 0.0, **more.pop("live", {})}
        world.put_pod(PodView(pod=Pod(name=name, uid=f"u-{name}", requests={"cpu": 1000}, **more), **fields))
    return world


def test_only_our_schedulers_refused_pods_in_namespaces_of_that_mode_are_planned():
    world = a_world(
        ours={},
        untried={"live": {"unschedulable_since": None}},
        theirs={"live": {"scheduler": "default-scheduler"}},
        held={"gates": ["stowage.dev/hold"], "live": {"unschedulable_since": None}},
        queued={"gates": ["kueue.x-k8s.io/admission"], "live": {"unschedulable_since": None}},
        elsewhere={"namespace": "quiet"},
    )
    scope = Scope(mode="auto", namespaces={"quiet": "observe"})
    assert [c.pod.name for c in candidates(world, scope, "auto")] == ["held", "ours"]
    assert [c.pod.name for c in candidates(world, scope, "observe")] == ["held", "ours", "elsewhere"]


def test_what_a_mode_may_not_touch_is_pinned_for_the_solver():
    own = {"owner": "o", "owner_kind": "ReplicaSet", "node": "n1"}
    young = {**own, "annotations": {"stowage.dev/plan": "p"}, "created": "1970-01-01T00:16:00Z"}
    world = a_world(
        free=own, quiet={**own, "namespace": "quiet"}, young=young, theirs={**own, "live": {"scheduler": "x"}}
    )
    scope = Scope(mode="auto", namespaces={"quiet": "observe"}, rest_s=300)
    snapshot = snapshot_for(world, [], scope, "auto", now=1000.0)
    pinned = {p.name for p in snapshot.pods if p.annotations.get(SAFE_TO_EVICT) == "false"}
    assert pinned == {"quiet", "young", "theirs"}


def test_a_pod_groups_size_counts_more_than_what_its_pods_say():
    world = a_world(a={"gang": "ns/ring", "gang_size": 2}, b={"gang": "ns/ring"}, c={})
    snapshot = snapshot_for(world, [], Scope(mode="auto"), "auto", 0.0, {"ns/ring": 4})
    assert {p.name: p.gang_size for p in snapshot.pods} == {"a": 4, "b": 4, "c": 0}


def test_sizes_are_read_from_every_kind_of_pod_group_that_can_be_read():
    class Groups:
        asked = 0

        def list_pages(self, path):
            self.asked += 1
            meta = {"metadata": {"namespace": "ns", "name": path.split("/")[2]}}
            if "volcano" in path:
                raise ApiError(403, "Forbidden", "no")
            if "x-k8s" in path:
                return [msgspec.json.encode({"items": [{**meta, "spec": {"minMember": 3}}]})]
            if "v1beta1" in path:
                spec = {"schedulingPolicy": {"gang": {"minCount": 5}}}
                return [msgspec.json.encode({"items": [{**meta, "spec": spec}]})]
            raise ApiError(404, "NotFound", "no")

    api = Groups()
    sizes = GangSizes(api)
    assert sizes.refresh(0.0) == {"ns/scheduling.x-k8s.io": 3, "ns/scheduling.k8s.io": 5}
    assert sizes.refresh(1.0) == {"ns/scheduling.x-k8s.io": 3, "ns/scheduling.k8s.io": 5}
    assert api.asked == 6  # those that cannot be read are not asked again at once


def an_answer(*steps, unplaced=()):
    tier = {"priority": 0, "before": 1, "placed": 2, "bound": 2}
    return Answer("optimal", "optimal", 0.1, [tier], list(steps), list(unplaced), [])


def test_a_plan_carries_all_that_a_later_planner_needs():
    world = a_world(
        goes={"owner": "o", "owner_kind": "ReplicaSet", "node": "n1", "live": {"owner_name": "rs", "shape": "s"}},
        waits={},
    )
    snapshot = snapshot_for(world, [], Scope(mode="auto"), "auto", 0.0)
    same = {"why": "w", "room_is_free": True}
    move = {"action": "move", "pod": "default/goes", "source": "n1", "target": "n2", **same}
    place = {"action": "place", "pod": "default/waits", "source": None, "target": "n1", **same}
    plan = make_plan(an_answer(move, place), world, snapshot, "auto", "no-harm", "pending")
    first, second = plan.spec.steps
    assert (first.uid, first.owner.uid, first.owner.name, first.shape_hash) == ("u-goes", "o", "rs", "s")
    assert (first.source, first.to, second.source, second.to) == ("n1", "n2", "", "n1")
    assert plan.spec.budget.evictions == 1
    assert plan.spec.gains[0].after == 2
    assert make_plan(an_answer(move), world, snapshot, "auto", "no-harm", "pending") is None  # it helps nobody


# ---- records and journal


def test_a_record_stays_in_the_journal_and_is_found_again(tmp_path):
    journal = Journal(tmp_path, "me")
    recorder = Recorder.make(lambda event: None, journal, "me", clock=lambda: 1000.0)
    assert recorder.note("ns/p", "impossible", "too large for every node")
    assert not recorder.note("ns/p", "impossible", "too large for every node")
    assert recorder.record_of("ns/p").why == "too large for every node"
    path = journal.flush()
    assert path is not None
    assert journal.flush() is None
    assert [d["why"] for d in from_journal(tmp_path, "ns/p")] == ["too large for every node"]
    assert from_journal(tmp_path, "ns/other") == []
    assert list(tmp_path.glob("*.partial")) == []


def test_old_segments_go_first_when_there_are_too_many(tmp_path):
    import os

    journal = Journal(tmp_path, "me")
    paths = []
    for i in range(3):
        journal.append("solve", 1000.0 + i)
        paths.append(journal.flush())
        os.utime(paths[-1], (1000.0 + i, 1000.0 + i))
    size = paths[0].stat().st_size
    assert journal.retain(keep_s=1.5, most_bytes=1 << 30, now_s=1003.0) == [paths[1], paths[0]]
    journal.append("solve", 2000.0)
    newest = journal.flush()
    assert journal.retain(keep_s=1e9, most_bytes=size, now_s=1003.0) == [paths[2]]
    assert newest.exists()


def test_the_journal_refuses_a_column_that_its_readers_do_not_know(tmp_path):
    with pytest.raises(ValueError, match="colour"):
        Journal(tmp_path, "me").append("pod", 0.0, colour="red")


def test_plans_say_why_a_pod_is_where_it_is_and_why_another_waits():
    plan = fragmented().plans["plan-1"]
    steps = [StepStatus(index=0, state="bound", replacement="small-r1", time="t2"), StepStatus(index=1, state="placed")]
    plan = msgspec.structs.replace(plan, status=PlanStatus(phase="Executing", steps=steps))
    assert [d["verdict"] for d in from_plans([plan], "default/small-r1")] == ["moved"]
    assert [d["verdict"] for d in from_plans([plan], "default/wide-0")] == ["placed"]
    assert from_plans([plan], "default/other") == []


def test_all_bad_settings_are_listed_at_once(tmp_path):
    path = tmp_path / "planner.json"
    path.write_text('{"mode": "yes", "solve_s": -1, "colour": 1}')
    with pytest.raises(SettingsError, match=r"mode.*solve_s.*colour"):
        load_settings(PlannerSettings, path)
