"""Small clusters with a plan that helps, and drivers that carry it out."""

from __future__ import annotations

from typing import Any

import msgspec

from scheduler.live.kube_objects import Owner
from scheduler.live.planner.budget import DisruptionBudget
from scheduler.live.planner.phases import Limits
from scheduler.live.planner.plan_resource import PlanSpec, SnapshotRef, StepSpec
from scheduler.live.planner.runner import Runner
from scheduler.live.planner.world import World
from tests.scheduler.live.planner.fake_cluster import FakeApi, FakeCluster

QUICK = Limits(plan_s=120, eviction_s=20, replacement_s=10, bind_s=10, drain_s=8)


def a_step(index: int, action: str, live: Any, to: str = "", **more: Any) -> StepSpec:
    """A step for a pod as it is now."""
    pod = live.pod
    owner = Owner(kind="ReplicaSet", name=pod.owner, uid=pod.owner) if pod.owner else None
    return StepSpec(
        index=index, action=action, namespace=pod.namespace, pod=pod.name, uid=pod.uid, why="", owner=owner,
        source=(pod.node or "") if action != "place" else "", to=to, shape_hash=live.shape,
        requests=pod.requests, priority=pod.priority, gang=more.pop("gang", pod.gang), **more,
    )  # fmt: skip


def a_spec(steps: list[StepSpec], mode: str = "auto", **more: Any) -> PlanSpec:
    """A plan's spec."""
    more = {"purpose": "pending", **more}
    return PlanSpec(
        mode=mode, order="no-harm", summary="", verdict="optimal", snapshot=SnapshotRef(), steps=steps, **more
    )


def fragmented(seed: int = 0, *, nodes: int = 3, up: int = -1, **more: Any) -> FakeCluster:
    """Half-full nodes of 4 cores with one 1-core pod each beside a 2-core one, and a waiting pod of 2 cores.

    The plan: the 1-core pod of node-0 moves to node-1, then the waiting pod goes to node-0.
    """
    cluster = FakeCluster(seed=seed, **more)
    cluster.add_owner("small", nodes, 1000, up=up)
    cluster.add_owner("large", nodes, 2000)
    cluster.add_owner("wide", 1, 2000)
    for n in range(nodes):
        cluster.add_node(f"node-{n}", 4000)
        cluster.add_pod(f"small-{n}", 1000, f"node-{n}", "small")
        cluster.add_pod(f"large-{n}", 2000, f"node-{n}", "large")
    cluster.add_pod("wide-0", 2000, None, "wide")
    steps = [
        a_step(0, "move", cluster.pods["default/small-0"], "node-1"),
        a_step(1, "place", cluster.pods["default/wide-0"], "node-0"),
    ]
    cluster.create_plan("plan-1", a_spec(steps))
    return cluster


def a_runner(cluster: FakeCluster, api: FakeApi | None = None, **more: Any) -> tuple[Runner, FakeApi]:
    """A planner's executor that knows nothing yet."""
    api = api or FakeApi(cluster)
    settings: dict[str, Any] = {"limits": QUICK, "budget": DisruptionBudget(), "leads": lambda: True, **more}
    runner = Runner(api=api, world=World(), clock=lambda: cluster.now, **settings)
    return runner, api


def drive(cluster: FakeCluster, runner: Runner, api: FakeApi, turns: int = 600, *, lag: bool = False) -> None:
    """Turns and time until every plan that may run is finished."""
    for _ in range(turns):
        api.observe(runner.world, runner, cluster.random.randint(0, 6) if lag else 1 << 30)
        runner.turn()
        cluster.tick()
        if all(p.is_finished and not p.metadata.finalizers for p in cluster.plans.values()):
            return
    states = [(p.status.phase, p.status.message, [s.state for s in p.status.steps]) for p in cluster.plans.values()]
    raise AssertionError(f"not finished after {turns} turns: {states}")


def random_cluster(rng: Any, *, must_have_place: bool) -> FakeCluster:
    """A few nodes, pods of several controllers, and a plan of moves, evictions and placements that works out."""
    cluster = FakeCluster(seed=rng.randrange(1 << 30), must_have_place=must_have_place)
    nodes = [f"node-{n}" for n in range(rng.randint(2, 5))]
    free = {}
    for node in nodes:
        cluster.add_node(node, 4000)
        free[node] = 4000
    running = []
    for o in range(rng.randint(3, 6)):
        owner, cpu, made = f"o{o}", rng.choice([500, 1000, 2000]), 0
        for _ in range(rng.randint(1, 5)):
            node = rng.choice(nodes)
            if free[node] >= cpu:
                running.append(cluster.add_pod(f"{owner}-{made}", cpu, node, owner))
                free[node] -= cpu
                made += 1
        up = rng.choice([-1, -1, made - 1, max(0, made - 2)])
        cluster.add_owner(owner, made, cpu, up=up)
    gang_size = rng.choice([0, 0, 2, 3])
    gang = [cluster.add_pod(f"gang-{i}", 500, None, "gang", gated=True) for i in range(gang_size)]
    if gang:
        cluster.add_owner("gang", gang_size, 500, gated=True)
    sizes = [cpu for cpu in rng.choices([1500, 2500, 3500], k=2) if cpu > max(free.values())]  # the others just run
    waiting = [cluster.add_pod(f"w{i}-0", cpu, None, f"w{i}") for i, cpu in enumerate(sizes)]
    for i, live in enumerate(waiting):
        cluster.add_owner(f"w{i}", 1, live.pod.requests["cpu"])
    steps = _random_steps(rng, nodes, free, running, waiting, gang)
    purpose = "pending" if any(s.action == "place" for s in steps) else "consolidate"
    cluster.create_plan("plan-1", a_spec(steps, purpose=purpose))
    return cluster


def _random_steps(rng: Any, nodes: list[str], free: dict[str, int], running: list, waiting: list, gang: list) -> list:
    steps: list[StepSpec] = []
    for live in rng.sample(running, len(running)):
        cpu, kind = live.pod.requests["cpu"], rng.random()
        targets = [n for n in nodes if n != live.pod.node and free[n] >= cpu]
        if kind < 0.6 and targets:
            to = rng.choice(targets)
            steps.append(a_step(len(steps), "move", live, to))
            free[to] -= cpu
            free[live.pod.node] += cpu
        elif kind > 0.93:
            steps.append(a_step(len(steps), "evict", live))
            free[live.pod.node] += cpu
    gang_fits = []
    for live in [*gang, *waiting]:
        cpu = live.pod.requests["cpu"]
        targets = [n for n in nodes if free[n] >= cpu]
        if targets:
            to = rng.choice(targets)
            free[to] -= cpu
            more = {"gang": "default/gang"} if live in gang else {}
            gang_fits.append(live in gang)
            steps.append(a_step(len(steps), "place", live, to, **more))
    if sum(gang_fits) < len(gang):  # a gang is planned whole or not at all
        steps = [s for s in steps if not s.gang]
    return [_numbered(i, s) for i, s in enumerate(steps)]


def _numbered(index: int, step: StepSpec) -> StepSpec:
    return msgspec.structs.replace(step, index=index)
