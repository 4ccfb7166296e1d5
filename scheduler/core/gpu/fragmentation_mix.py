"""What the arriving work usually is, learned as it arrives, and what it makes of the cluster's GPU models.

Nothing is known in advance: every arriving pod is counted (also one that finds no place), old ones fade, and from
time to time `refresh` draws the conclusions: how frequent each type is, how much CPU and memory go with a GPU, and
which models are scarce. Between two refreshes the conclusions stand still, so what was computed for a node stays
true.

Scarcity. Every class of pods (those with the same allowed models) asks for the share of the GPUs that it had so far.
Spread over the models it may use so that the fullest model is as empty as possible, this gives each model a load,
demand per free GPU; only the ratio of loads counts, so no guess of what is still to come is needed. A model at the
least load is free; one at a higher load costs the share of its GPUs that those who can use nothing else will want.
CPU has a price too, by its own load beside that of all GPUs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scheduler.core.columns import Mask
from scheduler.core.compiled import compiled
from scheduler.core.gpu.fragmentation import Nodes, Types

Floats = np.ndarray

STEEPNESS = 8.0
"""Of the CPU's price in its load: a load of 0.8, as of the default list, costs 0.14, and one of 1.2 costs 0.81."""
ROUNDS = 200
"""Rounds of balancing; loads of the published mixes stand still to three digits after about a hundred."""
GAIN = 0.5
LEAST = 1e-6


class Mix(NamedTuple):
    """What was seen, and the conclusions at the last refresh.

    seen: (T, C) pods by type and class, faded. memory_seen: (T,) MiB of these together. allowed: (C, M) may use.
    weight: (M, T) frequency of a type among all pods, of those who may use the model. memory_of: (T,) mean MiB of a
    type. price: (M,) in [0, 1). cpu_ratio: (1,) CPU millicores per milli-GPU of the pods with GPUs; 0 if unknown.
    cpu_price: (1,) in [0, 1), how much CPU is what runs out.
    """

    seen: Floats
    memory_seen: Floats
    allowed: Mask
    weight: Floats
    memory_of: Floats
    price: Floats
    cpu_ratio: Floats
    cpu_price: Floats


def unknown_mix(types: Types, allowed: Mask) -> Mix:
    """A mix of which nothing is known yet. allowed: (C, M)."""
    kinds, (classes, models) = len(types.cpu_milli), allowed.shape
    return Mix(
        np.zeros((kinds, classes)), np.zeros(kinds), allowed, np.zeros((models, kinds)), np.zeros(kinds),
        np.zeros(models), np.zeros(1), np.zeros(1),
    )  # fmt: skip


@compiled
def observe(mix: Mix, kind: int, group: int, memory_mib: int) -> None:
    """Count one arrival of this type and class."""
    mix.seen[kind, group] += 1.0
    mix.memory_seen[kind] += memory_mib


@compiled
def fade(mix: Mix, share: float) -> None:
    """Let what was seen count for this share of itself."""
    mix.seen[:] *= share
    mix.memory_seen[:] *= share


@compiled
def refresh(mix: Mix, nodes: Nodes, types: Types) -> None:
    """Draw the conclusions from what was seen, for the GPUs that are free now."""
    weigh_types(mix, types)
    balance_models(mix, nodes, types)
    price_cpu(mix, nodes, types)


@compiled
def weigh_types(mix: Mix, types: Types) -> None:
    """Set weight, memory_of and cpu_ratio."""
    kinds, groups = mix.seen.shape
    everyone = mix.seen.sum()
    cpu, gpu = 0.0, 0.0
    mix.weight[:] = 0.0
    for t in range(kinds):
        count = mix.seen[t].sum()
        if count == 0.0:
            continue
        mix.memory_of[t] = mix.memory_seen[t] / count
        if types.gpus[t] > 0:
            cpu += count * types.cpu_milli[t]
            gpu += count * types.gpus[t] * types.gpu_milli[t]
        for c in range(groups):
            for m in range(mix.weight.shape[0]):
                if mix.allowed[c, m]:
                    mix.weight[m, t] += mix.seen[t, c] / everyone
    if gpu > 0.0:
        mix.cpu_ratio[0] = cpu / gpu


@compiled
def balance_models(mix: Mix, nodes: Nodes, types: Types) -> None:
    """Set price: 1 - the least load of a model / the model's own."""
    groups, models = mix.allowed.shape
    supply = np.zeros(models)
    for n in range(nodes.gpus.size):
        for g in range(nodes.gpus[n]):
            supply[nodes.model[n]] += nodes.gpu_milli[n, g]
    demand = np.zeros(groups)
    for t in range(types.gpus.size):
        for c in range(groups):
            demand[c] += mix.seen[t, c] * types.gpus[t] * types.gpu_milli[t]
    mix.price[:] = 0.0
    if demand.sum() == 0.0 or supply.sum() == 0.0:
        return
    demand *= supply.sum() / demand.sum()
    pull, load = np.ones(models), np.zeros(models)
    for _ in range(ROUNDS):
        load[:] = 0.0
        for c in range(groups):
            whole = 0.0
            for m in range(models):
                if mix.allowed[c, m]:
                    whole += supply[m] * pull[m]
            if whole > 0.0:
                for m in range(models):
                    if mix.allowed[c, m]:
                        load[m] += demand[c] * pull[m] / whole
        for m in range(models):
            if supply[m] > 0.0:
                pull[m] = max(pull[m] * max(load[m], LEAST) ** -GAIN, LEAST)
    least = np.inf
    for m in range(models):
        if supply[m] > 0.0:
            least = min(least, load[m])
    for m in range(models):
        if load[m] > 0.0:
            mix.price[m] = 1.0 - least / load[m]


@compiled
def price_cpu(mix: Mix, nodes: Nodes, types: Types) -> None:
    """Set cpu_price: near 0 where GPUs run out first, a half where both do together, near 1 where CPU does.

    The CPU of all pods counts, also of those without a GPU.
    """
    free_gpu = nodes.gpu_milli.sum()
    free_cpu = nodes.cpu_milli.sum()
    cpu, gpu = 0.0, 0.0
    for t in range(types.gpus.size):
        count = mix.seen[t].sum()
        cpu += count * types.cpu_milli[t]
        gpu += count * types.gpus[t] * types.gpu_milli[t]
    mix.cpu_price[0] = 0.0
    if cpu > 0.0 and gpu > 0.0 and free_gpu > 0:
        spare = (free_cpu * gpu / (cpu * free_gpu)) ** STEEPNESS
        mix.cpu_price[0] = 1.0 / (1.0 + spare)
