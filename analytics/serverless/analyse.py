"""Where cold starts come from: the tables of "Serverless Cold Starts and Where to Find Them" (EuroSys 2025), of any
trace.

Every table says whether its figures are measured, estimated, or not in the input at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import duckdb
import numpy as np

from analytics.errors import InputError
from analytics.serverless.fits import SHARES, fit_laws
from analytics.store import query
from traces.schema import Trace, sql_text

Basis = Literal["measured", "estimated", "not in the input"]
Row = dict[str, Any]

_TIMES: Final = ("total_s", "pod_allocation_s", "deploy_code_s", "deploy_dependency_s", "scheduling_s")
KEYS: Final = ("region", "runtime", "trigger", "size")


@dataclass(frozen=True, slots=True)
class Table:
    """One answer. why: what it counts, or what is missing. rows: one per group, units in the names."""

    name: str
    basis: Basis
    why: str
    rows: list[Row]


def analyse(trace: Trace, regions: tuple[str, ...], tick: Callable[[str], None] = lambda words: None) -> list[Table]:
    """All tables; `regions` keeps only those, all without. Raises InputError if the trace has no such region."""
    with duckdb.connect(config={"preserve_insertion_order": False}) as con:
        for name in ("functions", "invocations", "cold_starts"):
            if trace.has(name):
                con.execute(f"CREATE VIEW {name} AS FROM {trace.scan(name)}")
        if not trace.has("functions"):
            raise InputError(f"{trace.folder} holds no functions: it is not a serverless trace")
        _narrow(con, trace, regions)
        tables = []
        for name, make in _TABLES.items():
            tick(name)
            tables.append(make(con, trace))
        return tables


def _narrow(con: duckdb.DuckDBPyConnection, trace: Trace, regions: tuple[str, ...]) -> None:
    known = [row[0] for row in con.execute("SELECT DISTINCT region FROM functions ORDER BY 1").fetchall()]
    for region in regions:
        if region not in known:
            raise InputError(f"no function is of region {region!r}; there are {', '.join(map(str, known))}")
    if regions:
        chosen = ", ".join(map(sql_text, regions))
        con.execute(f"CREATE OR REPLACE VIEW functions AS FROM {trace.scan('functions')} WHERE region IN ({chosen})")
    if trace.has("cold_starts"):
        con.execute(f"CREATE TABLE starts AS {query('serverless/starts')}")
    if trace.has("cold_starts") and trace.has("invocations"):
        con.execute(f"CREATE TABLE pods AS {query('serverless/pods')}")


def _rows(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any] | None = None) -> list[Row]:
    found = con.execute(sql, values) if values else con.execute(sql)
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, map(_known, row), strict=True)) for row in found.fetchall()]


def _known(value: Any) -> Any:
    """None for a number that is none: a correlation of what never changes."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _of_starts(name: str, why: str, make: Callable[[duckdb.DuckDBPyConnection], list[Row]]) -> Any:
    """A table that needs cold starts."""

    def table(con: duckdb.DuckDBPyConnection, trace: Trace) -> Table:
        if not trace.has("cold_starts"):
            return Table(name, "not in the input", "the trace records no cold starts; replay it to estimate them", [])
        return Table(name, "measured", why, make(con))

    return table


def _grouped(con: duckdb.DuckDBPyConnection, name: str, key: str) -> list[Row]:
    """The rows of a query that groups by `key`, under the key's own name."""
    rows = _rows(con, query(f"serverless/{name}").format(key=key))
    return [{"region": row.pop("region"), key: row.pop("grouped"), **row} for row in rows]


def _components(key: str) -> Callable[[duckdb.DuckDBPyConnection], list[Row]]:
    return lambda con: _grouped(con, "components", key)


def _load(con: duckdb.DuckDBPyConnection) -> list[Row]:
    ranks = ", ".join(
        f"rank() OVER (PARTITION BY region ORDER BY {name}) AS {name}" for name in ("cold_starts", *_TIMES)
    )
    correlations = ", ".join(f"corr(cold_starts, {name}) AS {name.removesuffix('_s')}_spearman" for name in _TIMES)
    return _rows(con, query("serverless/load").format(ranks=ranks, correlations=correlations))


def _fits(name: str) -> Callable[[duckdb.DuckDBPyConnection], list[Row]]:
    def make(con: duckdb.DuckDBPyConnection) -> list[Row]:
        rows = []
        for found in _rows(con, query(f"serverless/{name}"), {"shares": list(SHARES)}):
            if found["n"] < len(SHARES):
                continue
            for fit in fit_laws(np.array(found["quantiles"])):
                laws = asdict(fit)
                rows.append({"region": found["region"], "n": found["n"], **laws.pop("parameters"), **laws})
        return rows

    return make


def _utility(key: str) -> Callable[[duckdb.DuckDBPyConnection, Trace], Table]:
    def table(con: duckdb.DuckDBPyConnection, trace: Trace) -> Table:
        name = f"pod utility by {key}"
        if not (trace.has("cold_starts") and trace.has("invocations")):
            return Table(name, "not in the input", "needs cold starts and the calls of each pod", [])
        rows = _grouped(con, "utility", key)
        if not rows:
            return Table(name, "not in the input", "no call says which pod served it", [])
        why = "deletion of pods is not recorded: last recorded call + 60 s keep-alive; lifetime - 60 s over cold start"
        return Table(name, "estimated", why, rows)

    return table


def _concentration(con: duckdb.DuckDBPyConnection, trace: Trace) -> Table:
    if not trace.has("invocations"):
        return Table("concentration", "not in the input", "the trace records no calls", [])
    rows = _rows(con, query("serverless/concentration"))
    return Table("concentration", "measured", "shares of the recorded calls; users are owners of functions", rows)


_TABLES: Final[dict[str, Callable[[duckdb.DuckDBPyConnection, Trace], Table]]] = {
    **{
        f"by {key}": _of_starts(f"by {key}", "seconds of a cold start and its components", _components(key))
        for key in KEYS
    },
    "by hour": _of_starts("by hour", "cold starts of each hour", lambda con: _rows(con, query("serverless/hours"))),
    "load": _of_starts("load", "cold starts per hour; Spearman's correlation over minutes", _load),
    "duration": _of_starts("duration", "least squares on the probability plot, over 199 quantiles", _fits("durations")),
    "inter-arrival": _of_starts("inter-arrival", "the same, of the time between cold starts", _fits("gaps")),
    **{f"pod utility by {key}": _utility(key) for key in ("region", "runtime", "trigger")},
    "concentration": _concentration,
}
