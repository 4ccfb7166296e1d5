"""Room that Plans keep for pods that are not there yet.

A Plan's status is the only source: the planner writes it, every extender reads it, and neither loses anything when the
other dies. A reservation counts until it expires, until its plan ends, or until its pod runs on the node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from scheduler.live.kube_objects import TERMINAL_PLAN_PHASES, LivePlan, Reservation
from scheduler.live.node_columns import Requests


@dataclass(frozen=True, slots=True)
class Claimant:
    """A pod, as far as it decides which reservations are its own. shape: computes its `shape_hash`, if anyone asks."""

    key: str
    uid: str = ""
    owner_uid: str = ""
    shape: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class Hold:
    """One reservation: these amounts on this node, for one pod.

    expires_s: seconds since 1970. names_pod: whether the pod is known, by key or uid, and not just described.
    """

    plan: str
    node: str
    pod: str
    uid: str
    owner_uid: str
    shape_hash: str
    requests: Requests
    expires_s: float
    is_hard: bool

    @property
    def names_pod(self) -> bool:
        """Whether the pod exists already and is named."""
        return bool(self.pod or self.uid)

    def is_for(self, pod: Claimant) -> bool:
        """Whether this room is kept for that pod. A uid decides alone: a name can be taken again by another pod."""
        if self.uid:
            return self.uid == pod.uid
        if self.pod:
            return self.pod == pod.key
        return bool(self.owner_uid) and self.owner_uid == pod.owner_uid and self.shape_hash == pod.shape()


class ReservationBook:
    """All holds, by node and by plan."""

    def __init__(self) -> None:
        self._of_plan: dict[str, tuple[Hold, ...]] = {}
        self.on_node: dict[str, list[Hold]] = {}
        self._of_name: dict[str, list[Hold]] = {}
        self._of_owner: dict[str, list[Hold]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.on_node.values()))

    def __iter__(self) -> Iterator[Hold]:
        for holds in self._of_plan.values():
            yield from holds

    def claimed_by(self, pod: Claimant, now_s: float) -> list[Hold]:
        """The unexpired holds that are for this pod: those that name it; only if none does, those that describe it.

        A replacement that a plan has recognised has a node of its own. Were it let onto the room kept for the next pod
        of its owner as well, that pod would find it taken.
        """
        named = [*self._of_name.get(pod.uid or pod.key, ()), *(self._of_name.get(pod.key, ()) if pod.uid else ())]
        for holds in (named, self._of_owner.get(pod.owner_uid, ())):
            own = [one for one in holds if one.expires_s > now_s and one.is_for(pod)]
            if own:
                return own
        return []

    def put(self, plan: LivePlan) -> None:
        """Take over what the plan's status says now."""
        name = plan.metadata.name
        ended = plan.status.phase in TERMINAL_PLAN_PHASES or plan.metadata.deletion_timestamp is not None
        holds = () if ended else tuple(_hold(name, one) for one in plan.status.reservations or ())
        if holds != self._of_plan.get(name, ()):
            self._set(name, holds)

    def drop(self, plan: str) -> None:
        """Forget a plan that is gone."""
        self._set(plan, ())

    def _set(self, plan: str, holds: tuple[Hold, ...]) -> None:
        if holds:
            self._of_plan[plan] = holds
        else:
            self._of_plan.pop(plan, None)
        self.on_node, self._of_name, self._of_owner = {}, {}, {}
        for one in self:
            self.on_node.setdefault(one.node, []).append(one)
            if one.names_pod:
                self._of_name.setdefault(one.uid or one.pod, []).append(one)
            else:
                self._of_owner.setdefault(one.owner_uid, []).append(one)


def total(holds: Iterable[Hold]) -> dict[str, int]:
    """What some holds keep together, by resource."""
    kept: dict[str, int] = {}
    for hold in holds:
        for name, amount in hold.requests:
            kept[name] = kept.get(name, 0) + amount
    return kept


def _hold(plan: str, one: Reservation) -> Hold:
    requests = dict(one.requests)
    requests.setdefault("pods", 1)
    return Hold(
        plan=plan,
        node=one.node,
        pod=one.pod,
        uid=one.uid,
        owner_uid=one.owner.uid if one.owner else "",
        shape_hash=one.shape_hash,
        requests=tuple(sorted(requests.items())),
        expires_s=_seconds(one.expires),
        is_hard=one.hard,
    )


def _seconds(text: str) -> float:
    """RFC 3339 as seconds since 1970; a reservation without a readable end has expired, or it might never."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
