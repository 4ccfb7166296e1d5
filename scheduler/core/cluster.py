"""Nodes and pods as columns: one array per attribute, one row per node or pod, rows sorted by name.

Row order breaks ties, so the same input gives the same answer. Amounts are integers. The tables are frozen, their
amounts are not: `place` and `remove` change them in place and undo each other to the byte; a trial that should leave no
trace works on `copy()`.

Text is interned: labels, taints, GPU models and rules are each kept once, and nodes hold codes. Ten thousand nodes have
some tens of distinct values of most labels, so a rule is decided some tens of times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scheduler.core.columns import (
    Codes,
    Interned,
    Ints,
    Mask,
    check_amounts,
    check_codes,
    check_column,
    check_names,
    intern,
    row_of,
)
from scheduler.core.errors import StowageInputError
from scheduler.core.rules import Rules, Taint

AXES: Final = ("cpu_milli", "memory_mib", "disk_mib", "gpu_milli")
"""The first columns of every resource array; named extended resources follow."""
CPU, MEMORY, DISK, GPU = range(4)

DEVICE_MILLI: Final = 1000
NO_DEVICE: Final = -1
PENDING: Final = -1

NONZERO_DEFAULT: Final = (100, 200)
"""What kube-scheduler's scores count for a container that asks for nothing: 100 millicores, 200 MiB.

