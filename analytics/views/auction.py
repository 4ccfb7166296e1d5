"""Auctions: reports of `stowage auction`, replays under the policy `auction`, price rounds of a live planner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from analytics.errors import InputError
from analytics.runs import read_run
from analytics.views import MOST_ROWS, ask, bin_us
from analytics.views.journal import ask_journal
from analytics.workspace import Item, read_report

BINS: Final = 400
MOST_POOLS: Final = 8
MOST_BIDS: Final = 500
PRICES: Final = "prices.parquet"  # of a replay under `auction`: one row per round that had something to sell
# What one report says of itself, and its column here.
_FIGURES: Final = {
    "mechanism": "mechanism", "per_node": "per_node", "utility": "utility", "requests": "requests", "nodes": "nodes",
    "tenants": "tenants", "winners": "winners", "efficiency": "efficiency", "satisfaction": "served",
    "welfare": "welfare", "bound": "bound", "gap": "gap", "verdict": "verdict", "revenue": "revenue",
    "jain_requests": "jain_requests", "jain_tenants": "jain_tenants", "least_tenant": "least_tenant", "cpu_s": "cpu_s",
}  # fmt: skip
_WORDS: Final = ("report", "mechanism", "per_node", "utility", "verdict", "source", "round")
_TYPES: Final = {
    "regret": dict, "charges": dict, "charges_slack": dict, "dominant_shares": dict, "prices": dict, "frontier": dict,
    "allocation": list, "notes": list,
}  # fmt: skip
_ROUND: Final = ("source", "per_node", "utility", "requests", "nodes", "tenants")


def figures(reports: Sequence[Item]) -> pd.DataFrame:
    """One row per report. gap: share of the bound that is missing, at most; regret: of the optimum, at least and at
    most, in the value of bids; round: equal for reports of the same requests, nodes and bids."""
    frame = pd.DataFrame([_figures(item) for item in reports[:MOST_ROWS]])
    numbers = [column for column in frame.columns if column not in _WORDS]
    frame[numbers] = frame[numbers].apply(pd.to_numeric, errors="coerce")
    return frame


def _figures(item: Item) -> dict[str, Any]:
    report = _read(item)
    regret = report.get("regret") or {}
    return (
        {"report": item.name}
        | {column: report.get(name) for name, column in _FIGURES.items()}
        | {
            "source": str(report.get("source", "")), "mechanism": str(report.get("mechanism")),
            "regret_least": regret.get("at_least"), "regret_most": regret.get("at_most"),
            "round": " / ".join(str(report.get(name)) for name in _ROUND),
        }
    )  # fmt: skip


def distinct(frame: pd.DataFrame) -> pd.DataFrame:
    """Of `figures` of a round: those that differ (a frontier's report repeats the exact one's), with short labels."""
    frame = frame.drop_duplicates(["mechanism", "welfare", "revenue", "jain_tenants", "gap"]).copy()
    is_alone = ~frame["mechanism"].duplicated(keep=False)
    frame["label"] = frame["mechanism"].where(is_alone, frame["report"])
    return frame


def notes(report: Item) -> list[str]:
    """What the reader of one report must know before believing it."""
    return [str(note) for note in _read(report).get("notes") or []]


def tenants(report: Item) -> pd.DataFrame:
    """One row per tenant: requests won, what they bid and pay, dominant share of the room; most room first.

    may_owe: how much more it may owe, where charges are not proved. At most `MOST_ROWS`.
    """
    found = _read(report)
    allocation = pd.DataFrame(found.get("allocation") or [], columns=["request", "tenant", "node", "bid", "pays"])
    won = allocation.groupby("tenant").agg(won=("request", "size"), bid=("bid", "sum"))
    frame = pd.DataFrame(
        {
            "dominant_share": pd.Series(found.get("dominant_shares") or {}, dtype=float),
            "pays": pd.Series(found.get("charges") or {}, dtype=float),
            "may_owe": pd.Series(found.get("charges_slack") or {}, dtype=float),
        }
    ).join(won)
    frame = frame.rename_axis("tenant").reset_index().fillna({"won": 0, "bid": 0.0, "pays": 0.0})
    frame["won"] = frame["won"].astype(int)
    frame = frame.sort_values(["dominant_share", "tenant"], ascending=[False, True]).head(MOST_ROWS)
    columns = ["tenant", "won", "bid", "pays", "dominant_share"]
    return frame[[*columns, "may_owe"] if (frame["may_owe"] > 0).any() else columns]


def evenness(report: Item) -> pd.DataFrame:
    """Lorenz's curve in a hundred steps: the share of the room won that the least served share of tenants has."""
    shares = np.sort(np.array(list((_read(report).get("dominant_shares") or {}).values()), float))
    if not len(shares) or not shares.sum():
        return pd.DataFrame({"tenants": [], "room": []})
    reached = np.concatenate([[0.0], np.cumsum(shares) / shares.sum()])
    steps = np.linspace(0, 1, 101)
    return pd.DataFrame({"tenants": steps, "room": np.interp(steps, np.linspace(0, 1, len(reached)), reached)})


