"""Whether the rest of a plan still works out on the cluster as it is now."""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.live.planner.plan_resource import StepSpec, StepStatus
from scheduler.live.planner.world import PodView, Rooms, World, node_fault

OVER = frozenset({"bound", "skipped", "failed"})


def what_changed(specs: Sequence[StepSpec], steps: Sequence[StepStatus], world: World) -> tuple[str, str] | None:
    """(reason, sentence) why the remaining steps no longer work out one after the other; None while they do.

    Every step must find its room at its turn, on a node that still takes its pod. Pods that are terminating count as
    gone; pods that came from elsewhere count as they are.
    """
    rooms = Rooms(world, leaving=True)
    left = [(spec, step) for spec, step in zip(specs, steps, strict=True) if not _is_over(spec, step)]
    for spec, step in left:
        fault = _fault(spec, step, world)
        if fault is not None:
            return fault
        _count_what_is_under_way(spec, step, world, rooms)
    for spec, step in left:
        if step.state != "pending":
            continue
        demand = {**spec.requests, "pods": 1}
        if spec.action != "evict" and spec.room_is_free and not rooms.fits(spec.to, demand):
            return _room_taken(spec, rooms, demand)
        if spec.action != "place":
            rooms.give(spec.source, demand)
        if spec.action != "evict":
            rooms.take(spec.to, demand)
    for spec, _ in left:
        if spec.action != "evict":
            demand = {**spec.requests, "pods": 1}
            free = rooms.free(spec.to)
            if any(free.get(name, 0) < 0 for name, amount in demand.items() if amount):
                rooms.give(spec.to, demand)
                return _room_taken(spec, rooms, demand)
    return None


def _is_over(spec: StepSpec, step: StepStatus) -> bool:
    return step.state in OVER or (spec.action == "evict" and step.state == "evicted")


def pod_of(spec: StepSpec, step: StepStatus, world: World) -> PodView | None:
    """The pod a step is about now: its replacement once that is known, else the pod it names."""
    if step.replacement_uid:
        return world.pod(f"{spec.namespace}/{step.replacement}", step.replacement_uid)
    return world.pod(spec.key, spec.uid)


def _fault(spec: StepSpec, step: StepStatus, world: World) -> tuple[str, str] | None:
    """A node of the step that went away or takes no such pod any more."""
    if spec.action != "evict":
        live = pod_of(spec, step, world)
        found = node_fault(world.nodes.get(spec.to), live.pod if live is not None else None)
        if found is not None:
            return found[0], f"node {spec.to}, where {spec.key} goes: {found[1]}"
    if spec.action != "place" and step.state == "pending":
        found = node_fault(world.nodes.get(spec.source), None)
        if found is not None and found[0] != "NodeCordoned":  # leaving a cordoned node is welcome
            return found[0], f"node {spec.source}, which {spec.key} leaves: {found[1]}"
    return None


def _count_what_is_under_way(spec: StepSpec, step: StepStatus, world: World, rooms: Rooms) -> None:
    demand = {**spec.requests, "pods": 1}
    if step.state == "evicting":
        live = world.pod(spec.key, spec.uid)
        if live is not None and not live.pod.terminating:
            rooms.give(spec.source, demand)
    if spec.action != "evict" and step.state in ("evicting", "evicted", "placed"):
        rooms.take(spec.to, demand)


def _room_taken(spec: StepSpec, rooms: Rooms, demand: dict[str, int]) -> tuple[str, str]:
    return "RoomTaken", f"node {spec.to} has no room any more for {spec.key} ({rooms.short_of(spec.to, demand)})"