Source: Kubernetes v1.36.2, pkg/scheduler/util/pod_resources.go.
"""


@dataclass(frozen=True, slots=True, eq=False)
class NodeTable:
    """Nodes as columns; row n of every array is the same node.

    name: (N,), sorted, unique. axes: R names, AXES first. allocatable, requested: (N, R); more may be requested than
    there is, where a trace over-commits. requested_nonzero: (N, 2), see `nonzero_requests`. gpu_free: (N, G), free
    milli of each device, NO_DEVICE where the node has fewer; G = 0 where devices are not told apart. labels: a column
    for each label or trace attribute. taint_set: (N,), row of taint_sets, -1 for none. unschedulable: (N,).
    """

    name: NDArray[np.str_]
    axes: tuple[str, ...]
    allocatable: Ints
    requested: Ints
    requested_nonzero: Ints
    gpu_free: Ints
    gpu_model: Interned
    labels: Mapping[str, Interned]
    taint_sets: tuple[tuple[Taint, ...], ...]
    taint_set: Codes
    unschedulable: Mask

    def __post_init__(self) -> None:
        nodes = len(self.name)
        check_names("node", self.name)
        _check_axes(self.axes)
        check_amounts("allocatable", self.allocatable, (nodes, len(self.axes)))
        check_amounts("requested", self.requested, (nodes, len(self.axes)))
        check_amounts("requested_nonzero", self.requested_nonzero, (nodes, 2))
        for column, texts in (("gpu_model", self.gpu_model), *self.labels.items()):
            check_codes(column, texts.code, nodes, len(texts.values), lowest=-1)
        check_codes("taint_set", self.taint_set, nodes, len(self.taint_sets), lowest=-1)
        check_column("unschedulable", self.unschedulable, (nodes,), np.bool_)
        _check_devices(self)

    def __len__(self) -> int:
        return len(self.name)

    @property
    def free(self) -> Ints:
        """(N, R), allocatable less requested; negative where over-committed."""
        return self.allocatable - self.requested

    def copy(self) -> NodeTable:
        """A table whose amounts change on their own; what never changes is shared."""
        return replace(
            self, requested=self.requested.copy(), requested_nonzero=self.requested_nonzero.copy(),
            gpu_free=self.gpu_free.copy(),
        )  # fmt: skip

    def row(self, name: str) -> int:
        """The row of the node of that name; StowageInputError if there is none."""
        return row_of("node", self.name, name)


@dataclass(frozen=True, slots=True, eq=False)
class PodTable:
    """Pods as columns; row p of every array is the same pod.

    name: (P,), sorted, unique. demand: (P, R), its GPU column is gpus * gpu_milli. demand_nonzero: (P, 2), see
    `nonzero_requests`. gpus: (P,), devices; gpu_milli: (P,), of each of them. priority: (P,). job: (P,), a code shared
    by the pods of a job, -1 for none. different_machines: (P,), may not share a node with a pod of its job. rule: (P,),
    row of rules. node: (P,), row of the node it runs on, PENDING for none.
    """

    name: NDArray[np.str_]
    axes: tuple[str, ...]
    demand: Ints
    demand_nonzero: Ints
    gpus: Ints
    gpu_milli: Ints
    priority: Ints
    job: Codes
    different_machines: Mask
    rules: tuple[Rules, ...]
    rule: Codes
    node: Codes

    def __post_init__(self) -> None:
        pods = len(self.name)
        check_names("pod", self.name)
        _check_axes(self.axes)
        check_amounts("demand", self.demand, (pods, len(self.axes)))
        check_amounts("demand_nonzero", self.demand_nonzero, (pods, 2))
        check_amounts("gpus", self.gpus, (pods,))
        check_amounts("gpu_milli", self.gpu_milli, (pods,))
        check_column("priority", self.priority, (pods,), np.int64)
        check_column("different_machines", self.different_machines, (pods,), np.bool_)
        check_codes("job", self.job, pods, 2**31, lowest=-1)
        check_codes("rule", self.rule, pods, len(self.rules), lowest=0)
        check_codes("node", self.node, pods, 2**31, lowest=PENDING)
        for broken in np.flatnonzero(self.gpu_milli > DEVICE_MILLI)[:1]:
            raise StowageInputError(
                f"pod {self.name[broken]} asks for {self.gpu_milli[broken]} milli of each GPU; a GPU has {DEVICE_MILLI}"
            )
        for broken in np.flatnonzero(self.demand[:, GPU] != self.gpus * self.gpu_milli)[:1]:
            raise StowageInputError(
                f"pod {self.name[broken]} asks for {self.gpus[broken]} GPUs of {self.gpu_milli[broken]} milli each, "
                f"but its demand says {self.demand[broken, GPU]}"
            )

    def __len__(self) -> int:
        return len(self.name)

    def copy(self) -> PodTable:
        """A table whose placements change on their own; what never changes is shared."""
        return replace(self, node=self.node.copy())

    def row(self, name: str) -> int:
        """The row of the pod of that name; StowageInputError if there is none."""
        return row_of("pod", self.name, name)

    def mates(self, pod: int, nodes: int) -> Mask:
        """(nodes,), True where another pod of this pod's job runs."""
        occupied = np.zeros(nodes, np.bool_)
        if self.job[pod] >= 0:
            others = (self.job == self.job[pod]) & (self.node >= 0)
            others[pod] = False
            occupied[self.node[others]] = True
        return occupied


def nonzero_requests(demand: ArrayLike) -> Ints:
    """(P, 2): CPU and memory as kube-scheduler's scores count them, for pods of one container.

    demand: (P, at least 2), CPU first, then memory. Where it is zero the container is taken to name no request, which
    counts as NONZERO_DEFAULT. A trace cannot tell that from asking for zero, which Kubernetes takes at its word; for
    pods of several containers add up `nonzero_of_container`.
    """
    asked = np.asarray(demand, np.int64)[:, :2]
    return np.where(asked == 0, np.array(NONZERO_DEFAULT, np.int64), asked)


def nonzero_of_container(cpu_milli: int | None, memory_mib: int | None) -> tuple[int, int]:
    """One container's CPU and memory as kube-scheduler's scores count them; None is a request it does not name."""
    return (
        NONZERO_DEFAULT[0] if cpu_milli is None else cpu_milli,
        NONZERO_DEFAULT[1] if memory_mib is None else memory_mib,
    )


@dataclass(frozen=True, slots=True)
class Placement:
    """A pod on a node, and the devices it holds there."""

    pod: int
    node: int
    devices: tuple[int, ...] = ()


