"""Small builders with defaults, a random cluster with every constraint, and exhaustive search over it."""

from __future__ import annotations

import itertools
import random

from scheduler.core import kube_types as kube
from scheduler.core.packing import Budget as SearchBudget
from scheduler.core.packing import solve
from scheduler.core.packing.from_snapshot import make_packing
from scheduler.core.packing.pins import PackOptions
from scheduler.core.packing.plan import make_plan
from scheduler.core.packing.validator import find_violations
from scheduler.core.snapshot import Budget, HostPort, Node, Pod, Snapshot, a_snapshot

ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"


def a_node(name="n0", cpu=10, memory=100, pods=110, zone=None, labels=None, **rest):
    """A ready node; its hostname label is set."""
    extra = rest.pop("resources", {})
    labels = {HOST: name, **({ZONE: zone} if zone else {}), **(labels or {})}
    return Node(name=name, allocatable={"cpu": cpu, "memory": memory, "pods": pods, **extra}, labels=labels, **rest)


def a_pod(name="p0", cpu=1, memory=1, node=None, **rest):
    """A pod of a ReplicaSet; pending unless it has a node."""
    extra = rest.pop("resources", {})
    rest.setdefault("owner_kind", "ReplicaSet")
    rest.setdefault("owner", "rs")
    return Pod(name=name, node=node, requests={"cpu": cpu, "memory": memory, **extra}, **rest)


def select(**labels):
    """A label selector."""
    return kube.LabelSelector(match_labels=labels)


def anti_affinity(key=HOST, **labels):
    """spec.affinity with one required anti-affinity term."""
    term = kube.PodAffinityTerm(topology_key=key, label_selector=select(**labels))
    return kube.Affinity(pod_anti_affinity=kube.PodAffinity(required=[term]))


def affinity(key=HOST, **labels):
    """spec.affinity with one required affinity term."""
    term = kube.PodAffinityTerm(topology_key=key, label_selector=select(**labels))
    return kube.Affinity(pod_affinity=kube.PodAffinity(required=[term]))


def node_affinity(key, operator, *values):
    """spec.affinity with one required node affinity expression."""
    one = kube.Requirement(key=key, operator=operator, values=list(values))
    selector = kube.NodeSelector(node_selector_terms=[kube.NodeSelectorTerm(match_expressions=[one])])
    return kube.Affinity(node_affinity=kube.NodeAffinity(required=selector))


def spread(key=HOST, max_skew=1, min_domains=None, **labels):
    """A DoNotSchedule constraint."""
    return kube.SpreadConstraint(
        max_skew=max_skew, topology_key=key, label_selector=select(**labels), min_domains=min_domains
    )


def solved(snapshot: Snapshot, order: str = "no-harm", seconds: float = 5.0, **options):
    """(result, placements of every pod) of a solve, after checking the placements with the validator."""
    packing = make_packing(snapshot, PackOptions(**options))
    result = solve(packing.problem, order, SearchBudget(seconds))
    after = make_plan(packing, result).placements
    assert find_violations(snapshot, after, **options) == []
    return result, after


def random_snapshot(seed: int, max_pods: int = 6, max_nodes: int = 3, running: float = 0.6) -> Snapshot:
    """A small cluster that mixes every constraint; the present placement keeps capacity, not always the other rules."""
    rng = random.Random(seed)
    zones = ["a", "b"]
    nodes = [
        a_node(
            f"n{i}",
            cpu=rng.randint(4, 9),
            memory=rng.randint(4, 9),
            pods=rng.choice([2, 3, 110]),
            zone=rng.choice([*zones, None]) if rng.random() < 0.8 else None,
            labels={"disk": rng.choice(["ssd", "hdd"])},
            taints=[kube.Taint(key="only", effect="NoSchedule")] if rng.random() < 0.12 else [],
            unschedulable=rng.random() < 0.06,
            ready=rng.random() > 0.06,
            resources={"nvidia.com/gpu": rng.randint(0, 2)} if rng.random() < 0.3 else {},
        )
        for i in range(rng.randint(1, max_nodes))
    ]
    pods = []
    used = {n.name: dict.fromkeys(n.allocatable, 0) for n in nodes}
    ports: set[tuple[str, int]] = set()
    for group in range(rng.randint(1, 4) if max_pods <= 6 else 12):
        shape = _random_shape(rng, group % 8)
        for _ in range(rng.randint(1, 3)):
            if len(pods) == max_pods:
                break
            pod = a_pod(f"p{len(pods)}", **shape)
            home = rng.choice(nodes)
            load = {**pod.requests, "pods": 1}
            fits = all(used[home.name].get(r, 0) + v <= home.allocatable.get(r, 0) for r, v in load.items())
            clash = any((home.name, p.port) in ports for p in pod.host_ports)
            if rng.random() < running and (fits or rng.random() < 0.03) and not clash and not pod.gates:
                pod = a_pod(f"p{len(pods)}", **{**shape, "node": home.name})
                for r, v in load.items():
                    used[home.name][r] = used[home.name].get(r, 0) + v
                ports.update((home.name, p.port) for p in pod.host_ports)
            pods.append(pod)
    budgets = [
        Budget(name=f"b{i}", selector=select(app=f"g{rng.randint(0, 3)}"), allowed=rng.randint(0, 2))
        for i in range(rng.choice([0, 0, 1, 2]))
    ]
    return a_snapshot(nodes, pods, budgets=budgets)


