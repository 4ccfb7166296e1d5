"""The room that a plan keeps for its pods: one reservation for every step that still leads somewhere.

A reservation counts as used on its node. Steps whose turn has not come keep only what will be missing then: the room
of pods that leave the node before them is theirs already, and counting both would lock out the steps before them. From
the moment a pod's eviction is decided its room is kept in full, so that nobody slips in when it goes.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.live.kube_objects import Reservation
from scheduler.live.planner.outlook import pod_of
from scheduler.live.planner.plan_resource import StepSpec, StepStatus
from scheduler.live.planner.steer import destination
from scheduler.live.planner.world import Rooms, World

Demand = dict[str, int]


def reservations_of(
    specs: Sequence[StepSpec], steps: Sequence[StepStatus], world: World, expires: str, *, is_stopping: bool
) -> list[Reservation]:
    """Reservations that follow from the steps' states.

    A pod that waits may still find another place until its turn has come; one that was evicted may not, since the next
    steps count on it.
    """
    pairs = list(zip(specs, steps, strict=True))
    if is_stopping:
        return _while_stopping(pairs, world, expires)
    to_come: dict[str, Demand] = {}
    out = []
    for spec, step in pairs:
        if spec.action != "evict" and step.state not in _OVER:
            out.append(_reservation(spec, step, spec.to, expires, to_come.get(spec.to, {})))
        if spec.action != "place" and (step.state == "pending" or (step.state == "evicting" and step.attempts)):
            room = to_come.setdefault(spec.source, {})
            for name, amount in {**spec.requests, "pods": 1}.items():
                room[name] = room.get(name, 0) + amount
    return [one for one in out if one is not None]


_OVER = frozenset({"bound", "skipped", "failed"})


def _while_stopping(pairs: list[tuple[StepSpec, StepStatus]], world: World, expires: str) -> list[Reservation]:
    """Only pods that were evicted or steered keep room, where they still have it."""
    rooms = Rooms(world, leaving=True)
    out = []
    for spec, step in pairs:
        if spec.action != "evict" and step.state in ("evicted", "placed"):
            node = destination(spec, pod_of(spec, step, world), world, rooms)
            if node:
                rooms.take(node, {**spec.requests, "pods": 1})
                made = _reservation(spec, step, node, expires, {})
                out += [made] if made is not None else []
    return out


def _reservation(
    spec: StepSpec, step: StepStatus, node: str, expires: str, to_come: Demand
) -> Reservation | None:
    requests = {**spec.requests, "pods": 1}
    if step.state == "pending" or not spec.room_is_free:
        requests = _missing(requests, to_come)
    is_begun = step.state != "pending"
    if not is_begun and not any(requests.values()):
        return None
    if step.replacement_uid:
        key, uid = f"{spec.namespace}/{step.replacement}", step.replacement_uid
        return Reservation(node=node, requests=requests, expires=expires, pod=key, uid=uid, hard=is_begun)
    if not is_begun:  # for a move this names the pod that still runs, so that nobody may use it yet
        return Reservation(node=node, requests=requests, expires=expires, pod=spec.key, uid=spec.uid)
    owner, shape = spec.owner, spec.shape_hash
    return Reservation(node=node, requests=requests, expires=expires, owner=owner, shape_hash=shape, hard=True)


def _missing(demand: Demand, to_come: Demand) -> Demand:
    """What of the demand is not covered by room still to come, which it uses up."""
    out = {}
    for name, amount in demand.items():
        covered = min(amount, max(0, to_come.get(name, 0)))
        to_come[name] = to_come.get(name, 0) - covered
        out[name] = amount - covered
    return out