def place(nodes: NodeTable, pods: PodTable, pod: int, node: int, devices: Sequence[int] | None = None) -> Placement:
    """Put a pending pod on a node, changing both tables; `remove` takes it back.

    devices: which GPUs to use; None chooses with `choose_devices`. Other resources may be over-committed, a device may
    not: raises ValueError if the devices cannot hold the pod, or if the pod runs already.
    """
    if pods.node[pod] != PENDING:
        raise ValueError(f"pod {pods.name[pod]} runs on node {nodes.name[pods.node[pod]]} already")
    count, milli = int(pods.gpus[pod]), int(pods.gpu_milli[pod])
    held = _devices(nodes, node, count, milli, devices) if nodes.gpu_free.shape[1] else ()
    nodes.gpu_free[node, list(held)] -= milli
    nodes.requested[node] += pods.demand[pod]
    nodes.requested_nonzero[node] += pods.demand_nonzero[pod]
    pods.node[pod] = node
    return Placement(pod, node, held)


def remove(nodes: NodeTable, pods: PodTable, placement: Placement) -> None:
    """Take a placed pod off its node: both tables are as before `place`.

    Raises ValueError if the pod does not run there.
    """
    pod, node = placement.pod, placement.node
    if pods.node[pod] != node:
        raise ValueError(f"pod {pods.name[pod]} does not run on node {nodes.name[node]}")
    nodes.gpu_free[node, list(placement.devices)] += int(pods.gpu_milli[pod])
    nodes.requested[node] -= pods.demand[pod]
    nodes.requested_nonzero[node] -= pods.demand_nonzero[pod]
    pods.node[pod] = PENDING


def choose_devices(free: Ints, count: int, milli: int) -> tuple[int, ...] | None:
    """The fullest devices that still hold the pod, first ones first; None if there are too few.

    free: (G,), free milli of each device, NO_DEVICE for none.
    """
    able = np.flatnonzero(free >= max(milli, 0))
    if len(able) < count:
        return None
    fullest = able[np.argsort(free[able], kind="stable")][:count]
    return tuple(sorted(int(device) for device in fullest))


def _devices(nodes: NodeTable, node: int, count: int, milli: int, devices: Sequence[int] | None) -> tuple[int, ...]:
    """The devices to use: those named, if they can hold the pod, or chosen ones."""
    free = nodes.gpu_free[node]
    held = choose_devices(free, count, milli) if devices is None else tuple(devices)
    able = {int(device) for device in np.flatnonzero(free >= max(milli, 0))}
    if held is None or len(held) != count or len(able.intersection(held)) != count:
        raise ValueError(f"node {nodes.name[node]} cannot give {count} GPUs of {milli} milli: free {free.tolist()}")
    return held


def node_table(
    name: Sequence[str],
    allocatable: ArrayLike,
    *,
    axes: tuple[str, ...] = AXES,
    gpu_model: Sequence[str | None] | None = None,
    labels: Sequence[Mapping[str, str]] | None = None,
    taints: Sequence[Sequence[Taint]] | None = None,
    unschedulable: Sequence[bool] | None = None,
    devices: bool = True,
) -> NodeTable:
    """A table of empty nodes from rows in any order; columns left out are empty.

    allocatable: (N, R). devices: tell GPUs apart, as many as the node has whole ones; False where a node's GPUs are
    only counted.
    """
    _check_axes(axes)
    size = np.asarray(allocatable, np.int64).reshape(len(name), len(axes))
    order = sorted(range(len(name)), key=lambda n: name[n])
    size = np.ascontiguousarray(size[order])
    counts = size[:, GPU] // DEVICE_MILLI if devices else np.zeros(len(name), np.int64)
    most = int(counts.max(initial=0))
    rows = [labels[n] for n in order] if labels else [{} for _ in order]
    keys = sorted({key for row in rows for key in row})
    sets = [tuple(taints[n]) for n in order] if taints else [() for _ in order]
    distinct = tuple(dict.fromkeys(one for one in sets if one))
    return NodeTable(
        name=np.array([name[n] for n in order], np.str_),
        axes=axes,
        allocatable=size,
        requested=np.zeros_like(size),
        requested_nonzero=np.zeros((len(name), 2), np.int64),
        gpu_free=np.where(np.arange(most) < counts[:, None], DEVICE_MILLI, NO_DEVICE).astype(np.int64),
        gpu_model=intern(gpu_model[n] if gpu_model else None for n in order),
        labels={key: intern(row.get(key) for row in rows) for key in keys},
        taint_sets=distinct,
        taint_set=np.array([distinct.index(one) if one else -1 for one in sets], np.int32),
        unschedulable=np.array([bool(unschedulable[n]) if unschedulable else False for n in order], np.bool_),
    )