def winners(report: Item) -> pd.DataFrame:
    """One row per request that won: tenant, node, bid and what it pays; the highest bids first, at most `MOST_ROWS`."""
    frame = pd.DataFrame(_read(report).get("allocation") or [], columns=["request", "tenant", "node", "bid", "pays"])
    return frame.sort_values(["bid", "request"], ascending=[False, True]).head(MOST_ROWS)


def node_prices(report: Item) -> pd.DataFrame:
    """One row per node and what is priced of it (the node, or a unit of a resource), nodes from the dearest down.

    rank: share of the nodes that are at least as dear. Of very many nodes evenly chosen ranks.
    """
    rows = [
        (node, what, float(price))
        for node, prices in (_read(report).get("prices") or {}).items()
        for what, price in (prices or {"node": 0.0}).items()
    ]
    frame = pd.DataFrame(rows, columns=["node", "what", "price"])
    frame = frame.sort_values(["what", "price", "node"], ascending=[True, False, True])
    of_what = frame.groupby("what")["price"]
    frame["rank"] = (of_what.cumcount() + 1) / of_what.transform("size")
    return _thinned(frame)


def frontier(report: Item) -> tuple[str, pd.DataFrame]:
    """What the frontier goes towards, and one row per point; empty where the report has none."""
    found = _read(report).get("frontier") or {}
    rows = [
        {
            "weight": point["weight"], "efficiency": point["efficiency"], "served": point["satisfaction"],
            "demand_placed": float(np.mean(list(point["placed"].values()))) if point["placed"] else None,
            "jain_tenants": point["jain_tenants"], "gap": point["gap"],
        }
        for point in found.get("points") or []
    ]  # fmt: skip
    return str(found.get("towards", "")), pd.DataFrame(rows)


def counters(run: Item) -> dict[str, int]:
    """What the market of a replay counted; empty for a run without one."""
    found = read_run(run.path).facts.counters
    return {name: found[name] for name in ("rounds", "markets", "market_bids", "market_wins") if name in found}


def fairness(run: Item) -> dict[str, float]:
    """The summary's figures of how evenly the tenants fared."""
    found: dict[str, float] = read_run(run.path).summary.get("fairness") or {}
    return found


def fared(run: Item, other: Item) -> pd.DataFrame:
    """One row per tenant of both runs: kept share and mean delay in each, and the difference; most attempts first.

    kept share: of what a tenant wanted of its main resource, what it had and what was not for nothing.
    """
    frames = []
    for item in (run, other):
        columns = ["tenant", "attempts", "dominant_share", "kept_share", "mean_delay_s"]
        frames.append(ask(item.path, "tenants_of_run", most=MOST_ROWS)[columns])
    frame = frames[0].merge(frames[1], on="tenant", suffixes=("", "_other"))
    frame["kept_change"] = frame["kept_share"] - frame["kept_share_other"]
    return frame.drop(columns=["attempts_other", "dominant_share_other"])


def prices_of_run(run: Item) -> pd.DataFrame | None:
    """Prices over the run in `BINS` steps: median, ninth decile and highest of the nodes on sale, bids and wins; None
    where the run does not tell. A price is a share of the most that anybody could bid for a node of that size."""
    if not (run.path / PRICES).exists():
        return None
    return ask(run.path, "prices_of_run", bin_us=bin_us(read_run(run.path).facts, BINS))


def rounds(journal: Item) -> pd.DataFrame:
    """One row per price round, the last `MOST_ROWS`: gap to the bound, pools, dearest price, how many bids."""
    return ask_journal(journal.path, "price_rounds", most=MOST_ROWS)


def pool_prices(journal: Item) -> pd.DataFrame:
    """Prices over time of the pools of nodes that were dearest, at most `MOST_POOLS`, in bins of time."""
    return ask_journal(journal.path, "pool_prices", pools=MOST_POOLS, most=MOST_ROWS // MOST_POOLS)


def bids(journal: Item) -> pd.DataFrame:
    """What each waiting pod bid last, what that met, and why; those outbid first, at most `MOST_BIDS`."""
    return ask_journal(journal.path, "last_bids", most=MOST_BIDS)


def _read(item: Item) -> dict[str, Any]:
    report = read_report(item)
    for name, kind in _TYPES.items():
        if not isinstance(report.get(name) or kind(), kind):
            raise InputError(f"{item.path}: its {name} is not of this version: make it again with stowage auction -o")
    return report


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_ROWS` rows of it, evenly chosen, first and last among them."""
    if len(frame) <= MOST_ROWS:
        return frame
    return frame.iloc[np.unique(np.linspace(0, len(frame) - 1, MOST_ROWS).astype(int))]
