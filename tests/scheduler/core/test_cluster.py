"""Tables check themselves, sort by name, and forget a placement to the byte."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.cluster import (
    AXES,
    PENDING,
    NodeTable,
    PodTable,
    choose_devices,
    node_table,
    nonzero_of_container,
    nonzero_requests,
    place,
    pod_table,
    remove,
)
from scheduler.core.columns import Interned, intern
from scheduler.core.errors import StowageInputError
from scheduler.core.rules import Rules, Taint


def some_nodes(gpus: int = 2) -> NodeTable:
    return node_table(["b", "a"], [[8000, 16000, 100, gpus * 1000], [4000, 8000, 50, 0]])


def some_pods() -> PodTable:
    return pod_table(["q", "p"], [[1000, 2000, 0, 500], [0, 0, 10, 2000]], job=[7, 7])


def test_rows_are_sorted_by_name_with_all_their_columns() -> None:
    nodes = node_table(
        ["b", "a"], [[2, 2, 2, 2000], [1, 1, 1, 0]], gpu_model=["T4", None], labels=[{"zone": "x"}, {}],
        taints=[[Taint("k")], []], unschedulable=[False, True],
    )  # fmt: skip
    assert nodes.name.tolist() == ["a", "b"]
    assert nodes.allocatable[:, 0].tolist() == [1, 2]
    assert nodes.gpu_free.tolist() == [[-1, -1], [1000, 1000]]
    assert [nodes.gpu_model.get(row) for row in (0, 1)] == [None, "T4"]
    assert [nodes.labels["zone"].get(row) for row in (0, 1)] == [None, "x"]
    assert (nodes.taint_set.tolist(), nodes.taint_sets) == ([-1, 0], ((Taint("k"),),))
    assert nodes.unschedulable.tolist() == [True, False]
    pods = some_pods()
    assert (pods.name.tolist(), pods.gpus.tolist(), pods.gpu_milli.tolist()) == (["p", "q"], [2, 1], [1000, 500])
    assert pods.demand_nonzero.tolist() == [[100, 200], [1000, 2000]]


def test_equal_rules_taints_and_texts_are_kept_once() -> None:
    taints = [[Taint("k")], [], [Taint("k")]]
    nodes = node_table(["c", "b", "a"], [[1, 1, 1, 0]] * 3, taints=taints, labels=[{"z": "1"}, {"z": "2"}, {"z": "1"}])
    assert nodes.taint_set.tolist() == [0, -1, 0]
    assert nodes.labels["z"].values == ("1", "2")
    rules = [Rules(gpu_models=("T4",)), Rules(), Rules(gpu_models=("T4",))]
    assert len(pod_table(["c", "b", "a"], [[1, 1, 1, 0]] * 3, rules=rules).rules) == 2


def test_pods_that_ask_for_nothing_count_as_kube_scheduler_counts_them() -> None:
    assert nonzero_requests([[0, 0, 5], [50, 0, 0], [0, 70, 0]]).tolist() == [[100, 200], [50, 200], [100, 70]]
    assert nonzero_of_container(None, None) == (100, 200)
    assert nonzero_of_container(0, 300) == (0, 300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": np.array(["b", "a"])}, "node names are not sorted: 'a' follows 'b'"),
        ({"name": np.array(["a", "a"])}, "node names are not unique"),
        ({"name": np.array(["", "a"])}, "a node has no name"),
        ({"name": np.array([1, 2])}, "not a column of text"),
        ({"axes": ("cpu_milli",)}, "resources begin with cpu_milli, memory_mib"),
        ({"axes": (*AXES, "x", "x")}, "a resource is named twice"),
        ({"allocatable": np.zeros((2, 3), np.int64)}, r"allocatable has shape \(2, 3\); the table needs \(2, 4\)"),
        ({"requested": np.zeros((2, 4))}, "not a contiguous array of int64: float64"),
        ({"requested": np.array([[0, 0, 0, 0], [0, -1, 0, 0]])}, "requested is negative in row 1: -1"),
        ({"requested_nonzero": np.zeros((2, 2), np.int64)[:, ::-1]}, "not a contiguous array"),
        ({"taint_set": np.array([0, -1], np.int32)}, "taint_set has codes from -1 to 0; there are 0 values"),
        ({"unschedulable": np.zeros(3, np.bool_)}, r"unschedulable has shape \(3,\)"),
        ({"gpu_free": np.array([[-1, -1], [1000, 1001]])}, "milli free, not -1 to 1001"),
        ({"gpu_free": np.array([[-1, -1], [1000, -1]])}, "node b: its GPUs hold 0 of 1000 milli.*0 of 2000"),
        ({"gpu_free": np.array([[-1, -1], [1000, 400]])}, "node b: its GPUs hold 600 of 2000 milli.*0 of 2000"),
        ({"labels": {"zone": intern(["x"])}}, r"zone has shape \(1,\)"),
    ],
)
def test_a_broken_node_table_says_which_rule_it_breaks(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StowageInputError, match=message):
        replace(some_nodes(), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu_milli": np.array([1500, 500])}, "pod p asks for 1500 milli of each GPU; a GPU has 1000"),
        ({"gpus": np.array([1, 1])}, "pod p asks for 1 GPUs of 1000 milli each, but its demand says 2000"),
        ({"rule": np.array([0, 1], np.int32)}, "rule has codes from 0 to 1; there are 1 values"),
        ({"node": np.array([0, -2], np.int32)}, "node has codes from -2"),
        ({"demand_nonzero": np.array([[1, 1], [1, -1]])}, "demand_nonzero is negative"),
    ],
)
def test_a_broken_pod_table_says_which_rule_it_breaks(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StowageInputError, match=message):
        replace(some_pods(), **change)


def test_interned_codes_outside_the_values_are_refused() -> None:
    with pytest.raises(StowageInputError, match="there are 1 values"):
        Interned(("x",), np.array([0, 1], np.int32))


def test_rows_are_found_by_name() -> None:
    assert (some_nodes().row("b"), some_pods().row("p")) == (1, 0)
    with pytest.raises(StowageInputError, match="there is no node named 'c'"):
        some_nodes().row("c")


def test_placing_takes_resources_and_devices_and_removing_gives_them_back() -> None:
    nodes, pods = some_nodes(), some_pods()
    before = _bytes(nodes, pods)
    placed = place(nodes, pods, pods.row("q"), nodes.row("b"))
    assert placed.devices == (0,)
    assert nodes.gpu_free.tolist() == [[-1, -1], [500, 1000]]
    assert nodes.requested.tolist() == [[0, 0, 0, 0], [1000, 2000, 0, 500]]
    assert nodes.requested_nonzero.tolist() == [[0, 0], [1000, 2000]]
    assert pods.node.tolist() == [PENDING, 1]
    replace(nodes)  # still keeps every rule
    remove(nodes, pods, placed)
    assert _bytes(nodes, pods) == before


def test_a_trial_on_a_copy_leaves_no_trace() -> None:
    nodes, pods = some_nodes(), some_pods()
    before = _bytes(nodes, pods)
    place(nodes.copy(), pods.copy(), 0, 1)
    assert _bytes(nodes, pods) == before


def test_resources_may_be_over_committed_and_devices_may_not() -> None:
    nodes, pods = some_nodes(gpus=2), pod_table(["p", "q"], [[9000, 0, 0, 0], [0, 0, 0, 3000]])
    place(nodes, pods, 0, 1)
    assert nodes.free[1, 0] == -1000
    with pytest.raises(ValueError, match="node b cannot give 3 GPUs of 1000 milli"):
        place(nodes, pods, 1, 1)


def test_devices_can_be_named_and_must_be_free_and_distinct() -> None:
    nodes, pods = some_nodes(), some_pods()
    for devices in ((0, 0), (0,), (0, 1, 1), (0, -1), (0, 2)):
        with pytest.raises(ValueError, match="cannot give 2 GPUs"):
            place(nodes, pods, 0, 1, devices)
    assert place(nodes, pods, 1, 1, devices=[1]).devices == (1,)
    with pytest.raises(ValueError, match="cannot give 2 GPUs"):
        place(nodes, pods, 0, 1, devices=(0, 1))


def test_a_pod_is_in_one_place_at_a_time() -> None:
    nodes, pods = some_nodes(), some_pods()
    placed = place(nodes, pods, 1, 1)
    with pytest.raises(ValueError, match="pod q runs on node b already"):
        place(nodes, pods, 1, 0)
    remove(nodes, pods, placed)
    with pytest.raises(ValueError, match="pod q does not run on node b"):
        remove(nodes, pods, placed)


@pytest.mark.parametrize(
    ("free", "count", "milli", "chosen"),
    [
        ([1000, 300, 300], 1, 300, (1,)),  # the fullest that holds it, the first of equals
        ([1000, 300, 200], 1, 250, (1,)),
        ([1000, 300, 1000], 2, 1000, (0, 2)),
        ([1000, 300, -1], 2, 1000, None),
        ([-1, -1], 1, 0, None),
        ([600, 500], 2, 500, (0, 1)),
        ([600], 0, 0, ()),
    ],
)
def test_the_fullest_devices_that_hold_a_pod_are_chosen(
    free: list[int], count: int, milli: int, chosen: tuple[int, ...] | None
) -> None:
    assert choose_devices(np.array(free), count, milli) == chosen


def test_mates_are_the_running_pods_of_the_same_job() -> None:
    nodes = node_table(["a", "b", "c"], [[9, 9, 9, 0]] * 3)
    pods = pod_table(["p", "q", "r", "s"], [[1, 1, 0, 0]] * 4, job=[5, 5, 6, -1])
    for pod, node in ((1, 2), (2, 0), (3, 1)):
        place(nodes, pods, pod, node)
    assert pods.mates(0, 3).tolist() == [False, False, True]
    assert pods.mates(1, 3).tolist() == [False, False, False]
    assert pods.mates(3, 3).tolist() == [False, False, False]


@given(st.data())
def test_any_order_of_placing_and_removing_ends_where_it_began(data: st.DataObject) -> None:
    nodes = node_table(["a", "b"], [[100, 100, 10, 3000], [50, 50, 10, 1000]])
    demands = st.tuples(st.integers(0, 60), st.just(3), st.just(0), st.sampled_from([0, 300, 700, 1000, 2000]))
    pods = pod_table([f"p{k}" for k in range(6)], [data.draw(demands) for _ in range(6)])
    before = _bytes(nodes, pods)
    placed = []
    for _ in range(data.draw(st.integers(0, 20))):
        if placed and data.draw(st.booleans()):
            remove(nodes, pods, placed.pop(data.draw(st.integers(0, len(placed) - 1))))
            continue
        pod, node = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 1))
        able = choose_devices(nodes.gpu_free[node], int(pods.gpus[pod]), int(pods.gpu_milli[pod]))
        if pods.node[pod] == PENDING and able is not None:
            placed.append(place(nodes, pods, pod, node))
        replace(nodes)  # every rule still holds
    while placed:
        remove(nodes, pods, placed.pop(data.draw(st.integers(0, len(placed) - 1))))
    assert _bytes(nodes, pods) == before


def _bytes(nodes: NodeTable, pods: PodTable) -> tuple[bytes, ...]:
    amounts = (nodes.requested, nodes.requested_nonzero, nodes.gpu_free, nodes.allocatable, pods.node)
    return tuple(one.tobytes() for one in amounts)
