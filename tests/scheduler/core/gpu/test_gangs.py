from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.errors import StowageInputError
from scheduler.core.gpu.gangs import (
    NOBODY,
    Gang,
    GangNodes,
    NoRoom,
    Placed,
    lose_members,
    lost_nodes,
    place_gang,
    release_reserved,
    replace_members,
    reserve_lost,
)
from scheduler.core.gpu.hazard import MEASURED


def some_nodes(count: int = 0, **columns: Any) -> GangNodes:
    """Nodes n00, n01, ... of 8 GPUs, one leaf and one NIC type unless said otherwise; `nic="aab"` is a column."""
    count = count or max(len(column) for column in columns.values())
    spread = {name: np.array(list(columns.get(name, "a" * count))) for name in ("nic", "leaf")}
    return GangNodes(
        np.array([f"n{i:02}" for i in range(count)]),
        np.array(columns.get("gpus", [8] * count), np.int64),
        spread,
        np.array(columns.get("held_for", [""] * count), dtype="U8"),
    )


def a_gang(groups: int = 1, group_size: int = 1, **changes: Any) -> Gang:
    return Gang(**{"name": "g", "groups": groups, "group_size": group_size, "gpus": 8, **changes})


def names(nodes: GangNodes, found: Placed | NoRoom) -> list[list[str]]:
    assert isinstance(found, Placed), found
    return [["" if row == NOBODY else str(nodes.name[row]) for row in group] for group in found.rows]


def test_the_nodes_with_the_least_risk_are_taken_ties_by_name() -> None:
    nodes = some_nodes(5)
    found = place_gang(a_gang(1, 3), nodes, np.array([0.0, 3.0, 1.0, 1.0, 1.0]))
    assert names(nodes, found) == [["n00", "n02", "n03"]]


def test_a_group_never_straddles_nic_types_but_the_gang_may() -> None:
    nodes = some_nodes(nic="abababbb")
    assert names(nodes, place_gang(a_gang(2, 3), nodes, np.zeros(8))) == [["n00", "n02", "n04"], ["n01", "n03", "n05"]]
    refused = place_gang(a_gang(1, 6), nodes, np.zeros(8))
    assert isinstance(refused, NoRoom)
    assert "0 of 1 groups of 6 x 8 GPUs fit in all without straddling nic" in refused.reason


def test_a_gang_that_must_lie_in_one_leaf_is_refused_whole_with_what_would_fit() -> None:
    nodes = some_nodes(leaf="aabbb")
    refused = place_gang(a_gang(4, 1, within="leaf"), nodes, np.zeros(5))
    assert isinstance(refused, NoRoom)
    assert (refused.groups, dict(refused.by_domain)) == (3, {"a": 2, "b": 3})
    assert names(nodes, place_gang(a_gang(3, 1, within="leaf"), nodes, np.zeros(5))) == [["n02"], ["n03"], ["n04"]]


def test_risk_weighs_by_the_size_and_length_of_the_job() -> None:
    nodes = some_nodes(8)
    just_repaired = np.array([1.0] * 4 + [np.inf] * 4)  # hours ago
    far_away = np.array([0.0] * 4 + [0.5] * 4)  # GPU hours that the caller charges for the safe nodes
    small = a_gang(1, 1, gpus=1, length_h=0.5)
    large = a_gang(1, 4, gpus=8, length_h=240.0)
    chosen = []
    for gang in (small, large):
        price = gang.price(MEASURED.expected_faults(just_repaired, gang.length_h)) + far_away
        chosen.append(names(nodes, place_gang(gang, nodes, price)))
    assert chosen == [[["n00"]], [["n04", "n05", "n06", "n07"]]]


def test_partly_broken_nodes_carry_what_needs_no_more_than_they_have_left() -> None:
    nodes = some_nodes(gpus=[8, 6, 8])
    price = np.array([2.0, 0.0, 1.0])
    assert names(nodes, place_gang(a_gang(1, 1, gpus=6), nodes, price)) == [["n01"]]
    assert names(nodes, place_gang(a_gang(1, 1, gpus=8), nodes, price)) == [["n02"]]
    running = place_gang(a_gang(1, 3, gpus=6), nodes, price)
    assert isinstance(running, Placed)
    left = np.array([8, 6, 5])
    assert lost_nodes(a_gang(1, 3, gpus=6), running, left).tolist() == [False, False, True]


