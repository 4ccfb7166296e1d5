"""Runs side by side: every metric of every run, and differences to the first group with what chance may explain.

Runs that differ in nothing but their seed are one group, its seeds repetitions. The first run given is the base.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from analytics import bootstrap, metrics
from analytics.cost import CostModel
from analytics.errors import InputError
from analytics.runs import Run, read_run

REPLICATES = 400
MIN_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """Group less base. low, high: 95 % interval, None where there is no ground for one.

    method: what was resampled (seeds, jobs, hours), None without an interval. repetitions: pairs of runs compared.
    """

    difference: float
    low: float | None
    high: float | None
    method: str | None
    repetitions: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """groups: names of the runs of each group, the base first. metrics: {metric: {run: value}}.

    differences: {metric: {group: difference to the base}}; notes: what a reader must know before believing them.
    """

    groups: dict[str, list[str]]
    metrics: dict[str, dict[str, float | None]]
    differences: dict[str, dict[str, Difference]]
    notes: list[str]

    def group_mean(self, metric: str, group: str) -> float | None:
        """Mean over the group's runs that have the metric."""
        values = [self.metrics[metric].get(run) for run in self.groups[group]]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    def to_json(self) -> dict[str, Any]:
        runs = [run for members in self.groups.values() for run in members]
        return {"runs": runs, **msgspec.to_builtins(self)}

    def to_csv(self) -> str:
        """One line per metric and group."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["metric", "group", "runs", "mean", "difference", "low", "high", "method"])
        for metric in self.metrics:
            for group, members in self.groups.items():
                found = self.differences[metric].get(group)
                change = [found.difference, found.low, found.high, found.method] if found else [None] * 4
                writer.writerow([metric, group, len(members), self.group_mean(metric, group), *change])
        return text.getvalue()


def compare(
    folders: Sequence[Path],
    force: bool = False,
    seed: int = 0,
    replicates: int = REPLICATES,
    model: CostModel | None = None,
    intervals: bool = True,
) -> Comparison:
    """Compare runs of one trace and window. Raises InputError for runs that are not, unless `force`.

    seed, replicates: of the bootstrap; the same ones give the same intervals. intervals: without those from inside runs
    the answer is there at once.
    """
    if len(folders) < 2:
        raise InputError("a comparison needs at least two runs")
    runs = [read_run(folder) for folder in folders]
    names = _names(folders)
    notes = [*_check_comparable(runs, names, force), *_limits_that_differ(runs, names)]
    groups = _group(runs, names)
    by_name = dict(zip(names, runs, strict=True))
    flat = {name: metrics.flatten(_summary(run, model)) for name, run in by_name.items()}
    table = {metric: {name: flat[name].get(metric) for name in names} for metric in _ordered(flat.values())}
    base, *others = groups
    differences: dict[str, dict[str, Difference]] = {metric: {} for metric in table}
    for group in others:
        pairs = _pairs(groups[base], groups[group], by_name)
        inside = intervals and len(pairs) < MIN_SEEDS
        found = _inner_intervals([(by_name[a], by_name[b]) for a, b in pairs], seed, replicates) if inside else {}
        for metric, values in table.items():
            known = [(values[first], values[second]) for first, second in pairs]
            changes = [after - before for before, after in known if before is not None and after is not None]
            if changes:
                differences[metric][group] = _difference(metric, changes, found, seed, replicates)
    return Comparison(groups, table, differences, notes)


def _difference(
    metric: str,
    changes: Sequence[float],
    intervals: dict[str, tuple[str, bootstrap.Interval]],
    seed: int,
    replicates: int,
) -> Difference:
    mean = sum(changes) / len(changes)
    if len(changes) >= MIN_SEEDS:
        low, high = bootstrap.seed_interval(changes, np.random.default_rng(seed), replicates)
        return Difference(mean, low, high, "seeds", len(changes))
    if metric in intervals:
        method, (low, high) = intervals[metric]
        return Difference(mean, mean + low, mean + high, method, len(changes))
    return Difference(mean, None, None, None, len(changes))


def _inner_intervals(
    pairs: Sequence[tuple[Run, Run]], seed: int, replicates: int
) -> dict[str, tuple[str, bootstrap.Interval]]:
    """Intervals around the difference by resampling jobs and hours inside the runs, averaged over the pairs."""
    if any(first.facts.trace != second.facts.trace for first, second in pairs):
        return {}  # the jobs and hours of different traces cannot be paired
    found: dict[str, tuple[str, bootstrap.Interval]] = {}
    for method, replicate in (("jobs", bootstrap.job_replicates), ("hours", bootstrap.block_replicates)):
        drawn = [replicate(pair, np.random.default_rng(seed), replicates) for pair in pairs]
        for name in sorted(set.intersection(*(set(each) for each in drawn)) if drawn else ()):
            shortest = min(len(each[name]) for each in drawn)
            mean = np.mean([each[name][:shortest] for each in drawn], axis=0)
            found[name] = (method, bootstrap.interval(mean))
    return found


def _pairs(base: Sequence[str], group: Sequence[str], runs: Mapping[str, Run]) -> list[tuple[str, str]]:
    """Names of runs of the same seed; a group of one stands against every run of the other."""
    if len(base) == 1 or len(group) == 1:
        return [(first, second) for first in base for second in group]
    by_seed = {runs[name].facts.seed: name for name in base}
    return [(by_seed[runs[name].facts.seed], name) for name in group if runs[name].facts.seed in by_seed]


def _group(runs: Sequence[Run], names: Sequence[str]) -> dict[str, list[str]]:
    """Names of runs by policy and whatever options differ among the runs, in the order given."""
    options = [run.facts.options | {"trace": run.facts.trace.checksum[:8]} for run in runs]
    decided = [each for run, each in zip(runs, options, strict=True) if run.facts.mode != "recorded"] or options
    keys = sorted({key for each in decided for key in each})
    differing = [key for key in keys if len({repr(each.get(key)) for each in decided}) > 1]
    labels = [
        " ".join([run.facts.policy, *(_option(key, each[key]) for key in differing if each.get(key) not in (None, {}))])
        for run, each in zip(runs, options, strict=True)
    ]
    repeated = Counter((label, run.facts.seed) for label, run in zip(labels, runs, strict=True))
    ambiguous = {label for (label, _), count in repeated.items() if count > 1}
    groups: dict[str, list[str]] = {}
    for label, name in zip(labels, names, strict=True):
        groups.setdefault(f"{label} ({name})" if label in ambiguous else label, []).append(name)
    return groups


def _option(key: str, value: Any) -> str:
    shown = ",".join(f"{name}={part}" for name, part in value.items()) if isinstance(value, Mapping) else value
    return f"{key}={shown}"


def _check_comparable(runs: Sequence[Run], names: Sequence[str], force: bool) -> list[str]:
    first, notes = runs[0], []
    for run, name in zip(runs[1:], names[1:], strict=True):
        if run.facts.trace != first.facts.trace:
            notes.append(f"{name} replays another trace than {names[0]}")
        elif run.facts.window_us != first.facts.window_us:
            notes.append(f"{name} covers {_window(run)}, {names[0]} covers {_window(first)}")
    if notes and not force:
        raise InputError(f"{'; '.join(notes)}: differences would mean nothing (--force compares them all the same)")
    return notes


def _limits_that_differ(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """What counts as overload is not the same for all, which is said rather than refused: the rest can be compared."""
    held: dict[str, list[str]] = {}
    for run, name in zip(runs, names, strict=True):
        limits = run.facts.options.get("overcommit") or {}
        what = ", ".join(f"{resource} x {factor:g}" for resource, factor in sorted(limits.items()))
        held.setdefault(what or "what is installed", []).append(name)
    if len(held) < 2:
        return []
    each = "; ".join(f"{', '.join(members)}: beyond {what}" for what, members in held.items())
    return [f"overload is counted by limits that differ (--overcommit), so do not compare it. {each}"]


def _window(run: Run) -> str:
    opens_us, closes_us = run.facts.window_us
    return f"{opens_us / 3.6e9:g} h to {closes_us / 3.6e9:g} h"


def _names(folders: Sequence[Path]) -> list[str]:
    names = [folder.resolve().name for folder in folders]
    names = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"a run is compared with others, not with itself: {', '.join(repeated)} is given twice")
    return names


def _summary(run: Run, model: CostModel | None) -> dict[str, Any]:
    return run.summary if model is None else run.summary | {"cost": metrics.cost(run.folder, run.facts, model)}


def _ordered(flats: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every metric name once, in the order of first appearance."""
    return list(dict.fromkeys(name for flat in flats for name in flat))
