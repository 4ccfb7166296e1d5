"""Freeness: what it is worth, by hand; and what no round of migrations may do, whatever the cluster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.balance import freeness as module
from scheduler.core.balance.freeness import (
    NOWHERE,
    Limits,
    Usage,
    Work,
    dispatch,
    freeness,
    headroom_for,
    migrate,
    node_to_free,
    nodes_to_drain,
    nodes_to_fill,
    typical_demand,
)
from scheduler.core.errors import StowageInputError


def a_usage(capacity, load, *, typical=None, queued=None, headroom=None, draining=()):
    capacity, load = np.array(capacity, np.int64), np.array(load, np.int64)
    drains = np.zeros(len(capacity), np.bool_)
    drains[list(draining)] = True
    return Usage(
        capacity,
        load,
        np.ones(capacity.shape[1]) if typical is None else np.array(typical, np.float64),
        np.zeros_like(capacity) if queued is None else np.array(queued, np.int64),
        np.zeros_like(capacity) if headroom is None else np.array(headroom, np.int64),
        drains,
    )


def some_work(
    at, use, *, cost=None, priority=None, keeps=None, important=None, mask=None, allowed=None, group=None, nodes=9
):
    at, use = np.array(at, np.int32), np.array(use, np.int64)
    tasks = len(at)

    def column(values, default, dtype):
        return np.full(tasks, default, dtype) if values is None else np.array(values, dtype)

    return Work(
        at,
        use.reshape(tasks, -1),
        column(cost, 1, np.int64),
        column(priority, 0, np.int64),
        column(keeps, False, np.bool_),
        column(important, False, np.bool_),
        column(mask, 0, np.int32),
        np.ones((1, nodes), np.bool_) if allowed is None else np.array(allowed, np.bool_),
        column(group, -1, np.int32),
    )


def a_cluster(capacity, work, *, typical=None, **more):
    load = np.zeros_like(np.array(capacity, np.int64))
    np.add.at(load, work.at, work.use)
    return a_usage(capacity, load, typical=typical_demand(work.use) if typical is None else typical, **more)


def moved(usage, work, moves):
    """The cluster after a round."""
    at, load = work.at.copy(), usage.load.copy()
    np.subtract.at(load, at[moves.who], work.use[moves.who])
    at[moves.who] = moves.to
    np.add.at(load, moves.to, work.use[moves.who])
    return replace(usage, load=load), replace(work, at=at)


def test_freeness_is_the_least_room_in_typical_tasks_less_virtual_usage():
    usage = a_usage(
        [(10, 10), (10, 10), (10, 10), (10, 10)],
        [(4, 2), (4, 2), (4, 2), (12, 2)],
        typical=(2, 1),
        queued=[(0, 0), (5, 1), (0, 0), (0, 0)],
        headroom=[(0, 0), (0, 0), (1, 7), (0, 0)],
    )
    assert freeness(usage).tolist() == [3.0, 0.5, 1.0, -1.0]
    assert freeness(replace(usage, draining=np.array([False, True, False, False]))).tolist() == [3, -np.inf, 1, -1]
    assert freeness(replace(usage, typical=np.array([0.0, 1.0]))).tolist() == [8, 7, 1, 8]


def test_dispatch_takes_the_freest_node_that_has_room_the_first_of_equals():
    usage = a_usage([(9, 9), (9, 9), (9, 9)], [(5, 1), (2, 2), (2, 2)])
    everywhere = np.ones(3, np.bool_)
    assert dispatch(usage, np.array([3, 3]), everywhere) == 1
    assert dispatch(usage, np.array([0, 8]), everywhere) == 0
    assert dispatch(usage, np.array([8, 0]), everywhere) == NOWHERE
    assert dispatch(replace(usage, draining=np.array([False, True, False])), np.array([3, 3]), everywhere) == 2
    assert dispatch(replace(usage, headroom=usage.load), np.array([6, 1]), everywhere) == NOWHERE


def test_the_node_below_low_gives_to_the_freest_what_matters_and_costs_least():
    use = [(4,), (3,), (3,), (3,), (2,)]
    work = some_work([0, 0, 0, 0, 1], use, cost=[1, 9, 5, 1, 1], priority=[1, 0, 0, 2, 0])
    usage = a_cluster([(9,), (9,), (9,)], work, typical=(1.0,))
    moves = migrate(usage, work, Limits(0, 0))
    # 13 of 9 on n0: the cheaper of priority 0, then the other; n2 is the freest
    assert moves.who.tolist() == [2, 1]
    assert moves.to.tolist() == [2, 2]


def test_what_must_not_move_does_not_and_groups_do_not_meet():
    use = [(3,), (3,), (3,), (3,), (1,)]
    work = some_work(
        [0, 0, 0, 0, 2], use, keeps=[1, 0, 0, 0, 0], important=[0, 1, 0, 0, 0], mask=[0, 0, 1, 0, 0],
        allowed=[[1] * 3, [1, 0, 0]], group=[-1, -1, -1, 7 % 5, 7 % 5], nodes=3,
    )  # fmt: skip
    usage = a_cluster([(5,), (9,), (20,)], work, typical=(1.0,))
    assert migrate(usage, work, Limits()).to.tolist() == [1]  # the freest has the other of its group
    drains = replace(usage, draining=np.array([True, False, False]))
    moves = migrate(drains, work, Limits())
    assert sorted(moves.who.tolist()) == [1, 3]  # an important task leaves a draining node too


def test_a_queued_task_frees_the_node_where_least_must_leave():
    work = some_work([0, 0, 1, 1, 2], [(4,), (3,), (2,), (3,), (9,)])
    usage = a_cluster([(8,), (8,), (12,)], work, typical=(1.0,))
    everywhere = np.ones(3, np.bool_)
    assert dispatch(usage, np.array([6]), everywhere) == NOWHERE
    node = node_to_free(usage, np.array([6]), everywhere)
    assert node == 1
    queued = np.zeros_like(usage.load)
    queued[node] = 6
    moves = migrate(replace(usage, queued=queued), work, Limits(0, 0))
    assert moves.who.tolist() == [3]
    after, _ = moved(usage, work, moves)
    assert dispatch(after, np.array([5]), everywhere) == 1
    assert node_to_free(usage, np.array([13]), everywhere) == NOWHERE


def test_headroom_is_held_once_per_node_however_many_important_tasks_it_has():
    capacity = np.array([(10, 20), (10, 20), (10, 20)])
    held = headroom_for(capacity, np.array([0, 0, 1]), np.array([True, True, False]), 0.25)
    assert held.tolist() == [[2, 5], [0, 0], [0, 0]]


def test_nodes_are_drained_while_the_mean_stays_high_and_taken_back_when_it_falls():
    usage = a_usage([(10,)] * 4, [(2,), (1,), (1,), (4,)])
    tasks = np.array([2, 1, 1, 1])
    limits = Limits(drain_above=6.0, fill_below=3.0)
    # all four: mean 8. Without n1 three hold 8: 22 / 3; without n2 too two hold 8: 12 / 2; without n3 one: 2
    assert nodes_to_drain(usage, tasks, limits).tolist() == [1, 2]
    assert nodes_to_drain(usage, tasks, Limits(drain_above=2.0), least=3).tolist() == [1]
    assert nodes_to_drain(usage, tasks, Limits()).tolist() == []
    crowded = a_usage([(10,)] * 4, [(8,), (8,), (0,), (1,)], draining=(2, 3))
    assert nodes_to_fill(crowded, np.array([3, 3, 0, 1]), limits).tolist() == [3]
    assert nodes_to_fill(usage, tasks, limits).tolist() == []


def test_limits_that_would_let_tasks_go_round_are_refused():
    with pytest.raises(StowageInputError, match="low is 2 and high 1; 0 <= low <= high"):
        Limits(2, 1)
    with pytest.raises(StowageInputError, match="fill_below is 4 and drain_above 4"):
        Limits(drain_above=4, fill_below=4)
    with pytest.raises(StowageInputError, match="load has shape"):
        a_usage([(1, 1)], [(1,)])


@st.composite
def clusters(draw):
    """Crowded nodes of two resources, pinned and important tasks, forbidden nodes, groups."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    nodes, tasks = draw(st.integers(2, 8)), draw(st.integers(1, 30))
    work = some_work(
        rng.integers(0, nodes, tasks),
        rng.integers(0, 8, (tasks, 2)),
        cost=rng.integers(1, 9, tasks),
        priority=rng.integers(0, 3, tasks),
        keeps=rng.random(tasks) < 0.1,
        important=rng.random(tasks) < 0.2,
        mask=rng.integers(0, 2, tasks),
        allowed=[[True] * nodes, (rng.random(nodes) < 0.7).tolist()],
        group=np.where(rng.random(tasks) < 0.3, rng.integers(0, 1 + tasks // 4, tasks), -1),
    )
    usage = a_cluster(rng.integers(5, 40, (nodes, 2)), work, headroom=rng.integers(0, 4, (nodes, 2)))
    low = float(rng.integers(0, 3))
    return usage, work, Limits(low, low + float(rng.integers(0, 3)))


@settings(deadline=None, max_examples=200)
@given(clusters())
def test_no_round_makes_the_worst_node_worse_and_rounds_end_without_a_task_moving_twice(cluster):
    usage, work, limits = cluster
    seen = np.zeros(len(work.at), np.int64)
    while len((moves := migrate(usage, work, limits)).who):
        before = freeness(usage)
        after, later = moved(usage, work, moves)
        assert freeness(after).min() >= before.min()
        gave = np.unique(work.at[moves.who])
        assert (before[gave] < limits.low).all()
        assert (freeness(after)[gave] > before[gave]).all()
        assert (before[moves.to] > limits.high).all()
        assert (freeness(after)[moves.to] >= limits.low).all()
        assert not (work.keeps | work.important)[moves.who].any()
        assert work.allowed[work.mask[moves.who], moves.to].all()
        arrived = later.group[moves.who] >= 0
        for t, n in zip(moves.who[arrived], moves.to[arrived], strict=True):
            assert ((later.group == later.group[t]) & (later.at == n)).sum() == 1
        np.add.at(seen, moves.who, 1)
        assert seen.max() <= 1
        usage, work = after, later


@settings(deadline=None, max_examples=100)
@given(clusters(), st.integers(0, 7))
def test_a_draining_node_ends_empty_where_every_other_has_room_for_all_of_it(cluster, drained):
    usage, work, limits = cluster
    drained %= len(usage.capacity)
    here = work.at == drained
    free = replace(
        work, keeps=np.zeros_like(work.keeps), allowed=np.ones_like(work.allowed), group=np.full_like(work.group, -1)
    )
    roomy = usage.capacity + usage.load[drained] + usage.load + usage.headroom
    draining = np.arange(len(roomy)) == drained
    usage = replace(usage, capacity=roomy, draining=draining)
    moves = migrate(usage, free, limits)
    assert set(np.flatnonzero(here)) <= set(moves.who.tolist())
    after, _ = moved(usage, free, moves)
    assert not after.load[drained].any()
    assert (after.room()[~draining] >= 0).all()


@settings(deadline=None, max_examples=100)
@given(clusters())
def test_the_order_of_tasks_of_equal_worth_is_their_names(cluster):
    usage, work, limits = cluster
    same = replace(
        work,
        use=np.full_like(work.use, 3),
        cost=np.ones_like(work.cost),
        priority=np.zeros_like(work.priority),
        keeps=np.zeros_like(work.keeps),
        important=np.zeros_like(work.important),
    )
    usage = a_cluster(usage.capacity, same)
    moves = migrate(usage, replace(same, group=np.full_like(work.group, -1), mask=np.zeros_like(work.mask)), limits)
    for n in np.unique(same.at[moves.who]):
        left = moves.who[same.at[moves.who] == n]
        assert left.tolist() == np.flatnonzero(same.at == n)[: len(left)].tolist()


def test_a_task_asks_no_more_than_so_many_targets_unless_its_node_drains(monkeypatch):
    monkeypatch.setattr(module, "TARGETS_ASKED", 2)
    work = some_work(
        [0, 0, 1, 2], [(9,), (1,), (1,), (2,)], mask=[1, 1, 0, 0], allowed=[[1] * 4, [1, 0, 0, 1]], nodes=4
    )
    usage = a_cluster([(5,), (20,), (20,), (12,)], work, typical=(1.0,))
    assert migrate(usage, work, Limits(0, 0)).who.tolist() == []
    assert migrate(replace(usage, draining=np.arange(4) == 0), work, Limits(0, 0)).to.tolist() == [3, 3]
