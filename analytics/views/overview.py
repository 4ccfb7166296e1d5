"""How well a cluster or a run is packed, and what is worth doing: figures of what lies in the workspace, put together.

Nothing is decided here: every action names the replays, the search or the plan that found it. Actions are told with
what they make worse, and are ordered by `worth`: how much smaller they make what they are about, from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from analytics.compare import Comparison, compare
from analytics.errors import InputError
from analytics.runs import read_run
from analytics.views import fragmentation
from analytics.views.journal import ask_journal
from analytics.views.snapshots import read_snapshot
from analytics.workspace import Item, read_report
from scheduler.core.snapshot import Pod, Snapshot

BINS: Final = 120
MOST_PLANS: Final = 50
# Less than this is not worth a change, in the metric's own unit; and by which share it must be smaller at least.
LEAST_GAIN: Final = {"delay": 1.0, "never_placed": 1.0, "stranded": 0.005}
LEAST_SHARE: Final = 0.05
METRICS: Final = ("delay_s", "attempts", "never_placed", "evictions", "preemptions", "utilisation", "stranded")
RESOURCES: Final = {"cpu": "CPU", "memory": "memory", "nvidia.com/gpu": "GPUs"}  # of snapshots, as people say


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do. value: what it gains, with units. basis: who found that, and how. costs: what becomes worse.

    page, query: where it is shown: a module of the pages (none for what Overview shows itself), what its address holds.
    """

    title: str
    value: str
    basis: str
    page: str
    worth: float
    costs: str = ""
    query: dict[str, str | list[str]] = field(default_factory=dict)


def summary(run: Item) -> dict[str, Any]:
    """The metrics of a run as they were written, with its most important tier under "tier"."""
    found = read_run(run.path)
    metrics = found.summary
    if lost := [name for name in METRICS if name not in metrics]:
        raise InputError(f"{run.path}/summary.json lacks {', '.join(lost)}: of another version; replay it again")
    tiers = [tier.name for tier in sorted(found.facts.tiers, key=lambda tier: -tier.min)]
    known = [name for name in tiers if (metrics["delay_s"].get(name) or {}).get("started")]
    tier = "production" if "production" in known else (known or ["all"])[0]
    return metrics | {"tier": tier}


def by_policy(run: Item, others: Sequence[Item]) -> list[Action]:
    """The other run of the same trace and window that makes something most better; more than one where equal.

    Compared are the delay of the most important tier, attempts never placed, and what is stranded. What was recorded is
    no policy that anybody could choose.
    """
    tier = summary(run)["tier"]
    found = []
    for other in others:
        try:
            if read_run(other.path).facts.mode == "recorded":
                continue
            comparison = compare([run.path, other.path], intervals=False)
        except InputError:  # of another trace or window, or gone
            continue
        gains, losses = _changes(comparison, tier)
        if gains:
            (worth, value), costs = max(gains), [text for _, text in sorted(losses, reverse=True)]
            rest = [text for share, text in sorted(gains, reverse=True) if text != value]
            policy = read_run(other.path).facts.policy
            found.append(
                Action(
                    f"Place by {policy}", "; ".join([value, *rest[:2]]),
                    f"replays {run.name} and {other.name} of the same trace and window", "compare", worth,
                    "; ".join(costs[:2]), {"base": run.name, "runs": [other.name], "tier": tier},
                )
            )  # fmt: skip
    most = max((action.worth for action in found), default=0.0)
    return [action for action in found if action.worth == most]


def _changes(comparison: Comparison, tier: str) -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """What is better and what is worse in the second run: share of change, and words."""
    base, other = comparison.groups
    gains: list[tuple[float, str]] = []
    losses: list[tuple[float, str]] = []
    for name, words, kind in _judged(comparison, tier):
        before, after = comparison.group_mean(name, base), comparison.group_mean(name, other)
        if before is None or after is None or abs(after - before) < LEAST_GAIN[kind]:
            continue
        share = abs(after - before) / max(before, after)
        if share >= LEAST_SHARE:
            text = f"{words} {_amount(kind, before)} → {_amount(kind, after)}"
            (gains if after < before else losses).append((share, text))
    return gains, losses


