"""Plans: what moves, in what order, what it gains and what it disturbs.

Of reports that `stowage pack` (also with `--minimise nodes`) and `stowage balance` printed, beside their snapshot; and
of the journal, where plans were carried out. A report gives the order of its steps and no times: the timeline is what
follows from that order when each step takes as long as assumed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from analytics.errors import InputError
from analytics.views import MOST_ROWS
from analytics.views.journal import ask_journal
from analytics.views.snapshots import read_snapshot
from analytics.workspace import Item, read_report
from scheduler.core.packing.selectors import PodMatcher
from scheduler.core.snapshot import Snapshot

MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Headline:
    """What a plan comes to. gap: pods that no proof rules out beyond those placed (of a packing plan)."""

    kind: str
    verdict: str
    moves: int
    evictions: int
    places: int
    disruption: int | None = None
    least_disruption: int | None = None
    gained: int | None = None
    gap: int | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()


def headline(item: Item) -> Headline:
    """The plan of a report in a few numbers."""
    report = read_report(item)
    moved = _steps(report)
    actions = [step["action"] for step in moved]
    counts = {name: actions.count(name) for name in ("move", "evict", "place")}
    if item.kind == "plan":
        tiers = tiers_of(item)
        gap = int((tiers["bound"] - tiers["after"]).sum())
        return Headline(
            "packing", str(report["verdict"]), counts["move"], counts["evict"], counts["place"],
            report.get("disruption"), report.get("moves_bound"), int((tiers["after"] - tiers["before"]).sum()), gap,
            report.get("seconds"), tuple(map(str, report.get("notes", ()))),
        )  # fmt: skip
    if item.kind == "drain":
        return Headline("fewer nodes", str(report["verdict"]), counts["move"], counts["evict"], counts["place"])
    return Headline(
        "balance", str(report.get("verdict", "")), counts["move"], counts["evict"], counts["place"],
        int(report["after"]["cost"]), int((report.get("bound") or {}).get("cost", 0)),
        notes=tuple(map(str, [*report.get("reasons", ()), *report.get("notes", ())])),
    )  # fmt: skip


def tiers_of(item: Item) -> pd.DataFrame:
    """One row per priority of a packing plan, most important first: pods, placed before and after, and the most."""
    report = read_report(item)
    names = {"total": "pods", "placed_before": "before", "placed": "after", "bound": "bound"}
    columns = {new: report.get(old) or {} for old, new in names.items()}
    frame = pd.DataFrame(columns).rename_axis("priority").reset_index()
    frame["priority"] = frame["priority"].astype("int64")
    return frame.sort_values("priority", ascending=False, ignore_index=True).fillna(0).astype("int64")


def objective(item: Item) -> pd.DataFrame:
    """What a balance report or a consolidation improves, one row per part: before, after, the least by the bound."""
    report = read_report(item)
    if item.kind == "drain":
        row = ["nodes in use", report["nodes_before"], report["nodes_after"], report["bound"]]
        return pd.DataFrame([row], columns=["part", "before", "after", "bound"])
    words = {
        "overload": "overload, sum over nodes of the share beyond the limit",
        "unplaced": "priority without a place",
        "cost": "cost of the moves",
        "stranded": "stranded room, sum over nodes of the share",
    }
    bound = report.get("bound") or {}
    return pd.DataFrame(
        [[text, report["before"].get(key), report["after"].get(key), bound.get(key)] for key, text in words.items()],
        columns=["part", "before", "after", "bound"],
    )


def steps(item: Item, snapshot: Item | None = None) -> pd.DataFrame:
    """The steps in order, numbered from 1; with the snapshot, what each pod asks for and the budget that binds it.

    room_left: how many of the budget's pods may still be disturbed after the step; below 0 it must wait for others.
    """
    frame = pd.DataFrame(
        _steps(read_report(item)), columns=["action", "pod", "from", "to", "why", "room_is_free", "cost"]
    )
    frame.insert(0, "step", np.arange(1, len(frame) + 1))
    if frame["cost"].isna().all():
        frame = frame.drop(columns="cost")
    if snapshot is not None:
        frame = _with_requests(frame, read_snapshot(snapshot))
    return frame


def matches(item: Item, snapshot: Item) -> tuple[int, int]:
    """(pods of the plan that the snapshot has not, pods of the snapshot that the plan does not know)."""
    known = {pod.key for pod in read_snapshot(snapshot).pods}
    report = read_report(item)
    named = set(report.get("placements") or ()) or {str(step["pod"]) for step in _steps(report)}
    unknown = len(known - named) if report.get("placements") else 0
    return len(named - known), unknown


def timeline(frame: pd.DataFrame, step_s: float, at_once: int) -> pd.DataFrame:
    """When each step would begin and end (seconds after the start), each taking `step_s`, `at_once` at a time.

    A step begins after all earlier ones that free room on its node have ended, and in the plan's order.
    """
    free_at = [0.0] * at_once
    leaves: dict[str, float] = defaultdict(float)
    rows = []
    latest = 0.0
    for step in frame.itertuples(index=False):
        source, target = step[frame.columns.get_loc("from")], step[frame.columns.get_loc("to")]
        needs = leaves[target] if isinstance(target, str) and step.room_is_free else 0.0
        worker = int(np.argmin(free_at))
        begin = max(free_at[worker], needs, latest)
        latest = begin
        free_at[worker] = begin + step_s
        if isinstance(source, str):
            leaves[source] = max(leaves[source], begin + step_s)
        rows.append((begin, begin + step_s))
    out = frame[["step", "action", "pod", "from", "to"]].copy()
    out["begin_s"], out["end_s"] = [row[0] for row in rows], [row[1] for row in rows]
    return out


def worth(frame: pd.DataFrame) -> pd.DataFrame:
    """What has been gained after each step: pods disturbed so far, waiting pods placed, and (known requests) their CPU.

    One row per step, and one before the first.
    """
    disturbed = frame["action"].isin(["move", "evict"]).cumsum()
    placed = (frame["action"] == "place").cumsum()
    cpu = frame["cpu_milli"] if "cpu_milli" in frame else pd.Series(0, index=frame.index)
    lost = frame["action"] == "evict"
    out = pd.DataFrame({
        "step": frame["step"], "disturbed": disturbed, "placed": placed,
        "cpu_milli_gained": (cpu * (frame["action"] == "place") - cpu * lost).cumsum(),
    })  # fmt: skip
    first = pd.DataFrame([dict.fromkeys(out.columns, 0)])
    return pd.concat([first, out], ignore_index=True)


def node_changes(item: Item, snapshot: Item) -> pd.DataFrame:
    """Nodes that change, those that change most first: pods and share of CPU and memory requested, before and after."""
    cluster = read_snapshot(snapshot)
    row = {node.name: n for n, node in enumerate(cluster.nodes)}
    size = np.array([[node.allocatable.get(name, 0) for name in ("cpu", "memory")] for node in cluster.nodes], float)
    size = size.reshape(len(row), 2)
    after = _places_after(read_report(item), cluster)
    used = np.zeros((2, len(row), 3))
    for pod in cluster.pods:
        amounts = (pod.requests.get("cpu", 0), pod.requests.get("memory", 0), 1)
        for when, node in enumerate((pod.node, after.get(pod.key, pod.node))):
            if node in row:
                used[when, row[node]] += amounts
    share = used[:, :, :2] / np.maximum(size, 1)
    frame = pd.DataFrame({
        "node": list(row),
        "pods_before": used[0, :, 2].astype(int), "pods_after": used[1, :, 2].astype(int),
        "cpu_before": share[0, :, 0], "cpu_after": share[1, :, 0],
        "memory_before": share[0, :, 1], "memory_after": share[1, :, 1],
    })  # fmt: skip
    changed = (used[0] != used[1]).any(axis=1)
    frame["change"] = np.abs(share[1] - share[0]).max(axis=1, initial=0)
    most_first = frame.loc[changed].sort_values(["change", "node"], ascending=[False, True], ignore_index=True)
    shown: pd.DataFrame = most_first.drop(columns="change").head(MOST_ROWS)
    return shown


def budgets(item: Item, snapshot: Item) -> pd.DataFrame:
    """Disruption budgets (PDBs) that the plan touches, the tightest first: allowed now, disturbed by it, left."""
    cluster = read_snapshot(snapshot)
    gone = {step["pod"] for step in _steps(read_report(item)) if step["action"] in ("move", "evict")}
    members = _members(cluster)
    rows = [
        (f"{budget.namespace}/{budget.name}", len(pods), budget.allowed, len(pods & gone))
        for budget, pods in zip(cluster.budgets, members, strict=True)
        if pods & gone
    ]
    frame = pd.DataFrame(rows, columns=["budget", "pods", "allowed_now", "disturbed"])
    frame["left"] = frame["allowed_now"] - frame["disturbed"]
    return frame.sort_values(["left", "budget"], ignore_index=True).head(MOST_ROWS)


def unplaced(item: Item) -> pd.DataFrame:
    """Pods that the plan leaves without a place, and why."""
    return pd.DataFrame(read_report(item).get("unplaced") or [], columns=["pod", "verdict", "why"]).head(MOST_ROWS)


def journal_plans(item: Item) -> pd.DataFrame:
    """Plans of the journal, the newest first: their last phase and reason, and how their steps went."""
    return ask_journal(item.path, "journal_plans", most=500)


def journal_steps(item: Item, plan: str) -> pd.DataFrame:
    """How each step of a plan went: one row per state that a pod was in, from when to when."""
    return ask_journal(item.path, "journal_steps", plan=plan, most=MOST_ROWS)


def journal_actions(item: Item, plan: str) -> pd.DataFrame:
    """Writes to pods, and what people did, for a plan; with the API server's refusals."""
    return ask_journal(item.path, "journal_actions", plan=plan, most=MOST_ROWS)


