"""Runs the compiled loop over a window, in slices so that people see it move and can stop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from analytics.load import ReplayInput
from analytics.replay import engine
from analytics.replay.planners import MIGRATING, IntervalPlanner, new_planner
from analytics.replay.progress import new_progress
from analytics.replay.queues import Queues, new_queues
from analytics.replay.ranking import new_ranking, score_batch_of
from analytics.replay.running import Running
from analytics.replay.sampling import Samples, new_samples
from analytics.replay.shares import count_shares
from analytics.replay.state import settle
from scheduler.core.compiled import compile_time
from scheduler.core.policies import Policy
from scheduler.core.policies.parameters import Settings, read_settings
from traces.schema import Tier

SLICES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a replay found, beside what it wrote into the input's own columns.

    cpu_s: of the loop and the planner, without what numba took to compile and load them. longest_round_s: of them, for
    the planner's longest call. told: see `Running`.
    """

    samples: Samples
    queues: Queues
    counters: dict[str, int]
    cpu_s: float
    longest_round_s: float
    told: dict[str, list[dict[str, float]]]


def replay(
    given: ReplayInput,
    policy: Policy,
    preempts: bool,
    seed: int,
    interval_us: int,
    tick: Callable[[float], None] = lambda share: None,
    tiers: Sequence[Tier] = (),
    settings: Settings | None = None,
) -> Outcome:
    """Replay the whole window; `tick` hears the share of simulated time that is done.

    tiers: what bids go by. settings: of the policy's planner, defaults unless given.
    """
    start_us, end_us = given.window_us
    running = _prepare(given, policy, preempts, seed, interval_us, tiers)
    settings = read_settings(policy.name, policy.parameters, ()) if settings is None else settings
    planner = new_planner(running, policy, settings)
    with compile_time() as compiling:

        def spent_s() -> float:
            return time.process_time() - compiling.cpu_s

        began_s, longest_s = spent_s(), 0.0
        for until_us in _stops(start_us, end_us, planner):
            running.advance(until_us)
            if planner is not None:
                asked_s = spent_s()
                planner.act(running, until_us)
                longest_s = max(longest_s, spent_s() - asked_s)
            tick((until_us - start_us) / (end_us - start_us))
        cpu_s = spent_s() - began_s
    for node in range(len(given.machines)):
        settle(given.nodes, node, end_us)
    names = ("events", "placements", "evictions", "preemptions", "refusals", "ends", "arrivals")
    counters = dict(zip(names, running.progress.counts.tolist(), strict=True))
    if planner is not None:
        counters |= planner.counters()
    return Outcome(running.samples, running.queues, counters, cpu_s, longest_s, running.told)


def _prepare(
    given: ReplayInput,
    policy: Policy,
    preempts: bool,
    seed: int,
    interval_us: int,
    tiers: Sequence[Tier],
) -> Running:
    """Everything at its start."""
    levels = len(given.priorities)
    queues = new_queues(
        given.classes.demand[given.tasks.class_of_group],
        given.tasks.level_of_group,
        levels,
        max(len(given.tenants), 1),
    )
    choice = engine.UNIFORM if policy.name == "random" else engine.RESCAN if policy.needs_rescan else engine.BEST
    return Running(
        given=given,
        queues=count_shares(queues) if policy.order == "dominant-share" else queues,
        ranking=new_ranking(len(given.machines), len(given.classes.demand)),
        progress=new_progress(len(given.machines), len(given.tasks.node) if policy.planner in MIGRATING else 0),
        samples=new_samples(*given.window_us, interval_us, len(given.resources), levels, given.shapes, use=given.use),
        scores=score_batch_of(policy.score),
        choice=choice,
        preempts=preempts,
        seed=seed,
        tiers=tiers,
    )


def _stops(start_us: int, end_us: int, planner: IntervalPlanner | None) -> list[int]:
    """Where the loop pauses: for progress, or for the planner."""
    if planner is None:
        return np.unique(np.linspace(start_us, end_us, SLICES + 1).astype(np.int64)).tolist()
    return [*range(start_us, end_us, planner.every_us), end_us]
