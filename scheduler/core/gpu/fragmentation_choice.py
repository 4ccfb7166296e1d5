"""Choosing a node and a device for one pod after the other, with what was computed before kept.

A score depends on the node's free resources, the pod's type and the mix. It is kept per type and node, with the
versions of both, and computed again only when the node changed, or the mix. So a decision looks at every node and
computes few.

Three paths from scores to a choice: `exact` takes the highest, the first by rank among equals (the published
simulator names its nodes anew at random for each seed and takes the smallest name: rank is that order); `random-ties`
takes any of the highest, as a stock kube-scheduler does; `scores10` sends whole points from 0 to 10, as an extender
may, and any of those with most points is taken. Points are floor(10 * share of the range over the nodes that fit): 10
for the best only. `scores10-nearest` rounds instead, so all within a twentieth of the range below the best are alike:
a harder test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from scheduler.core.columns import Ints
from scheduler.core.compiled import compiled
from scheduler.core.gpu import fragmentation_scores as scores
from scheduler.core.gpu.fragmentation import GPU_MILLI, NO_DEVICE, Nodes, Scratch, Types, scratch_for, take_idle
from scheduler.core.gpu.fragmentation_mix import Mix, fade, observe, refresh
from scheduler.core.taxonomy import Declared, Taxonomy

_GREEDY: Final = Taxonomy(method="greedy")
DECLARED: Final[Mapping[str, Declared]] = {
    "stowage": Declared("FGD, and GPU that can still be used beside its CPU, and scarce models saved.", _GREEDY),
    "fgd": Declared("Fragmentation gradient descent (Weng et al., ATC 2023): what strands least.", _GREEDY),
    "best-fit": Declared("The node left with the least free.", _GREEDY),
    "dot-product": Declared("Tetris alignment: demand and free shares point the same way.", _GREEDY),
    "gpu-packing": Declared("Shared GPUs before idle GPUs of a used node before an idle node.", _GREEDY),
    "gpu-clustering": Declared("Nodes with pods of the same kind only, then among others, then idle ones.", _GREEDY),
    "random": Declared("Any node and device that fits, seeded.", _GREEDY),
}
POLICIES: Final = tuple(DECLARED)
STOWAGE, FGD, BEST_FIT, DOT_PRODUCT, PACKING, CLUSTERING, RANDOM = range(len(POLICIES))
PATHS: Final = ("exact", "random-ties", "scores10", "scores10-nearest")
EXACT, RANDOM_TIES, SCORES10, SCORES10_NEAREST = range(len(PATHS))

FIRST_REFRESH: Final = 8
REFRESH_EVERY: Final = 32
REFRESH_GROWTH: Final = 1.1
HALF_LIFE: Final = 20_000
"""The mix is drawn anew after 8 pods, then after a tenth more, at least 32 and at most an eighth of the half life.
Half of what was seen is forgotten after this many pods."""
NOWHERE: Final = -1


class Board(NamedTuple):
    """All that decisions read and write. Built by `board_for`; one per run, never shared by threads.

    nodes, types, mix, scratch: see there. rank: (N,) order among equal scores. kinds_on: (N, G + 1), see
    `score_clustering`. score, device, of: (T, N) what was computed, and for which version of the node. version: (N,).
    values: (N,) scores of this decision. clock: (2,) arrivals, and the arrival of the next refresh. chance: (1,) state
    of the generator.
    """

    nodes: Nodes
    types: Types
    mix: Mix
    scratch: Scratch
    rank: Ints
    kinds_on: Ints
    score: np.ndarray
    device: Ints
    of: Ints
    version: Ints
    values: np.ndarray
    clock: Ints
    chance: np.ndarray


def board_for(nodes: Nodes, types: Types, mix: Mix, rank: Ints, seed: int) -> Board:
    """A board on copies of what is free; the mix is changed in place where a policy learns."""
    count, devices = nodes.gpu_milli.shape
    kinds = len(types.cpu_milli)
    own = Nodes(*(column.copy() for column in nodes))
    return Board(
        own, types, mix, scratch_for(nodes, types), rank, np.zeros((count, devices + 1), np.int64),
        np.zeros((kinds, count)), np.zeros((kinds, count), np.int64), np.zeros((kinds, count), np.int64),
        np.ones(count, np.int64), np.zeros(count), np.array([0, FIRST_REFRESH], np.int64), np.array([seed], np.uint64),
    )  # fmt: skip


@compiled
def learn(board: Board, kind: int, group: int, memory_mib: int) -> None:
    """Count an arrival, and draw conclusions when it is time to."""
    observe(board.mix, kind, group, memory_mib)
    clock = board.clock
    clock[0] += 1
    if clock[0] < clock[1]:
        return
    refresh(board.mix, board.nodes, board.types)
    step = min(max(REFRESH_EVERY, int(clock[0] * (REFRESH_GROWTH - 1.0))), HALF_LIFE // 8)
    clock[1] = clock[0] + step
    fade(board.mix, 0.5 ** (step / HALF_LIFE))
    board.version[:] += 1


@compiled
def choose(board: Board, policy: int, path: int, kind: int, group: int, memory_mib: int) -> int:
    """The node for a pod of this type and class; NOWHERE if it fits on none. Reads the board, keeps scores on it."""
    values = board.values
    low, high = np.inf, -np.inf
    for n in range(values.size):
        values[n] = -np.inf
        if fits(board.nodes, n, board.types, kind, memory_mib) and board.mix.allowed[group, board.nodes.model[n]]:
            values[n] = chance(board) if policy == RANDOM else kept_score(board, policy, n, kind)
            low, high = min(low, values[n]), max(high, values[n])
    if high == -np.inf:
        return NOWHERE
    best, equals = NOWHERE, 0
    for n in range(values.size):
        if values[n] == -np.inf or not is_top(values[n], low, high, path):
            continue
        if path == EXACT:
            if best == NOWHERE or board.rank[n] < board.rank[best]:
                best = n
        else:
            equals += 1
            if chance(board) * equals < 1.0:
                best = n
    return best


@compiled
def is_top(value: float, low: float, high: float, path: int) -> bool:
    """Whether a node with this score is among the best, as this path sees it."""
    if path in (EXACT, RANDOM_TIES) or low == high:
        return value == high
    return points(value, low, high, path) == 10.0


@compiled
def points(value: float, low: float, high: float, path: int) -> float:
    """What an extender sends, 0 to 10 whole points. low < high: of all nodes that fit."""
    share = (value - low) / (high - low)  # exactly 1 for the highest, which 10 * (value - low) / (high - low) is not
    return np.rint(10.0 * share) if path == SCORES10_NEAREST else np.floor(10.0 * share)


@compiled
def fits(nodes: Nodes, node: int, types: Types, kind: int, memory_mib: int) -> bool:
    """Whether CPU, memory and GPUs are enough; models are the caller's."""
    if nodes.cpu_milli[node] < types.cpu_milli[kind] or nodes.memory_mib[node] < memory_mib:
        return False
    wanted = types.gpus[kind]
    for g in range(nodes.gpus[node]):
        if wanted == 0:
            break
        if nodes.gpu_milli[node, g] >= types.gpu_milli[kind]:
            wanted -= 1
    return wanted == 0


