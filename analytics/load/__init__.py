"""A canonical trace as the columns that the what-if engine runs on.

Of a month of Google's trace only what the loop needs is ever in memory: about 32 bytes an attempt and 42 bytes a task.
Resources that no machine of the trace states a capacity for (disk in Google's 2011 trace) are not on the axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.faults.history import find_history
from analytics.load.attempts import read_attempts
from analytics.load.faults import with_failures, with_faults
from analytics.load.machines import RESOURCES, Machines
from analytics.load.requests import common_shapes, read_jobs, read_requests, read_tenants, request_classes
from analytics.load.use import UNKNOWN, read_use
from analytics.options import ReplayOptions
from analytics.replay.state import NOWHERE, Attempts, Classes, Nodes, Tasks, Timeline
from traces.schema import Trace


@dataclass(frozen=True, slots=True, eq=False)
class ReplayInput:
    """Everything `engine.advance` needs, and what gives its rows their names back."""

    window_us: tuple[int, int]
    resources: tuple[str, ...]
    nodes: Nodes
    classes: Classes
    tasks: Tasks
    attempts: Attempts
    timeline: Timeline
    machines: NDArray[np.int64]  # (N,) machine id of every node
    sizes: NDArray[np.int64]  # (N, R) the most that each was ever installed with
    task_rows: NDArray[np.int64]  # (T,) row of every task in the trace's table
    copies: NDArray[np.int16]  # (T,) 0: recorded; 1, 2, ...: added by --scale-load
    priorities: NDArray[np.int64]  # (P,) priority of every level
    tenants: tuple[str, ...]  # U names, sorted; empty where the policy does not tell tenants apart
    unjudged: int  # tasks whose constraints the trace has no machine attributes for
    shapes: NDArray[np.int64]  # (K, R) the most frequent requests
    shape_weights: NDArray[np.float64]  # (K,) their share of all tasks
    use: NDArray[np.int64] | None  # (T, R) what each task loads its node with; None: what it requests


def load_replay(trace: Trace, options: ReplayOptions, preempts: bool, by_tenant: bool = False) -> ReplayInput:
    """Read what `options` asks for. Raises InputError when nothing is left to replay."""
    window = window_of(trace, options)
    machines = Machines.read(trace, options)
    if options.faults is not None:
        machines = with_faults(machines, find_history(options.faults, None, options.seed), window, options.seed)
    if options.node_failures:
        machines = with_failures(machines, options.node_failures, options.node_outage_us, window, options.seed)
    offered = machines.offered()
    if not offered:
        raise InputError("no machine of this trace states a capacity: there is nothing to replay on")
    # Policies find CPU and memory in the first two columns, whether or not anybody offers them.
    resources = tuple(name for name in RESOURCES if name in offered or name in RESOURCES[:2])
    stack = read_attempts(trace, window, machines.ids, options.initial == "recorded")
    if not len(stack.task_rows):
        raise InputError(f"no task of this trace is alive between {window[0]} us and {window[1]} us")
    requests = read_requests(trace, stack.task_rows)
    tenants, tenant = read_tenants(trace, stack.task_rows, by_tenant)
    copy_of = np.zeros(len(stack.task_rows), np.int16)
    if options.scale_load != 1:
        copies = _copies_of(read_jobs(trace, stack.task_rows), options.scale_load)
        stack, copy_of = stack.repeated(copies)
        requests = requests.repeated(copies, copy_of)
        tenant = np.repeat(tenant, copies)
    classes, class_of = request_classes(trace, requests, resources, machines, window[0]), requests.class_of
    priorities, level = _levels(requests.priority)
    shapes, weights = common_shapes(classes.demand, class_of)
    arrivals = np.argsort(stack.submit_us[stack.first[:-1]], kind="stable").astype(np.int32)
    return ReplayInput(
        window_us=window,
        resources=resources,
        nodes=machines.nodes(resources, len(priorities) if preempts else 0, window[0]),
        classes=classes,
        tasks=_tasks(stack.first, class_of, level, tenant, bool(classes.gpus.any())),
        attempts=stack.attempts(window[0]),
        timeline=Timeline(
            arrivals,
            *machines.events(resources, dict(options.overcommit), window[0]),
        ),
        machines=machines.ids,
        sizes=machines.sizes(resources),
        task_rows=stack.task_rows,
        copies=copy_of,
        priorities=priorities,
        tenants=tenants,
        unjudged=requests.unjudged,
        shapes=shapes,
        shape_weights=weights,
        use=_use(trace, stack.task_rows, resources, classes.demand, class_of) if options.load == "use" else None,
    )


def _use(
    trace: Trace,
    rows: NDArray[np.int64],
    resources: tuple[str, ...],
    demand: NDArray[np.int64],
    class_of: NDArray[np.int32],
) -> NDArray[np.int64]:
    """(T, R) the tasks' mean use, and what they request where the trace says nothing."""
    use = read_use(trace, resources)[rows]
    return np.where(use == UNKNOWN, demand[class_of], use)


def window_of(trace: Trace, options: ReplayOptions) -> tuple[int, int]:
    """The replay's [from, to]: what was asked, else the trace's own time range. Raises InputError when it is empty."""
    if trace.meta.time_range_us is None:
        raise InputError(f"{trace.folder} holds no event")
    first, last = trace.meta.time_range_us
    start = first if options.from_us is None else options.from_us
    end = last if options.to_us is None else min(options.to_us, last)
    if start >= end:
        raise InputError(f"the window [{start}, {end}] us is empty: the trace runs from {first} to {last} us")
    return start, end


def _levels(priority: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """The distinct priorities, ascending, and the row of each task's among them."""
    distinct = np.unique(priority)
    return distinct.astype(np.int64), np.searchsorted(distinct, priority).astype(np.int16)


def _tasks(
    first: NDArray[np.int64],
    class_of: NDArray[np.int32],
    level: NDArray[np.int16],
    tenant: NDArray[np.int32],
    has_gpus: bool,
) -> Tasks:
    """The tasks in groups by class, then level, then tenant."""
    levels, tenants = int(level.max()) + 1, int(tenant.max()) + 1
    keys = class_of * np.int32(levels) + level  # classes x levels is far below 2^31
    if tenants > 1:
        group_keys, group = np.unique(keys.astype(np.int64) * tenants + tenant, return_inverse=True)
    else:  # a table of what occurs: a month has tens of millions of tasks
        used = np.bincount(keys) > 0
        group_keys, group = np.flatnonzero(used), (np.cumsum(used) - 1).astype(np.int32)[keys]
    count = len(class_of)
    return Tasks(
        first_attempt=first,
        ordinal=np.zeros(count, np.int32),
        group=group.astype(np.int32, copy=False),
        node=np.full(count, NOWHERE, np.int32),
        after=np.full(count, NOWHERE, np.int32),
        before=np.full(count, NOWHERE, np.int32),
        arrival=np.zeros(count, np.int32),
        epoch=np.zeros(count, np.uint16),
        device_mask=np.zeros(count if has_gpus else 0, np.int64),
        class_of_group=(group_keys // (levels * tenants)).astype(np.int32),
        level_of_group=(group_keys // tenants % levels).astype(np.int16),
        tenant_of_group=(group_keys % tenants).astype(np.int32),
    )


def _copies_of(job: NDArray[np.int64], scale: float) -> NDArray[np.int64]:
    """How often each task takes part. Jobs are taken whole, by a hash of their id: every seed sees the same load."""
    mixed = job.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    share = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.floor(scale).astype(np.int64) + (share < scale - np.floor(scale)).astype(np.int64)
