"""One pass over a trace's calls for any number of keep-alive policies, fleets and placements."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.replay.ranking import score_batch_of
from analytics.serverless import events
from analytics.serverless.drivers import callbacks_of
from analytics.serverless.options import PolicySpec, ServerlessOptions
from analytics.serverless.placing import loop
from analytics.serverless.placing import world as state
from analytics.serverless.placing.fleet import Fleet, read_requests
from analytics.serverless.placing.world import World, grow, new_world
from analytics.serverless.replay import broken_row, columns_of, window_of
from analytics.serverless.results import US_PER_HOUR
from analytics.serverless.stream import read_calls
from analytics.serverless.subjects import Subjects, read_subjects
from scheduler.core.policies import Policy, get_policy
from scheduler.core.serverless.chains import new_links
from scheduler.core.serverless.policy import MAX_WINDOWS
from traces.schema import Trace

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlacingOptions:
    """What is tried: every policy with every placement on every fleet.

    wait_us: how long a call waits for room before it is refused, 0: not at all. cpu_milli: requested by pods of
    functions whose trace says nothing of CPU. seed: of placements that draw. chain_us: how soon a function that is
    called in a chain follows the one before it, None: pods are not loaded down chains; chain_share: of a function's
    calls that another one must have followed.
    """

    policies: tuple[PolicySpec, ...]
    placements: tuple[str, ...]
    fleets: tuple[Fleet, ...]
    wait_us: int = 60_000_000
    cpu_milli: int = 100
    seed: int = 0
    chain_us: int | None = None
    chain_share: float = 0.5

    def __post_init__(self) -> None:
        wrong = []
        for what, given in (("policy", self.policies), ("placement", self.placements), ("fleet", self.fleets)):
            if not given or len(set(map(str, given))) < len(given):
                wrong.append(f"give at least one {what}, and each once")
        for spec in self.policies:
            if spec.policy.decide is None or spec.policy.clairvoyant:
                kind = "knows the future" if spec.policy.clairvoyant else "is a cache with a memory of its own"
                wrong.append(
                    f"{spec.name} {kind}: pods on nodes are replayed call by call, which is for other policies"
                )
        for name in self.placements:
            placement = get_policy(name)
            if placement.planner is not None or placement.order != "priority":
                wrong.append(f"{name} is not a score of single pods, so it cannot say where a cold start lands")
        if self.wait_us < 0 or self.cpu_milli < 1:
            wrong.append("a wait is at least 0 s, and a pod requests at least 1 millicore")
        if not 0 < self.chain_share <= 1 or (self.chain_us or 0) < 0:
            wrong.append("a chain has a lag of at least 0 s and a share above 0 and at most 1")
        if wrong:
            raise InputError("; ".join(wrong))


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """One policy with one placement on one fleet.

    invocations: (S,). world: as it is at the end; its account has a row per subject.
    """

    spec: PolicySpec
    placement: str
    fleet: Fleet
    subjects: Subjects
    invocations: Ints
    world: World
    span_us: int
    cpu_s: float

    def figures(self) -> dict[str, Any]:
        """What `stowage serverless place --json` says of it.

        nodes_used, packed: over time; packed is what pods request of the nodes that have any, in_use of all nodes.
        mean_delay_s: of a served call, by cold starts and waits. waited: calls served after a wait for room. shortened:
        cold starts whose pod was loading already.
        """
        at, spent = self.world.at, self.world.spent
        cold, idle_us, loads, early, refused = self.world.account.T
        calls, waited, waited_s = int(self.invocations.sum()), int(at[state.WAITED]), int(at[state.WAITED_US]) / 1e6
        served = calls - int(refused.sum())
        cold_s = float(cold @ self.subjects.cold_s) - int(at[state.SAVED_US]) / 1e6
        requested = spent[[state.CPU_US, state.MEMORY_US]]
        return {
            "policy": self.spec.label,
            "placement": self.placement,
            "fleet": str(self.fleet),
            "nodes": len(self.fleet),
            "invocations": calls,
            "cold_starts": int(cold.sum()),
            "shortened": int(at[state.SHORTENED]),
            "pre_warms": int(loads.sum()),
            "pre_warms_dropped": int(at[state.DROPPED]),
            "unloaded_early": int(early.sum()),
            "waited": waited,
            "wait_s": {
                "mean": waited_s / waited if waited else None,
                "longest": int(at[state.LONGEST_US]) / 1e6 if waited else None,
            },
            "refused": int(refused.sum()),
            "refused_too_large": int(refused[self.world.owners[:, state.FITS] == 0].sum()),
            "mean_delay_s": (cold_s + waited_s) / served if served else None,
            "idle_gb_h": float((idle_us * self.subjects.memory_gib).sum()) / US_PER_HOUR,
            "nodes_used": {"peak": int(at[state.MOST_NODES]), "mean": float(spent[state.NODE_US]) / self.span_us},
            "pods_peak": int(at[state.MOST_LIVE]),
            "packed": _shares(requested, spent[[state.OFFERED_CPU_US, state.OFFERED_MEMORY_US]]),
            "in_use": _shares(requested, self.fleet.allocatable.sum(axis=0) * float(self.span_us)),
            "cpu_s": self.cpu_s,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Placings:
    """All of them, in order of policies, placements, fleets. cpu_s: reading and all replays, compiling not counted."""

    subjects: Subjects
    rows: list[Placed]
    notes: tuple[str, ...]
    cpu_s: float


def _shares(part: NDArray[np.float64], whole: NDArray[np.float64]) -> dict[str, float | None]:
    return {
        name: float(a / b) if b else None
        for name, a, b in zip(("cpu", "memory"), part.tolist(), whole.tolist(), strict=True)
    }


class _Run:
    """One combination in the middle of the pass."""

    def __init__(
        self, spec: PolicySpec, placement: Policy, fleet: Fleet, subjects: Subjects, requests: Ints, start_us: int,
        options: PlacingOptions,
    ) -> None:  # fmt: skip
        self.spec, self.placement, self.fleet, self.subjects, self.cpu_s = spec, placement, fleet, subjects, 0.0
        self.decide, self.learn = callbacks_of(spec.name)
        self.learns = spec.policy.learn is not None
        self.settings = np.asarray(spec.settings, np.float64)
        self.state = np.zeros((len(subjects), spec.policy.state_width), np.int64)
        self.windows = np.zeros((MAX_WINDOWS, 2), np.int64)
        self.score = score_batch_of(placement.score)
        self.world = new_world(
            requests, fleet.allocatable, subjects.concurrency, start_us, options.seed, options.wait_us,
            new_links(len(subjects), options.chain_us or 0, options.chain_share),
        )  # fmt: skip
        self.chains = options.chain_us is not None

    def advance(self, calls: Ints, until_us: int) -> None:
        """Replay calls in order of time, and what happens until `until_us` after them."""
        mark, k = time.process_time(), 0
        while True:
            k = loop.advance(
                self.decide, self.learn, self.learns, self.settings, self.subjects.facts, self.state, self.windows,
                self.score, self.chains, self.world, calls, k, len(calls), until_us,
            )  # fmt: skip
            if not self.world.at[state.IS_SHORT]:
                break
            self.world = grow(self.world)
        self.cpu_s += time.process_time() - mark

    def close(self, invocations: Ints, window: tuple[int, int]) -> Placed:
        self.advance(_NO_CALLS, window[1])
        loop.close(self.world, window[1])
        return Placed(
            self.spec, self.placement.name, self.fleet, self.subjects, invocations, self.world, window[1] - window[0],
            self.cpu_s,
        )  # fmt: skip


def place(
    trace: Trace,
    options: PlacingOptions,
    replayed: ServerlessOptions,
    tick: Callable[[float], None] = lambda share: None,
) -> Placings:
    """Replay the trace's calls on nodes, reading them once; `tick` hears the share of time that is done.

    replayed: as for a replay, at grain "event". Raises InputError if there is nothing to replay or the calls break a
    rule of the canonical tables.
    """
    if replayed.grain != "event":
        raise InputError("pods on nodes are replayed call by call: grain event")
    window = window_of(trace, replayed)
    subjects = read_subjects(trace, replayed)
    requests, notes = read_requests(trace, subjects, options.cpu_milli)
    runs = [
        _Run(spec, get_policy(name), fleet, subjects, requests, window[0], options)
        for spec, name, fleet in itertools.product(options.policies, options.placements, options.fleets)
    ]
    for run in runs:
        run.advance(_NO_CALLS, -1)  # compiles, or loads what was compiled
        run.cpu_s = 0.0
    began = time.process_time()
    invocations = np.zeros(len(subjects), np.int64)
    for calls in _in_order(trace, subjects, window):
        invocations += np.bincount(calls[:, 1], minlength=len(subjects))
        for run in runs:
            run.advance(calls, -1)
        tick((int(calls[-1, 0]) - window[0]) / (window[1] - window[0]))
    rows = [run.close(invocations, window) for run in runs]
    return Placings(subjects, rows, (*subjects.notes, *notes), time.process_time() - began)


def _in_order(trace: Trace, subjects: Subjects, window: tuple[int, int]) -> Iterator[Ints]:
    """Single calls (time, subject, duration) in order of time, of equals as the trace has them; never an empty batch.

    Rows come in order of the windows they count; what one is spread over may reach past the beginning of the next.
    """
    held = _NO_CALLS
    single = np.zeros((events.SLICE, 3), np.int64)
    for calls in read_calls(trace, window, with_duration=True):
        row = done = 0
        while row < len(calls.start_us):
            n, row, done = events.spread_calls(
                columns_of(calls), calls.duration_us, subjects.of_function, subjects.duration_us, row, done, single
            )
            if n < 0:
                raise broken_row(trace, calls, n, row)
            known_us = int(calls.start_us[min(row, len(calls.start_us) - 1)])  # nothing earlier is still to come
            held = np.concatenate([held, single[:n]])
            held = held[np.argsort(held[:, 0], kind="stable")]
            ready = int(np.searchsorted(held[:, 0], known_us))
            if ready:
                yield held[:ready]
                held = held[ready:]
    if len(held):
        yield held


_NO_CALLS = np.zeros((0, 3), np.int64)