def _steps(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a report of any kind as rows of action, pod, from, to, why, room_is_free, cost."""
    if isinstance(report.get("steps"), list):
        return [
            {
                "action": step["action"], "pod": step["pod"], "from": step["source"], "to": step["target"],
                "why": step["why"], "room_is_free": bool(step.get("room_is_free", True)), "cost": None,
            }
            for step in report["steps"]
        ]  # fmt: skip
    moves = report.get("moves")
    if not isinstance(moves, list):
        raise InputError("the report has no steps and no moves: make it again with this version")
    return [
        {
            "action": "move" if move.get("from") else "place", "pod": str(move.get("task", move.get("pod"))),
            "from": move.get("from"), "to": move["to"], "why": str(move.get("why", "")), "room_is_free": True,
            "cost": move.get("cost"),
        }
        for move in moves
    ]  # fmt: skip


def _places_after(report: dict[str, Any], cluster: Snapshot) -> dict[str, str | None]:
    if report.get("placements"):
        return dict(report["placements"])
    after = {pod.key: pod.node for pod in cluster.pods}
    return after | {step["pod"]: step["to"] for step in _steps(report)}


def _members(cluster: Snapshot) -> list[set[str]]:
    """Pods on nodes that each budget selects."""
    matcher = PodMatcher(cluster.pods, cluster.namespaces)
    return [
        {
            cluster.pods[i].key
            for i in matcher.matching(budget.selector, frozenset({budget.namespace}))
            if cluster.pods[i].node is not None
        }
        for budget in cluster.budgets
    ]


def _with_requests(frame: pd.DataFrame, cluster: Snapshot) -> pd.DataFrame:
    pods = {pod.key: pod for pod in cluster.pods}
    budgets_of: dict[str, list[int]] = defaultdict(list)
    for b, members in enumerate(_members(cluster)):
        for member in members:
            budgets_of[member].append(b)
    left = [budget.allowed for budget in cluster.budgets]
    rows = []
    for action, name in zip(frame["action"].tolist(), frame["pod"].tolist(), strict=True):
        pod = pods.get(name)
        mine = budgets_of.get(name, []) if action in ("move", "evict") else []
        for b in mine:
            left[b] -= 1
        tightest = min(mine, key=lambda b: left[b], default=None)
        rows.append((
            pod.priority if pod else None,
            pod.requests.get("cpu", 0) if pod else None,
            -(-pod.requests.get("memory", 0) // MIB) if pod else None,
            cluster.budgets[tightest].name if tightest is not None else "",
            left[tightest] if tightest is not None else None,
        ))  # fmt: skip
    columns = ["priority", "cpu_milli", "memory_mib", "budget", "room_left"]
    return frame.join(pd.DataFrame(rows, columns=columns, index=frame.index))
