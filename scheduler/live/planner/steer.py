"""Bringing a waiting pod to its node: gate, nominate, guard.

A pod with our gate is released by one patch that also pins it to the node. Any other pod is nominated, which makes the
scheduler try that node first and at once; where nominating is not allowed, the reservation keeps the others out and a
poke makes the scheduler try again. Attempts are timed by the poke annotation on the pod, so they survive a restart.
"""

from __future__ import annotations

from scheduler.live.kube_objects import POKE_ANNOTATION
from scheduler.live.planner.actions import Action, Nominate, Poke, Release
from scheduler.live.planner.plan_resource import StepSpec, seconds_of
from scheduler.live.planner.world import PodView, Rooms, World, node_fault


def steer(
    step: int, live: PodView, node: str, version: str, now: float, every_s: float, may_nominate: bool
) -> list[Action]:
    """What brings the pod to the node, if it is time to try (again). version: for which a release was decided."""
    name, namespace, uid = live.pod.name, live.pod.namespace, live.pod.uid
    if not live.is_waiting:
        return []
    if live.is_gated:
        # a pod that nobody would replace is not pinned: should the node fail, it could never run elsewhere
        return [Release(step, namespace, name, uid, version, node, pin=bool(live.pod.owner))]
    last = seconds_of(live.pod.annotations.get(POKE_ANNOTATION))
    if last is not None and 0 <= now - last < every_s:
        return []
    poke = Poke(step, namespace, name, uid)
    if may_nominate and live.nominated != node and not pinned_to(live):
        return [Nominate(step, namespace, name, uid, node), poke]
    return [poke]


def pinned_to(live: PodView) -> str:
    """The one node that the pod's affinity names by metadata.name; "" if it names none."""
    affinity = live.pod.affinity.node_affinity
    required = affinity.required if affinity is not None else None
    for term in (required.node_selector_terms if required is not None else None) or ():
        for one in term.match_fields or ():
            if one.key == "metadata.name" and one.values and len(one.values) == 1:
                return one.values[0]
    return ""


def destination(spec: StepSpec, live: PodView | None, world: World, rooms: Rooms) -> str:
    """Where a pod of a stopped plan goes: its planned node, the one it came from, or "" for anywhere."""
    pod = live.pod if live is not None else None
    pin = pinned_to(live) if live is not None else ""
    for node in (spec.to, spec.source):
        usable = node and node_fault(world.nodes.get(node), pod) is None and (not pin or pin == node)
        if usable and rooms.fits(node, {**spec.requests, "pods": 1}):
            return node
    return ""
