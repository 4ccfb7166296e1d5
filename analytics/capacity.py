"""The fewest nodes that keep a tier's delay under a limit, found by bisection over replays.

The delay is the 99th percentile with the attempts that never started (delay_censored.sql): by started ones alone, a
cluster too small to start the long-waiting would look better than one that starts them late. Bisection assumes that
more nodes never make the delay worse. List schedulers can break that (Graham's anomalies), so the answer is "the
smallest number tried that keeps the limit, with the next smaller one tried breaking it"; a larger cluster seen to
break the limit is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from analytics.errors import InputError, StudyFailed
from analytics.facts import TraceFacts, trace_facts
from analytics.options import ClusterSize, ReplayOptions, format_duration
from analytics.runs import Run, read_run
from analytics.study import is_finished
from analytics.workers import Replay, run_all, run_replay


@dataclass(frozen=True, slots=True)
class Tried:
    """One cluster size. delay_p99_s: None where fewer than 99 % are known to have started."""

    nodes: int
    delay_p99_s: float | None
    never_placed: int
    ok: bool


@dataclass(frozen=True, slots=True)
class Capacity:
    """nodes: the answer, None where not even twice the recorded machines keep the limit. why: in a sentence."""

    nodes: int | None
    recorded_nodes: int
    policy: str
    tier: str
    limit_s: float
    searched: list[Tried]
    why: str

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def find_capacity(
    base: ReplayOptions,
    tier: str,
    limit_us: int,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    replay: Replay = run_replay,
    report: Callable[[Tried], None] = lambda tried: None,
) -> Capacity:
    """Search cluster sizes up to twice the recorded one.

    base: the replay to repeat at other sizes; its `out` is a folder for the runs, where finished ones are found again.
    Raises InputError if the trace has no such tier in the window, StudyFailed if a replay fails.
    """
    settings = {"workers": workers, "cluster": cluster, "replay": replay}
    trial = _Trial(base, tier, limit_us, trace_facts(base.trace), workers or 1, settings, report)
    full = trial.measure_recorded()
    if trial.is_ok(full):
        ceiling, floor = full, 0
    else:
        trial.run([2 * full])
        ceiling, floor = 2 * full, full
    if trial.is_ok(ceiling):
        floor, ceiling = _bisect(trial, floor, ceiling)
    return _conclude(trial, full, ceiling)


@dataclass(slots=True)
class _Trial:
    """The sizes tried so far. at_once: sizes to try together; settings: how `run_all` runs them."""

    base: ReplayOptions
    tier: str
    limit_us: int
    trace: TraceFacts
    at_once: int
    settings: dict[str, Any]
    report: Callable[[Tried], None]
    tried: dict[int, Tried] = field(default_factory=dict)

    def measure_recorded(self) -> int:
        """Replay on all recorded machines; their number."""
        run = self._replay([ClusterSize(factor=1.0)])[0]
        if self.tier not in run.summary["delay_censored_s"]:
            tiers = ", ".join(each.name for each in run.facts.tiers)
            raise InputError(f"no attempt of tier {self.tier!r} was submitted in the window; tiers: {tiers}")
        nodes: int = run.summary["nodes"]["nodes"]
        self._note(nodes, run)
        return nodes

    def run(self, sizes: Sequence[int]) -> None:
        """Replay at each of these sizes."""
        for size, run in zip(sizes, self._replay([ClusterSize(count=size) for size in sizes]), strict=True):
            self._note(size, run)

    def is_ok(self, nodes: int) -> bool:
        return self.tried[nodes].ok

    def _note(self, nodes: int, run: Run) -> None:
        delay_s = run.summary["delay_censored_s"][self.tier]["p99"]
        never_placed = run.summary["outcomes"][self.tier]["never_placed"]
        ok = delay_s is not None and delay_s * 1e6 <= self.limit_us
        self.tried[nodes] = Tried(nodes, delay_s, never_placed, ok)
        self.report(self.tried[nodes])

    def _replay(self, sizes: Sequence[ClusterSize]) -> list[Run]:
        cells = [replace(self.base, nodes=size, out=_cell_folder(self.base, size)) for size in sizes]
        missing = [cell for cell in cells if not is_finished(cell, self.trace)]
        outcomes = list(run_all(missing, force=True, **self.settings))
        if errors := [f"{outcome.out.name}: {outcome.error}" for outcome in outcomes if outcome.error]:
            raise StudyFailed("; ".join(errors))
        return [read_run(cell.out) for cell in cells]


def _cell_folder(base: ReplayOptions, size: ClusterSize) -> Path:
    return base.out / f"{base.policy}_{size}_load{base.scale_load:g}_seed{base.seed}"


def _bisect(trial: _Trial, floor: int, ceiling: int) -> tuple[int, int]:
    """Narrow (floor breaks the limit, ceiling keeps it) until they are neighbours; several sizes at once if asked."""
    while ceiling - floor > 1:
        parts = min(trial.at_once + 1, ceiling - floor)
        between = sorted({floor + (ceiling - floor) * part // parts for part in range(1, parts)})
        trial.run(between)
        ceiling = min([size for size in between if trial.is_ok(size)], default=ceiling)
        floor = max([size for size in between if size < ceiling and not trial.is_ok(size)], default=floor)
    return floor, ceiling


def _conclude(trial: _Trial, full: int, answer: int) -> Capacity:
    limit = format_duration(trial.limit_us)
    searched = [trial.tried[size] for size in sorted(trial.tried)]
    if not trial.is_ok(answer):
        why = f"not even {answer} nodes, twice the recorded {full}, keep the p99 delay of {trial.tier} within {limit}"
        return _capacity(trial, None, full, searched, why)
    why = f"{answer} of the recorded {full} nodes keep the p99 delay of {trial.tier} within {limit}"
    if answer > full:
        why = f"the recorded {full} nodes do not keep the p99 delay of {trial.tier} within {limit}, {answer} do"
    if worse := _sizes_above_that_break(searched, answer):
        why += f"; but {', '.join(worse)} nodes were seen to break it, so more nodes do not always help here"
    return _capacity(trial, answer, full, searched, why)


def _sizes_above_that_break(searched: Iterable[Tried], answer: int) -> list[str]:
    return [str(tried.nodes) for tried in searched if tried.nodes > answer and not tried.ok]


def _capacity(trial: _Trial, nodes: int | None, full: int, searched: list[Tried], why: str) -> Capacity:
    return Capacity(nodes, full, trial.base.policy, trial.tier, trial.limit_us / 1e6, searched, why)
