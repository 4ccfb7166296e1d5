"""Carrying out a plan: a function from (plan, world, time) to (new status, actions), called again and again.

Nothing is kept between calls but the Plan itself, so any call may be the first after a crash or by another leader:

* The status is written before the actions are done, and conditional on the Plan's resource version. An action without
  its status never happens; a status without its action is done by the next call.
* A step is `evicting` before its pod is evicted, together with the pod's resource version, and the eviction is valid
  for that version only. To take the decision back, the status is written first and the pod is then changed
  (`Touch`): what an older leader still does with the old version fails. So no pod is evicted after its plan stopped.
* Reservations follow from the steps' states (`reservations.py`), so none outlives its step.

Before anything new begins, all that is left of the plan is tried out on the world as it is (`outlook.py`); if a step
would not find its room, the plan stops: pending steps are skipped, pods that were evicted are still brought to their
place, or back to where they were, and then left to the scheduler.

States of a step: move goes pending, evicting, evicted, placed (its replacement is known and steered), bound; place goes
pending, placed, bound; evict goes pending, evicting, evicted. skipped and failed end any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from scheduler.live.kube_objects import POKE_ANNOTATION
from scheduler.live.planner.actions import Action, Evict, Nominate, Poke, Refusal, Replace, Touch
from scheduler.live.planner.budget import DisruptionBudget, Spending
from scheduler.live.planner.outlook import what_changed
from scheduler.live.planner.phases import ENDED, Limits, begin, finished, is_over, request_to_stop
from scheduler.live.planner.plan_resource import (
    Plan,
    PlanStatus,
    State,
    StepSpec,
    StepStatus,
    condition,
    seconds_of,
    stamp,
    with_condition,
)
from scheduler.live.planner.replacements import CLOCK_SKEW_S, match_replacements, young_siblings
from scheduler.live.planner.reservations import reservations_of
from scheduler.live.planner.steer import destination, pinned_to, steer
from scheduler.live.planner.world import PodView, Rooms, World, node_fault

UNDER_WAY = frozenset({"evicting", "evicted", "placed"})
STOPPING = "Stopping"
VIEW_AGE_S = 10.0


@dataclass(slots=True)
class Turn:
    """What to write (if it differs), and what to do after that."""

    status: PlanStatus
    actions: list[Action] = field(default_factory=list)


def is_newer(version: str, than: str) -> bool:
    """Whether a pod's resource version is later; they are numbers that grow (Kubernetes says so since 1.35)."""
    if version.isdigit() and than.isdigit():
        return int(version) > int(than)
    return version != than


def reconcile(
    plan: Plan,
    world: World,
    now: float,
    limits: Limits,
    budget: DisruptionBudget,
    spent: Spending,
    refusals: Mapping[int, Refusal] | None = None,
) -> Turn:
    """The next turn of a plan.

    spent: evictions of other plans. refusals: what the API server answered to the evictions of the last turn.
    """
    if plan.is_finished:
        return Turn(plan.status)
    if not _is_well_formed(plan):
        return Turn(finished(plan.status, "Failed", "Malformed", "its steps are not numbered 0, 1, 2, ... alike", now))
    if plan.status.phase != "Executing" or len(plan.status.steps) != len(plan.spec.steps):
        return Turn(begin(plan, world, now, limits, budget, spent))
    return _Execution(plan, world, now, limits, budget, spent, refusals or {}).turn()


def _is_well_formed(plan: Plan) -> bool:
    """Whether steps and their states are numbered alike; a person may have written the Plan."""
    numbers = list(range(len(plan.spec.steps)))
    states = [step.index for step in plan.status.steps]
    return [step.index for step in plan.spec.steps] == numbers and states in ([], numbers)


