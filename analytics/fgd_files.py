"""Reads node and pod lists as Alibaba's cluster-trace-gpu-v2023 publishes them, and FGD's published results.

CSV (gzipped or not) or Parquet, told by the name. Of nodes: sn, cpu_milli, memory_mib, gpu, model. Of pods: name,
cpu_milli, memory_mib, num_gpu, gpu_milli and, where there is one, gpu_spec (allowed models joined by |); the multigpu
lists have no more than the first five columns. Rows are sorted by name, as the published simulator sorts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from analytics.errors import InputError
from scheduler.core.gpu.fragmentation import GPU_MILLI, Nodes, Types, types_of

Ints = NDArray[np.int64]

NODE_NUMBERS = ("cpu_milli", "memory_mib", "gpu")
POD_NUMBERS = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
EXPECTED = {"allocated_pct": "analysis_allo_discrete", "fragmented_pct": "analysis_frag_discrete"}
MOST_GPUS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """Free nodes. names: sorted. models: the distinct GPU models, sorted; `nodes.model` is an index into them."""

    names: tuple[str, ...]
    models: tuple[str, ...]
    nodes: Nodes

    @property
    def gpu_milli(self) -> int:
        """All GPUs of the cluster."""
        return int(self.nodes.gpu_milli.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Pods:
    """A pod list; row p of every column is one pod, rows sorted by name.

    kind: (P,) into types. group: (P,) into allowed, (C, M): the models that may be used. memory_mib: (P,).
    gpu_milli: (P,) in all. spec: (C,) the text of gpu_spec, "" for any model.
    """

    types: Types
    allowed: NDArray[np.bool_]
    spec: tuple[str, ...]
    kind: Ints
    group: Ints
    memory_mib: Ints
    gpu_milli: Ints


def read_cluster(path: Path) -> Cluster:
    """The nodes of a node list, empty. Raises InputError naming file, row and rule."""
    table = read_columns(path, "sn", NODE_NUMBERS, "model")
    names, order = _sorted_names(path, table["sn"])
    cpu, memory, gpus = (table[name][order] for name in NODE_NUMBERS)
    if not len(gpus) or not gpus.sum():
        raise InputError(f"{path}: no node has a GPU; use the list of GPU nodes")
    _refuse(path, order, gpus > MOST_GPUS, f"gpu: a node has at most {MOST_GPUS} GPUs")
    texts = ["" if text is None else str(text) for text in table["model"][order]]
    models = tuple(sorted(set(texts)))
    devices = np.where(np.arange(gpus.max()) < gpus[:, None], GPU_MILLI, 0).astype(np.int64)
    code = np.array([models.index(text) for text in texts], np.int64)
    return Cluster(names, models, Nodes(cpu, memory, devices, gpus, code))


def read_pods(path: Path, models: tuple[str, ...]) -> Pods:
    """The pods of a pod list, for a cluster with these models. Raises InputError naming file, row and rule."""
    table = read_columns(path, "name", POD_NUMBERS, "gpu_spec")
    _, order = _sorted_names(path, table["name"])
    cpu, memory, gpus, share = (table[name][order] for name in POD_NUMBERS)
    share = np.where(gpus == 0, 0, share)
    _refuse(path, order, share > GPU_MILLI, "gpu_milli: at most 1000, the share of each GPU")
    _refuse(path, order, (gpus > 0) & (share == 0), "gpu_milli: a pod with GPUs asks for a share of each")
    _refuse(path, order, (gpus > 1) & (share < GPU_MILLI), "gpu_milli: 1000 for a pod of several GPUs")
    # a pod without GPUs runs anywhere, as published, whatever its specification says
    text = [
        "" if spec is None or not count else str(spec)
        for spec, count in zip(table["gpu_spec"][order], gpus, strict=True)
    ]
    spec, group = np.unique(text, return_inverse=True) if text else (np.array([""]), np.zeros(0, np.int64))
    allowed = np.array([[not one or model in one.split("|") for model in models] for one in spec.tolist()], np.bool_)
    kinds, kind = np.unique(np.stack([cpu, share, gpus], axis=1), axis=0, return_inverse=True)
    types = types_of(*(np.ascontiguousarray(kinds[:, column]) for column in (0, 2, 1)))
    return Pods(
        types, allowed, tuple(spec.tolist()), kind.reshape(-1).astype(np.int64), group.astype(np.int64), memory,
        gpus * share,
    )  # fmt: skip


def read_columns(path: Path, name: str, numbers: tuple[str, ...], text: str) -> dict[str, Any]:
    """Those columns of a file; `text` is None in every row where the file has no such column."""
    table = _read(path)
    missing = [column for column in (name, *numbers) if column not in table.column_names]
    if missing:
        raise InputError(f"{path}: there is no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    columns: dict[str, Any] = {name: np.array(table[name].cast(pa.string()).to_pylist(), object)}
    for column in numbers:
        columns[column] = _whole_numbers(path, column, table[column])
    if text in table.column_names:
        words = table[text].cast(pa.string()).to_pylist()
        columns[text] = np.array([word or None for word in words], object)
    else:
        columns[text] = np.full(table.num_rows, None, object)
    return columns


def read_expected(folder: Path, workload: str) -> dict[str, dict[str, dict[int, float]]]:
    """FGD's published means of this workload: {"allocated_pct": {policy: {arrived %: value}}, "fragmented_pct": ...}.

    Empty where the folder has no such workload. Policies as published: 01-Random to 06-FGD.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for name, file in EXPECTED.items():
        path = folder / f"{file}.parquet"
        if not path.exists():
            path = folder / f"{file}.csv"
        if not path.exists():
            continue
        table = _read(path)
        if missing := {"workload", "sc_policy"} - set(table.column_names):
            raise InputError(f"{path}: there is no column {', '.join(sorted(missing))}")
        of = table.filter(pc.equal(table["workload"], workload))
        for policy in sorted(set(of["sc_policy"].to_pylist())):
            rows = of.filter(pc.equal(of["sc_policy"], policy))
            shares = [int(column) for column in rows.column_names if column.isdigit()]
            means = {share: pc.mean(rows[str(share)]).as_py() for share in shares}
            found.setdefault(name, {})[policy] = {share: mean for share, mean in means.items() if mean is not None}
    return found


