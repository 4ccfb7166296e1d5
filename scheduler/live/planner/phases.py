"""How a plan begins and how it ends: from Proposed or Waiting to Executing, and to a phase that is final.

What happens in between is `executor.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from scheduler.live.planner.budget import DisruptionBudget, Spending
from scheduler.live.planner.outlook import what_changed
from scheduler.live.planner.plan_resource import (
    Phase,
    Plan,
    PlanStatus,
    StepSpec,
    StepStatus,
    condition,
    stamp,
    with_condition,
)
from scheduler.live.planner.reservations import reservations_of
from scheduler.live.planner.world import World

ENDED = frozenset({"bound", "skipped", "failed"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the executor is; seconds. at_once: evictions under way at the same time."""

    at_once: int = 10
    eviction_s: float = 120.0
    replacement_s: float = 60.0
    bind_s: float = 60.0
    plan_s: float = 900.0
    drain_s: float = 30.0
    reservation_s: float = 60.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 15.0
    steer_every_s: float = 2.0
    may_nominate: bool = True


def is_over(spec: StepSpec, status: StepStatus) -> bool:
    """Whether nothing more happens to the step."""
    return status.state in ENDED or (spec.action == "evict" and status.state == "evicted")


def request_to_stop(plan: Plan) -> tuple[str, str] | None:
    """Whether a person wants the plan to stop: (reason, sentence)."""
    if plan.metadata.deletion_timestamp is not None:
        return "Deleted", "the Plan was deleted"
    if plan.spec.stopped:
        return "StoppedByUser", "spec.stopped was set"
    return None


def begin(
    plan: Plan, world: World, now: float, limits: Limits, budget: DisruptionBudget, spent: Spending
) -> PlanStatus:
    """From Proposed or Waiting to Executing, if it may begin."""
    status = msgspec.structs.replace(plan.status, observed_generation=plan.metadata.generation)
    stop = request_to_stop(plan)
    if stop is not None:
        return finished(status, "Stopped", *stop, now)
    total = len(plan.spec.steps)
    status = msgspec.structs.replace(status, progress=f"0/{total}")
    status = with_condition(status, "Proposed", "True", "Solved", plan.spec.summary, now)
    if plan.spec.mode == "observe":
        return msgspec.structs.replace(status, phase="Proposed", message="mode observe: nothing is carried out")
    if plan.spec.mode == "approve" and not plan.spec.approved:
        status = with_condition(status, "Approved", "False", "AwaitingApproval", "set spec.approved to begin", now)
        return msgspec.structs.replace(status, phase="Waiting", message="waits for approval")
    reason = "ModeAuto" if plan.spec.mode == "auto" else "ApprovedByUser"
    status = with_condition(status, "Approved", "True", reason, "", now)
    fresh = [StepStatus(index=s.index, state="pending", time=stamp(now)) for s in plan.spec.steps]
    changed = what_changed(plan.spec.steps, fresh, world)
    if changed is not None:
        return finished(status, "Stopped", *changed, now)
    wanted = [s.namespace for s in plan.spec.steps if s.action != "place"]
    refusal = spent.refusal(budget, wanted, now)
    if refusal is not None:
        if spent.is_hopeless(budget, wanted):
            return finished(status, "Stopped", "ExceedsBudget", f"{refusal}: more than a whole window allows", now)
        status = with_condition(status, "Executing", "False", "BudgetExhausted", refusal, now)
        return msgspec.structs.replace(status, phase="Waiting", message=f"waits for the disruption budget: {refusal}")
    status = with_condition(status, "Executing", "True", "Started", "", now)
    status = msgspec.structs.replace(status, phase="Executing", message="", steps=fresh, started_at=stamp(now))
    held = reservations_of(plan.spec.steps, fresh, world, stamp(now + limits.reservation_s), is_stopping=False)
    return msgspec.structs.replace(status, reservations=held)


def finished(status: PlanStatus, phase: Phase, reason: str, message: str, now: float) -> PlanStatus:
    """The status of a plan that ends now; nothing stays reserved."""
    status = with_condition(status, "Complete", "True" if phase == "Succeeded" else "False", reason, message, now)
    if condition(status, "Executing") is not None:
        status = with_condition(status, "Executing", "False", reason, message, now)
    if phase == "Stopped":
        status = with_condition(status, "Stopped", "True", reason, message, now)
    return msgspec.structs.replace(
        status, phase=phase, message=f"{reason}: {message}"[:2000], reservations=[], finished_at=stamp(now)
    )
