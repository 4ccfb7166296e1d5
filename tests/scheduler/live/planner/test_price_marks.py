"""Price annotations: a step at a time, few writes, none over what a person wrote."""

from __future__ import annotations

import pytest

from scheduler.live.kube_objects import PRICE_ANNOTATION, PRICE_NOTE
from scheduler.live.planner.price_marks import (
    MOST_MILLI,
    PriceRules,
    decide_prices,
    move_price,
    own_price,
    price_annotations,
)

RULES = PriceRules(pace=0.5, step=0.05, least_milli=10)
NOTHING: dict[str, str] = {}


def ours(price: int) -> dict[str, str]:
    return {key: text for key, text in price_annotations(price).items() if text is not None}


@pytest.mark.parametrize(("last", "price", "then"), [
    (0, 0.0, 0),
    (0, 2.0, 1000),
    (1000, 2.0, 1500),
    (1950, 2.0, 1950),  # a step away
    (1880, 2.0, 2000),  # half the way would leave a step: the whole way at once
    (2000, 0.0, 1000),
    (1, 0.0, 0),
    (0, 0.009, 0),  # next to nothing is nothing
    (0, 0.012, 12),
    (0, 1e300, MOST_MILLI // 2),
])  # fmt: skip
def test_a_price_goes_half_the_way_and_stops_a_step_before(last: int, price: float, then: int) -> None:
    assert move_price(last, price, RULES) == then


@pytest.mark.parametrize("start", [0, 1, 7, 1000, 123_456_789])
@pytest.mark.parametrize("price", [0.0, 0.003, 0.5, 1.0, 77.7])
def test_a_price_that_stays_is_soon_written_no_more(start: int, price: float) -> None:
    last, writes = start, 0
    while (new := move_price(last, price, RULES)) != last:
        last, writes = new, writes + 1
        assert writes < 40
    target = round(price * 1000) if price >= 0.01 else 0
    assert abs(last - target) <= 0.05 * max(last, target)


def test_what_a_person_wrote_is_left_alone() -> None:
    assert own_price(NOTHING) == 0
    assert own_price(ours(70)) == 70
    changed, odd = ours(70) | {PRICE_ANNOTATION: "71"}, {PRICE_ANNOTATION: "x", PRICE_NOTE: "x"}
    for theirs in ({PRICE_ANNOTATION: "70"}, changed, odd):
        assert own_price(theirs) is None
    marks = decide_prices({"a": NOTHING, "b": {PRICE_ANNOTATION: "5"}, "c": ours(50)}, {"a": 1.0, "b": 1.0}, RULES)
    assert marks.changed == {"a": 500}
    assert marks.foreign == ["b"]


def test_the_largest_changes_come_first_and_a_node_without_a_price_of_the_round_keeps_its_own() -> None:
    nodes = {"a": NOTHING, "b": ours(4000), "c": NOTHING, "d": ours(900), "cordoned": ours(3)}
    marks = decide_prices(nodes, {"a": 1.0, "b": 0.0, "c": 3.0, "d": 0.9, "gone": 9.0}, RULES)
    assert list(marks.changed.items()) == [("b", 2000), ("c", 1500), ("a", 500)]
    assert marks.last == {"a": 0, "b": 4000, "c": 0, "d": 900}


def test_who_only_observes_goes_on_from_what_would_be_there() -> None:
    marks = decide_prices({"a": NOTHING, "b": NOTHING}, {"a": 2.0, "b": 2.0}, RULES, {"a": 1000})
    assert marks.changed == {"b": 1000, "a": 1500}


def test_a_price_of_nothing_takes_both_annotations_off() -> None:
    assert price_annotations(0) == {PRICE_ANNOTATION: None, PRICE_NOTE: None}
    assert price_annotations(12) == {PRICE_ANNOTATION: "12", PRICE_NOTE: "12"}