def _judged(comparison: Comparison, tier: str) -> list[tuple[str, str, str]]:
    stranded = [name for name in comparison.metrics if name.startswith("stranded.")]
    return [
        (f"delay_s.{tier}.p99", f"p99 delay of {tier}", "delay"),
        ("never_placed", "attempts never placed", "never_placed"),
        *((name, f"stranded {name.partition('.')[2].replace('cpu', 'CPU').replace('gpu', 'GPU')}", "stranded")
          for name in stranded),
    ]  # fmt: skip


def _amount(kind: str, value: float) -> str:
    if kind == "stranded":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}{' s' if kind == 'delay' else ''}" if value >= 10 or kind != "delay" else f"{value:.3g} s"


def by_capacity(report: Item) -> list[Action]:
    """Nodes that could go, by a report of `stowage capacity`: within its limit, or with as few attempts unplaced."""
    found = read_report(report)
    recorded, searched = found.get("recorded_nodes"), found.get("searched") or []
    full = next((tried for tried in searched if tried.get("nodes") == recorded), None)
    if not recorded or full is None:
        return []
    basis = f"{report.name}: replays under {found.get('policy')} at {len(searched)} sizes"
    answer, limit = found.get("nodes"), f"p99 delay of {found.get('tier')} within {found.get('limit_s'):g} s"
    if answer and answer < recorded:
        gone = recorded - answer
        text = f"{gone:,} of {recorded:,} nodes could go, {limit}"
        return [Action(f"Run {gone:,} nodes fewer", text, basis, "", gone / recorded)]
    enough = [tried["nodes"] for tried in searched if tried["never_placed"] <= full["never_placed"]]
    if enough and (gone := recorded - min(enough)) > 0:
        text = f"{gone:,} of {recorded:,} nodes could go with no more attempts left unplaced"
        return [Action(f"Run {gone:,} nodes fewer", text, basis, "", gone / recorded)]
    if answer and answer > recorded:
        more = answer - recorded
        return [Action(f"Add {more:,} nodes", f"{more:,} nodes more keep the {limit}", basis, "", more / answer)]
    return []


def sizes(report: Item) -> tuple[str, pd.DataFrame]:
    """What a search for the fewest nodes found, in a sentence, and the sizes that it tried."""
    found = read_report(report)
    columns = ["nodes", "delay_p99_s", "never_placed", "ok"]
    return str(found.get("why", "")), pd.DataFrame(
        [{name: tried[name] for name in columns} for tried in found["searched"]]
    )


def by_shape(run: Item) -> list[Action]:
    """The request shape to which most free capacity is of no use."""
    frame = fragmentation.shapes(run)
    if frame.empty or "unusable_usd_h" not in frame:
        return []
    frame = frame.assign(expected=frame["weight"] * frame["unusable_usd_h"])
    worst = frame.sort_values("expected", ascending=False, kind="stable").iloc[0]
    shares = [worst[name] for name in ("cpu_unusable", "memory_unusable", "gpu_unusable") if name in frame]
    unusable = max((float(share) for share in shares if pd.notna(share)), default=0.0)
    if unusable < LEAST_GAIN["stranded"] or worst["expected"] <= 0:
        return []
    usd = f"{worst['unusable_usd_h']:,.0f} USD per hour"
    text = f"{100 * unusable:.1f} % of capacity is free and of no use to it, {usd}"
    basis = f"{run.name}: it is {100 * worst['weight']:.1f} % of requests; prices as stated under Cost and energy"
    title = f"Make room for {worst['asks_for']}"
    return [Action(title, text, basis, "fragmentation", unusable, "", {"run": run.name})]


def by_plan(report: Item) -> list[Action]:
    """What a plan of `stowage pack` would place, by priority."""
    found = read_report(report)
    before, after, total = (found.get(name) or {} for name in ("placed_before", "placed", "total"))
    changes = {tier: after.get(tier, 0) - before.get(tier, 0) for tier in sorted(after, key=int, reverse=True)}
    gained = sum(change for change in changes.values() if change > 0)
    waiting = sum(total.get(tier, 0) - before.get(tier, 0) for tier in total)
    if gained <= 0:
        return []
    words = ", ".join(f"{change:+,} at priority {tier}" for tier, change in changes.items() if change > 0)
    lost = ", ".join(f"{-change:,} fewer at priority {tier}" for tier, change in changes.items() if change < 0)
    moved = f"{len(found.get('moves') or []):,} pods moved, {len(found.get('evicted') or []):,} evicted"
    basis = f"{report.name}: a search, {found.get('verdict')}, of {waiting:,} waiting pods"
    costs = "; ".join(part for part in (lost, moved) if part)
    worth = min(gained / waiting, 1.0) if waiting else 0.0
    title, value = "Carry out the plan", f"pods that run: {words}"
    return [Action(title, value, basis, "plan", worth, costs, {"plan": report.name})]


