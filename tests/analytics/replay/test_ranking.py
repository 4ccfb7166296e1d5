"""The kept ranking against a full scan, with hardly any memory, so that everything is forgotten and built again."""

from __future__ import annotations

import numpy as np
import pytest

from analytics.replay import ranking as module
from analytics.replay.ranking import best_node, mark_changed, new_ranking, score_batch_of
from analytics.replay.state import Classes, Nodes, fits
from scheduler.core.policies import Policy, get_policy

NODES, KINDS, RESOURCES, DEVICES = 300, 30, 4, 2


def some_nodes(dice: np.random.Generator) -> Nodes:
    allocatable = dice.integers(1, 5, (NODES, RESOURCES)) * 1000
    return Nodes(
        allocatable=allocatable,
        requested=np.zeros((NODES, RESOURCES), np.int64),
        requested_nonzero=np.zeros((NODES, 2), np.int64),
        up=dice.random(NODES) < 0.9,
        devices=np.full((NODES, DEVICES), 1000, np.int64),
        first_task=np.full(NODES, -1, np.int32),
        by_level=np.zeros((NODES, 0, RESOURCES), np.int64),
        held=np.zeros((NODES, RESOURCES)),
        offered=np.zeros((NODES, RESOURCES)),
        busy_us=np.zeros(NODES, np.int64),
        touched_us=np.zeros(NODES, np.int64),
    )


def some_classes(dice: np.random.Generator) -> Classes:
    gpus = dice.integers(0, 3, KINDS)
    return Classes(
        demand=dice.integers(0, 4, (KINDS, RESOURCES)) * 250,
        demand_nonzero=dice.integers(1, 4, (KINDS, 2)) * 250,
        gpus=gpus,
        gpu_milli=np.where(gpus > 0, 500, 0),
        mask=dice.integers(-1, 2, KINDS).astype(np.int32),
        spread=np.where(dice.random(KINDS) < 0.2, dice.integers(0, 3, KINDS), -1).astype(np.int32),
        eligible=dice.random((2, NODES)) < 0.5,
        occupied=dice.integers(0, 256, (3, -(-NODES // 8))).astype(np.uint8),
    )


def full_scan(policy: Policy, nodes: Nodes, classes: Classes, c: int, draw: int) -> int:
    best, chosen = -np.inf, -1
    for n in range(NODES):
        if fits(nodes, classes, c, n):
            score = policy.score(
                classes.demand[c], classes.demand_nonzero[c], nodes.allocatable, nodes.requested,
                nodes.requested_nonzero, n, draw,
            )  # fmt: skip
            if score > best:
                best, chosen = score, n
    return chosen


def change(dice: np.random.Generator, nodes: Nodes, classes: Classes, n: int) -> None:
    """Anything that may happen to a node between two questions."""
    nodes.requested[n] = dice.integers(0, 9, RESOURCES) * nodes.allocatable[n] // 8
    nodes.requested_nonzero[n] = dice.integers(0, 4000, 2)
    nodes.devices[n] = dice.integers(0, 3, DEVICES) * 500
    nodes.up[n] = dice.random() < 0.9
    classes.occupied[:, n >> 3] = dice.integers(0, 256, 3)


@pytest.mark.parametrize("name", ["first-fit", "best-fit", "kube-default", "worst-fit", "random"])
def test_best_node_is_that_of_a_full_scan(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(module, "SLOT_MEMORY", 1)  # room for 8 of the 30 classes
    monkeypatch.setattr(module, "LOG_LENGTH", 64)
    dice, policy = np.random.default_rng(20), get_policy(name)
    nodes, classes = some_nodes(dice), some_classes(dice)
    ranking = new_ranking(NODES, KINDS)
    assert (ranking.score.shape[0], ranking.log.shape[0]) == (8, 64)
    found = 0
    for question in range(600):
        for _ in range(dice.choice([0, 1, 1, 2, 5, 20, 100])):
            n = int(dice.integers(NODES))
            change(dice, nodes, classes, n)
            for sharing in range(n & ~7, min((n | 7) + 1, NODES)):  # who shares the byte of `occupied`
                mark_changed(ranking, sharing)
        c = int(dice.integers(KINDS) if dice.random() < 0.5 else dice.integers(5))
        best = best_node(ranking, nodes, classes, c, score_batch_of(policy.score), policy.needs_rescan, question)
        assert best == full_scan(policy, nodes, classes, c, question), question
        found += best >= 0
    assert 100 < found < 600


def test_no_node_is_best_when_none_fits() -> None:
    dice = np.random.default_rng(0)
    nodes, classes = some_nodes(dice), some_classes(dice)
    nodes.up[:] = False
    scores = score_batch_of(get_policy("first-fit").score)
    assert best_node(new_ranking(NODES, KINDS), nodes, classes, 0, scores, False, 0) < 0
