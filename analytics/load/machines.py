"""The machines of a trace, on the cluster one wants to ask about: thinned, multiplied, without a shape."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.options import MachineShape, ReplayOptions
from analytics.replay.state import NOWHERE, Nodes
from traces.schema import Trace

RESOURCES = ("cpu_milli", "memory_mib", "disk_mib", "gpu_milli")


@dataclass(frozen=True, slots=True, eq=False)
class Machines:
    """Machine events of the changed cluster, in time order; node is a row of `ids`."""

    ids: NDArray[np.int64]
    time_us: NDArray[np.int64]
    node: NDArray[np.int32]
    up: NDArray[np.bool_]
    capacity: dict[str, NDArray[np.int64]]
    devices: NDArray[np.int64]  # (N,) most GPUs ever stated
    models: NDArray[np.object_]  # (N,) GPU model first stated, or None
    recorded: NDArray[np.int64]  # (N,) id of the recorded machine that it is, or is a copy of

    @classmethod
    def read(cls, trace: Trace, options: ReplayOptions) -> Machines:
        table = duckdb.sql(
            f"""SELECT time_us, machine, event, coalesce(cpu_milli, 0) AS cpu_milli,
                coalesce(memory_mib, 0) AS memory_mib, coalesce(disk_mib, 0) AS disk_mib,
                gpus::BIGINT * 1000 AS gpu_milli, gpu_model
                FROM (SELECT *, row_number() OVER () AS row FROM {trace.scan("machines")}) ORDER BY time_us, row"""
        ).fetchnumpy()
        time_us, machine = np.asarray(table["time_us"]), np.asarray(table["machine"])
        capacity = {name: np.asarray(table[name]).astype(np.int64) for name in RESOURCES}
        event = np.asarray(table["event"]).astype(str)
        ids, node = np.unique(machine, return_inverse=True)
        first = np.unique(node, return_index=True)[1]
        initial = {name: column[first] for name, column in capacity.items()}
        kept = _keep_machines(initial, options)
        chosen = kept[node] > 0
        repeats = kept[node[chosen]]
        ids_out, row_of = _copy_ids(ids, kept)
        copy = position_in_repeat(repeats)
        rows = np.repeat(np.flatnonzero(chosen), repeats)
        models = np.asarray(table["gpu_model"], dtype=object)
        devices = np.zeros(len(ids), np.int64)
        np.maximum.at(devices, node, capacity["gpu_milli"] // 1000)
        names = [None if not isinstance(model, str) else model for model in models[first]]
        by_id = np.array(names, dtype=object)
        origin = np.repeat(np.arange(len(ids)), kept)[np.argsort(row_of, kind="stable")]
        return cls(
            ids=ids_out,
            time_us=time_us[rows],
            node=_rows_of_copies(row_of, kept, node[rows], copy),
            up=_is_up_after(node, event)[rows],
            capacity={name: column[rows] for name, column in capacity.items()},
            devices=devices[origin],
            models=by_id[origin],
            recorded=ids[origin],
        )

    def offered(self) -> tuple[str, ...]:
        """The resources that some machine states a capacity for; nobody can be held to the others."""
        return tuple(name for name in RESOURCES if self.capacity[name].any())

    def sizes(self, resources: tuple[str, ...]) -> NDArray[np.int64]:
        """(N, R) the most that each machine was ever installed with."""
        most = np.zeros((len(self.ids), len(resources)), np.int64)
        for r, name in enumerate(resources):
            np.maximum.at(most[:, r], self.node, self.capacity[name])
        return most

    def nodes(self, resources: tuple[str, ...], levels: int, from_us: int) -> Nodes:
        """The cluster before any machine is there."""
        count, axis = len(self.ids), len(resources)
        devices = int(self.devices.max()) if "gpu_milli" in resources else 0
        if devices > 62:
            raise InputError(f"a machine with {devices} GPUs: the device masks hold 62")
        free = np.where(np.arange(devices) < self.devices[:, None], 1000, 0).astype(np.int64)
        return Nodes(
            allocatable=np.zeros((count, axis), np.int64),
            requested=np.zeros((count, axis), np.int64),
            requested_nonzero=np.zeros((count, 2), np.int64),
            up=np.zeros(count, np.bool_),
            devices=np.ascontiguousarray(free.reshape(count, devices)),
            first_task=np.full(count, NOWHERE, np.int32),
            by_level=np.zeros((count, levels, axis), np.int64),
            held=np.zeros((count, axis)),
            offered=np.zeros((count, axis)),
            busy_us=np.zeros(count, np.int64),
            touched_us=np.full(count, from_us, np.int64),
        )

    def factors(self, resources: tuple[str, ...], overcommit: dict[str, float]) -> NDArray[np.float64]:
        """(R,) over-commitment of each. Raises InputError for a resource that no machine of the trace has."""
        unknown = set(overcommit) - set(self.offered())
        if unknown:
            raise InputError(f"over-commitment of {', '.join(sorted(unknown))}, which this trace does not have")
        return np.array([overcommit.get(name, 1.0) for name in resources])

    def events(
        self, resources: tuple[str, ...], overcommit: dict[str, float], from_us: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64]]:
        """Time, node, whether it is there afterwards, its room with over-commitment; the past moved to `from_us`."""
        factor = self.factors(resources, overcommit)
        capacity = np.stack([self.capacity[name] for name in resources], axis=1)
        room = np.where(self.up[:, None], np.floor(capacity * factor), 0).astype(np.int64)
        return np.maximum(self.time_us, from_us), self.node, self.up, room


def _is_up_after(node: NDArray[np.int64], event: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Whether the machine is there after each event; an UPDATE states a capacity and changes nothing else."""
    up = event == "ADD"
    last: dict[int, bool] = {}
    for i in range(len(node)):
        if event[i] == "UPDATE":
            up[i] = last.get(int(node[i]), False)
        last[int(node[i])] = bool(up[i])
    return up


