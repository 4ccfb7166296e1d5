"""Runs of one trace side by side: figures with intervals, delays by tier, who wins in which class of tasks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from analytics.compare import Comparison, compare
from analytics.errors import InputError
from analytics.runs import read_run
from analytics.views import ask
from analytics.workspace import Item

Better = Literal["lower", "higher", ""]
Unit = Literal["s", "share", "count", "USD", ""]
WORDS: Final = {"cpu": "CPU", "gpu": "GPU"}
SIZES: Final = ("under 1 %", "1 to 5 %", "5 to 25 %", "25 % and more")


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric as people read it. name: dotted, as in `stowage compare`. better: which direction is."""

    name: str
    words: str
    unit: Unit
    better: Better


# Names as patterns; {} in the words is what the pattern's group found.
_MEASURES: Final[tuple[tuple[str, str, Unit, Better], ...]] = (
    (r"delay(?:_censored)?_s\.(.+)\.p50", "median delay, {}", "s", "lower"),
    (r"delay(?:_censored)?_s\.(.+)\.p90", "p90 delay, {}", "s", "lower"),
    (r"delay(?:_censored)?_s\.(.+)\.p99", "p99 delay, {}", "s", "lower"),
    (r"delay_s\.(.+)\.mean", "mean delay, {}", "s", "lower"),
    (r"startup_misses\.tiers\.(.+)\.share", "late starts, {}", "share", "lower"),
    (r"never_placed", "attempts never placed", "count", "lower"),
    (r"evictions", "evictions", "count", "lower"),
    (r"preemptions", "preemptions", "count", "lower"),
    (r"overload\.share", "overloaded nodes, of all nodes' time", "share", "lower"),
    (r"stranded\.(.+)", "stranded {}", "share", "lower"),
    (r"fragmented\.(.+)", "fragmented {}", "share", "lower"),
    (r"utilisation\.(.+)", "requested {}", "share", ""),
    (r"used\.(.+)", "used {}", "share", ""),
    (r"fairness\.jain_kept_share", "evenness of tenants' kept shares (Jain)", "", "higher"),
    (r"fairness\.low_kept_share", "kept share, lowest twentieth of tenants", "share", "higher"),
    (r"welfare\.kept", "welfare kept", "", "higher"),
    (r"cost\.usd\.stranded", "cost of stranded capacity", "USD", "lower"),
)


def pools(items: Sequence[Item]) -> list[list[Item]]:
    """Runs that may be compared with each other (same trace, same window), the largest group first."""
    found: dict[tuple[str, tuple[int, int]], list[Item]] = {}
    for item in items:
        try:
            facts = read_run(item.path).facts
        except InputError:  # the menu says so of broken runs; one deleted this second is none
            continue
        found.setdefault((facts.trace.checksum, facts.window_us), []).append(item)
    return sorted(found.values(), key=lambda pool: -len(pool))


def figures(items: Sequence[Item]) -> Comparison:
    """Every metric of every run and the differences to the first one's, without intervals from inside the runs.

    Raises InputError where a run replays another trace or window than the first.
    """
    return compare(_folders(items), intervals=False)


def with_intervals(items: Sequence[Item]) -> Comparison:
    """As `stowage compare` gives it: takes seconds for each run of a large trace."""
    return compare(_folders(items))


def _folders(items: Sequence[Item]) -> list[Path]:
    return [item.path for item in items]


def measures(comparison: Comparison, tier: str, with_unstarted: bool) -> list[Measure]:
    """What a first look needs, of those that any run has. with_unstarted: delays count tasks that never started."""
    other = "delay_s" if with_unstarted else "delay_censored_s"
    found = []
    for pattern, words, unit, better in _MEASURES:
        for name, values in comparison.metrics.items():
            matched = re.fullmatch(pattern, name)
            if matched is None or not any(value is not None for value in values.values()):
                continue
            kind = matched.group(1) if matched.groups() else ""
            is_of_tier = name.startswith(("delay", "startup_misses"))
            if name.startswith(f"{other}.") or (is_of_tier and kind != tier):
                continue
            found.append(Measure(name, words.format(WORDS.get(kind, kind)), unit, better))
    return found


