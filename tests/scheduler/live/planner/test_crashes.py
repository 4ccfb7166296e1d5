"""The planner is killed at any step, or there are two of it, in a world that changes: plans still end well."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from scheduler.live.api import ApiError
from scheduler.live.planner.steer import pinned_to
from scheduler.live.planner.world import node_fault
from tests.scheduler.live.planner.fake_cluster import HOLD, Died, FakeApi, FakeCluster
from tests.scheduler.live.planner.plans import a_runner, drive, fragmented, random_cluster

PHASES = ("Succeeded", "Stopped", "Failed")


def check_the_end(cluster: FakeCluster) -> None:
    """Every plan has ended in a stated condition, nothing is reserved, nobody is lost or stuck."""
    for plan in cluster.plans.values():
        assert plan.status.phase in PHASES
        complete = next(c for c in plan.status.conditions if c.type == "Complete")
        assert complete.reason
        assert plan.status.reservations == []
        assert not plan.metadata.finalizers
    assert max(Counter(uid for uid, _ in cluster.evictions).values(), default=0) <= 1
    runner, api = a_runner(cluster)
    for _ in range(30):  # let the controllers, the scheduler and a planner at rest finish
        api.observe(runner.world, runner)
        runner.turn()
        cluster.tick()
    for owner in cluster.owners.values():
        alive = [p for p in cluster.pods.values() if p.pod.owner == owner.uid]
        assert owner.is_broken or len(alive) == owner.replicas
    for live in cluster.pods.values():
        pin = pinned_to(live)
        stuck = pin and live.pod.node is None and node_fault(cluster.nodes.get(pin), live.pod) is not None
        assert not stuck, f"{live.key} is pinned to {pin}, which takes it no more"
    gates = {HOLD in p.pod.gates for p in cluster.pods.values() if p.pod.owner == "gang"}
    broken_gang = len(gates) > 1 and any(
        s.state == "skipped" and spec.gang
        for plan in cluster.plans.values()
        for spec, s in zip(plan.spec.steps, plan.status.steps, strict=False)
    )
    assert not broken_gang, "a gang was released in part"


def live_through(cluster: FakeCluster, rng: random.Random, kills: int, disturb=None) -> int:
    """Planners that die at random calls, one after the other; the number that died."""
    died = 0
    while True:
        risk = rng.choice([0.05, 0.2, 0.5]) if died < kills else 0.0

        def at_call(verb: str, before: bool, risk: float = risk) -> None:
            if rng.random() < risk:
                raise Died
            if risk and rng.random() < 0.05:
                raise ApiError(0, "Unreachable", "the answer was lost")

        runner, api = a_runner(cluster, FakeApi(cluster, at_call))
        api.observe(runner.world, runner)  # a new leader reads everything before it acts
        try:
            for _ in range(60 if risk else 600):
                api.observe(runner.world, runner, rng.randint(0, 8))
                runner.turn()
                cluster.tick()
                if disturb is not None:
                    disturb(cluster, rng)
                if all(p.is_finished and not p.metadata.finalizers for p in cluster.plans.values()):
                    return died
        except Died:
            died += 1
            for _ in range(rng.randint(0, 6)):
                cluster.tick()
            continue
        if not risk:
            states = [(p.status.phase, p.status.message) for p in cluster.plans.values()]
            raise AssertionError(f"not finished: {states}")


def disturb(cluster: FakeCluster, rng: random.Random) -> None:
    """Strangers: pods that ignore the guard, nodes that fail, people that delete and stop."""
    kind = rng.random()
    node = rng.choice(sorted(cluster.nodes))
    if kind < 0.03:
        room = cluster.nodes[node].allocatable["cpu"] - cluster.used(node)
        if room >= 500:
            cluster.add_pod(f"stranger-{cluster.uids}", 500, node)
    elif kind < 0.04:
        cluster.put_node(msgspec.structs.replace(cluster.nodes[node], unschedulable=True))
    elif kind < 0.05:
        cluster.put_node(msgspec.structs.replace(cluster.nodes[node], ready=False))
    elif kind < 0.055 and len(cluster.nodes) > 2:
        cluster.drop_node(node)
    elif kind < 0.07:
        live = cluster.pods[rng.choice(sorted(cluster.pods))]
        cluster.store(replace(live, pod=msgspec.structs.replace(live.pod, terminating=True)))
    elif kind < 0.08:
        live = cluster.pods[rng.choice(sorted(cluster.pods))]
        cluster.store(live)  # a kubelet writes its status
    elif kind < 0.083:
        plan = next(iter(cluster.plans.values()))
        if not plan.is_finished:
            cluster.store_plan(msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, stopped=True)))
    elif kind < 0.086:
        live = cluster.pods[rng.choice(sorted(cluster.pods))]
        two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        cluster.refuse[live.pod.uid] = rng.choice([(500, two), (429, "no"), (403, "forbidden")])
    elif kind < 0.088:
        rng.choice(list(cluster.owners.values())).is_broken = True


@pytest.mark.parametrize("seed", range(150))
def test_a_plan_ends_well_however_often_its_planner_dies(seed):
    rng = random.Random(seed)
    cluster = random_cluster(rng, must_have_place=True)
    live_through(cluster, rng, kills=8)
    plan = cluster.plans["plan-1"]
    assert plan.status.phase in ("Succeeded", "Stopped")
    check_the_end(cluster)


def test_most_of_these_planners_really_died():
    died = 0
    for seed in range(40):
        rng = random.Random(seed)
        died += live_through(random_cluster(rng, must_have_place=True), rng, kills=8)
    assert died >= 100


@pytest.mark.parametrize("seed", range(1000, 1250))
def test_a_plan_ends_well_in_a_world_that_changes_while_its_planner_dies(seed):
    rng = random.Random(seed)
    cluster = random_cluster(rng, must_have_place=False)
    live_through(cluster, rng, kills=5, disturb=disturb)
    check_the_end(cluster)


@pytest.mark.parametrize("verb", ["write_plan_status", "write_finalizers", "evict", "annotate", "nominate"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(4))
def test_a_planner_killed_at_each_call_of_a_plan_leaves_it_to_the_next(verb, before, number):
    cluster = fragmented(seed=number)
    left = number

    def at_call(called: str, is_before: bool) -> None:
        nonlocal left
        if (called, is_before) == (verb, before):
            if left == 0:
                raise Died
            left -= 1

    runner, api = a_runner(cluster, FakeApi(cluster, at_call))
    try:
        drive(cluster, runner, api)
    except Died:
        runner, api = a_runner(cluster)
        drive(cluster, runner, api)
    assert cluster.plans["plan-1"].status.phase == "Succeeded"
    assert cluster.pods["default/wide-0"].pod.node == "node-0"
    assert len(cluster.evictions) == 1
    check_the_end(cluster)


class Baton:
    """Lets one of several threads run at a time, and hands over at every call, so that a seed repeats itself."""

    def __init__(self, names: list[str], rng: random.Random) -> None:
        self.names, self.rng, self.turn = names, rng, names[0]
        self.condition = threading.Condition()

    def wait(self, me: str) -> None:
        with self.condition:
            assert self.condition.wait_for(lambda: self.turn == me, timeout=60)

    def hand_over(self, me: str) -> None:
        with self.condition:
            self.turn = self.rng.choice(self.names)
            self.condition.notify_all()
            assert self.condition.wait_for(lambda: self.turn == me, timeout=60)

    def leave(self, me: str) -> None:
        with self.condition:
            self.names.remove(me)
            if self.names:
                self.turn = self.rng.choice(self.names)
            self.condition.notify_all()


def with_two_leaders(cluster: FakeCluster, rng: random.Random, disturb=None) -> None:
    """Two planners that both believe to lead, their calls interleaved, each with a view of its own age."""
    names = ["a", "b"]
    baton = Baton(list(names), rng)
    failures: list[BaseException] = []

    def lead(me: str) -> None:
        baton.wait(me)
        try:
            runner, api = a_runner(cluster, FakeApi(cluster, lambda verb, before: baton.hand_over(me)))
            for _ in range(600):
                api.observe(runner.world, runner, rng.randint(0, 10))
                runner.turn()
                cluster.tick(0.25)
                if disturb is not None:
                    disturb(cluster, rng)
                if all(p.is_finished and not p.metadata.finalizers for p in cluster.plans.values()):
                    return
                baton.hand_over(me)
            states = [(p.status.phase, p.status.message) for p in cluster.plans.values()]
            raise AssertionError(f"not finished: {states}")
        except BaseException as error:
            failures.append(error)
        finally:
            baton.leave(me)

    threads = [threading.Thread(target=lead, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("seed", range(2000, 2100))
def test_two_leaders_at_once_do_no_harm(seed):
    rng = random.Random(seed)
    # what one leader has just filled the other may still see free: whose room it was is settled when the pods come
    cluster = random_cluster(rng, must_have_place=False)
    with_two_leaders(cluster, rng)
    check_the_end(cluster)


@pytest.mark.parametrize("seed", range(3000, 3100))
def test_two_leaders_at_once_do_no_harm_in_a_world_that_changes(seed):
    rng = random.Random(seed)
    cluster = random_cluster(rng, must_have_place=False)
    with_two_leaders(cluster, rng, disturb)
    check_the_end(cluster)
