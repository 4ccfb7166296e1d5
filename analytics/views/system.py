"""How Stowage itself does: its solver and planner by the journal, its replays by what they cost, its versions."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analytics.facts import installed_versions
from analytics.runs import read_run
from analytics.views import MOST_ROWS
from analytics.views.journal import ask_journal
from analytics.workspace import Item

BINS = 200
PACKAGES = (
    "stowage", "ortools", "duckdb", "numba", "numpy", "pandas", "pyarrow", "streamlit", "altair", "kubernetes",
    "apscheduler",
)  # fmt: skip


def kinds(journal: Item) -> pd.DataFrame:
    """One row per kind of decision in the journal: how many, from when to when (UTC), by how many writers."""
    return ask_journal(journal.path, "journal_kinds")


def solves(journal: Item) -> pd.DataFrame:
    """Attempts of the solver by verdict over time: how many, median and longest seconds."""
    return ask_journal(journal.path, "journal_solves", bins=BINS)


def costs(runs: Sequence[Item]) -> pd.DataFrame:
    """One row per run whose cost was measured: time, speed of the replay's loop, peak memory."""
    rows = []
    for item in runs[:MOST_ROWS]:
        run = read_run(item.path)
        if run.cost is not None:
            rows.append(
                {
                    "run": item.name,
                    "policy": run.facts.policy,
                    "wall_s": run.cost.wall_s,
                    "cpu_s": run.cost.cpu_s,
                    "events_per_cpu_s": round(run.cost.events_per_cpu_s),
                    "peak_memory_mib": run.cost.peak_rss_mib,
                    "machine": run.cost.machine,
                }
            )
    return pd.DataFrame(rows)


def versions() -> pd.DataFrame:
    """One row per package that decides what people see, with the version that runs here."""
    found = installed_versions(PACKAGES)
    return pd.DataFrame({"package": list(found), "version": list(found.values())})
