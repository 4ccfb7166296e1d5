"""Studies: policies x cluster sizes x loads x seeds over one trace, each cell one replay.

A study file is TOML:

    trace = "traces/week"           # folder, relative to this file
    out = "runs/week"               # the cells' run folders and study.json go here
    policies = ["best-fit", "kube-default"]
    nodes = ["x1", "x0.9", 11000]   # default ["x1"]
    scale_load = [1.0, 1.2]         # default [1.0]
    seeds = [1, 2, 3]               # or "1-3"; default [0]
    recorded = true                 # also what really happened; default false

    [replay]                        # options of every what-if cell; the first three and last two hold for recorded too
    from = "12h"
    to = "36h"
    interval = "5m"
    initial = "recorded"
    preemption = "policy"
    drop_shape = ["64/128Gi"]
    node_failures = 0.05
    load = "requests"
    overcommit = { cpu = 1.2 }

A study can be stopped at any moment and started again: a cell whose folder holds a finished run of the same trace,
options and versions is kept.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from analytics import metrics
from analytics.errors import InputError, StudyFailed
from analytics.facts import TraceFacts, installed_versions, trace_facts
from analytics.options import (
    ClusterSize,
    Initial,
    Load,
    MachineShape,
    Preemption,
    ReplayOptions,
    parse_duration_us,
    parse_overcommit,
)
from analytics.runs import read_run, to_json, write_text
from analytics.workers import Outcome, Replay, run_all, run_replay

INDEX = "study.json"


class _Shared(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    """The [replay] table as written."""

    from_: str | None = None
    to: str | None = None
    interval: str = "300s"
    initial: Initial = "recorded"
    preemption: Preemption = "policy"
    drop_shape: tuple[str, ...] = ()
    overcommit: dict[str, float] = {}
    load: Load = "requests"
    node_failures: float = 0.0


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The study file as written."""

    trace: str
    out: str
    policies: tuple[str, ...]
    nodes: tuple[str | int, ...] = ("x1",)
    scale_load: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] | str = (0,)
    recorded: bool = False
    replay: _Shared = msgspec.field(default_factory=_Shared)


