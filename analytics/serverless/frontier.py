"""Policies at equal memory: each one's trade of idle memory for cold starts, and one against others where they meet.

A policy's frontier comes from sweeping its one parameter that trades the two. Another policy is met at the point of the
candidate's sweep that keeps the most idle memory without keeping more than that policy does; the sweep is refined
around it twice. Intervals say how far a difference depends on which subjects the trace happened to hold: whole subjects
are drawn, the same ones for both sides, and every figure is computed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.bootstrap import interval, replicate
from analytics.errors import InputError
from analytics.serverless.options import PolicySpec, ServerlessOptions
from analytics.serverless.replay import Pass, replay
from analytics.serverless.results import US_PER_HOUR, Outcome, quantile
from traces.schema import Trace

POINTS = 25  # of a sweep
REFINED = 9  # further points between the two that enclose a meeting
ROUNDS = 2
METRICS = ("cold_starts", "mean_delay_ms", "p99_cold_start_s", "p99_mean_delay_s", "p75_cold_share", "idle_gb_h")


@dataclass(frozen=True, slots=True, eq=False)
class Meeting:
    """A candidate against another policy at no more idle memory; differences are candidate less other."""

    candidate: Outcome
    other: Outcome
    differences: dict[str, tuple[float, float, float]]

    def to_json(self) -> dict[str, Any]:
        mine, others = (figures_of(outcome) for outcome in (self.candidate, self.other))
        return {
            "candidate": self.candidate.spec.label,
            "against": self.other.spec.label,
            "metrics": {
                name: {
                    "candidate": mine[name],
                    "against": others[name],
                    **dict(zip(("difference", "low", "high"), self.differences[name], strict=True)),
                }
                for name in METRICS
                if name in self.differences
            },
        }


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Frontiers by policy, as (parameter, outcome) in order of idle memory, and who met whom."""

    frontiers: dict[str, list[tuple[float, Outcome]]]
    meetings: list[Meeting]
    unmet: list[str]
    cpu_s: float

    def to_json(self) -> dict[str, Any]:
        return {
            "frontiers": {
                name: [{"value": value, **figures_of(outcome)} for value, outcome in line]
                for name, line in self.frontiers.items()
            },
            "equal_memory": [meeting.to_json() for meeting in self.meetings],
            "unmet": self.unmet,
            "cpu_s": self.cpu_s,
        }


def compare_policies(
    trace: Trace,
    candidates: Sequence[PolicySpec],
    others: Sequence[PolicySpec],
    options: ServerlessOptions,
    seed: int,
    replicates: int,
    tick: Callable[[float], None] = lambda share: None,
) -> Comparison:
    """Sweep every policy, and meet each of `others` with every candidate at its idle memory.

    Raises InputError if a candidate has nothing to sweep.
    """
    if still := [spec.label for spec in candidates if spec.policy.sweep is None]:
        raise InputError(f"a candidate has a parameter to sweep, but {', '.join(still)} has none")
    swept = [spec for spec in dict.fromkeys([*candidates, *others]) if spec.policy.sweep is not None]
    grids = {spec: sweep_of(spec, POINTS) for spec in swept}
    first = replay(trace, [point for grid in grids.values() for point in grid] + list(others), options, tick)
    outcomes = iter(first.outcomes)
    lines = {spec: sorted_line([next(outcomes) for _ in grid]) for spec, grid in grids.items()}
    fixed = list(outcomes)
    cpu_s = first.cpu_s
    for _ in range(ROUNDS):
        done = _refine(trace, candidates, fixed, lines, options, tick)
        cpu_s += done.cpu_s if done else 0.0
    rng = np.random.default_rng(seed)
    meetings, unmet = [], []
    for other in fixed:
        for spec in candidates:
            found = [outcome for outcome in lines[spec] if outcome.idle_gb_h <= other.idle_gb_h]
            if found:
                meetings.append(meet(found[-1], other, rng, replicates))
            else:
                unmet.append(f"{spec.label} keeps more than {other.spec.label} wherever it was tried")
    frontiers = {spec.label: [(_value(each), each) for each in line] for spec, line in lines.items()}
    return Comparison(frontiers, meetings, unmet, cpu_s)


