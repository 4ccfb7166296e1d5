"""Runs the compiled loop over a window, in slices so that people see it move and can stop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.load import ReplayInput
from analytics.replay import engine
from analytics.replay.planner import EVERY_US, Planned, plan_and_move
from analytics.replay.queues import Queues, new_queues
from analytics.replay.ranking import new_ranking, score_batch_of
from analytics.replay.rounds import ROUND_US, hold_round, new_auction, release
from analytics.replay.sampling import Samples, new_samples
from analytics.replay.shares import count_shares
from analytics.replay.state import FOREVER, settle
from scheduler.core.policies import Planner, Policy
from traces.schema import Tier

SLICES = 200
SHAPES_EVERY_US = 3_600_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a replay found, beside what it wrote into the input's own columns."""

    samples: Samples
    queues: Queues
    counters: dict[str, int]
    cpu_s: float


def replay(
    given: ReplayInput,
    policy: Policy,
    preempts: bool,
    seed: int,
    interval_us: int,
    tick: Callable[[float], None] = lambda share: None,
    tiers: Sequence[Tier] = (),
) -> Outcome:
    """Replay the whole window; `tick` hears the share of simulated time that is done. tiers: what bids go by."""
    start_us, end_us = given.window_us
    samples = new_samples(
        start_us,
        end_us,
        interval_us,
        len(given.resources),
        len(given.priorities),
        given.shapes,
        max(SHAPES_EVERY_US // interval_us, 1),
    )
    queues = new_queues(
        given.classes.demand[given.tasks.class_of_group],
        given.tasks.level_of_group,
        len(given.priorities),
        max(len(given.tenants), 1),
    )
    if policy.order == "dominant-share":
        queues = count_shares(queues)
    ranking = new_ranking(len(given.machines), len(given.classes.demand))
    progress = engine.new_progress(len(given.machines))
    keys, values = np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.int64)
    scores = score_batch_of(policy.score)
    choice = engine.UNIFORM if policy.name == "random" else engine.RESCAN if policy.needs_rescan else engine.BEST
    began_s = 0.0
    planned, auction = Planned(), new_auction(given, tiers)
    ranking.withholds[0] = policy.planner == "auction"

    def advance(until_us: int, wake_us: int = FOREVER) -> None:
        nonlocal keys, values
        keys, values = engine.advance(
            given.nodes,
            given.classes,
            given.tasks,
            given.attempts,
            queues,
            ranking,
            progress,
            given.timeline,
            samples,
            keys,
            values,
            scores,
            choice,
            preempts,
            seed,
            until_us,
            wake_us,
        )

    for until_us in _stops(start_us, end_us, policy.planner):
        advance(until_us)
        if until_us < start_us:
            began_s = time.process_time()
        elif policy.planner == "packing" and until_us < end_us:
            started = plan_and_move(given, queues, ranking, progress, until_us, seed, planned)
            keys, values = engine.set_timers(given.tasks, progress, keys, values, started)
        elif policy.planner == "auction":
            started = hold_round(auction, given, queues, ranking, progress, until_us, seed)
            keys, values = engine.set_timers(given.tasks, progress, keys, values, started)
            release(given.nodes, given.classes, given.tasks, queues, ranking, progress, preempts)
            ranking.withholds[0] = False
            advance(until_us, until_us)
            ranking.withholds[0] = True
        tick(max(until_us - start_us, 0) / (end_us - start_us))
    cpu_s = time.process_time() - began_s
    for node in range(len(given.machines)):
        settle(given.nodes, node, end_us)
    names = ("events", "placements", "evictions", "preemptions", "refusals", "ends", "arrivals")
    counters = dict(zip(names, progress.counts.tolist(), strict=True))
    if policy.planner == "packing":
        counters |= planned.counters()
    elif policy.planner == "auction":
        counters |= auction.counted
    return Outcome(samples, queues, counters, cpu_s)


def _stops(start_us: int, end_us: int, planner: Planner | None) -> list[int]:
    """Where the loop pauses: for progress, and for the planner. Nothing but compilation happens before the first."""
    stops = set(np.linspace(start_us, end_us, SLICES + 1).astype(np.int64).tolist())
    if planner is not None:
        every_us = EVERY_US if planner == "packing" else ROUND_US
        stops = {start_us, end_us, *range(start_us + every_us, end_us, every_us)}
    return [start_us - 1, *sorted(stops)]