def _keep_machines(initial: dict[str, NDArray[np.int64]], options: ReplayOptions) -> NDArray[np.int64]:
    """How many times each recorded machine (by id) is in the changed cluster.

    Machines are thinned or copied evenly along the order (capacity, id), so that every shape keeps its share.
    """
    count = len(initial["cpu_milli"])
    dropped = np.zeros(count, np.bool_)
    for shape in options.drop_shape:
        dropped |= _has_shape(initial, shape)
    if dropped.all():
        raise InputError("no machine is left after --drop-shape")
    order = np.lexsort([np.arange(count)] + [initial[name] for name in reversed(RESOURCES)])
    order = order[~dropped[order]]
    wanted = options.nodes.machines(len(order))
    marks = (np.arange(len(order) + 1, dtype=np.int64) * wanted) // len(order)
    kept = np.zeros(count, np.int64)
    kept[order] = np.diff(marks)
    return kept


def _has_shape(initial: dict[str, NDArray[np.int64]], shape: MachineShape) -> NDArray[np.bool_]:
    same = np.ones(len(initial["cpu_milli"]), np.bool_)
    for name, wanted in (("cpu_milli", shape.cpu_milli), ("memory_mib", shape.memory_mib)):
        if wanted is not None:
            same &= initial[name] == wanted
    if shape.gpus is not None:
        same &= initial["gpu_milli"] == 1000 * shape.gpus
    return same


def _copy_ids(ids: NDArray[np.int64], kept: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the changed cluster, sorted, and for every (machine, copy) in machine order its row among them.

    The first copy keeps its id; further ones get ids above all recorded ones.
    """
    owner = np.repeat(np.arange(len(ids)), kept)
    copy = position_in_repeat(kept[kept > 0])
    span = int(ids.max()) + 1 if len(ids) else 1
    named = ids[owner] + copy * span
    order = np.argsort(named, kind="stable")
    row_of = np.empty(len(named), np.int64)
    row_of[order] = np.arange(len(named))
    return named[order], row_of


def _rows_of_copies(
    row_of: NDArray[np.int64], kept: NDArray[np.int64], machine: NDArray[np.int64], copy: NDArray[np.int64]
) -> NDArray[np.int32]:
    start = np.concatenate([[0], np.cumsum(kept)])
    return row_of[start[machine] + copy].astype(np.int32)


def position_in_repeat(repeats: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, .. for every repetition: [2, 3] gives 0 1 0 1 2."""
    ends = np.cumsum(repeats)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - repeats, repeats)
