"""The run folder: one replay's results, written whole or not at all, the same bytes for the same replay.

    run.json            RunFacts, digest, SHA-256 of every other file
    placements.parquet  one row per attempt submitted in the window, sorted by (task, copy, attempt); copy is 0 for what
                        was recorded and counts what a scaled load added
    series.parquet      one row per interval: capacity, requested, used, stranded per resource; pending, running, nodes;
                        overloaded_nodes, and overload: the sum over nodes and resources of the load beyond the limit,
                        as a share of the limit (installed capacity x --overcommit; load is requests, or use)
    shapes.parquet      one row per sampled interval and common request shape: how many more fit, what is unusable
    nodes.parquet       one row per node: size and mean requested share of it per resource, busy time
    tenants.parquet     one row per tenant: delay, slowdown, served and kept share, dominant share
    prices.parquet      only of a run under `auction`: one row per round with bids: how many, and what nodes fetched
    summary.json        the metrics of analytics.metrics

What a clock or the machine's load decides stands beside the folder, in RUN.cost.json, so that `diff -r` of two runs of
the same replay is empty. The digest is SHA-256 over the names and checksums of the result files, in name order: it
says nothing of how the results came about, so that two ways to the same results have the same digest.

A writer works in RUN.partial and renames it. It holds a lock on that folder: what a killed writer left is taken over,
what a live one is writing is not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from analytics import metrics
from analytics.errors import InputError
from analytics.facts import RunCost, RunFacts, TraceFacts, describe_machine, installed_versions, trace_facts

__all__ = [
    "RESULT_SCHEMAS", "Run", "RunCost", "RunFacts", "TraceFacts", "describe_machine", "installed_versions",
    "read_run", "trace_facts", "write_run",
]  # fmt: skip

# Rows per Parquet row group: fixed, because it decides the bytes. Small enough for a month to be read in pieces.
ROW_GROUP_ROWS = 1_000_000

# A table, or its pieces in order; how it is cut into pieces does not change the bytes.
Rows: TypeAlias = "pa.Table | Iterable[pa.Table]"

_TEXT = pa.dictionary(pa.int32(), pa.string())

# Columns every run has; `series`, `shapes` and `nodes` carry one more set per resource of the run's axis.
RESULT_SCHEMAS: dict[str, dict[str, pa.DataType]] = {
    "placements": {
        "task": pa.int64(), "copy": pa.int32(), "attempt": pa.int32(), "job": pa.int64(), "task_index": pa.int32(),
        "tenant": _TEXT, "priority": pa.int32(), "cpu_milli": pa.int64(), "memory_mib": pa.int64(),
        "disk_mib": pa.int64(), "gpu_milli": pa.int64(), "submit_us": pa.int64(), "start_us": pa.int64(),
        "last_start_us": pa.int64(), "end_us": pa.int64(), "end": _TEXT, "node": pa.int64(), "evictions": pa.int32(),
        "preemptions": pa.int32(), "initial": pa.bool_(),
    },
    "series": {"time_us": pa.int64(), "pending": pa.int64(), "running": pa.int64(), "nodes": pa.int64(),
               "overloaded_nodes": pa.int64(), "overload": pa.float64()},
    "shapes": {
        "time_us": pa.int64(), "cpu_milli": pa.int64(), "memory_mib": pa.int64(), "disk_mib": pa.int64(),
        "gpu_milli": pa.int64(), "weight": pa.float64(), "fits": pa.int64(),
    },
    "nodes": {"node": pa.int64(), "busy_s": pa.float64()},
}  # fmt: skip

# Tables of some runs only.
EXTRA_SCHEMAS: dict[str, dict[str, pa.DataType]] = {
    # price_*: what a node on sale fetched, as a share of the most that anybody could bid for it.
    "prices": {
        "time_us": pa.int64(), "on_sale": pa.int64(), "bids": pa.int64(), "wins": pa.int64(),
        "price_p50": pa.float64(), "price_p90": pa.float64(), "price_max": pa.float64(),
    },
}  # fmt: skip

_PER_RESOURCE = {
    "series": (("capacity", pa.int64()), ("requested", pa.int64()), ("used", pa.int64()), ("stranded", pa.int64())),
    "shapes": (("unusable", pa.int64()),),
    "nodes": (("share", pa.float64()), ("capacity", pa.int64())),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run folder. files: SHA-256 by name. cost: None where nobody measured or the file is gone."""

    folder: Path
    facts: RunFacts
    digest: str
    files: dict[str, str]
    cost: RunCost | None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def summary(self) -> dict[str, Any]:
        """The metrics as they were when the run was written. Raises InputError if they cannot be read (any more)."""
        try:
            summary = json.loads((self.folder / "summary.json").read_text())
        except (OSError, ValueError) as broken:
            raise InputError(f"{self.folder}/summary.json cannot be read: {broken}; replay it again") from broken
        if not isinstance(summary, dict):
            raise InputError(f"{self.folder}/summary.json is not a JSON object; replay it again")
        return summary

    def report(self) -> dict[str, Any]:
        """What `stowage replay --json` prints.

        illegal_transitions leaves out rows that the trace itself marks as incomplete.
        """
        cost = self.cost
        illegal = self.facts.illegal_transitions
        total, excused = illegal.get("total", 0), illegal.get("with_missing_info", 0)
        return {
            "run": str(self.folder),
            "digest": self.digest,
            "mode": self.facts.mode,
            "policy": self.facts.policy,
            "seed": self.facts.seed,
            "window_us": list(self.facts.window_us),
            "engine": {
                **self.facts.counters,
                "cpu_s": cost.engine_cpu_s if cost else None,
                "events_per_cpu_s": cost.events_per_cpu_s if cost else None,
                "peak_rss_mib": cost.peak_rss_mib if cost else None,
                "longest_round_s": cost.longest_round_s if cost else None,
                "wall_s": cost.wall_s if cost else None,
            },
            "illegal_transitions": total - excused,
            "illegal_transitions_with_missing_info": excused,
            "metrics": self.summary,
        }


