"""What a pod demands of a node besides resources, as small checked values that many pods share.

Kubernetes' taints, selectors and node affinity keep Kubernetes' meaning (v1.36); the machine constraints of cluster
traces are kept apart, because they compare differently. A rule is asked about one value, or None where the node lacks
the key; `feasibility` asks once per distinct value, not once per node.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from scheduler.core.errors import StowageInputError

Effect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
SelectorOperator = Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
ConstraintOperator = Literal[
    "EQUAL", "NOT_EQUAL", "LESS", "GREATER", "LESS_EQUAL", "GREATER_EQUAL", "PRESENT", "NOT_PRESENT"
]
NAME_FIELD: Final = "metadata.name"


def _check(value: str, allowed: object, what: str) -> None:
    if value not in (choices := get_args(allowed)):
        raise StowageInputError(f"{what} {value!r} is none of {', '.join(choices)}")


@dataclass(frozen=True, slots=True)
class Taint:
    """A mark on a node that keeps pods away unless they tolerate it; PreferNoSchedule keeps nobody away."""

    key: str
    value: str = ""
    effect: Effect = "NoSchedule"

    def __post_init__(self) -> None:
        _check(self.effect, Effect, f"the effect of taint {self.key!r}:")

    def __str__(self) -> str:
        return f"{self.key}{'=' if self.value else ''}{self.value}:{self.effect}"


UNSCHEDULABLE: Final = Taint("node.kubernetes.io/unschedulable")


@dataclass(frozen=True, slots=True)
class Toleration:
    """Which taints a pod accepts; an empty key or effect stands for any.

    Source: k8s.io/api v0.36.2, core/v1/toleration.go ToleratesTaint, without the operators Lt and Gt (alpha, off).
    """

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: str = ""

    def __post_init__(self) -> None:
        _check(self.operator, Literal["Equal", "Exists"], f"the operator of toleration {self.key!r}:")
        if self.effect:
            _check(self.effect, Effect, f"the effect of toleration {self.key!r}:")
        if not self.key and self.operator != "Exists":
            raise StowageInputError("a toleration without a key must use the operator Exists")

    def tolerates(self, taint: Taint) -> bool:
        """Whether this toleration accepts that taint."""
        if self.effect not in ("", taint.effect) or self.key not in ("", taint.key):
            return False
        return self.operator == "Exists" or self.value == taint.value


@dataclass(frozen=True, slots=True)
class Expression:
    """One requirement on a node label (or, in a term's fields, on its name).

    Source: k8s.io/apimachinery v0.36.2, pkg/labels/selector.go NewRequirement and Matches.
    """

    key: str
    operator: SelectorOperator
    values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self.operator, SelectorOperator, f"the operator on label {self.key!r}:")
        if self.operator in ("In", "NotIn") and not self.values:
            raise StowageInputError(f"{self} needs at least one value")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise StowageInputError(f"{self} takes no values")
        if self.operator in ("Gt", "Lt") and (len(self.values) != 1 or _integer(self.values[0]) is None):
            raise StowageInputError(f"{self} needs exactly one integer")

    def __str__(self) -> str:
        return f"{self.key} {self.operator}{' (' + ', '.join(self.values) + ')' if self.values else ''}"

    def holds(self, value: str | None) -> bool:
        """Whether a node whose label has this value, or None for no such label, meets the requirement."""
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        number, bound = _integer(value), _integer(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "Gt" else number < bound


@dataclass(frozen=True, slots=True)
class Term:
    """One alternative of a node affinity: all expressions and fields must hold; a term without any matches no node."""

    expressions: tuple[Expression, ...] = ()
    fields: tuple[Expression, ...] = ()

    def __post_init__(self) -> None:
        for one in self.fields:
            if one.key != NAME_FIELD or one.operator not in ("In", "NotIn"):
                raise StowageInputError(f"{one}: a field requirement is {NAME_FIELD} with In or NotIn")

    def __str__(self) -> str:
        return " and ".join(map(str, self.expressions + self.fields)) or "nothing"


@dataclass(frozen=True, slots=True)
class Constraint:
    """A machine constraint of a cluster trace (Google 2011 and 2019).

    EQUAL and NOT_EQUAL compare text, the orders compare numbers, PRESENT and NOT_PRESENT ignore the value: so the
    comments of MachineConstraint in clusterdata_trace_format_v3.proto. What it leaves open we settle so: no attribute
    is the same as an attribute without a value, on either side, and so is the empty text; hence EQUAL without a value
    asks for a machine without one, and NOT_EQUAL to a value accepts a machine without one. An order never holds
    where either side is no number.
    """

    attribute: str
    operator: ConstraintOperator
    value: str | None = None

    def __post_init__(self) -> None:
        _check(self.operator, ConstraintOperator, f"the operator on attribute {self.attribute!r}:")

    @property
    def key(self) -> str:
        """The attribute's name."""
        return self.attribute

    def __str__(self) -> str:
        value = "" if self.operator in ("PRESENT", "NOT_PRESENT") else f" {self.value or 'no value'}"
        return f"{self.attribute} {self.operator}{value}"

    def holds(self, value: str | None) -> bool:
        """Whether a machine whose attribute has this value, or None for no such attribute, meets the constraint."""
        match self.operator:
            case "PRESENT":
                return value is not None
            case "NOT_PRESENT":
                return value is None
            case "EQUAL":
                return (value or None) == (self.value or None)
            case "NOT_EQUAL":
                return (value or None) != (self.value or None)
        left, right = _number(value), _number(self.value)
        if left is None or right is None:
            return False
        if self.operator in ("LESS", "LESS_EQUAL"):
            return left < right or (self.operator == "LESS_EQUAL" and left == right)
        return left > right or (self.operator == "GREATER_EQUAL" and left == right)


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything a pod demands of a node besides resources; the default accepts any untainted node.

    selector: (label, value) pairs, all of which must hold. affinity: alternatives, one of which must hold; None: no
    demand. gpu_models: the models it can use; None: any.
    """

    selector: tuple[tuple[str, str], ...] = ()
    affinity: tuple[Term, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    gpu_models: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.gpu_models is not None and not all(self.gpu_models):
            raise StowageInputError(f"a GPU model has no name: {self.gpu_models}")

    def untolerated(self, taints: tuple[Taint, ...]) -> Taint | None:
        """The first of the taints that keeps this pod away, if any."""
        for taint in taints:
            if taint.effect != "PreferNoSchedule" and not any(one.tolerates(taint) for one in self.tolerations):
                return taint
        return None


def _integer(text: str | None) -> int | None:
    """What Go's strconv.ParseInt(text, 10, 64) takes for an integer."""
    if text is None or not re.fullmatch(r"[+-]?[0-9]+", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number == number else None  # not a number compares with nothing