@pytest.mark.parametrize("failed", range(5))
def test_any_number_of_failed_nodes_up_to_the_spares_is_replaced_in_place(failed: int) -> None:
    nodes = some_nodes(12)
    gang = a_gang(2, 4)
    placed = place_gang(gang, nodes, np.zeros(12))
    assert isinstance(placed, Placed)
    lost = np.isin(np.arange(12), [0, 3, 4, 7][:failed])
    after = replace_members(gang, lose_members(placed, lost), _without(nodes, lost), np.arange(12.0))
    assert after.missing == 0
    stayed = ~np.isin(placed.rows, np.flatnonzero(lost))
    assert (after.rows[stayed] == placed.rows[stayed]).all()
    assert sorted(after.rows[~stayed].tolist()) == [8, 9, 10, 11][:failed]


def _without(nodes: GangNodes, lost: Any) -> GangNodes:
    return GangNodes(nodes.name, np.where(lost, 0, nodes.gpus), nodes.domains, nodes.held_for)


def test_a_replacement_has_the_nic_type_of_its_group() -> None:
    nodes = some_nodes(nic="aaabbbab")
    gang = a_gang(2, 3)
    placed = place_gang(gang, nodes, np.zeros(8))
    assert isinstance(placed, Placed)
    lost = np.isin(np.arange(8), [1, 4, 5])
    after = replace_members(gang, lose_members(placed, lost), _without(nodes, lost), np.zeros(8))
    assert names(nodes, after) == [["n00", "n06", "n02"], ["n03", "n07", ""]]


def test_a_repaired_node_stays_reserved_for_its_degraded_gang() -> None:
    nodes = some_nodes(4)
    gang = a_gang(1, 4)
    placed = place_gang(gang, nodes, np.zeros(4))
    assert isinstance(placed, Placed)
    lost = np.array([False, True, False, False])
    degraded = lose_members(placed, lost)
    held = reserve_lost(nodes.held_for, gang, lost)
    repaired = GangNodes(nodes.name, nodes.gpus, nodes.domains, held)
    assert isinstance(place_gang(a_gang(1, 4, name="other"), repaired, np.zeros(4)), NoRoom)
    whole = replace_members(gang, degraded, repaired, np.zeros(4))
    assert whole.rows.tolist() == placed.rows.tolist()
    assert release_reserved(held, gang).tolist() == [""] * 4


def test_a_gang_that_lost_everything_starts_elsewhere_whole() -> None:
    nodes = some_nodes(leaf="aabb")
    gang = a_gang(2, 1, within="leaf")
    placed = place_gang(gang, nodes, np.zeros(4))
    assert isinstance(placed, Placed)
    lost = np.array([True, True, False, False])
    after = replace_members(gang, lose_members(placed, lost), _without(nodes, lost), np.zeros(4))
    assert names(nodes, after) == [["n02"], ["n03"]]


tiny = st.integers(3, 7).flatmap(
    lambda count: st.fixed_dictionaries(
        {
            "nic": st.text("ab", min_size=count, max_size=count),
            "leaf": st.text("xyz", min_size=count, max_size=count),
            "gpus": st.lists(st.sampled_from([4, 8]), min_size=count, max_size=count),
            "held_for": st.lists(st.sampled_from(["", "", "", "g", "other"]), min_size=count, max_size=count),
            "price": st.lists(st.integers(0, 9), min_size=count, max_size=count),
        }
    )
)
shapes = st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (3, 2)])
levels = st.sampled_from([(), ("nic",), ("nic", "leaf"), ("leaf",)])


def _forms_groups(gang: Gang, nodes: GangNodes, rows: tuple[int, ...]) -> bool:
    """Whether these nodes can be cut into groups that obey the rules: by trying the first node's every group."""
    if not rows:
        return True
    for others in combinations(rows[1:], gang.group_size - 1):
        group = [rows[0], *others]
        if all(len(set(nodes.domains[level][group])) == 1 for level in gang.apart):
            rest = tuple(row for row in rows if row not in group)
            if _forms_groups(gang, nodes, rest):
                return True
    return False


