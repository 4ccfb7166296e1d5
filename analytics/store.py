"""A run folder as DuckDB views, with the queries of `sql/`.

Views: the folder's Parquet files by name; `attempts` (placements with tier, waiting and running time), `waits`
(attempts counted by tier and waiting time), `capacity` (series with one row per interval and resource), `work`
(attempts by what their work is worth); tables `tiers`, `tier_of` and `run_window`. Queries sum integers, never floats:
a float sum depends on the order in which threads finish, and a run folder's bytes must not.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb

from analytics.facts import RunFacts
from scheduler.core.auction.worth import worth_of_tiers

# Above this DuckDB spills to disk: a month of placements must not need a large machine.
MEMORY_LIMIT = os.environ.get("STOWAGE_DUCKDB_MEMORY", "1GB")


@contextlib.contextmanager
def open_store(folder: Path, facts: RunFacts, threads: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database over the run folder, closed (and its spill files removed) on leaving."""
    with tempfile.TemporaryDirectory(prefix="stowage-duckdb-") as spill:
        config: dict[str, Any] = {
            "temp_directory": spill,
            "memory_limit": MEMORY_LIMIT,
            "preserve_insertion_order": "false",
        }
        with duckdb.connect(":memory:", config=config | ({"threads": threads} if threads else {})) as store:
            _create_views(store, folder, facts)
            yield store


def query(name: str) -> str:
    """The text of sql/NAME.sql."""
    return _sql(name)


@cache
def _sql(name: str) -> str:
    return (resources.files("analytics") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _create_views(store: duckdb.DuckDBPyConnection, folder: Path, facts: RunFacts) -> None:
    for path in sorted(folder.glob("*.parquet")):
        store.read_parquet(str(path)).create_view(path.stem)
    store.execute("create table run_window (opens_us bigint, closes_us bigint)")
    store.execute("insert into run_window values (?, ?)", list(facts.window_us))
    store.execute("create table tiers (name varchar, min integer, max integer, worth double)")
    if facts.tiers:
        worth = worth_of_tiers([tier.min for tier in facts.tiers]).tolist()
        store.executemany(
            "insert into tiers values (?, ?, ?, ?)",
            [(tier.name, tier.min, tier.max, value) for tier, value in zip(facts.tiers, worth, strict=True)],
        )
    store.execute(f"create table tier_of as {query('tier_of')}")
    for view in ("attempts", "waits", "capacity", "work"):
        store.execute(f"create view {view} as {query(view)}")