def sweep_of(spec: PolicySpec, points: int) -> list[PolicySpec]:
    """The policy at values of its sweep in equal ratios."""
    sweep = spec.policy.sweep
    assert sweep is not None
    return [_at(spec, value) for value in np.geomspace(sweep.low, sweep.high, points)]


def sorted_line(outcomes: list[Outcome]) -> list[Outcome]:
    """In order of idle memory; of equals the one with fewest cold starts last."""
    return sorted(outcomes, key=lambda each: (each.idle_gb_h, -int(each.cold_starts.sum()), each.spec.label))


def meet(candidate: Outcome, other: Outcome, rng: np.random.Generator, replicates: int) -> Meeting:
    """Differences of every metric with their 95 % intervals over subjects."""
    sides = [_statistic(outcome) for outcome in (other, candidate)]
    units = len(other.subjects)
    ones = np.ones(units, np.int64)
    before, after = (side(ones) for side in sides)
    scattered = replicate(sides, units, rng, replicates)
    differences = {}
    for name in scattered:
        low, high = interval(after[name] - before[name] + scattered[name])
        differences[name] = (after[name] - before[name], low, high)
    return Meeting(candidate, other, differences)


def figures_of(outcome: Outcome) -> dict[str, float]:
    """The metrics that are compared."""
    return _statistic(outcome)(np.ones(len(outcome.subjects), np.int64))


def _statistic(outcome: Outcome) -> Callable[[NDArray[np.int64]], dict[str, float]]:
    """The metrics by how often each subject was drawn."""
    cold, calls, cold_s = outcome.cold_starts, outcome.invocations, outcome.subjects.cold_s
    idle_gb_h = outcome.idle_us * outcome.subjects.memory_gib / US_PER_HOUR
    called = calls > 0
    share = np.divide(cold, calls, out=np.zeros(len(calls)), where=called)

    def evaluate(weights: NDArray[np.int64]) -> dict[str, float]:
        drawn = weights * called
        found = {
            "cold_starts": float(weights @ cold),
            "mean_delay_ms": 1e3 * float((weights * cold) @ cold_s) / max(float(weights @ calls), 1.0),
            "p99_cold_start_s": quantile(cold_s, weights * cold, 0.99),
            "p99_mean_delay_s": quantile(share * cold_s, drawn, 0.99),
            "p75_cold_share": quantile(share, drawn, 0.75),
            "idle_gb_h": float(weights @ idle_gb_h),
        }
        return {name: value for name, value in found.items() if value is not None}

    return evaluate


def _refine(
    trace: Trace, candidates: Sequence[PolicySpec], fixed: Sequence[Outcome], lines: dict[PolicySpec, list[Outcome]],
    options: ServerlessOptions, tick: Callable[[float], None],
) -> Pass | None:  # fmt: skip
    """Add points to the candidates' lines where they enclose what another policy keeps."""
    wanted: dict[PolicySpec, list[PolicySpec]] = {}
    for spec in candidates:
        for other in fixed:
            line = lines[spec]
            above = next((n for n, each in enumerate(line) if each.idle_gb_h > other.idle_gb_h), 0)
            if above:
                ends = _value(line[above - 1]), _value(line[above])
                values = np.geomspace(*ends, REFINED + 2)[1:-1]
                wanted.setdefault(spec, []).extend(_at(spec, value) for value in values)
    known = {each.spec.label for line in lines.values() for each in line}
    flat = {point.label: (spec, point) for spec, points in wanted.items() for point in points}
    flat = {label: pair for label, pair in flat.items() if label not in known}
    if not flat:
        return None
    done = replay(trace, [point for _, point in flat.values()], options, tick)
    for (spec, _), outcome in zip(flat.values(), done.outcomes, strict=True):
        lines[spec] = sorted_line([*lines[spec], outcome])
    return done


def _at(spec: PolicySpec, value: float) -> PolicySpec:
    sweep = spec.policy.sweep
    assert sweep is not None
    units = {parameter.name: parameter.unit for parameter in spec.policy.parameters}
    is_whole = units[sweep.parameter] == "duration"
    return PolicySpec(spec.name, {**spec.given, sweep.parameter: float(round(value)) if is_whole else float(value)})


def _value(outcome: Outcome) -> float:
    sweep = outcome.spec.policy.sweep
    assert sweep is not None
    return outcome.spec.given[sweep.parameter]
