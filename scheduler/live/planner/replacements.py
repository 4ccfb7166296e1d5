"""Which new pod takes the place of an evicted one: same controller, same shape.

Pods of one controller and one shape are interchangeable, so any of them that waits will do. One that is bound already
counts when it was created after the eviction, on the planned node at once, elsewhere only when nobody waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from scheduler.live.planner.plan_resource import StepSpec, StepStatus, seconds_of
from scheduler.live.planner.world import PodView, World

CLOCK_SKEW_S = 30.0  # creation times are whole seconds of the API server's clock
MOST_KNOWN = 100
ELSEWHERE_AFTER_S = 5.0  # a replacement that nobody saw waiting


def match_replacements(
    specs: Sequence[StepSpec], steps: Sequence[StepStatus], world: World, now: float
) -> dict[int, PodView]:
    """Row of each step that lacks its replacement -> the pod that is it; no pod is given to two steps."""
    lacking = [
        i
        for i, (spec, step) in enumerate(zip(specs, steps, strict=True))
        if spec.action != "evict" and step.state == "evicted" and spec.owner is not None
    ]
    if not lacking:
        return {}
    taken = {step.replacement_uid for step in steps if step.replacement_uid} | {spec.uid for spec in specs}
    found: dict[int, PodView] = {}
    for choose in (_bound_as_planned, _waiting, _bound_elsewhere):
        for i in lacking:
            if i not in found:
                candidates = _candidates(specs[i], world, taken)
                chosen = choose(specs[i], steps[i], candidates, now)
                if chosen is not None:
                    found[i] = chosen
                    taken.add(chosen.pod.uid)
    return found


def young_siblings(spec: StepSpec, live: PodView, world: World, now: float) -> list[str]:
    """uids of pods of the same owner on the planned node that are so young that a clock could take them for new."""
    same = (other for other in world.of_owner(live.pod.owner) if other.pod.node == spec.to)
    return [other.pod.uid for other in same if _created_since(other, now - 2 * CLOCK_SKEW_S)][:MOST_KNOWN]


def _candidates(spec: StepSpec, world: World, taken: set[str]) -> list[PodView]:
    owner = spec.owner.uid if spec.owner is not None else ""
    return [
        live
        for live in world.of_owner(owner)
        if live.shape == spec.shape_hash
        and live.pod.namespace == spec.namespace
        and live.pod.uid not in taken
        and not live.pod.terminating
    ]


def _created_since(live: PodView, time: float | None) -> bool:
    created = seconds_of(live.pod.created)
    return created is not None and time is not None and created >= time


def _bound_as_planned(spec: StepSpec, step: StepStatus, candidates: list[PodView], now: float) -> PodView | None:
    evicted = seconds_of(step.evicted_at)
    since = evicted - CLOCK_SKEW_S if evicted is not None else None
    there = (live for live in candidates if live.pod.node == spec.to and live.pod.uid not in step.known)
    return next((live for live in there if _created_since(live, since)), None)


def _waiting(spec: StepSpec, step: StepStatus, candidates: list[PodView], now: float) -> PodView | None:
    waiting = [live for live in candidates if live.pod.node is None]
    nominated = [live for live in waiting if live.nominated == spec.to]
    return next(iter(nominated + waiting), None)


def _bound_elsewhere(spec: StepSpec, step: StepStatus, candidates: list[PodView], now: float) -> PodView | None:
    seen = seconds_of(step.time)
    if seen is None or now - seen < ELSEWHERE_AFTER_S:
        return None
    evicted = seconds_of(step.evicted_at)
    return next((live for live in candidates if live.pod.node is not None and _created_since(live, evicted)), None)