@compiled
def kept_score(board: Board, policy: int, node: int, kind: int) -> float:
    """The score, from the board if the node is as it was. The pod must fit; random has none."""
    if board.of[kind, node] != board.version[node]:
        board.of[kind, node] = board.version[node]
        nodes, types = board.nodes, board.types
        device = scores.tightest_device(nodes, node, types.gpu_milli[kind])
        if policy == STOWAGE:
            value, device = scores.score_stowage(nodes, node, types, kind, board.mix, board.scratch)
        elif policy == FGD:
            value, device = scores.score_fgd(nodes, node, types, kind, board.mix, board.scratch)
        elif policy == BEST_FIT:
            value = scores.score_best_fit(nodes, node, types, kind)
        elif policy == DOT_PRODUCT:
            value = scores.score_dot_product(nodes, node, types, kind)
        elif policy == PACKING:
            value = scores.score_packing(nodes, node, types, kind)
        else:
            value = scores.score_clustering(nodes, node, types, kind, board.kinds_on)
        board.score[kind, node] = value
        board.device[kind, node] = device
    return board.score[kind, node]


@compiled
def place(board: Board, policy: int, node: int, kind: int, memory_mib: int) -> int:
    """Take the pod's resources on the node `choose` gave; returns the device of a shared GPU, else NO_DEVICE."""
    nodes, types = board.nodes, board.types
    nodes.cpu_milli[node] -= types.cpu_milli[kind]
    nodes.memory_mib[node] -= memory_mib
    board.version[node] += 1
    share = types.gpu_milli[kind]
    if types.gpus[kind] == 0:
        return NO_DEVICE
    if share == GPU_MILLI:
        board.kinds_on[node, types.gpus[kind]] += 1
        take_idle(nodes.gpu_milli[node], nodes.gpus[node], types.gpus[kind])
        return NO_DEVICE
    board.kinds_on[node, 0] += 1
    device = random_device(board, node, share) if policy == RANDOM else board.device[kind, node]
    nodes.gpu_milli[node, device] -= share
    return device


@compiled
def random_device(board: Board, node: int, share: int) -> int:
    """Any device with enough left."""
    device, able = NO_DEVICE, 0
    for g in range(board.nodes.gpus[node]):
        if board.nodes.gpu_milli[node, g] >= share:
            able += 1
            if chance(board) * able < 1.0:
                device = g
    return device


@compiled
def chance(board: Board) -> float:
    """The next random number in [0, 1): SplitMix64 (Steele, Lea, Flood, OOPSLA 2014)."""
    board.chance[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = board.chance[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return float(mixed >> np.uint64(11)) * 2.0**-53
