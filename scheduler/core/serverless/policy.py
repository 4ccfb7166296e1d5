"""What a keep-alive policy is: when a function's pod stays loaded while nobody calls it.

A subject is what is loaded as one: a function, or an application with all its functions. Whenever a subject falls idle
its policy names windows of idle time, counted from there: in a window [first, last) a pod is loaded and ready. A call
after an idle time inside a window is warm, any other is a cold start. A window at 0 never unloads; a later one is a
pre-warm, and its pod is loaded a lead before `first`, which is paid for like idle time.

A policy decides from what it is told: facts of the subject, and its own state, which `learn` brings up to date with
every idle time that ended. `horizon_us` only spares work: windows whose lead begins after it need not be named, and
what is named before it must not depend on it. Only a clairvoyant policy reads it for what it is: the length of the
idle time.

A cache is a policy of another kind: pods stay until memory runs short, and then its `priority` says which go first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from numpy import float64, int64
from numpy.typing import NDArray

from scheduler.core.errors import StowageInputError
from scheduler.core.taxonomy import UNDECLARED, Taxonomy

DECIDE_SIGNATURE: Final = "int64(float64[::1], float64[:, ::1], int64[:, ::1], int64, int64, int64, int64[:, ::1])"
"""`decide(settings, facts, state, subject, since_us, horizon_us, windows)`: how many windows were written.

settings: (P,) the policy's parameters in order. facts: (S, F), columns TRIGGER, MEMORY_GIB, COLD_US. state: (S, W), a
row per subject. since_us: when the idle time began. windows: (n, 2) to write
[first, last) idle microseconds into, ascending and apart; a policy that has more names the first n.
"""

LEARN_SIGNATURE: Final = "void(float64[::1], float64[:, ::1], int64[:, ::1], int64, int64, int64)"
"""`learn(settings, facts, state, subject, now_us, idle_us)`: a call came after `idle_us` idle; -1 the first."""

PRIORITY_SIGNATURE: Final = "float64(float64[::1], float64[:, ::1], int64, float64, int64)"
"""`priority(settings, facts, subject, clock, calls)`: the lowest goes first.

clock: the highest priority evicted so far. calls: of the subject, since its pod was loaded.
"""

TRIGGER, MEMORY_GIB, COLD_US = 0, 1, 2
FACTS: Final = 3

# Groups a trigger belongs to; the position is the code in facts. Names are Azure's; Huawei's are sorted in by kind.
TRIGGERS: Final = ("timer", "http", "queue", "event", "storage", "orchestration", "others")
_KINDS: Final = (
    ("timer", "timer"), ("workflow", "orchestration"), ("orchestration", "orchestration"), ("apig", "http"),
    ("http", "http"), ("obs", "storage"), ("storage", "storage"), ("queue", "queue"), ("kafka", "queue"),
    ("smn", "queue"), ("event", "event"), ("cts", "event"), ("lts", "event"), ("dis", "event"),
)  # fmt: skip

MINUTE_US: Final = 60_000_000
MAX_WINDOWS: Final = 32

Unit = Literal["duration", "memory", "share", "number", "count"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One setting of a policy; a duration is in microseconds."""

    name: str
    unit: Unit
    default: float
    help: str
    low: float = 0.0
    high: float = float("inf")


@dataclass(frozen=True, slots=True)
class Sweep:
    """The parameter that trades idle memory for cold starts, and the range worth trying, in equal ratios."""

    parameter: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ServerlessPolicy:
    """A way to decide how long pods stay loaded.

    decide, learn: plain functions that compile with the signatures above; learn None: nothing is learnt. state_width:
    columns of the state. clairvoyant: reads the horizon as the future. sweep: None where no one parameter
    trades memory for cold starts. priority: of a cache, in place of `decide`; the
    first parameter of a cache is its memory in MiB.
    """

    name: str
    summary: str
    parameters: tuple[Parameter, ...]
    decide: Callable[..., int] | None
    learn: Callable[..., None] | None = None
    state_width: int = 0
    clairvoyant: bool = False
    sweep: Sweep | None = None
    priority: Callable[..., float] | None = None
    taxonomy: Taxonomy = UNDECLARED

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise StowageInputError(f"policy name {self.name!r} is not lower-case words joined by hyphens")
        if (self.decide is None) == (self.priority is None):
            raise StowageInputError(f"policy {self.name} either decides windows or has priorities")

    def settings(self, given: Mapping[str, float]) -> tuple[float, ...]:
        """Every parameter in order, the default where it is not given; StowageInputError lists all that is wrong."""
        known = {parameter.name: parameter for parameter in self.parameters}
        wrong = [
            f"policy {self.name} has no parameter {name!r} (it has {', '.join(known) or 'none'})"
            for name in given
            if name not in known
        ]
        for name in given.keys() & known.keys():
            parameter = known[name]
            if not parameter.low <= given[name] <= parameter.high:
                wrong.append(f"{name} of policy {self.name} is {_range(parameter)}, not {given[name]:g}")
        if wrong:
            raise StowageInputError("; ".join(sorted(wrong)))
        return tuple(float(given.get(parameter.name, parameter.default)) for parameter in self.parameters)


def _range(parameter: Parameter) -> str:
    unit = " us" if parameter.unit == "duration" else ""
    if parameter.high == float("inf"):
        return f"at least {parameter.low:g}{unit}"
    return f"from {parameter.low:g} to {parameter.high:g}{unit}"


def trigger_group(trigger: str | None) -> int:
    """The code of the group a published trigger belongs to, by the first word that tells; "others" if none does."""
    text = (trigger or "").lower()
    return TRIGGERS.index(next((group for word, group in _KINDS if word in text), "others"))


def learn_nothing(
    settings: NDArray[float64],
    facts: NDArray[float64],
    state: NDArray[int64],
    subject: int,
    now_us: int,
    idle_us: int,
) -> None:
    """What a policy that learns nothing learns."""


def compiled_callback(function: Callable[..., Any], signature: str) -> Any:
    """A policy's function as a first-class compiled one, so that one loop serves all; kept in numba's cache."""
    from numba import cfunc

    try:
        return cfunc(signature, cache=True, nopython=True, error_model="numpy")(function)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        return cfunc(signature, nopython=True, error_model="numpy")(function)
