"""Annotations of namespaces and pods as terms of a round: what cannot be read is told and counts as not written."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.core.snapshot import Pod
from scheduler.live.kube_objects import LiveNamespace
from scheduler.live.planner.price_terms import Fault, read_terms
from scheduler.live.planner.world import PodView

BAD = ["", " ", "many", "nan", "NaN", "inf", "-inf", "1e999", "-1", "-0.5", "1_000", "0x10", "1,5", "2 apples",
       "\u0664", "1" * 400, "1e10"]  # fmt: skip


def a_namespace(name: str, **annotations: str) -> LiveNamespace:
    """annotations: weight, budget."""
    written = {f"stowage.dev/auction-{key}": text for key, text in annotations.items()}
    return msgspec.convert({"metadata": {"name": name, "uid": f"uid-{name}", "annotations": written}}, LiveNamespace)


def a_pod(name: str, bid: str | None = None) -> PodView:
    return PodView(Pod(name=name, uid=f"uid-{name}", annotations={} if bid is None else {"stowage.dev/bid": bid}))


def test_what_is_written_well_is_taken() -> None:
    shop = a_namespace("shop", weight="2.5", budget="1e3")
    pods = [a_pod("p", " 0.5 "), a_pod("q"), a_pod("r", "0")]
    terms, faults = read_terms(pods, {"shop": shop, "lab": a_namespace("lab")})
    assert terms.pods == {"default/p", "default/q", "default/r"}
    assert terms.bids == {"default/p": 0.5, "default/r": 0.0}
    assert terms.weights == {"shop": 2.5}
    assert terms.budgets == {"shop": 1000.0}
    assert faults == []


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_is_told_and_left_out(text: str) -> None:
    spaces = {"shop": a_namespace("shop", weight=text, budget=text), "lab": a_namespace("lab", weight="2")}
    terms, faults = read_terms([a_pod("p", text)], spaces)
    assert (terms.bids, terms.weights, terms.budgets) == ({}, {"lab": 2.0}, {})
    assert [(one.namespace, one.pod, one.uid) for one in faults] == [
        ("default", "p", "uid-p"), ("shop", "", "uid-shop"), ("shop", "", "uid-shop"),
    ]  # fmt: skip
    for what, fault in zip(("bid", "auction-weight", "auction-budget"), faults, strict=True):
        assert fault.text.startswith(f"stowage.dev/{what}: ")
        assert "is ignored: a " in fault.text
        assert len(fault.text) < 200


def test_a_weight_of_nothing_is_refused_and_a_budget_of_nothing_is_not() -> None:
    terms, faults = read_terms([], {"shop": a_namespace("shop", weight="0", budget="0")})
    assert terms.budgets == {"shop": 0.0}
    assert faults == [Fault("shop", "", "uid-shop", "stowage.dev/auction-weight: '0' is ignored: a weight is above 0")]
