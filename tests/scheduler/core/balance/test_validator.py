"""The validator: for every rule a placement that it allows and one that it does not, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from scheduler.core.balance.problem import Objective
from scheduler.core.balance.validator import broken_rules, measure
from tests.scheduler.core.balance.instances import an_instance

INSTANCE = an_instance(
    [(10, 10), (10, 5), (2, 2)],
    [
        {"use": (4, 2), "home": 0, "cost": 7, "group": 0},
        {"use": (4, 2), "home": 1, "cost": 5, "group": 0},
        {"use": (1, 1), "home": 0, "cost": 3, "pinned": True},
        {"use": (1, 1), "home": 0, "cost": 2, "mask": 1},
        {"use": (1, 1), "priority": 4},
    ],
    allowed=[[True, True, True], [True, False, True]],
)


def placed(*at):
    return np.array(at, np.int32)


@pytest.mark.parametrize(
    ("at", "rule"),
    [
        (placed(0, 1, 0, 0, -1), None),
        (placed(0, 1, 0, 2, 1), None),
        (placed(1, 1, 0, 0, -1), "t0, t1 ask for different nodes and meet on n1"),
        (placed(2, 1, 0, 0, -1), "task t0 asks for more cpu than node n2 has"),
        (placed(0, 1, 1, 0, -1), "task t2 is pinned and was moved"),
        (placed(0, 1, 0, 1, -1), "task t3 may not use node n1"),
        (placed(0, 1, 0, -1, -1), "task t3 ran and has no place"),
        (placed(0, 1, 0, 3, -1), "task t3 is on row 3; there are 3 nodes"),
        (placed(0, 1), "a placement of shape (2,) is not one of 5 tasks"),
    ],
)
def test_a_rule_that_is_broken_is_named(at, rule):
    assert broken_rules(INSTANCE, at)[:1] == ([] if rule is None else [rule])


def test_the_four_parts_by_hand():
    # n0: 5/10 and 3/10 used, n1: 4/10 and 2/5, n2: 2/2 and 2/2
    assert measure(INSTANCE, placed(0, 1, 0, 2, 2)) == Objective(0, 0, 2, 200_000 + 0 + 0)
    crowded = an_instance([(4, 8)], [{"use": (6, 2), "home": 0}, {"use": (1, 1), "priority": 2}])
    assert measure(crowded, placed(0, -1)) == Objective(500_000_000_000, 3, 0, 750_000)