class _Execution:
    """One turn of an executing plan; `steps` is the working copy of the steps' states."""

    def __init__(
        self,
        plan: Plan,
        world: World,
        now: float,
        limits: Limits,
        budget: DisruptionBudget,
        spent: Spending,
        refusals: Mapping[int, Refusal],
    ) -> None:
        self.plan, self.world, self.now, self.limits = plan, world, now, limits
        self.budget, self.refusals = budget, refusals
        self.specs = plan.spec.steps
        self.steps = list(plan.status.steps)
        self.spent = Spending(list(spent.evictions))
        for spec, step in zip(self.specs, self.steps, strict=True):
            time = seconds_of(step.evicted_at)
            if time is not None:
                self.spent.evictions.append((time, spec.namespace))
        self.status = msgspec.structs.replace(plan.status, observed_generation=plan.metadata.generation)
        self.actions: list[Action] = []

    def turn(self) -> Turn:
        """Look, decide whether to stop, go on."""
        self.look()
        if condition(self.status, STOPPING) is None:
            stop = self.reason_to_stop()
            if stop is None:
                self.begin_steps()
            else:  # written before anything is done about it: from here on no older decision can be renewed
                self.status = with_condition(self.status, STOPPING, "True", *stop, self.now)
        else:
            self.drain()
        return Turn(self.sum_up(), self.actions)

    # ---- what the world shows

    def look(self) -> None:
        """Advance every step as far as the world shows that it got."""
        for i, (spec, step) in enumerate(zip(self.specs, self.steps, strict=True)):
            if is_over(spec, step):
                continue
            if step.state == "pending":
                self.look_at_pending(i)
            elif step.state == "evicting":
                live = self.world.pod(spec.key, spec.uid)
                if live is None or live.pod.terminating:
                    self.set(i, "evicted")
            elif step.state == "placed":
                self.look_at_placed(i)
        for i, replacement in match_replacements(self.specs, self.steps, self.world, self.now).items():
            self.place(i, replacement)
            self.look_at_placed(i)

    def look_at_pending(self, i: int) -> None:
        """A step not begun loses its point when its pod is gone or has found a place."""
        spec = self.specs[i]
        live = self.world.pod(spec.key, spec.uid)
        if live is None or live.pod.terminating:
            self.set(i, "skipped", "its pod is gone, not by this plan")
        elif spec.action == "place" and live.pod.node == spec.to:
            self.set(i, "bound", replacement=spec.pod, uid=spec.uid)
        elif spec.action == "place" and live.pod.node is not None and not self.trade(i, live):
            self.set(i, "skipped", f"the scheduler has bound it to {live.pod.node}")

    def look_at_placed(self, i: int) -> None:
        """A steered pod is bound, or gone, or somewhere else."""
        spec, step = self.specs[i], self.steps[i]
        live = self.world.pod(f"{spec.namespace}/{step.replacement}", step.replacement_uid)
        if live is None or live.pod.terminating:
            if spec.action == "move" or (spec.owner is not None and step.replacement_uid != spec.uid):
                self.set(i, "evicted", "its replacement is gone as well; waiting for another")
            else:
                self.set(i, "failed", "the pod is gone")
        elif live.pod.node == spec.to:
            self.set(i, "bound")
        elif live.pod.node is not None and not self.trade(i, live):
            # a pod that only waited has what it wanted; one that was moved should have gone where the plan said
            state: State = "failed" if spec.action == "move" else "skipped"
            self.set(i, state, f"bound to {live.pod.node} instead")

    def trade(self, i: int, live: PodView) -> bool:
        """A pod that took the place of another of its owner and shape: the two steps change pods."""
        mine = self.specs[i]
        for j, (spec, step) in enumerate(zip(self.specs, self.steps, strict=True)):
            alike = spec.owner == mine.owner and spec.owner is not None and spec.shape_hash == mine.shape_hash
            if j == i or spec.to != live.pod.node or not alike or step.state not in ("evicted", "placed"):
                continue
            if step.state == "placed":
                self.set(i, "placed", replacement=step.replacement, uid=step.replacement_uid)
            else:
                self.set(i, "evicted", f"{live.pod.name} went to {spec.to}; waiting for another pod")
            self.set(j, "bound", replacement=live.pod.name, uid=live.pod.uid)
            return True
        return False

    # ---- whether to stop

    def reason_to_stop(self) -> tuple[str, str] | None:
        """(reason, sentence), or None to go on."""
        asked = request_to_stop(self.plan)
        if asked is not None:
            return asked
        if self.plan.spec.mode == "observe":
            return "ModeChanged", "spec.mode was set to observe"
        if all(is_over(spec, step) for spec, step in zip(self.specs, self.steps, strict=True)):
            return None
        ahead = max((seconds_of(step.time) or 0.0 for step in self.steps), default=0.0) - self.now
        if ahead > CLOCK_SKEW_S:  # its deadlines would lie as far in the future
            return "ClockWentBack", f"this planner's clock is {ahead:.0f} s behind the plan's own times"
        late = self.now - (seconds_of(self.status.started_at) or self.now)
        if late > self.limits.plan_s:
            return "DeadlineExceeded", f"not done after {late:.0f} s"
        return (
            self.refused_for_good()
            or self.out_of_patience()
            or what_changed(self.specs, self.steps, self.world)
            or self.without_purpose()
        )

    def refused_for_good(self) -> tuple[str, str] | None:
        """An eviction that will not be granted by waiting: several budgets (500), no permission, an invalid request."""
        for i, refusal in self.refusals.items():
            name = self.specs[i].key
            if refusal.code == 500 and "PodDisruptionBudget" in refusal.message:
                return "EvictionRefused", f"{name}: {refusal.message}"
            if refusal.code in (400, 403, 405, 422):
                return "EvictionForbidden", f"{name}: {refusal.message}"
        return None

    def out_of_patience(self) -> tuple[str, str] | None:
        """A step that waits longer than it may."""
        for spec, step in zip(self.specs, self.steps, strict=True):
            waited = self.now - (seconds_of(step.time) or self.now)
            if step.state == "evicting" and step.attempts and waited > self.limits.eviction_s:
                why = step.message or "no answer"
                return "EvictionRefused", f"{spec.key}: not evicted after {waited:.0f} s ({why})"
            if step.state == "evicted" and spec.action != "evict" and waited > self.limits.replacement_s:
                return "ReplacementMissing", f"no replacement of {spec.key} appeared in {waited:.0f} s"
            if step.state == "placed" and waited > self.limits.bind_s and self.was_steered(spec, step):
                return "NotBound", f"{spec.namespace}/{step.replacement} was not bound to {spec.to} in {waited:.0f} s"
        return None

    def was_steered(self, spec: StepSpec, step: StepStatus) -> bool:
        """Whether the scheduler has been told and had its time; a planner that was away has to tell it first."""
        live = self.world.pod(f"{spec.namespace}/{step.replacement}", step.replacement_uid)
        last = live and seconds_of(live.pod.annotations.get(POKE_ANNOTATION))
        then = seconds_of(step.time)
        return bool(last and then and last >= then and self.now - last >= self.limits.steer_every_s / 2)

    def without_purpose(self) -> tuple[str, str] | None:
        """Evictions still to come, but no waiting pod left that they would help."""
        if self.plan.spec.purpose != "pending":
            return None
        places = [step for spec, step in zip(self.specs, self.steps, strict=True) if spec.action == "place"]
        to_come = any(
            spec.action != "place" and step.state == "pending"
            for spec, step in zip(self.specs, self.steps, strict=True)
        )
        if to_come and all(step.state in ENDED for step in places):
            return "NothingToGain", "the pods that it was made for no longer wait"
        return None

    # ---- going on

    def begin_steps(self) -> None:
        """Begin what can begin, in order; ask for evictions; steer."""
        ready = self.ready_steps()
        late_gangs = {self.specs[i].gang for i, step in enumerate(self.steps) if self.holds_its_gang(i, ready)}
        moving = sum(step.state in ("evicting", "evicted") for step in self.steps)
        waits_for = ""
        for i in sorted(ready):
            spec = self.specs[i]
            live = self.world.pod(spec.key, spec.uid)
            if spec.action == "place":
                if live is not None and not (spec.gang and spec.gang in late_gangs):  # a gang is released together
                    self.place(i, live)
                continue
            if moving >= self.limits.at_once or live is None or self.awaits_a_twin(i):
                continue
            refusal = self.spent.refusal(self.budget, [spec.namespace], self.now)
            if refusal is None:
                self.begin_eviction(i, live)
                moving += 1
            else:
                waits_for = f"waits for the disruption budget: {refusal}"
        self.status = msgspec.structs.replace(self.status, message=waits_for)
        self.evict()
        self.steer_pods()

    def ready_steps(self) -> set[int]:
        """Rows of pending steps whose pod has room now, what is under way and earlier in the plan counted."""
        rooms = Rooms(self.world, leaving=False)
        for spec, step in zip(self.specs, self.steps, strict=True):
            if spec.action != "evict" and (step.state in UNDER_WAY or self.is_bound_unseen(spec, step)):
                rooms.take(spec.to, {**spec.requests, "pods": 1})
        ready = set()
        for i, (spec, step) in enumerate(zip(self.specs, self.steps, strict=True)):
            if step.state != "pending":
                continue
            demand = {**spec.requests, "pods": 1}
            if spec.action == "evict" or rooms.fits(spec.to, demand) or self.may_break_circle(i):
                ready.add(i)
            if spec.action != "evict":  # even if it must wait: what comes later in the plan must not take its room
                rooms.take(spec.to, demand)
        return ready

    def is_bound_unseen(self, spec: StepSpec, step: StepStatus) -> bool:
        """Whether another leader saw the pod bound a moment ago, and our own view is still older than that."""
        if step.state != "bound" or self.now - (seconds_of(step.time) or 0.0) > VIEW_AGE_S:
            return False
        live = self.world.pod(f"{spec.namespace}/{step.replacement}", step.replacement_uid)
        return live is None or live.pod.node is None

    def awaits_a_twin(self, i: int) -> bool:
        """Whether a replacement of the same owner and shape is still unknown that is meant for another node.

        Until it is known, a reservation can only say "the next pod of this owner"; two nodes kept so could both take
        either pod, or one of them both.
        """
        mine = self.specs[i]
        return mine.action == "move" and any(
            step.state in ("evicting", "evicted")
            and (spec.owner, spec.shape_hash) == (mine.owner, mine.shape_hash)
            and spec.to != mine.to
            for spec, step in zip(self.specs, self.steps, strict=True)
            if spec.action == "move"
        )

    def holds_its_gang(self, i: int, ready: set[int]) -> bool:
        """Whether the step keeps the rest of its gang from being released."""
        spec, step = self.specs[i], self.steps[i]
        if not spec.gang:
            return False
        return (step.state == "pending" and i not in ready) or (spec.action == "move" and not is_over(spec, step))

    def may_break_circle(self, i: int) -> bool:
        """A step whose place is not free may begin when all before it are done, or wait in the same circle."""
        if self.specs[i].room_is_free:
            return False
        return all(
            is_over(spec, step) or (not spec.room_is_free and step.state in ("evicted", "placed"))
            for spec, step in zip(self.specs[:i], self.steps[:i], strict=True)
        )

    def begin_eviction(self, i: int, live: PodView) -> None:
        """Write down that this version of the pod is to be evicted."""
        self.set(i, "evicting")
        self.steps[i] = msgspec.structs.replace(
            self.steps[i],
            resource_version=live.resource_version,
            evicted_at=stamp(self.now),
            known=young_siblings(self.specs[i], live, self.world, self.now),
        )
        self.spent.evictions.append((self.now, self.specs[i].namespace))

    def evict(self) -> None:
        """Ask for every eviction that is decided and due; renew decisions on pods that have changed since."""
        for i, (spec, step) in enumerate(zip(self.specs, self.steps, strict=True)):
            if step.state != "evicting":
                continue
            refusal = self.refusals.get(i)
            if refusal is not None:
                step = self.refused(i, refusal)
            live = self.world.pod(spec.key, spec.uid)
            if live is not None and is_newer(live.resource_version, step.resource_version):
                step = self.steps[i] = msgspec.structs.replace(step, resource_version=live.resource_version)
            if self.now >= (seconds_of(step.retry_at) or 0.0):
                self.actions.append(Evict(i, spec.namespace, spec.pod, spec.uid, step.resource_version))

    def refused(self, i: int, refusal: Refusal) -> StepStatus:
        """Try again later: each time twice as late, or as the server asked."""
        step = self.steps[i]
        wait = max(refusal.retry_after_s, self.limits.first_retry_s * 2**step.attempts)
        retry = stamp(self.now + min(wait, self.limits.longest_retry_s))
        self.steps[i] = msgspec.structs.replace(
            step, attempts=step.attempts + 1, retry_at=retry, message=refusal.message[:1000]
        )
        return self.steps[i]

    def steer_pods(self) -> None:
        """Bring every known pod to its node, once there is room for it."""
        rooms = Rooms(self.world, leaving=False)
        for i, (spec, step) in enumerate(zip(self.specs, self.steps, strict=True)):
            live = self.placed_pod(spec, step)
            if live is not None and rooms.fits(spec.to, live.demand()):
                self.steer_pod(i, live, spec.to)

    def steer_pod(self, i: int, live: PodView, node: str) -> None:
        """Bring a pod to a node; a decided release is renewed for a pod that has changed since."""
        step = self.steps[i]
        if live.is_gated and is_newer(live.resource_version, step.resource_version):
            self.steps[i] = msgspec.structs.replace(step, resource_version=live.resource_version)
        version = self.steps[i].resource_version
        every, nominate = self.limits.steer_every_s, self.limits.may_nominate
        self.actions += steer(i, live, node, version, self.now, every, nominate)

    def placed_pod(self, spec: StepSpec, step: StepStatus) -> PodView | None:
        """The pod that a step is steering."""
        if step.state != "placed":
            return None
        return self.world.pod(f"{spec.namespace}/{step.replacement}", step.replacement_uid)

    # ---- stopping

    def drain(self) -> None:
        """Skip what has not begun, void decided evictions, bring evicted pods to a place, then leave them alone."""
        since = condition(self.status, STOPPING)
        waited = self.now - (seconds_of(since.last_transition_time if since else "") or self.now)
        rooms = Rooms(self.world, leaving=True)
        held, unsure = self.gangs_still_held()
        for i, (spec, step) in enumerate(zip(self.specs, self.steps, strict=True)):
            if is_over(spec, step):
                continue
            if step.state == "pending" or (step.state == "placed" and spec.gang in held):
                self.set(i, "skipped", "the plan stopped before it")
            elif step.state == "evicting":
                self.void(i)
            elif step.state == "evicted" or spec.gang not in unsure:
                self.settle(i, rooms, is_late=waited > self.limits.drain_s)
        for i in sorted(i for rows in unsure.values() for i in rows):
            spec, step = self.specs[i], self.steps[i]
            self.actions.append(Touch(i, spec.namespace, step.replacement, step.replacement_uid))

    def gangs_still_held(self) -> tuple[set[str], dict[str, list[int]]]:
        """Gangs of which no gate is off, for certain, and rows by gang where a release may still be under way.

        A gated pod that has another version than its release was decided for cannot be released by that decision.
        """
        free: set[str] = set()
        unsure: dict[str, list[int]] = {}
        for i, (spec, step) in enumerate(zip(self.specs, self.steps, strict=True)):
            live = self.placed_pod(spec, step)
            if not spec.gang or spec.action != "place":
                continue
            if step.state == "bound" or (live is not None and not live.is_gated):
                free.add(spec.gang)
            elif live is not None and not is_newer(live.resource_version, step.resource_version):
                unsure.setdefault(spec.gang, []).append(i)
        held = {spec.gang for spec in self.specs if spec.gang} - free - unsure.keys()
        return held, {gang: rows for gang, rows in unsure.items() if gang not in free}

    def void(self, i: int) -> None:
        """Take a decided eviction back: once the pod has another version, no leader can carry it out."""
        spec, step = self.specs[i], self.steps[i]
        live = self.world.pod(spec.key, spec.uid)
        if live is None:
            return
        if not is_newer(live.resource_version, step.resource_version):
            self.actions.append(Touch(i, spec.namespace, spec.pod, spec.uid))
        else:
            self.set(i, "skipped", "the plan stopped before it was evicted")
            self.steps[i] = msgspec.structs.replace(self.steps[i], evicted_at="", resource_version="")

    def settle(self, i: int, rooms: Rooms, is_late: bool) -> None:
        """An evicted or steered pod: to its node, or back where it was, or to the scheduler's choice."""
        spec, step = self.specs[i], self.steps[i]
        live = self.world.pod(f"{spec.namespace}/{step.replacement}", step.replacement_uid)
        node = destination(spec, live, self.world, rooms)
        if is_late or not node:
            why = "no place is left for it" if not node else f"not bound to {node} in time"
            self.set(i, "failed", f"{why}: left to the scheduler")
            if live is not None and live.is_waiting:
                self.let_go(i, live)
            return
        rooms.take(node, {**spec.requests, "pods": 1})
        if live is not None:
            self.steer_pod(i, live, node)

    def let_go(self, i: int, live: PodView) -> None:
        """Leave a waiting pod free to go anywhere."""
        spec = self.specs[i]
        pin = pinned_to(live)
        if pin and node_fault(self.world.nodes.get(pin), live.pod) is not None and live.pod.owner:
            self.actions.append(Replace(i, spec.namespace, live.pod.name, live.pod.uid))
        elif live.nominated:
            self.actions.append(Nominate(i, spec.namespace, live.pod.name, live.pod.uid, ""))
        else:
            self.actions.append(Poke(i, spec.namespace, live.pod.name, live.pod.uid))

    # ---- writing down

    def place(self, i: int, live: PodView) -> None:
        """Write down which pod goes to the step's node; for a gated one, which version of it is to be released."""
        self.set(i, "placed", replacement=live.pod.name, uid=live.pod.uid)
        version = live.resource_version if live.is_gated else ""
        self.steps[i] = msgspec.structs.replace(self.steps[i], resource_version=version)

    def set(self, i: int, state: State, message: str = "", *, replacement: str = "", uid: str = "") -> None:
        """A step's new state."""
        step = self.steps[i]
        self.steps[i] = msgspec.structs.replace(
            step,
            state=state,
            time=stamp(self.now),
            message=message,
            replacement=replacement or ("" if state == "evicted" else step.replacement),
            replacement_uid=uid or ("" if state == "evicted" else step.replacement_uid),
        )

    def sum_up(self) -> PlanStatus:
        """The status after this turn, finished if every step is over."""
        pairs = list(zip(self.specs, self.steps, strict=True))
        done = sum(is_over(spec, step) for spec, step in pairs)
        status = msgspec.structs.replace(self.status, steps=self.steps, progress=f"{done}/{len(pairs)}")
        stopping = condition(status, STOPPING)
        if done == len(pairs) and not self.actions:
            if stopping is not None:
                return finished(status, "Stopped", stopping.reason, stopping.message, self.now)
            failed = [f"{spec.key}: {step.message}" for spec, step in pairs if step.state == "failed"]
            if failed:
                return finished(status, "Failed", "StepsFailed", "; ".join(failed), self.now)
            skipped = sum(step.state == "skipped" for _, step in pairs)
            text = f"{done} steps" + (f", {skipped} of them were no longer needed" if skipped else "")
            return finished(status, "Succeeded", "Done", text, self.now)
        held = reservations_of(
            self.specs,
            self.steps,
            self.world,
            self.expiry(),
            is_stopping=stopping is not None,
        )
        return msgspec.structs.replace(status, reservations=held)

    def expiry(self) -> str:
        """When the reservations run out; renewed when half of their time is over."""
        old = min((seconds_of(r.expires) or 0.0 for r in self.status.reservations), default=0.0)
        half = self.limits.reservation_s / 2
        return stamp(old if self.now + half < old <= self.now + 2 * half else self.now + 2 * half)
