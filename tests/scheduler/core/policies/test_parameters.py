"""What of a planner can be set: numbers in a range, or one of some words; everything else is refused."""

from __future__ import annotations

import pytest

from scheduler.core.errors import StowageInputError
from scheduler.core.policies import get_policy, policy_names
from scheduler.core.policies.parameters import MIGRATION, Parameter, read_settings

NODES = Parameter("nodes", 5, "How many.", "nodes", 2, 10, is_whole=True)
HOW = Parameter("how", "here", "Where.", choices=("here", "there"))


def test_what_is_not_given_has_its_default() -> None:
    assert read_settings("p", (NODES, HOW), [("how", "there")]) == {"nodes": 5, "how": "there"}
    assert read_settings("p", (), []) == {}


@pytest.mark.parametrize("text", ["1", "11", "2.5", "nan", "inf", "", "two"])
def test_a_number_outside_its_range_is_refused_with_it(text: str) -> None:
    with pytest.raises(StowageInputError, match=rf"nodes is '{text}'; it is whole 2 to 10 nodes"):
        read_settings("p", (NODES,), [("nodes", text)])


def test_a_word_that_is_no_choice_is_refused_with_the_choices() -> None:
    with pytest.raises(StowageInputError, match="how is 'away'; it is one of here, there"):
        read_settings("p", (HOW,), [("how", "away")])


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(StowageInputError, match=r"p has no parameter 'k': it has nodes .* \[5\]; how .* \[here\]"):
        read_settings("p", (NODES, HOW), [("k", "1")])


def test_a_default_that_may_not_be_set_is_refused() -> None:
    with pytest.raises(StowageInputError, match="nodes is '1'"):
        Parameter("nodes", 1, "How many.", "nodes", 2, 10)


def test_every_policy_that_migrates_can_be_told_how() -> None:
    names = {one.name for one in MIGRATION}
    for name in policy_names():
        policy = get_policy(name)
        own = [one.name for one in policy.parameters]
        assert len(set(own)) == len(own)
        assert names <= set(own) or policy.planner not in ("rebalance", "agents", "freeness")
