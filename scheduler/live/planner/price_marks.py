"""Which nodes get which price annotation, from what a round found them to cost: the decision, without its writes.

A price moves part of the way from the last one to the new one, so that one odd round does not send every pod elsewhere,
and is written only when it has moved by more than a step. All that is remembered stands in the annotations: a restart
or another leader goes on from there. Beside the price stands who set it; a price that a person wrote, or changed, has
no such note (or another figure in it) and is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from scheduler.live.kube_objects import PRICE_ANNOTATION, PRICE_NOTE

MILLI: Final = 1_000
MOST_MILLI: Final = 10**12
"""Above it a price says no more, and 15 digits are what the extender reads."""


@dataclass(frozen=True, slots=True)
class PriceRules:
    """pace: share of the way to the new price that one round goes, in (0, 1]. step: least change that is written, as a
    share of the larger of the two. least_milli: below it a price is none."""

    pace: float = 0.5
    step: float = 0.05
    least_milli: int = 10


@dataclass(slots=True)
class PriceMarks:
    """changed: new price by node, 0 for none, largest change first. last: of all nodes that are ours, before."""

    changed: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)


def decide_prices(
    annotations: Mapping[str, Mapping[str, str]],
    prices: Mapping[str, float],
    rules: PriceRules,
    observed: Mapping[str, int] | None = None,
) -> PriceMarks:
    """The prices that nodes ought to get now.

    annotations: of every node. prices: what a round found, in its currency; a node without one keeps what it has.
    observed: what nodes would carry in place of their annotations, for a planner that only observes.
    """
    out = PriceMarks()
    for name in sorted(prices.keys() & annotations.keys()):
        last = own_price(annotations[name])
        if last is None:
            out.foreign.append(name)
            continue
        if observed is not None:
            last = observed.get(name, 0)
        out.last[name] = last
        new = move_price(last, prices[name], rules)
        if new != last:
            out.changed[name] = new
    out.changed = dict(sorted(out.changed.items(), key=lambda one: (-abs(one[1] - out.last[one[0]]), one[0])))
    return out


def own_price(annotations: Mapping[str, str]) -> int | None:
    """The price that we wrote, in thousandths; 0 where there is none, None where somebody else set one."""
    text = annotations.get(PRICE_ANNOTATION)
    if text is None:
        return 0
    if text != annotations.get(PRICE_NOTE) or not (text.isascii() and text.isdigit() and len(text) <= 15):
        return None
    return int(text)


def move_price(last: int, price: float, rules: PriceRules) -> int:
    """The next price in thousandths: on the way from `last` to `price`, or `last` where that is a step away at most."""
    target = min(round(price * MILLI), MOST_MILLI)
    if target < rules.least_milli:
        target = 0
    if abs(target - last) <= rules.step * max(target, last):
        return last
    new = round(last + (target - last) * rules.pace)
    if abs(target - new) <= max(rules.step * max(target, new), 1) or new < rules.least_milli:
        return target  # the last bit of the way would be one write more
    return new


def price_annotations(price_milli: int) -> dict[str, str | None]:
    """The annotations that say a price of ours; None takes them off."""
    text = str(price_milli) if price_milli else None
    return {PRICE_ANNOTATION: text, PRICE_NOTE: text}