def _read(path: Path) -> Any:
    try:
        return pq.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    except FileNotFoundError as missing:
        raise InputError(f"{path}: there is no such file") from missing
    except (OSError, pa.ArrowInvalid) as broken:
        raise InputError(f"{path}: not a readable CSV or Parquet file: {broken}") from broken


def _whole_numbers(path: Path, column: str, values: Any) -> Ints:
    """A column as int64; InputError for what is missing, not whole, or below zero."""
    try:
        numbers = values.cast(pa.int64())
    except pa.ArrowInvalid as broken:
        raise InputError(f"{path}: {column}: whole numbers only: {broken}") from broken
    if numbers.null_count:
        row = pc.index(pc.is_null(numbers), True).as_py()
        raise InputError(f"{path}, row {row + 1}: {column}: no value")
    found: Ints = numbers.to_numpy().astype(np.int64)
    if len(found) and found.min() < 0:
        raise InputError(f"{path}, row {int(np.argmin(found)) + 1}: {column}: {found.min()} is below zero")
    return found


def _sorted_names(path: Path, names: NDArray[np.object_]) -> tuple[tuple[str, ...], Ints]:
    """The names in order, and the order. InputError for a missing or repeated one."""
    for row, name in enumerate(names):
        if not name:
            raise InputError(f"{path}, row {row + 1}: no name")
    order = np.argsort(names.astype(np.str_), kind="stable") if len(names) else np.zeros(0, np.int64)
    ordered = tuple(str(names[row]) for row in order)
    for before, (first, second) in enumerate(pairwise(ordered)):
        if first == second:
            raise InputError(f"{path}, row {int(order[before + 1]) + 1}: {first} is there twice")
    return ordered, order


def _refuse(path: Path, order: Ints, broken: NDArray[np.bool_], rule: str) -> None:
    for row in np.flatnonzero(broken)[:1]:
        raise InputError(f"{path}, row {int(order[row]) + 1}: {rule}")