@dataclass(frozen=True, slots=True)
class Study:
    """A study ready to run: one checked `ReplayOptions` per cell, each with its own folder under `out`."""

    out: Path
    trace: TraceFacts
    cells: tuple[ReplayOptions, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """One more cell is settled: kept from before, finished, or failed with an error."""

    cell: ReplayOptions
    kept: bool
    error: str | None
    settled: int
    total: int


def read_study(path: Path, policies: Sequence[str] | None = None) -> Study:
    """Read and check a study file. policies: names that exist; by default those of scheduler.core.

    Raises InputError naming the file and the key for anything unknown, of a wrong type, empty or repeated.
    """
    try:
        return _checked(path, tomllib.loads(path.read_text(encoding="utf-8")), policies)
    except OSError as unreadable:
        raise InputError(f"{path}: {unreadable.strerror or unreadable}") from unreadable
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as broken:
        raise InputError(f"{path} is not TOML: {broken}") from broken
    except msgspec.ValidationError as wrong:
        raise InputError(f"{path}: {wrong}") from wrong
    except InputError as wrong:
        raise InputError(f"{path}: {wrong}") from wrong


def run_study(
    study: Study,
    *,
    force: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
    replay: Replay = run_replay,
) -> Iterator[Progress]:
    """Run what is not finished yet, yielding as cells settle; at the end write OUT/study.json.

    Raises InputError, before anything runs, if a cell's folder holds something else, unless `force` replaces it;
    StudyFailed at the end if cells failed.
    """
    kept, open_cells = _sort_out(study, force)
    total, settled = len(study.cells), 0
    for cell in kept:
        settled += 1
        yield Progress(cell, True, None, settled, total)
    by_out = {cell.out: cell for cell in open_cells}
    failed: list[Outcome] = []
    for outcome in run_all(open_cells, force=force, workers=workers, cluster=cluster, replay=replay):
        settled += 1
        failed += [outcome] if outcome.error else []
        yield Progress(by_out[outcome.out], False, outcome.error, settled, total)
    if failed:
        raise StudyFailed("; ".join(f"{each.out.name}: {each.error}" for each in failed))
    write_text(study.out / INDEX, to_json(index(study)))


def index(study: Study) -> dict[str, Any]:
    """The finished study as JSON: each cell's place in the grid, digest and metrics."""
    cells = []
    for cell in study.cells:
        run = read_run(cell.out)
        cells.append(
            {
                "run": run.name,
                "mode": cell.mode,
                "policy": cell.policy,
                "nodes": str(cell.nodes),
                "scale_load": cell.scale_load,
                "seed": cell.seed,
                "digest": run.digest,
                "metrics": metrics.flatten(run.summary),
            }
        )
    return {"trace": msgspec.to_builtins(study.trace), "cells": cells}


def is_finished(cell: ReplayOptions, trace: TraceFacts) -> bool | None:
    """Whether the cell's folder holds its run; None if it holds another run, InputError if it holds something else."""
    if not cell.out.exists():
        return False
    facts = read_run(cell.out).facts
    expected = (trace, cell.mode, cell.policy, cell.seed, cell.facts(), installed_versions())
    return (facts.trace, facts.mode, facts.policy, facts.seed, facts.options, facts.versions) == expected or None


def _sort_out(study: Study, force: bool) -> tuple[list[ReplayOptions], list[ReplayOptions]]:
    """Cells that are finished, and cells to run."""
    states = {cell: is_finished(cell, study.trace) for cell in study.cells}
    others = [cell.out.name for cell, state in states.items() if state is None]
    if others and not force:
        raise InputError(
            f"{study.out} holds runs of another trace, other options or other versions: {', '.join(others)}; "
            "use another out, or --force to replace them"
        )
    return [cell for cell in study.cells if states[cell]], [cell for cell in study.cells if not states[cell]]


def _checked(path: Path, written: dict[str, Any], policies: Sequence[str] | None) -> Study:
    file = msgspec.convert(written, _File)
    seeds = _seeds(file.seeds)
    sizes = [ClusterSize.parse(size) for size in file.nodes]
    axes: list[Sequence[Any]] = [file.policies, [str(size) for size in sizes], file.scale_load, seeds]
    for name, values in zip(("policies", "nodes", "scale_load", "seeds"), axes, strict=True):
        if not values:
            raise InputError(f"{name} is empty: name at least one")
        if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
            raise InputError(f"{name} repeats {', '.join(repeated)}")
    _check_policies(file.policies, policies)
    folder, out = (path.parent / file.trace).absolute(), (path.parent / file.out).absolute()
    shared = _shared_options(file.replay)
    window = {name: shared[name] for name in ("from_us", "to_us", "interval_us", "overcommit", "load")}
    cells = [ReplayOptions(folder, out / "recorded", mode="recorded", **window)] if file.recorded else []
    cells += [
        ReplayOptions(
            folder,
            out / f"{policy}_{size}_load{load:g}_seed{seed}",
            policy=policy,
            nodes=size,
            scale_load=load,
            seed=seed,
            **shared,
        )
        for policy, size, load, seed in product(file.policies, sizes, file.scale_load, seeds)
    ]
    return Study(out, trace_facts(folder), tuple(cells))


def _shared_options(written: _Shared) -> dict[str, Any]:
    return {
        "from_us": None if written.from_ is None else parse_duration_us(written.from_),
        "to_us": None if written.to is None else parse_duration_us(written.to),
        "interval_us": parse_duration_us(written.interval),
        "initial": written.initial,
        "preemption": written.preemption,
        "drop_shape": tuple(MachineShape.parse(shape) for shape in written.drop_shape),
        "overcommit": parse_overcommit(written.overcommit),
        "load": written.load,
        "node_failures": written.node_failures,
    }


def _seeds(written: tuple[int, ...] | str) -> Sequence[int]:
    """Seeds one by one, or a range such as "42-51" with both ends."""
    if isinstance(written, tuple):
        return written
    if not (match := re.fullmatch(r"(\d+)-(\d+)", written)) or int(match[1]) > int(match[2]):
        raise InputError(f'seeds is a list such as [1, 2, 3] or a range such as "1-3", not {written!r}')
    return range(int(match[1]), int(match[2]) + 1)


def _check_policies(names: Iterable[str], known: Sequence[str] | None) -> None:
    if known is None:
        from scheduler.core.policies import policy_names

        known = policy_names()
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"no policy is called {', '.join(unknown)}; there are {', '.join(known)}")