def labels(items: Sequence[Item], comparison: Comparison) -> dict[Item, str]:
    """What each run is called beside the others: by its group where it is alone in it, else by its own name."""
    folders = {item: item.path.resolve().name for item in items}
    if len(set(folders.values())) < len(folders):
        folders = {item: str(item.path) for item in items}
    alone = {members[0]: group for group, members in comparison.groups.items() if len(members) == 1}
    return {item: alone.get(folder, item.name) for item, folder in folders.items()}


def tiers(comparison: Comparison) -> list[str]:
    """Tiers that any run has delays of, "all" last."""
    names = {name.split(".")[1] for name in comparison.metrics if re.fullmatch(r"delay_s\..+\.p99", name)}
    return sorted(names, key=lambda name: (name == "all", name))


def rows(comparison: Comparison) -> pd.DataFrame:
    """One row per metric and group: mean, difference to the first group, 95 % interval and what was resampled."""
    found = []
    for metric in comparison.metrics:
        for group, members in comparison.groups.items():
            change = comparison.differences[metric].get(group)
            found.append(
                {
                    "metric": metric, "group": group, "runs": len(members),
                    "mean": comparison.group_mean(metric, group),
                    "difference": change.difference if change else None,
                    "low": change.low if change else None, "high": change.high if change else None,
                    "resampled": change.method if change else None,
                }
            )  # fmt: skip
    return pd.DataFrame(found)


def best(comparison: Comparison, measure: Measure) -> list[tuple[str, float]]:
    """Groups with their means, the best first; none without the metric."""
    means = [(group, comparison.group_mean(measure.name, group)) for group in comparison.groups]
    known = [(group, mean) for group, mean in means if mean is not None]
    return sorted(known, key=lambda one: one[1], reverse=measure.better == "higher")


def frontier(comparison: Comparison, across: Measure, up: Measure) -> pd.DataFrame:
    """Groups by two measures; is_best: no other group is at least as good in both and better in one."""
    points = [
        (group, comparison.group_mean(across.name, group), comparison.group_mean(up.name, group))
        for group in comparison.groups
    ]
    frame = pd.DataFrame(points, columns=["group", "across", "up"]).dropna()
    signs = [-1 if measure.better == "higher" else 1 for measure in (across, up)]
    costs = frame[["across", "up"]].to_numpy(float) * signs
    frame["is_best"] = [not any((other <= own).all() and (other < own).any() for other in costs) for own in costs]
    return frame


def delays(item: Item) -> pd.DataFrame:
    """How the delays of a run's tasks are distributed: share started within delay_s seconds, by tier."""
    return ask(item.path, "delay_cdf")


def classes(item: Item) -> pd.DataFrame:
    """Delays of a run by tier and size of request (an index of `SIZES`)."""
    return ask(item.path, "classes")


def winners(by_run: dict[str, pd.DataFrame], measure: str) -> pd.DataFrame:
    """One row per class and run: tasks, the measure (p99_s, mean_s), and whether no run has a lower one.

    A class that a run has no started task of is missing there, and nobody wins one that a single run knows.
    """
    frames = [frame.assign(run=name) for name, frame in by_run.items()]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    frame = frame[frame["started"] > 0].rename(columns={measure: "delay_s"})
    of_class = frame.groupby(["tier", "size"])["delay_s"]
    lowest, highest = of_class.transform("min"), of_class.transform("max")
    frame["wins"] = (frame["delay_s"] <= lowest) & (highest > lowest)
    frame["size_text"] = [SIZES[size] for size in frame["size"]]
    return frame[["tier", "size", "size_text", "run", "attempts", "started", "delay_s", "wins"]]
