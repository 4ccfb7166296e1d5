"""What a run amounts to: the queries of sql/ put together, as JSON values.

`summarise` is what `stowage replay` prints under "metrics" and what stands in summary.json. Tiers are those of the
trace plus "all"; resources go by their short names (cpu, memory, disk, gpu). A metric is added by one .sql file and
one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from analytics.cost import CostModel
from analytics.facts import RunFacts
from analytics.options import RESOURCES
from analytics.store import open_store, query

# A task that runs shorter than this counts as this long in its slowdown (Feitelson's bounded slowdown takes 10 s).
SHORT_TASK_US = 10_000_000
# A start later than this after submission is a start-up miss.
STARTUP_LIMIT_US = 60_000_000

OVERLOAD_SUMS = ("intervals", "excess_us", "overloaded_us", "nodes_us", "width_us")  # of overload_by_block.sql
_WHOLE_US = 2**62  # a block longer than any window
_SHORT_NAMES = {column: name for name, column in RESOURCES.items()}


def summarise(
    folder: Path,
    facts: RunFacts,
    model: CostModel | None = None,
    startup_limit_us: int = STARTUP_LIMIT_US,
    threads: int | None = None,
) -> dict[str, Any]:
    """The metrics of a run folder (with its tenants.parquet); threads only changes how long it takes."""
    model = model or CostModel()
    with open_store(folder, facts, threads) as store:
        store.execute("create temp table waits as from main.waits")  # three queries read it; counting is the long part
        outcomes = _by(store, "outcomes", "tier")
        together = outcomes["all"]
        resources = {short_resource(name): row for name, row in _by(store, "utilisation", "resource").items()}
        fragmentation = _by(store, "fragmentation", "resource")
        misses = _by(store, "startup_misses", "tier", limit_ms=startup_limit_us // 1000)
        return {
            "delay_s": _by(store, "delay", "tier"),
            "delay_censored_s": _by(store, "delay_censored", "tier"),
            "startup_misses": {"limit_s": startup_limit_us / 1e6, "tiers": misses},
            **{name: together[name] for name in ("attempts", "started", "never_placed", "evictions", "preemptions")},
            "tasks_never_placed": _rows(store, "tasks_never_placed")[0]["tasks"],
            "outcomes": outcomes,
            "utilisation": {name: row["requested"] for name, row in resources.items()},
            "peak_utilisation": {name: row["peak"] for name, row in resources.items()},
            "used": {name: row["used"] for name, row in resources.items()},
            "stranded": {name: row["stranded"] for name, row in resources.items()},
            "fragmented": {short_resource(name): row["fragmented"] for name, row in fragmentation.items()},
            "fairness": _rows(store, "fairness")[0],
            "welfare": _rows(store, "welfare")[0],
            "nodes": _rows(store, "idle_nodes")[0],
            **_overload(store),
            "node_spread": {short_resource(name): row for name, row in _by(store, "node_spread", "resource").items()},
            "cost": _cost(store, model),
        }


def _overload(store: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Nodes that carry more than their limit (see `analytics.runs`).

    overloaded_node_intervals: overloaded nodes, summed over the intervals of `series`. overload: its mean over time,
    in nodes, and the share of the nodes' time that is overloaded.
    """
    series = {column[0] for column in store.execute("select * from series limit 0").description}
    if "overload" not in series:  # a run of an earlier version
        return {"overloaded_node_intervals": None, "overload": {"mean": None, "share": None}}
    blocks = _rows(store, "overload_by_block", block_us=_WHOLE_US)
    return overload_of(*(sum(row[name] for row in blocks) for name in OVERLOAD_SUMS))


def overload_of(
    intervals: float, excess_us: float, overloaded_us: float, nodes_us: float, width_us: float
) -> dict[str, Any]:
    """The same from the sums of overload_by_block.sql."""
    mean = excess_us / width_us if width_us else None
    share = overloaded_us / nodes_us if nodes_us else None
    return {"overloaded_node_intervals": int(intervals), "overload": {"mean": mean, "share": share}}


def tenants(folder: Path, facts: RunFacts, threads: int | None = None) -> pa.Table:
    """One row per tenant: the query tenants.sql over a run folder."""
    with open_store(folder, facts, threads) as store:
        return store.sql(query("tenants"), params={"short_us": SHORT_TASK_US}).to_arrow_table()


def cost(folder: Path, facts: RunFacts, model: CostModel) -> dict[str, Any]:
    """The summary's "cost" under another model."""
    with open_store(folder, facts) as store:
        return _cost(store, model)


def delay_over_time(folder: Path, facts: RunFacts, bin_us: int = 3_600_000_000) -> pa.Table:
    """One row per bin of submission time and tier: the query delay_over_time.sql."""
    with open_store(folder, facts) as store:
        return store.sql(query("delay_over_time"), params={"bin_us": bin_us}).to_arrow_table()


def flatten(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float | None]:
    """Numbers by dotted name ("delay_s.production.p99"), without the settings the metrics were computed under."""
    flat: dict[str, float | None] = {}
    for name, value in metrics.items():
        path = f"{prefix}{name}"
        if path in ("cost.model", "startup_misses.limit_s"):
            continue
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def _cost(store: duckdb.DuckDBPyConnection, model: CostModel) -> dict[str, Any]:
    parts = {row["part"]: row for row in _rows(store, "cost", rates=model.rates())}
    split: dict[str, Any] = {
        unit: {part: parts[part][unit] if part in parts else 0.0 for part in ("useful", "stranded", "idle")}
        for unit in ("usd", "joules")
    }
    for unit in ("usd", "joules"):
        split[unit]["total"] = sum(split[unit].values())
    return split | {"model": model.to_json()}


def _rows(store: duckdb.DuckDBPyConnection, name: str, **values: Any) -> list[dict[str, Any]]:
    result = store.execute(query(name), values or None)
    columns = [column[0] for column in result.description]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def _by(store: duckdb.DuckDBPyConnection, name: str, key: str, **values: Any) -> dict[str, dict[str, Any]]:
    """Rows by the value of their key column."""
    return {row.pop(key): row for row in _rows(store, name, **values)}


def short_resource(resource: str) -> str:
    """The name people use for a column of the resource axis."""
    return _SHORT_NAMES.get(resource, resource)
