"""From the world to a question for the solver, and from its answer to a Plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from scheduler.core.packing.pins import SAFE_TO_EVICT
from scheduler.core.snapshot import Budget, Pod, Snapshot, a_snapshot, encode_snapshot
from scheduler.live.kube_objects import PLAN_ANNOTATION, Owner
from scheduler.live.planner.plan_resource import (
    MAX_STEPS,
    MAX_UNPLACED,
    Gain,
    Mode,
    Plan,
    PlanBudget,
    PlanMetadata,
    PlanSpec,
    SnapshotRef,
    StepSpec,
    Unplaced,
    seconds_of,
)
from scheduler.live.planner.solver import Answer
from scheduler.live.planner.world import PodView, World

STRENGTH: dict[str, int] = {"observe": 0, "approve": 1, "auto": 2}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a plan may touch: pods of our scheduler, in namespaces whose mode is strong enough.

    mode, namespaces: default mode, and the mode of some namespaces. rest_s: a pod that a plan has moved is left alone
    for so long.
    """

    scheduler: str = "stowage"
    mode: Mode = "observe"
    namespaces: Mapping[str, Mode] = field(default_factory=dict)
    rest_s: float = 300.0

    def mode_of(self, namespace: str) -> Mode:
        """The mode of a namespace."""
        return self.namespaces.get(namespace, self.mode)

    def modes(self) -> list[Mode]:
        """Modes in use, strongest first."""
        used = {self.mode, *self.namespaces.values()}
        return sorted(used, key=lambda mode: -STRENGTH[mode])

    def allows(self, mode: Mode, namespace: str) -> bool:
        """Whether a plan of this mode may concern the namespace."""
        return STRENGTH[self.mode_of(namespace)] >= STRENGTH[mode]

    def is_ours(self, live: PodView) -> bool:
        """Whether our scheduler places the pod."""
        return live.scheduler == self.scheduler


def candidates(world: World, scope: Scope, mode: Mode = "observe") -> list[PodView]:
    """Waiting pods that a plan of this mode is for: refused by the scheduler, or held by our gate."""
    return [
        live
        for live in world.waiting()
        if scope.is_ours(live)
        and scope.allows(mode, live.pod.namespace)
        and (live.is_gated or (live.unschedulable_since is not None and not live.pod.gates))
    ]


def snapshot_for(
    world: World,
    budgets: list[Budget],
    scope: Scope,
    mode: Mode,
    now: float,
    gang_sizes: Mapping[str, int] | None = None,
) -> Snapshot:
    """The world as the solver sees it: what this mode may not touch is pinned, who is not to be planned is left out.

    gang_sizes: of PodGroups, by namespace/name; they count more than what the pods say.
    """
    wanted = {live.key for live in candidates(world, scope, mode)}
    pods = []
    for key in sorted(world.pods):
        live = world.pods[key]
        if live.pod.node is None:
            if key in wanted:
                pods.append(live.pod)
        elif live.pod.node in world.nodes:
            movable = scope.is_ours(live) and scope.allows(mode, live.pod.namespace) and not _rests(live, scope, now)
            pods.append(live.pod if movable else _pinned(live.pod))
    sizes = gang_sizes or {}
    sized = [msgspec.structs.replace(p, gang_size=sizes[p.gang]) if p.gang in sizes else p for p in pods]
    return a_snapshot(list(world.nodes.values()), sized, budgets=budgets)


def _rests(live: PodView, scope: Scope, now: float) -> bool:
    created = seconds_of(live.pod.created)
    return PLAN_ANNOTATION in live.pod.annotations and created is not None and now - created < scope.rest_s


def _pinned(pod: Pod) -> Pod:
    return msgspec.structs.replace(pod, annotations={**pod.annotations, SAFE_TO_EVICT: "false"})


def make_plan(answer: Answer, world: World, snapshot: Snapshot, mode: Mode, order: str, purpose: str) -> Plan | None:
    """A Plan of the answer, or None if it gains nothing or concerns pods that are gone."""
    if not answer.steps or len(answer.steps) > MAX_STEPS:
        return None
    if purpose == "pending" and not any(step["action"] == "place" for step in answer.steps):
        return None
    steps = steps_of(answer.steps, world)
    if steps is None:
        return None
    disturbing = sum(step.action != "place" for step in steps)
    spec = PlanSpec(
        mode=mode,
        order=order,
        purpose=purpose,
        summary=_summary(steps, answer),
        verdict=answer.verdict,
        moves_verdict=answer.moves_verdict,
        snapshot=snapshot_ref(snapshot),
        steps=steps,
        gains=_gains(answer),
        unplaced=[
            Unplaced(pod=one["pod"], verdict=one["verdict"], why=one["why"][:1000])
            for one in answer.unplaced[:MAX_UNPLACED]
        ],
        budget=PlanBudget(evictions=disturbing),
    )
    return Plan(spec=spec, metadata=PlanMetadata(generate_name=f"{purpose}-"))


def steps_of(steps: Iterable[Mapping[str, object]], world: World) -> list[StepSpec] | None:
    """The steps of a solver's answer for the pods as they are now; None where one of them is gone."""
    made: list[StepSpec] = []
    for step in steps:
        live = world.pods.get(str(step["pod"]))
        if live is None:
            return None
        made.append(_step(len(made), step, live))
    return made


def snapshot_ref(snapshot: Snapshot) -> SnapshotRef:
    """What a Plan keeps of its snapshot."""
    digest = hashlib.sha256(encode_snapshot(snapshot)).hexdigest()
    return SnapshotRef(nodes=len(snapshot.nodes), pods=len(snapshot.pods), digest=f"sha256:{digest}")


def _step(index: int, step: Mapping[str, object], live: PodView) -> StepSpec:
    pod = live.pod
    owner = Owner(kind=pod.owner_kind, name=live.owner_name, uid=pod.owner) if pod.owner else None
    return StepSpec(
        index=index,
        action=step["action"],  # type: ignore[arg-type]
        namespace=pod.namespace,
        pod=pod.name,
        uid=pod.uid,
        why=str(step["why"])[:1000],
        source=str(step["source"] or ""),
        to=str(step["target"] or ""),
        owner=owner,
        shape_hash=live.shape,
        priority=pod.priority,
        requests=pod.requests,
        room_is_free=bool(step["room_is_free"]),
        gang=pod.gang if step["action"] == "place" or pod.gang else "",
    )


def _gains(answer: Answer) -> list[Gain]:
    by_priority: dict[int, list[int]] = {}
    for tier in answer.tiers:
        sums = by_priority.setdefault(int(tier["priority"]), [0, 0, 0])
        for i, name in enumerate(("before", "placed", "bound")):
            sums[i] += int(tier[name])
    return [
        Gain(priority=priority, before=sums[0], after=sums[1], bound=sums[2])
        for priority, sums in sorted(by_priority.items(), reverse=True)
    ][:200]


def _summary(steps: list[StepSpec], answer: Answer) -> str:
    count = {action: sum(step.action == action for step in steps) for action in ("place", "move", "evict")}
    parts = [f"{count['place']} placed", f"{count['move']} moved", f"{count['evict']} evicted"]
    left = len(answer.unplaced)
    return ", ".join(parts) + (f", {left} left without a place" if left else "")


def is_same(one: PlanSpec, other: PlanSpec) -> bool:
    """Whether two plans would do the same."""
    return one.steps == other.steps and one.unplaced == other.unplaced and one.mode == other.mode
