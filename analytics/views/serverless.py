"""Cold starts: what they are made of and where, and what policies trade for them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analytics.errors import InputError
from analytics.views import MOST_ROWS
from analytics.workspace import Item, read_json, read_report

COMPONENTS = ("pod_allocation", "deploy_code", "deploy_dependency", "scheduling")
BY = ("region", "runtime", "trigger", "size")


def regions(item: Item) -> list[str]:
    """The regions of an analysis, by name."""
    return sorted({str(row["region"]) for row in _rows(item, "by region")})


def groups(item: Item, by: str, region: str) -> pd.DataFrame:
    """One row per group: cold starts, their share, median, p99 and mean seconds, and the mean of each component.

    by: one of BY. region: of which; "" for all where the groups are regions.
    """
    frame = pd.DataFrame(_rows(item, f"by {by}"))
    if frame.empty:
        return frame
    if by != "region":
        frame = frame[frame["region"] == region]
    means = [f"{part}_mean_s" for part in COMPONENTS]
    columns = [by, "cold_starts", "share", "p50_s", "p90_s", "p99_s", "mean_s", *means]
    return frame.reindex(columns=columns).sort_values("cold_starts", ascending=False, ignore_index=True).head(MOST_ROWS)


def hours(item: Item, region: str) -> pd.DataFrame:
    """One row per hour of the trace: cold starts and their mean seconds."""
    frame = pd.DataFrame(_rows(item, "by hour"), columns=["region", "hour", "cold_starts", "mean_s"])
    return frame[frame["region"] == region].drop(columns="region").head(MOST_ROWS)


def utility(item: Item, by: str, region: str) -> pd.DataFrame:
    """One row per group: how long pods are useful for every second of their cold start (pod utility)."""
    frame = pd.DataFrame(_rows(item, f"pod utility by {by}"))
    if frame.empty:
        return frame
    frame = frame[frame["region"] == region] if by != "region" else frame
    columns = [by, "pods", "p50", "p75", "p90", "share_below_1", "share_above_100"]
    return frame.reindex(columns=columns).head(MOST_ROWS)


def basis(item: Item, table: str) -> str:
    """Whether a table is measured or estimated, and how, in words."""
    found = _tables(item).get(table, {})
    return f"{found.get('basis', 'unknown')}: {found.get('why', '')}"


def policies(item: Item) -> pd.DataFrame:
    """One row per policy of a serverless run: cold starts, idle memory paid for, and delays."""
    rows = []
    for one in read_json(item.path / "summary.json", list):
        rows.append(
            {
                "policy": one["label"],
                "cold_starts": one["cold_starts"],
                "share_of_calls": one["cold_starts"] / max(one["invocations"], 1),
                "idle_gb_h": one["idle_gb_h"],
                "pre_warms": one["pre_warms"],
                "cold_start_p50_s": one["cold_start_s"]["p50"],
                "cold_start_p99_s": one["cold_start_s"]["p99"],
                "mean_delay_ms": 1e3 * (one["delay_s"]["mean"] or 0.0),
            }
        )
    return pd.DataFrame(rows)


def _rows(item: Item, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _tables(item).get(table, {}).get("rows", [])
    return rows


def _tables(item: Item) -> dict[str, Any]:
    tables = read_report(item).get("tables")
    if not isinstance(tables, dict) or "by region" not in tables:
        raise InputError(
            f"{item.path} is no analysis of cold starts: stowage serverless analyse TRACE --json makes one"
        )
    return tables