def pod_table(
    name: Sequence[str],
    demand: ArrayLike,
    *,
    axes: tuple[str, ...] = AXES,
    demand_nonzero: ArrayLike | None = None,
    gpu_milli: Sequence[int] | None = None,
    priority: Sequence[int] | None = None,
    job: Sequence[int] | None = None,
    different_machines: Sequence[bool] | None = None,
    rules: Sequence[Rules] | None = None,
) -> PodTable:
    """A table of pending pods from rows in any order; columns left out are zero, or accept any node.

    demand: (P, R). gpu_milli: of each device; None takes the GPU column as one shared device below 1000, and as whole
    devices from there on. rules: one per pod; equal ones are kept once.
    """
    _check_axes(axes)
    order = sorted(range(len(name)), key=lambda p: name[p])
    asked = np.ascontiguousarray(np.asarray(demand, np.int64).reshape(len(name), len(axes))[order])

    def column(values: Sequence[Any] | None, dtype: type, default: int) -> NDArray[Any]:
        return np.array([values[p] if values is not None else default for p in order], dtype)

    total = asked[:, GPU]
    each = column(gpu_milli, np.int64, 0) if gpu_milli is not None else np.minimum(total, DEVICE_MILLI)
    nonzero = nonzero_requests(asked) if demand_nonzero is None else np.asarray(demand_nonzero, np.int64)[order]
    sorted_rules = [rules[p] if rules is not None else Rules() for p in order]
    distinct = {one: code for code, one in enumerate(dict.fromkeys(sorted_rules))}
    return PodTable(
        name=np.array([name[p] for p in order], np.str_),
        axes=axes,
        demand=asked,
        demand_nonzero=np.ascontiguousarray(nonzero),
        gpus=total // np.maximum(each, 1),
        gpu_milli=each,
        priority=column(priority, np.int64, 0),
        job=column(job, np.int32, -1),
        different_machines=column(different_machines, np.bool_, 0),
        rules=tuple(distinct),
        rule=np.array([distinct[one] for one in sorted_rules], np.int32),
        node=np.full(len(name), PENDING, np.int32),
    )


def _check_axes(axes: tuple[str, ...]) -> None:
    if axes[: len(AXES)] != AXES:
        raise StowageInputError(f"resources begin with {', '.join(AXES)}; these are {', '.join(axes) or 'none'}")
    if len(set(axes)) != len(axes):
        raise StowageInputError(f"a resource is named twice: {', '.join(axes)}")


def _check_devices(nodes: NodeTable) -> None:
    free = nodes.gpu_free
    check_column("gpu_free", free, (len(nodes), free.shape[-1]), np.int64)
    if free.shape[1] == 0:
        return
    if free.min(initial=0) < NO_DEVICE or free.max(initial=0) > DEVICE_MILLI:
        raise StowageInputError(
            f"a GPU has {NO_DEVICE} (none) to {DEVICE_MILLI} milli free, not {free.min()} to {free.max()}"
        )
    there = free != NO_DEVICE
    used = np.where(there, DEVICE_MILLI - free, 0).sum(axis=1)
    size = there.sum(axis=1) * DEVICE_MILLI
    for row in np.flatnonzero((size != nodes.allocatable[:, GPU]) | (used != nodes.requested[:, GPU]))[:1]:
        raise StowageInputError(
            f"node {nodes.name[row]}: its GPUs hold {used[row]} of {size[row]} milli, but its columns say "
            f"{nodes.requested[row, GPU]} of {nodes.allocatable[row, GPU]}"
        )