def write_run(
    out: Path, facts: RunFacts, tables: Mapping[str, Rows], cost: RunCost | None = None, force: bool = False
) -> str:
    """Write the run folder `out` and its cost beside it; returns the digest of the results.

    tables: placements, series, shapes and nodes with the columns of `RESULT_SCHEMAS` and those of `facts.resources`;
    any of `EXTRA_SCHEMAS`. A table may come in pieces, so that a month of placements is never in memory at once.
    Raises InputError if `out` exists and not `force`, if a table lacks a column, or if another process is writing.
    """
    with new_folder(out, force) as folder:
        for name, types in result_columns(facts.resources).items():
            if name not in tables:
                raise InputError(f"a run needs the table {name}")
            write_table(folder / f"{name}.parquet", _pieces(tables[name], types, name))
        for name in sorted(EXTRA_SCHEMAS.keys() & tables.keys()):
            write_table(folder / f"{name}.parquet", _pieces(tables[name], EXTRA_SCHEMAS[name], name))
        write_table(folder / "tenants.parquet", [metrics.tenants(folder, facts)])
        (folder / "summary.json").write_text(to_json(metrics.summarise(folder, facts)))
        files, digest = checksums(folder)
        (folder / "run.json").write_text(to_json({**msgspec.to_builtins(facts), "digest": digest, "files": files}))
    if cost is not None:
        write_text(cost_path(out), to_json(msgspec.to_builtins(cost)))
    return digest


@contextlib.contextmanager
def new_folder(out: Path, force: bool) -> Iterator[Path]:
    """A folder to fill, which takes the name `out` when all went well; InputError as `write_run` raises it."""
    refuse_existing(out, force)
    with _partial(out) as folder:
        yield folder
        cost_path(out).unlink(missing_ok=True)
        _replace(folder, out)


def checksums(folder: Path) -> tuple[dict[str, str], str]:
    """SHA-256 of every file by name, and the digest over all of them."""
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    digest = hashlib.sha256("".join(f"{sha256}  {name}\n" for name, sha256 in files.items()).encode()).hexdigest()
    return files, digest


def read_run(folder: Path) -> Run:
    """Open a run folder. Raises InputError if it is not one, or was written by something else."""
    try:
        data = json.loads((folder / "run.json").read_text())
        digest, files = data.pop("digest"), data.pop("files")
        facts = msgspec.convert(data, RunFacts)
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise InputError(f"{folder} is not a run: it has no run.json (make one with: stowage replay)") from missing
    except (OSError, ValueError, KeyError) as broken:
        raise InputError(f"{folder}/run.json is not a run description of this version: {broken}") from broken
    missing_files = [name for name in files if not (folder / name).exists()]
    if missing_files:
        raise InputError(f"{folder} lacks {', '.join(missing_files)}, which its run.json lists")
    return Run(folder, facts, digest, files, _read_cost(cost_path(folder)))


