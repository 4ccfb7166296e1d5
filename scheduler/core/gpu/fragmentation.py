"""How much of a node's idle GPU the usual pods cannot use, and what placing a pod changes about it.

The measure of Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
Descent", USENIX ATC 2023: a node's idle GPU counts as fragmented for a type of pod when the node cannot run that type
at all (CPU, number of GPUs with enough left, GPU model), else what is left on the GPUs that have less than one of the
type's shares. A node's fragment is the mean of that over the types, each as frequent as it arrives.

Everything is columns and compiled functions on them. A type is what is asked for without the allowed GPU models:
those enter through the weights, which stand per model (`weight[model]`), so two pods that differ only in models share
all that is computed for a node. We add memory to the check of whether a type can run; zeros leave it out, as
published.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scheduler.core.columns import Ints
from scheduler.core.compiled import compiled

GPU_MILLI = 1000
NO_DEVICE = -1
"""The device of a pod that uses none, or whole ones (the first idle ones)."""


class Nodes(NamedTuple):
    """What is free on every node; row n of every array is the same node, rows sorted by name.

    cpu_milli, memory_mib: (N,). gpu_milli: (N, G) by device, 0 beyond the node's own. gpus: (N,) devices. model: (N,)
    code of the GPU model.
    """

    cpu_milli: Ints
    memory_mib: Ints
    gpu_milli: Ints
    gpus: Ints
    model: Ints


class Types(NamedTuple):
    """Kinds of pods; row t of every array is the same kind.

    cpu_milli, gpus, gpu_milli (per GPU; below 1000 only where gpus is 1): (T,). sizes: (K,) the distinct gpu_milli,
    rising. size: (T,) index into sizes.
    """

    cpu_milli: Ints
    gpus: Ints
    gpu_milli: Ints
    sizes: Ints
    size: Ints


class Scratch(NamedTuple):
    """Room for one evaluation: enough, below: (K,); trial: (G,)."""

    enough: Ints
    below: Ints
    trial: Ints


def types_of(cpu_milli: Ints, gpus: Ints, gpu_milli: Ints) -> Types:
    """The table of these kinds of pods, in this order."""
    sizes = np.unique(gpu_milli)
    return Types(cpu_milli, gpus, gpu_milli, sizes, np.searchsorted(sizes, gpu_milli).astype(np.int64))


def scratch_for(nodes: Nodes, types: Types) -> Scratch:
    """Room for evaluations on these tables; each thread needs its own."""
    sizes = len(types.sizes)
    return Scratch(np.zeros(sizes, np.int64), np.zeros(sizes, np.int64), np.zeros(nodes.gpu_milli.shape[1], np.int64))


@compiled
def fragment_milli(
    cpu_milli: int, memory_mib: float, gpu_milli: Ints, gpus: int, types: Types, weight: np.ndarray,
    memory_of: np.ndarray, cpu_worth: float, scratch: Scratch,
) -> float:  # fmt: skip
    """The fragment of a node with this much free, in milli-GPU: of its GPUs, in [0, idle], and if wanted of its CPU.

    gpu_milli: (G,) of which the first `gpus` count. weight: (T,) how frequent each type is among all pods, zero where
    the type may not use the node's model; pods without GPUs, and the rest up to 1, find all idle GPU unusable.
    memory_of: (T,) MiB. cpu_worth: milli-GPU per millicore; free CPU counts as fragment for the types that cannot run.
    """
    idle = 0
    for k in range(types.sizes.size):
        scratch.enough[k] = 0
        scratch.below[k] = 0
    for g in range(gpus):
        left = gpu_milli[g]
        idle += left
        for k in range(types.sizes.size):
            if left >= types.sizes[k]:
                scratch.enough[k] += 1
            else:
                scratch.below[k] += left
    if idle == 0 and cpu_worth == 0.0:
        return 0.0
    fragment, heard, hindered = 0.0, 0.0, 0.0
    for t in range(types.cpu_milli.size):
        if weight[t] == 0.0:
            continue
        k = types.size[t]
        runs = cpu_milli >= types.cpu_milli[t] and memory_mib >= memory_of[t] and scratch.enough[k] >= types.gpus[t]
        if not runs:
            hindered += weight[t]
        if types.gpus[t] > 0:
            heard += weight[t]
            fragment += weight[t] * (scratch.below[k] if runs else idle)
    return fragment + (1.0 - heard) * idle + cpu_worth * hindered * cpu_milli


@compiled
def fragment_delta(
    nodes: Nodes, node: int, types: Types, pod: int, weight: np.ndarray, memory_of: np.ndarray, cpu_worth: float,
    scratch: Scratch,
) -> tuple[float, int]:  # fmt: skip
    """How much less fragment the node has with a pod of type `pod` on it, in milli-GPU, and on which device.

    The device is the one with the greatest decrease for a shared GPU, the lowest of equal ones; whole GPUs take the
    first idle ones. The pod must fit; it is taken to need the memory of its type.
    """
    gpus = nodes.gpus[node]
    trial = scratch.trial
    for g in range(gpus):
        trial[g] = nodes.gpu_milli[node, g]
    cpu, memory = nodes.cpu_milli[node], nodes.memory_mib[node]
    before = fragment_milli(cpu, memory, trial, gpus, types, weight, memory_of, cpu_worth, scratch)
    cpu -= types.cpu_milli[pod]
    memory -= memory_of[pod]
    share = types.gpu_milli[pod]
    if types.gpus[pod] != 1 or share == GPU_MILLI:
        take_idle(trial, gpus, types.gpus[pod])
        return before - fragment_milli(
            cpu, memory, trial, gpus, types, weight, memory_of, cpu_worth, scratch
        ), NO_DEVICE
    best, device = -np.inf, NO_DEVICE
    for g in range(gpus):
        left = trial[g]
        if left < share or has_equal_before(trial, g):
            continue
        trial[g] = left - share
        delta = before - fragment_milli(cpu, memory, trial, gpus, types, weight, memory_of, cpu_worth, scratch)
        trial[g] = left
        if delta > best:
            best, device = delta, g
    return best, device


@compiled
def has_equal_before(gpu_milli: Ints, device: int) -> bool:
    """Whether a lower device has exactly as much left: it gives the same fragment."""
    for g in range(device):  # noqa: SIM110 - compiled
        if gpu_milli[g] == gpu_milli[device]:
            return True
    return False


@compiled
def take_idle(gpu_milli: Ints, gpus: int, count: int) -> None:
    """Take the first `count` idle devices of these."""
    for g in range(gpus):
        if count > 0 and gpu_milli[g] == GPU_MILLI:
            gpu_milli[g] = 0
            count -= 1
