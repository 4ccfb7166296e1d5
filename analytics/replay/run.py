"""From options to a finished run folder."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from analytics.facts import RunCost, RunFacts, describe_machine, installed_versions, trace_facts
from analytics.load import load_replay
from analytics.options import ReplayOptions
from analytics.recorded import measured_use, recorded_placements, replay_recorded
from analytics.replay import results
from analytics.replay.drive import replay
from analytics.runs import refuse_existing, write_run
from scheduler.core.policies import get_policy
from scheduler.core.policies.parameters import read_settings
from traces.schema import Trace, open_trace

Tables = dict[str, pa.Table | Iterable[pa.Table]]
Replayed = tuple[RunFacts, Tables, float, float]  # and CPU seconds of the loop, and of the planner's longest call


def run(options: ReplayOptions, force: bool, tick: Callable[[float], None]) -> Path:
    """Replay and write. Raises InputError or TraceFormatError for what cannot be replayed, before any work is done."""
    refuse_existing(options.out, force)
    trace = open_trace(options.trace)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    replay_mode = _recorded if options.mode == "recorded" else _what_if
    facts, tables, engine_cpu_s, longest_round_s = replay_mode(trace, options, tick)
    cost = RunCost(
        wall_s=time.perf_counter() - began_s,
        cpu_s=time.process_time() - began_cpu_s,
        engine_cpu_s=engine_cpu_s,
        events_per_cpu_s=facts.counters["events"] / max(engine_cpu_s, 1e-9),
        peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        longest_round_s=longest_round_s,
        machine=describe_machine(),
    )
    write_run(options.out, facts, tables, cost, force)
    return options.out


def _what_if(trace: Trace, options: ReplayOptions, tick: Callable[[float], None]) -> Replayed:
    policy = get_policy(options.policy)
    preempts = policy.preempts if options.preemption == "policy" else options.preemption == "on"
    settings = read_settings(policy.name, policy.parameters, options.settings)
    given = load_replay(trace, options, preempts, by_tenant=policy.order != "priority")
    outcome = replay(given, policy, preempts, options.seed, options.interval_us, tick, trace.meta.tiers, settings)
    # The engine's capacity is what may be requested; reports are about what is installed, as a recorded run's are.
    factor = np.array([dict(options.overcommit).get(name, 1.0) for name in given.resources])
    samples = outcome.samples._replace(capacity=np.rint(outcome.samples.capacity / factor).astype(np.int64))
    nodes = given.nodes._replace(offered=given.nodes.offered / factor)
    facts = _facts(
        trace,
        options,
        given.window_us,
        given.resources,
        outcome.counters | {"unjudged_constraints": given.unjudged},
        {},
    )
    tables: Tables = {
        "placements": results.placements(trace, given),
        "series": results.series(samples, given.resources, given.priorities, trace.meta.tiers),
        "shapes": results.shapes(outcome.samples, given.resources, given.shape_weights),
        "nodes": results.node_table(nodes, given.machines, given.sizes, given.resources),
    }
    tables |= {name: pa.Table.from_pylist(rows) for name, rows in outcome.told.items()}
    return facts, tables, outcome.cpu_s, outcome.longest_round_s


def _recorded(trace: Trace, options: ReplayOptions, tick: Callable[[float], None]) -> Replayed:
    found = replay_recorded(trace, options, tick)
    illegal = {
        "total": sum(sum(kinds.values()) for kinds in found.illegal.values()),
        "with_missing_info": sum(kinds["with_missing_info"] for kinds in found.illegal.values()),
        **{kind: sum(counts.values()) for kind, counts in found.illegal.items()},
    }
    facts = _facts(trace, options, found.window_us, found.resources, found.counters, illegal)
    tables: Tables = {
        "placements": recorded_placements(trace, found.window_us),
        "series": results.series(
            found.samples, found.resources, found.priorities, trace.meta.tiers, measured_use(trace, found)
        ),
        "shapes": results.shapes(found.samples, found.resources, found.shape_weights),
        "nodes": results.node_table(found.nodes, found.machines, found.sizes, found.resources),
    }
    return facts, tables, found.cpu_s, 0.0


def _facts(
    trace: Trace,
    options: ReplayOptions,
    window_us: tuple[int, int],
    resources: tuple[str, ...],
    counters: dict[str, int],
    illegal: dict[str, int],
) -> RunFacts:
    units = trace.meta.units
    return RunFacts(
        mode=options.mode,
        policy=options.policy,
        seed=options.seed,
        trace=trace_facts(options.trace),
        window_us=window_us,
        resources=resources,
        tiers=tuple(trace.meta.tiers),
        options=options.facts(),
        counters=counters,
        illegal_transitions=illegal,
        overcommit=dict(options.overcommit),
        units={"cpu_milli": units.cpu_milli, "memory_mib": units.memory_mib, "disk_mib": units.disk_mib},
        versions=installed_versions(),
    )
