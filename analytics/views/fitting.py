"""Whether something new would fit: pods into a snapshot (with a search), a task's size into a replay (counted)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import pandas as pd

from analytics.errors import InputError
from analytics.views import ask
from analytics.views.snapshots import read_snapshot, turn
from analytics.workspace import Item
from scheduler.core.errors import StowageInputError
from scheduler.core.packing.fit import fit_pods
from scheduler.core.packing.manifest import read_manifest
from scheduler.core.packing.problem import Budget

MOST_PODS: Final = 2_000


def would_fit(item: Item, manifest: str, budget_s: float) -> dict[str, Any]:
    """Whether a manifest's pods fit a snapshot. Keys as of `stowage fit --json`, and `asked`: pods by what each asks.

    Raises InputError with the rule if the manifest is too large, too deep, or makes no pods; before any search.
    """
    snapshot = read_snapshot(item)
    try:
        pods = read_manifest(manifest.encode("utf-8", "replace"), snapshot, MOST_PODS)
    except StowageInputError as refused:
        raise InputError(str(refused)) from refused
    with turn():
        try:
            found = fit_pods(snapshot, pods, budget=Budget(budget_s))
        except StowageInputError as refused:
            raise InputError(str(refused)) from refused
    return asdict(found)


def fits_over_time(item: Item, cpu_milli: int, memory_mib: int, disk_mib: int = 0, gpu_milli: int = 0) -> pd.DataFrame:
    """Of a replay: how many tasks of this size would have fitted at each sampled instant, at least and at most."""
    if max(cpu_milli, memory_mib, disk_mib, gpu_milli) <= 0:
        raise InputError("give a size: some CPU, memory, disk or GPU above 0")
    return ask(
        item.path, "shape_over_time",
        cpu_milli=cpu_milli, memory_mib=memory_mib, disk_mib=disk_mib, gpu_milli=gpu_milli,
    )  # fmt: skip