def _cheapest(gang: Gang, nodes: GangNodes, price: np.ndarray[Any, Any]) -> float | None:
    usable = [
        row for row in range(len(nodes.name)) if nodes.gpus[row] >= gang.gpus and nodes.held_for[row] in ("", gang.name)
    ]
    best = None
    for rows in combinations(usable, gang.members):
        if gang.within and len(set(nodes.domains[gang.within][list(rows)])) > 1:
            continue
        if _forms_groups(gang, nodes, rows):
            best = min(float(price[list(rows)].sum()), np.inf if best is None else best)
    return best


def _check_rules(gang: Gang, nodes: GangNodes, rows: np.ndarray[Any, Any]) -> None:
    held = rows[rows != NOBODY]
    assert len(set(held.tolist())) == held.size
    assert (nodes.gpus[held] >= gang.gpus).all()
    assert set(nodes.held_for[held]) <= {"", gang.name}
    for group in rows:
        for level in gang.apart:
            assert len(set(nodes.domains[level][group[group != NOBODY]])) <= 1
    if gang.within:
        assert len(set(nodes.domains[gang.within][held])) <= 1


@given(tiny, shapes, levels, st.sampled_from([None, "leaf", "nic"]), st.sampled_from([4, 8]))
def test_placed_whole_at_the_least_price_or_not_at_all(
    columns: dict[str, Any], shape: tuple[int, int], apart: tuple[str, ...], within: str | None, gpus: int
) -> None:
    price = np.array(columns.pop("price"), float)
    nodes = some_nodes(**columns)
    gang = a_gang(*shape, apart=apart, within=within, gpus=gpus)
    found, best = place_gang(gang, nodes, price), _cheapest(gang, nodes, price)
    if isinstance(found, NoRoom):
        assert best is None
        return
    assert found.missing == 0
    _check_rules(gang, nodes, found.rows)
    assert found.price == best == price[found.rows].sum()


@given(tiny, shapes, levels, st.sampled_from([None, "leaf"]), st.sets(st.integers(0, 6)))
def test_replacing_keeps_the_rules_and_uses_every_spare_that_obeys_them(
    columns: dict[str, Any], shape: tuple[int, int], apart: tuple[str, ...], within: str | None, failed: set[int]
) -> None:
    price = np.array(columns.pop("price"), float)
    nodes = some_nodes(**columns)
    gang = a_gang(*shape, apart=apart, within=within)
    placed = place_gang(gang, nodes, price)
    if isinstance(placed, NoRoom):
        return
    lost = np.isin(np.arange(len(nodes.name)), list(failed))
    left, nodes = lose_members(placed, lost), _without(nodes, lost)
    after = replace_members(gang, left, nodes, price)
    _check_rules(gang, nodes, after.rows)
    stayed = left.rows != NOBODY
    assert (after.rows[stayed] == left.rows[stayed]).all()
    for group in np.flatnonzero((after.rows == NOBODY).any(axis=1) & stayed.any(axis=1)):
        for row in set(range(len(lost))) - set(after.rows.ravel().tolist()):
            more = after.rows.copy()
            more[group, np.flatnonzero(more[group] == NOBODY)[0]] = row
            with pytest.raises(AssertionError):
                _check_rules(gang, nodes, more)


def test_what_cannot_be_a_gang_or_a_table_of_nodes_is_refused() -> None:
    with pytest.raises(StowageInputError, match="a gang has"):
        a_gang(0, 1)
    with pytest.raises(StowageInputError, match="runs above 0 h"):
        a_gang(length_h=0.0)
    with pytest.raises(StowageInputError, match=r"2 nodes, but gpus has shape \(3,\)"):
        some_nodes(2, gpus=[8, 8, 8])
    with pytest.raises(StowageInputError, match="known are: leaf, nic"):
        place_gang(a_gang(within="rack"), some_nodes(2), np.zeros(2))
    names_ = np.array(["b", "a"])
    with pytest.raises(StowageInputError, match="sorted"):
        GangNodes(names_, np.array([8, 8]), {}, np.array(["", ""]))