def _random_shape(rng: random.Random, group: int) -> dict:
    app = f"g{group}"
    shape: dict = {
        "cpu": rng.randint(1, 5),
        "memory": rng.randint(1, 5),
        "priority": rng.choice([0, 0, 1, 2]),
        "labels": {"app": app, "tier": rng.choice(["x", "y"])},
    }
    chance = rng.random()
    key = rng.choice([HOST, ZONE])
    target = rng.choice([app, app, f"g{rng.randint(0, 3)}"])
    if chance < 0.12:
        shape["affinity"] = anti_affinity(key, app=target)
    elif chance < 0.24:
        shape["affinity"] = affinity(key, app=target)
    elif chance < 0.30:
        shape["affinity"] = node_affinity("disk", rng.choice(["In", "NotIn"]), "ssd")
    if rng.random() < 0.2:
        shape["spread"] = [spread(key, rng.randint(1, 2), rng.choice([None, None, 2]), app=target)]
    if rng.random() < 0.1:
        shape["node_selector"] = {"disk": rng.choice(["ssd", "hdd"])}
    if rng.random() < 0.2:
        shape["tolerations"] = [kube.Toleration(operator="Exists")]
    if rng.random() < 0.08:
        shape["host_ports"] = [HostPort(port=rng.choice([80, 81]))]
    if rng.random() < 0.1:
        shape["gang"] = f"default/{app}"
        shape["gang_size"] = rng.choice([0, 0, 2])
    if rng.random() < 0.1:
        shape["preempts"] = False
    if rng.random() < 0.1:
        shape["resources"] = {"nvidia.com/gpu": 1}
    if rng.random() < 0.12:
        shape.update(rng.choice([{"owner": ""}, {"owner_kind": "DaemonSet"}, {"local_volumes": ["scratch"]}]))
    if rng.random() < 0.04:
        shape["gates"] = ["example.com/hold"]
    if rng.random() < 0.05:
        shape["annotations"] = {"stowage.dev/move-cost": "3"}
    return shape


def exhaustive_best(snapshot: Snapshot, order: str) -> tuple[int, ...]:
    """The best value any legal placement has, by trying them all."""
    choices = [[p.node, *(n.name for n in snapshot.nodes if n.name != p.node), None] for p in snapshot.pods]
    choices = [[c for i, c in enumerate(cs) if c not in cs[:i]] for cs in choices]
    best: tuple[int, ...] = ()
    for combination in itertools.product(*choices):
        after = {p.key: node for p, node in zip(snapshot.pods, combination, strict=True)}
        worth = value_of(snapshot, after, order)
        if worth > best and not find_violations(snapshot, after):
            best = worth
    return best


def value_of(snapshot: Snapshot, after: dict, order: str) -> tuple[int, ...]:
    """Pods placed per tier, most important first, with disruption where the order puts it."""

    def tier(pod: Pod) -> tuple[bool, int, bool]:
        waits = pod.node is None
        return (waits and not pod.preempts, -pod.priority, waits)

    def cost(pod: Pod) -> int:
        text = pod.annotations.get("stowage.dev/move-cost", "1")
        return int(text) if pod.node is not None and after[pod.key] != pod.node else 0

    tiers = sorted({tier(p) for p in snapshot.pods})
    value = []
    for i, this in enumerate(tiers):
        value.append(sum(after[p.key] is not None for p in snapshot.pods if tier(p) == this))
        is_last_of_level = i + 1 == len(tiers) or tiers[i + 1][:2] != this[:2]
        if order == "no-harm" and is_last_of_level:
            value.append(-sum(cost(p) for p in snapshot.pods if tier(p)[:2] <= this[:2]))
    if order == "max-pack":
        value.append(-sum(cost(p) for p in snapshot.pods))
    return tuple(value)
