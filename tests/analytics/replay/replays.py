"""Replays of small traces with the engine and by the reference, in one form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from naive_simulator import NaiveReplay
from small_traces import S, SmallTrace

from analytics.load import ReplayInput, load_replay
from analytics.options import ReplayOptions
from analytics.replay.drive import Outcome, replay
from analytics.replay.state import ENDED, EXPECTED
from scheduler.core.policies import get_policy
from traces.schema import Trace

INTERVAL_US = 10 * S


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of an attempt, in microseconds; None: did not happen."""

    submit_us: int
    start_us: int | None
    end_us: int | None
    node: int | None
    evictions: int
    preemptions: int

    def in_seconds(self) -> tuple[float | int | None, ...]:
        """(submit, start, end, node, evictions, preemptions)"""
        times = (self.submit_us, self.start_us, self.end_us)
        return (*(None if time is None else time / S for time in times), *astuple(self)[3:])


Placements = dict[tuple[int, int], Placed]  # by (row of the task, attempt)


def options_for(trace: Trace, **changes: Any) -> ReplayOptions:
    return ReplayOptions(trace.folder, **({"out": Path("unused"), "interval_us": INTERVAL_US} | changes))


def load(trace: Trace, preempts: bool = False, by_tenant: bool = False, **options: Any) -> ReplayInput:
    return load_replay(trace, options_for(trace, **options), preempts, by_tenant)


def run_engine(
    given: ReplayInput,
    policy: str = "first-fit",
    preempts: bool = False,
    seed: int = 0,
    tick: Callable[[ReplayInput], None] = lambda given: None,
) -> tuple[Placements, ReplayInput, Outcome]:
    """Replay a copy of what was loaded; `tick` sees it after every slice."""
    given = copy.deepcopy(given)
    outcome = replay(given, get_policy(policy), preempts, seed, INTERVAL_US, lambda share: tick(given))
    return placements_of(given), given, outcome


def placements_of(given: ReplayInput) -> Placements:
    attempts, found = given.attempts, {}
    for task, row in enumerate(given.task_rows.tolist()):
        for number, a in enumerate(range(given.tasks.first_attempt[task], given.tasks.first_attempt[task + 1])):
            if attempts.status[a] == EXPECTED:
                continue
            started = attempts.start_us[a] >= 0
            found[row, number] = Placed(
                submit_us=int(attempts.submit_us[a]),
                start_us=int(attempts.start_us[a]) if started else None,
                end_us=int(attempts.until_us[a]) if attempts.status[a] == ENDED else None,
                node=int(given.machines[attempts.node[a]]) if started else None,
                evictions=int(attempts.evictions[a]),
                preemptions=int(attempts.preemptions[a]),
            )
    return found


def run_naively(trace: SmallTrace, window_us: tuple[int, int], policy: str, preempts: bool, **options: Any) -> Any:
    options["overcommit"] = dict(options.get("overcommit", ()))
    lives = NaiveReplay(trace, window_us, policy, preempts, **options).run().lives
    return {
        (life.row, number): Placed(
            work.submit_us, work.start_us, work.ended_us, work.last_node, work.evictions, work.preemptions
        )
        for life in lives
        for number, work in enumerate(life.works)
        if work.submit_us is not None
    }


def decide(folder: Path, trace: SmallTrace, until: float = 1000, **how: Any) -> Placements:
    """Write, load and replay in one go, from 0 to `until` seconds."""
    by_tenant = get_policy(how.get("policy", "first-fit")).order != "priority"
    written, options = trace.write(folder / "trace", (0, until)), how.pop("options", {})
    given = load(written, how.get("preempts", False), by_tenant, **options)
    return run_engine(given, **how)[0]