def by_drain(report: Item) -> list[Action]:
    """Nodes that can be emptied, by `stowage pack --minimise nodes`."""
    found = read_report(report)
    before, after = int(found["nodes_before"]), int(found["nodes_after"])
    if after >= before:
        return []
    gone, moves = before - after, found.get("moves")
    basis = f"{report.name}: a search, {found.get('verdict')}"
    costs = f"{moves:,} pods moved" if isinstance(moves, int) and moves else ""
    return [
        Action(f"Drain {gone:,} nodes", f"{gone:,} of {before:,} nodes can be emptied", basis, "plan", gone / before,
               costs, {"plan": report.name})
    ]  # fmt: skip


def by_journal(journal: Item) -> list[Action]:
    """Plans that wait for somebody to approve them."""
    frame = open_plans(journal)
    if frame.empty:
        return []
    newest = frame.iloc[0]
    more = f", and {len(frame) - 1:,} more" if len(frame) > 1 else ""
    text = f"{newest['message'] or 'proposed'} ({newest['time_utc']:%Y-%m-%d %H:%M} UTC)"
    title = f"Decide on plan {newest['plan']}{more}"
    return [Action(title, text, f"journal {journal.name}", "plan", 1.0, "", {"plan": journal.name})]


def open_plans(journal: Item) -> pd.DataFrame:
    """Plans that are proposed and not decided, the newest first."""
    return ask_journal(journal.path, "open_plans", most=MOST_PLANS)


def live_course(journal: Item) -> pd.DataFrame:
    """Waiting pods, open plans, evictions and placements by plans over time, in `BINS` steps."""
    return ask_journal(journal.path, "live_course", bins=BINS)


@dataclass(frozen=True, slots=True)
class Packed:
    """A snapshot in figures. requested, stranded: shares of what nodes in service offer, by resource.

    stranded: free on nodes that have no room for the median pod that runs. waiting: pods without a node, by priority.
    """

    nodes: int
    out_of_service: int
    running: int
    requested: dict[str, float]
    stranded: dict[str, float]
    waiting: dict[int, int]


def packed(item: Item) -> Packed:
    """Figures of a snapshot. Raises InputError if it is gone or none."""
    return _packed(read_snapshot(item))


def _packed(snapshot: Snapshot) -> Packed:
    served = [node for node in snapshot.nodes if node.ready and not node.unschedulable]
    row = {node.name: n for n, node in enumerate(served)}
    offers = np.array([[node.allocatable.get(name, 0) for name in RESOURCES] for node in served], np.int64)
    offers = offers.reshape(len(served), len(RESOURCES))
    held = np.zeros_like(offers)
    running = [pod for pod in snapshot.pods if pod.node is not None and pod.node in row]
    asks = np.array([_asks(pod) for pod in running], np.int64).reshape(len(running), len(RESOURCES))
    np.add.at(held, [row[pod.node] for pod in running if pod.node], asks)
    free = np.maximum(offers - held, 0)
    median = np.median(asks, axis=0) if len(asks) else np.zeros(len(RESOURCES))
    is_short = (free < median).any(axis=1)
    offered = offers.sum(axis=0)
    known = {words: r for r, words in enumerate(RESOURCES.values()) if offered[r]}
    waiting: dict[int, int] = {}
    for pod in snapshot.pods:
        if pod.node is None and not pod.terminating:
            waiting[pod.priority] = waiting.get(pod.priority, 0) + 1
    return Packed(
        nodes=len(snapshot.nodes),
        out_of_service=len(snapshot.nodes) - len(served),
        running=len(running),
        requested={words: float(held[:, r].sum() / offered[r]) for words, r in known.items()},
        stranded={words: float(free[is_short, r].sum() / offered[r]) for words, r in known.items()},
        waiting=dict(sorted(waiting.items(), reverse=True)),
    )


def _asks(pod: Pod) -> list[int]:
    return [pod.requests.get(name, 0) for name in RESOURCES]
