"""Diagnoses of GPU jobs, what gangs lose to faults, and the health of nodes as the planner's journal has it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analytics.views import MOST_ROWS
from analytics.views.journal import ask_journal
from analytics.workspace import Item, read_report

ACCUSED = ("rank", "host", "gpu", "syndrome", "confidence", "evidence")
LOST = ("detection", "diagnosis", "restart", "lost_work", "saving", "waiting")


def verdict(item: Item) -> dict[str, Any]:
    """The diagnosis in words: verdict, ranks looked at, missing ones, notes, files that could not be read."""
    report = read_report(item)
    return {
        "verdict": str(report["verdict"]),
        "ranks": int(report.get("ranks", 0)),
        "missing": list(report["missing_ranks"]),
        "late": [str(one) for one in report.get("late", [])],
        "notes": [str(one) for one in report.get("notes", [])],
        "unreadable": len(report.get("unreadable", [])),
    }


def accused(item: Item) -> pd.DataFrame:
    """One row per accused part, most certain first: where, of what, how surely (0 to 1), and why."""
    frame = pd.DataFrame(read_report(item)["accused"], columns=[*ACCUSED, "link", "among"])
    frame["connection"] = [_connection(link, among) for link, among in zip(frame["link"], frame["among"], strict=True)]
    frame = frame.sort_values("confidence", ascending=False, kind="stable", ignore_index=True)
    return frame[[*ACCUSED[:4], "connection", *ACCUSED[4:]]].head(MOST_ROWS)


def delays(item: Item) -> pd.DataFrame:
    """The delay matrix: one row per pair of ranks that sent messages; factor: times as long as usual."""
    rows = read_report(item).get("delays", [])
    return pd.DataFrame(rows, columns=["source", "target", "factor", "samples"]).head(MOST_ROWS)


def signals(item: Item) -> pd.DataFrame:
    """What monitors and logs said of nodes, the worst first."""
    columns = ["node", "gpu", "component", "severity", "code", "source", "message", "is_open", "count"]
    return pd.DataFrame(read_report(item).get("signals", []), columns=columns).head(MOST_ROWS)


def gang(item: Item) -> dict[str, Any]:
    """The fleet and its faults: nodes, outages, days, share of it that is down, hours between faults of the gang."""
    report = read_report(item)
    names = ("fleet", "outages", "days", "down_share", "mtbf_h", "spares", "spares_for_99", "placement", "gang_nodes")
    return {name: report.get(name) for name in names}


def spares(item: Item) -> pd.DataFrame:
    """One row per number of spare nodes: the share of time in which they are enough."""
    curve = read_report(item).get("spares_curve", {})
    rows = sorted((int(count), float(share)) for count, share in curve.items())
    return pd.DataFrame(rows, columns=["spares", "share_of_time"]).head(MOST_ROWS)


def goodput(item: Item) -> pd.DataFrame:
    """One row per way to recover and part of the time: what the gang's hours go to, as shares that add up to 1."""
    rows = []
    for recovery, found in sorted(read_report(item).get("recoveries", {}).items()):
        rows.append((recovery, "useful work", float(found["ettr"])))
        rows += [(recovery, part.replace("_", " "), float(found["lost"].get(part, 0.0))) for part in LOST]
    return pd.DataFrame(rows, columns=["recovery", "part", "share"])


def health(journal: Item) -> pd.DataFrame:
    """One row per node whose health mark changed: its last state, since when (UTC), why, and how often it changed."""
    return ask_journal(journal.path, "journal_nodes", most=MOST_ROWS)


def _connection(link: Any, among: Any) -> str:
    if isinstance(link, list) and len(link) == 2:
        return f"{link[0]} to {link[1]}"
    return "among " + ", ".join(map(str, among)) if isinstance(among, list) and among else ""
