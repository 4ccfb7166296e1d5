"""Scores of one node for one pod: ours, FGD as published, and the baselines published with it.

Every score is a pure function of what is free; higher is better. The baselines follow the simulator of Weng et al.
(ATC 2023; Apache-2.0, github.com/hkust-adsl/kubernetes-scheduler-simulator), whole numbers included: where it rounds,
equal scores are many, and how they are broken decides as much as the formula.

Ours (`score_stowage`), all in milli-GPU:

    decrease of the fragment, not rounded, that of CPU included at the price of CPU
  - USABLE * decrease of the usable capacity
  - SCARCE * price of the node's model * GPU milli asked for
  - what stays free (best fit)

The usable capacity of a node is a smooth minimum of its free GPU and of its free CPU, counted in the GPU that the
usual mix puts beside it. A pod that takes both in the usual proportion costs the same everywhere; one that wants much
CPU costs least where CPU is plenty. That is what FGD lacks: it notices missing CPU when a pod no longer fits, which
is too late. Best fit keeps nodes free that are alike to the fragment, and makes equal scores rare, so that an
extender's whole points and random choice among equals lose nothing. Pods without a GPU change no fragment at first;
they fill up what is fullest.

Tried and left out: types weighted by their GPUs (worse where large pods are common), a price on whole idle GPUs by
size of pod and the expected waste of a shared GPU under random filling (both within the noise), memory in the usable
capacity (loses 0.2 points by default: it is plenty there; the fragment and the fit know it), one price of CPU for all
loads (breaks the nodes that large pods need where CPU is plenty).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from scheduler.core.compiled import compiled
from scheduler.core.gpu.fragmentation import GPU_MILLI, NO_DEVICE, Nodes, Scratch, Types, fragment_delta
from scheduler.core.gpu.fragmentation_mix import Mix

CPU_NORM: Final = 128_000
GPU_NORM: Final = 8 * GPU_MILLI
"""The largest node of the published cluster: what the published policies divide by."""

FIT: Final = 35.0
USABLE: Final = 0.3
SCARCE: Final = 100.0
FIT_CPU_ONLY: Final = 1000.0
SHARPNESS: Final = 4.0
"""Chosen on seeds 52-59 of seven published workloads, none of the reported ones; one set for all."""


@compiled
def score_stowage(nodes: Nodes, node: int, types: Types, pod: int, mix: Mix, scratch: Scratch) -> tuple[float, int]:
    """Our score and device. Uses the conclusions in `mix`; with none it is best fit."""
    model = nodes.model[node]
    asked = types.gpus[pod] * types.gpu_milli[pod]
    ratio = mix.cpu_ratio[0]
    cpu_worth = mix.cpu_price[0] / ratio if ratio > 0.0 else 0.0
    delta, device = fragment_delta(nodes, node, types, pod, mix.weight[model], mix.memory_of, cpu_worth, scratch)
    free = free_milli(nodes, node)
    cpu_left = nodes.cpu_milli[node] - types.cpu_milli[pod]
    lost = usable_milli(free, nodes.cpu_milli[node], ratio)
    lost -= usable_milli(free - asked, cpu_left, ratio)
    left = (free - asked) / GPU_NORM + cpu_left / CPU_NORM
    fit = FIT if asked > 0 else FIT_CPU_ONLY
    return delta - USABLE * lost - SCARCE * mix.price[model] * asked - fit * left, device


@compiled
def usable_milli(free: float, cpu_milli: float, cpu_ratio: float) -> float:
    """A smooth minimum of the free GPU and of what the free CPU could serve, in milli-GPU; 0 without either.

    cpu_ratio: CPU millicores beside a milli-GPU; 0 where nothing is known, which asks for none. As large as the free
    GPU where both are in that ratio, and proportional to both, so a node's size plays no part in what a pod costs.
    """
    if cpu_ratio <= 0.0 or free <= 0.0:
        return max(free, 0.0)
    served = cpu_milli / cpu_ratio
    if served <= 0.0:
        return 0.0
    low, high = min(free, served), max(free, served)
    return low * (2.0 / (1.0 + (low / high) ** SHARPNESS)) ** (1.0 / SHARPNESS)


@compiled
def score_fgd(nodes: Nodes, node: int, types: Types, pod: int, mix: Mix, scratch: Scratch) -> tuple[float, int]:
    """FGD as published: 100 * sigmoid of the decrease in GPUs, cut to a whole number; for a given mix."""
    delta, device = fragment_delta(nodes, node, types, pod, mix.weight[nodes.model[node]], mix.memory_of, 0.0, scratch)
    return np.floor(100.0 / (1.0 + np.exp(-delta / GPU_MILLI))), device


@compiled
def score_best_fit(nodes: Nodes, node: int, types: Types, pod: int) -> float:
    """BestFit: what is left of CPU and GPU, half and half, on a scale of 100; whole numbers."""
    cpu_left = (nodes.cpu_milli[node] - types.cpu_milli[pod]) / CPU_NORM
    gpu_left = (free_milli(nodes, node) - types.gpus[pod] * types.gpu_milli[pod]) / GPU_NORM
    return np.floor((1.0 - 0.5 * cpu_left - 0.5 * gpu_left) * 100.0)


@compiled
def score_dot_product(nodes: Nodes, node: int, types: Types, pod: int) -> float:
    """DotProd: free times asked for, CPU and all GPUs together, the smaller the better; whole numbers."""
    cpu = nodes.cpu_milli[node] / CPU_NORM * (types.cpu_milli[pod] / CPU_NORM)
    gpu = free_milli(nodes, node) / GPU_NORM * (types.gpus[pod] * types.gpu_milli[pod] / GPU_NORM)
    return np.floor(100.0 * (1.0 - (cpu + gpu) / 2.0))


@compiled
def score_packing(nodes: Nodes, node: int, types: Types, pod: int) -> float:
    """GpuPacking: shared GPUs before idle GPUs of a used node before an idle node."""
    if types.gpus[pod] == 0:
        return 0.0
    idle = idle_devices(nodes, node)
    if idle == nodes.gpus[node]:
        return max(33.0 - idle, float(idle))
    if types.gpus[pod] > 1 or types.gpu_milli[pod] == GPU_MILLI:
        return max(50.0 - types.gpus[pod], 33.0)
    left = nodes.gpu_milli[node, tightest_device(nodes, node, types.gpu_milli[pod])]
    if left == GPU_MILLI:
        return 49.0
    return 100.0 - (left // 10) // 10


@compiled
def score_clustering(nodes: Nodes, node: int, types: Types, pod: int, kinds_on: np.ndarray) -> float:
    """GpuClustering: nodes with pods of the same kind only, then among others, then idle ones, then the rest.

    kinds_on: (N, G + 1) pods on a node by kind: 0 for a shared GPU, else the number of whole ones.
    """
    if types.gpus[pod] == 0:
        return 0.0
    on = kinds_on[node]
    kind = 0 if types.gpu_milli[pod] < GPU_MILLI else types.gpus[pod]
    kinds = (on > 0).sum()
    fullness = (25 * (GPU_NORM - free_milli(nodes, node))) // GPU_NORM
    if on[kind] > 0:
        return fullness + (75.0 if kinds == 1 else 50.0)
    return fullness + (25.0 if kinds == 0 else 0.0)


@compiled
def free_milli(nodes: Nodes, node: int) -> int:
    """All idle GPU of a node."""
    total = 0
    for g in range(nodes.gpus[node]):
        total += nodes.gpu_milli[node, g]
    return total


@compiled
def idle_devices(nodes: Nodes, node: int) -> int:
    """How many devices of a node nobody uses."""
    count = 0
    for g in range(nodes.gpus[node]):
        if nodes.gpu_milli[node, g] == GPU_MILLI:
            count += 1
    return count


@compiled
def tightest_device(nodes: Nodes, node: int, share: int) -> int:
    """The device with the least that is enough for this share, the lowest of equal ones; -1 where none is."""
    best = NO_DEVICE
    for g in range(nodes.gpus[node]):
        left = nodes.gpu_milli[node, g]
        if left >= share and (best < 0 or left < nodes.gpu_milli[node, best]):
            best = g
    return best
