"""The Plan resource (plans.stowage.dev) as types; helm/stowage/files/plans.yaml is its schema for the API server.

Everything the planner must know after a crash is here: `spec` is what was decided, and never changes but for three
switches; `status` is how far it got. Reservations follow from the steps' states, so none can outlive its step; the
schema refuses a finished plan that still holds one, and a finished plan that comes back to life.

Times are RFC 3339 in UTC with microseconds. Amounts are integers in the core's units (millicores, bytes, devices).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from scheduler.core.kube_types import Kube
from scheduler.live.kube_objects import DOMAIN, PLANS_PATH, TERMINAL_PLAN_PHASES, Owner, Reservation

API_VERSION = f"{DOMAIN}/v1alpha1"
PATH = PLANS_PATH
FINALIZER = f"{DOMAIN}/plan"
MAX_STEPS = 500  # what fits an object of the API server with room to spare, and a person's patience
MAX_UNPLACED = 200

Mode = Literal["observe", "approve", "auto"]
Phase = Literal["Proposed", "Waiting", "Executing", "Succeeded", "Stopped", "Failed", "Superseded"]
Action = Literal["move", "place", "evict"]
State = Literal["pending", "evicting", "evicted", "placed", "bound", "skipped", "failed"]
FINISHED = TERMINAL_PLAN_PHASES


class StepSpec(Kube, frozen=True, kw_only=True):
    """One action. move: evicted from `from`, recreated by its controller, bound to `to`. place: a waiting pod goes to
    `to`. evict: it leaves `from` and has no place. room_is_free: false where pods block each other in a circle."""

    index: int
    action: Action
    namespace: str
    pod: str
    uid: str
    why: str
    source: str = msgspec.field(name="from", default="")
    to: str = ""
    owner: Owner | None = None
    shape_hash: str = ""
    priority: int = 0
    requests: dict[str, int] = msgspec.field(default_factory=dict)
    room_is_free: bool = True
    gang: str = ""

    @property
    def key(self) -> str:
        """namespace/name."""
        return f"{self.namespace}/{self.pod}"


class SnapshotRef(Kube, frozen=True, kw_only=True):
    """What the plan was made from. digest: SHA-256 of the snapshot file, which the journal keeps."""

    resource_version: str = ""
    nodes: int = 0
    pods: int = 0
    digest: str = ""


class Gain(Kube, frozen=True, kw_only=True):
    """One priority: pods placed before and after, and the most that any plan could place."""

    priority: int
    before: int
    after: int
    bound: int


class LoadGain(Kube, frozen=True, kw_only=True):
    """How nodes are loaded before and after. basis: requests or use.

    nodes: overloaded ones. overload: by how much in all, in thousandths of a node's limit, rounded up. highest: the
    fullest node, in thousandths of what it offers.
    """

    basis: str
    nodes_before: int
    nodes_after: int
    overload_milli_before: int
    overload_milli_after: int
    highest_milli_before: int
    highest_milli_after: int


class Rebalance(Kube, frozen=True, kw_only=True):
    """How a plan of purpose rebalance was found, and what it is worth.

    load: what is held against the limit, target_milli, thousandths of what a node offers of each of `resources`.
    overload_milli_bound: no placement has less. cost: memory requested by what moves, in MiB, times its move-cost;
    cost_bound: of any plan of least overload. gap_of: what is not proven: overload or cost, empty where all is; it may
    be less by at most gap_milli, thousandths of it. notes: what a reader must know.
    """

    method: str
    load: str
    resources: list[str]
    target_milli: int
    loads: list[LoadGain] = msgspec.field(default_factory=list)
    overload_milli_bound: int = 0
    cost: int = 0
    cost_bound: int = 0
    gap_of: str = ""
    gap_milli: int = 0
    notes: list[str] = msgspec.field(default_factory=list)


class Unplaced(Kube, frozen=True, kw_only=True):
    """A pod that the plan leaves without a place: impossible (proven) or undecided, and why."""

    pod: str
    verdict: str
    why: str


class PlanBudget(Kube, frozen=True, kw_only=True):
    """What the plan asks of the disruption budget."""

    evictions: int = 0


class PlanSpec(Kube, frozen=True, kw_only=True):
    """What was decided; fixed but for mode, approved and stopped."""

    mode: Mode
    order: str
    purpose: str
    summary: str
    verdict: str
    snapshot: SnapshotRef
    steps: list[StepSpec]
    gains: list[Gain] = msgspec.field(default_factory=list)
    unplaced: list[Unplaced] = msgspec.field(default_factory=list)
    rebalance: Rebalance | None = None
    budget: PlanBudget = PlanBudget()
    moves_verdict: str = ""
    approved: bool = False
    stopped: bool = False


class Condition(Kube, frozen=True, kw_only=True):
    """metav1.Condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class StepStatus(Kube, frozen=True, kw_only=True):
    """How far a step got.

    time: of the last change of state. evicted_at: when the eviction was seen or asked for; the disruption budget counts
    it. resource_version: of the pod when the eviction was decided; the eviction is valid for that version only, so a
    later leader can void it; for a gated pod, when its release was decided. known: young pods of the same owner on the
    planned node before the eviction, which are not its replacement. replacement, replacement_uid: the pod that is.
    """

    index: int
    state: State
    time: str = ""
    message: str = ""
    attempts: int = 0
    retry_at: str = ""
    evicted_at: str = ""
    resource_version: str = ""
    known: list[str] = msgspec.field(default_factory=list)
    replacement: str = ""
    replacement_uid: str = ""