def cost_path(out: Path) -> Path:
    return out.with_name(out.name + ".cost.json")


def result_columns(resources: tuple[str, ...]) -> dict[str, dict[str, pa.DataType]]:
    """Required columns of each table for this resource axis."""
    return {
        name: base
        | {f"{kind}_{resource}": dtype for kind, dtype in _PER_RESOURCE.get(name, ()) for resource in resources}
        for name, base in RESULT_SCHEMAS.items()
    }


def conform(table: pa.Table, types: Mapping[str, pa.DataType], name: str) -> pa.Table:
    """The table with the required columns first, in order and type, then its own others in name order.

    Placements without a `copy` are all recorded ones; without `last_start_us`, none started twice.
    """
    if "copy" in types and "copy" not in table.column_names:
        table = table.append_column("copy", pa.repeat(pa.scalar(0, pa.int32()), table.num_rows))
    if "last_start_us" in types and "last_start_us" not in table.column_names and "start_us" in table.column_names:
        table = table.append_column("last_start_us", table["start_us"])
    missing = [column for column in types if column not in table.column_names]
    if missing:
        raise InputError(f"the table {name} lacks {', '.join(missing)}")
    extra = sorted(set(table.column_names) - set(types))
    columns = {column: table[column].cast(dtype) for column, dtype in types.items()} | {c: table[c] for c in extra}
    return pa.table(columns)


def write_table(path: Path, pieces: Iterable[pa.Table]) -> None:
    """Parquet with everything fixed that could change the bytes, row groups included."""
    writer = None
    for rows in _row_groups(pieces):
        group = rows.replace_schema_metadata(None).combine_chunks()
        writer = writer or pq.ParquetWriter(path, group.schema, compression="zstd", compression_level=3)
        writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
    if writer is not None:
        writer.close()


def to_json(value: Any) -> str:
    """One spelling per value: sorted keys, no NaN."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(path)


def _pieces(rows: Rows, types: Mapping[str, pa.DataType], name: str) -> Iterator[pa.Table]:
    for piece in [rows] if isinstance(rows, pa.Table) else rows:
        yield conform(piece, types, name)


def _row_groups(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in pieces of exactly ROW_GROUP_ROWS but for the last; one empty piece if there are no rows."""
    waiting: list[pa.Table] = []
    written = False
    for piece in pieces:
        waiting.append(piece)
        while sum(part.num_rows for part in waiting) >= ROW_GROUP_ROWS:
            rows = pa.concat_tables(waiting).unify_dictionaries()
            written = True
            yield rows.slice(0, ROW_GROUP_ROWS)
            waiting = [rows.slice(ROW_GROUP_ROWS)]
    if waiting and (not written or waiting[0].num_rows or len(waiting) > 1):
        yield pa.concat_tables(waiting).unify_dictionaries()


def refuse_existing(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise InputError(f"{out} exists: use --force to replace it, or another name")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]) and not (out / "run.json").exists():
        raise InputError(f"{out} exists and is not a run, so --force does not replace it")


@contextlib.contextmanager
def _partial(out: Path) -> Iterator[Path]:
    """An empty, locked folder beside `out`; removed if the writer fails."""
    folder = out.with_name(out.name + ".partial")
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = folder.exists() and os.path.samestat(folder.stat(), os.fstat(lock))
        except BlockingIOError:
            is_ours = False
        if not is_ours:
            raise InputError(f"another process is writing {out}")
        try:
            for leftover in folder.iterdir():
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def _replace(folder: Path, out: Path) -> None:
    """Rename onto `out`; a folder cannot be renamed onto a full one, so the old one steps aside first."""
    if not out.exists():
        folder.rename(out)
        return
    old = out.with_name(out.name + ".replaced.partial")
    shutil.rmtree(old, ignore_errors=True)
    out.rename(old)
    folder.rename(out)
    shutil.rmtree(old)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_cost(path: Path) -> RunCost | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunCost)
    except (OSError, ValueError):
        return None
