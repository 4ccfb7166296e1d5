"""Rules keep the meaning of their sources: Kubernetes' for labels and taints, the traces' for machine attributes."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.core.errors import StowageInputError
from scheduler.core.rules import Constraint, Expression, Rules, Taint, Term, Toleration

HOLDS: list[tuple[Expression | Constraint, dict[str | None, bool]]] = [
    (Expression("zone", "In", ("a", "b")), {"a": True, "b": True, "c": False, "": False, None: False}),
    (Expression("zone", "NotIn", ("a", "b")), {"a": False, "c": True, "": True, None: True}),
    (Expression("zone", "Exists"), {"a": True, "": True, None: False}),
    (Expression("zone", "DoesNotExist"), {"a": False, "": False, None: True}),
    (Expression("cores", "Gt", ("8",)), {"9": True, "8": False, "10": True, "+9": True, "x": False, None: False}),
    (Expression("cores", "Lt", ("8",)), {"7": True, "8": False, "-9": True, "7.5": False, "": False, None: False}),
    (Expression("cores", "Gt", ("0",)), {"9223372036854775807": True, "9223372036854775808": False, "1_000": False}),
    (Constraint("x", "EQUAL", "3"), {"3": True, "3.0": False, "": False, None: False}),
    (Constraint("x", "EQUAL"), {"3": False, "": True, None: True}),
    (Constraint("x", "EQUAL", ""), {"3": False, "": True, None: True}),
    (Constraint("x", "NOT_EQUAL", "3"), {"3": False, "4": True, "": True, None: True}),
    (Constraint("x", "NOT_EQUAL"), {"3": True, "": False, None: False}),
    (Constraint("x", "LESS", "3"), {"2.9": True, "3": False, "-1": True, "k=": False, "": False, None: False}),
    (Constraint("x", "GREATER", "3"), {"4": True, "3": False, "10": True, None: False}),
    (Constraint("x", "LESS_EQUAL", "3"), {"3": True, "3.0": True, "4": False, None: False}),
    (Constraint("x", "GREATER_EQUAL", "3"), {"3": True, "2": False, "nan": False, None: False}),
    (Constraint("x", "LESS", "hash="), {"2": False, "hash=": False, None: False}),
    (Constraint("x", "GREATER"), {"2": False, "": False, None: False}),
    (Constraint("x", "PRESENT", "3"), {"4": True, "": True, None: False}),
    (Constraint("x", "NOT_PRESENT", "3"), {"3": False, "": False, None: True}),
]


@pytest.mark.parametrize(("rule", "answers"), HOLDS, ids=[str(rule) for rule, _ in HOLDS])
def test_a_rule_holds_for_the_values_its_source_says(
    rule: Expression | Constraint, answers: dict[str | None, bool]
) -> None:
    assert {value: rule.holds(value) for value in answers} == answers


TAINT = Taint("team", "red", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "accepts"),
    [
        (Toleration("team", value="red"), True),
        (Toleration("team", value="blue"), False),
        (Toleration("team", "Exists"), True),
        (Toleration("color", "Exists"), False),
        (Toleration("", "Exists"), True),
        (Toleration("team", "Exists", effect="NoExecute"), False),
        (Toleration("team", value="red", effect="NoSchedule"), True),
    ],
)
def test_a_toleration_accepts_the_taints_kubernetes_says(toleration: Toleration, accepts: bool) -> None:
    assert toleration.tolerates(TAINT) is accepts


def test_every_taint_but_a_preference_needs_a_toleration() -> None:
    taints = (Taint("soft", effect="PreferNoSchedule"), TAINT, Taint("gone", effect="NoExecute"))
    assert Rules().untolerated(taints) == TAINT
    assert Rules(tolerations=(Toleration("team", "Exists"),)).untolerated(taints) == taints[2]
    assert Rules(tolerations=(Toleration("", "Exists"),)).untolerated(taints) is None


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Expression("zone", "In"), "needs at least one value"),
        (lambda: Expression("zone", "Exists", ("a",)), "takes no values"),
        (lambda: Expression("cores", "Gt", ("many",)), "needs exactly one integer"),
        (lambda: Expression("cores", "Lt", ("1", "2")), "needs exactly one integer"),
        (lambda: Expression("zone", "Like", ("a",)), "'Like' is none of In, NotIn"),  # type: ignore[arg-type]
        (lambda: Constraint("x", "ABOUT", "3"), "'ABOUT' is none of EQUAL"),  # type: ignore[arg-type]
        (lambda: Taint("k", effect="Maybe"), "'Maybe' is none of NoSchedule"),  # type: ignore[arg-type]
        (lambda: Toleration("k", effect="Maybe"), "'Maybe' is none of NoSchedule"),
        (lambda: Toleration("k", "Gt"), "'Gt' is none of Equal, Exists"),  # type: ignore[arg-type]
        (lambda: Toleration(""), "must use the operator Exists"),
        (lambda: Term(fields=(Expression("spec.x", "In", ("a",)),)), "metadata.name with In or NotIn"),
        (lambda: Rules(gpu_models=("A100", "")), "has no name"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(build: Any, message: str) -> None:
    with pytest.raises(StowageInputError, match=message):
        build()