class PlanStatus(Kube, frozen=True, kw_only=True):
    """How far the plan got."""

    phase: Phase = "Proposed"
    progress: str = ""
    message: str = ""
    conditions: list[Condition] = msgspec.field(default_factory=list)
    steps: list[StepStatus] = msgspec.field(default_factory=list)
    reservations: list[Reservation] = msgspec.field(default_factory=list)
    observed_generation: int = 0
    started_at: str = ""
    finished_at: str = ""


class PlanMetadata(Kube, frozen=True, kw_only=True):
    """metadata of a Plan."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None


NO_SPEC = PlanSpec(
    mode="observe", order="", purpose="", summary="", verdict="", snapshot=SnapshotRef(), steps=[]
)  # of a watch's bookmark, which has metadata only


class Plan(Kube, frozen=True, kw_only=True):
    """A Plan object."""

    spec: PlanSpec = NO_SPEC
    metadata: PlanMetadata = PlanMetadata()
    status: PlanStatus = PlanStatus()
    api_version: str = API_VERSION
    kind: str = "Plan"

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def is_finished(self) -> bool:
        """Whether its phase is final."""
        return self.status.phase in FINISHED


_decoder = msgspec.json.Decoder(Plan)


def decode_plan(data: bytes) -> Plan:
    """A Plan from the API server's JSON; msgspec.ValidationError where it is none."""
    return _decoder.decode(data)


def encode_plan(plan: Plan) -> bytes:
    """The JSON of a Plan; apiVersion, kind and what a validation rule looks at are always written."""
    body: dict[str, Any] = msgspec.to_builtins(plan)
    body["apiVersion"], body["kind"] = API_VERSION, "Plan"
    body.setdefault("spec", {}).setdefault("steps", [])
    body.setdefault("status", {}).setdefault("phase", plan.status.phase)
    body["status"].setdefault("reservations", [])
    body["status"].setdefault("steps", [])
    for step in body["spec"]["steps"]:
        step.setdefault("roomIsFree", True)
    return msgspec.json.encode(body)


def stamp(seconds: float) -> str:
    """RFC 3339 of a Unix time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(text: str | None) -> float | None:
    """Unix time of an RFC 3339 text; None for an empty or broken one."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def with_condition(
    status: PlanStatus, type_: str, value: Literal["True", "False", "Unknown"], reason: str, message: str, now: float
) -> PlanStatus:
    """The status with this condition set; its transition time changes only with its value."""
    old = next((c for c in status.conditions if c.type == type_), None)
    if old is not None and (old.status, old.reason, old.message) == (value, reason, message):
        return status
    since = old.last_transition_time if old is not None and old.status == value else stamp(now)
    new = Condition(
        type=type_,
        status=value,
        reason=reason,
        message=message[:1000],
        last_transition_time=since,
        observed_generation=status.observed_generation,
    )
    rest = [c for c in status.conditions if c.type != type_]
    return msgspec.structs.replace(status, conditions=[*rest, new])


def condition(status: PlanStatus, type_: str) -> Condition | None:
    """The condition of this type."""
    return next((c for c in status.conditions if c.type == type_), None)
