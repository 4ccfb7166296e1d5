"""The compiled replays against plain Python, over random traces, for every policy."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from azure_sample import write_trace
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import Brain, follow, naive_cache, naive_events, naive_minutes

from analytics.serverless.options import PolicySpec, ServerlessOptions
from analytics.serverless.replay import replay
from scheduler.core.serverless import get_serverless_policy, serverless_policy_names
from scheduler.core.serverless.policy import FACTS
from traces.schema import open_trace

MINUTE_US = 60_000_000
WINDOWED = [name for name in serverless_policy_names() if get_serverless_policy(name).decide is not None]
CAUSAL = [name for name in WINDOWED if not get_serverless_policy(name).clairvoyant]
TRIGGERS = ("timer", "http", "queue")

functions = st.lists(
    st.tuples(st.sampled_from(TRIGGERS), st.sampled_from([64, 256, 1000]), st.sampled_from([0, 500_000, 90_000_000])),
    min_size=1, max_size=3,
)  # fmt: skip
# Idle minutes: many alike, some beyond the histograms' four hours.
gaps = st.lists(st.one_of(st.sampled_from([0, 4, 4, 4, 30]), st.integers(0, 300)), min_size=1, max_size=14)
rhythms = st.lists(gaps, min_size=3, max_size=3)


def a_trace(folder: Path, rows: list[tuple[str, int, int]], calls: list[tuple[int, int, int, int]]) -> Any:
    """rows: (trigger, MiB, cold start us) per function; calls: (start, window, function, count), sorted here."""
    table = [
        {"function": n, "name": f"f{n}", "app": "a", "trigger": trigger, "memory_mib": float(mib),
         "duration_us": 2_000_000, "max_duration_us": 2_000_000 + cold}
        for n, (trigger, mib, cold) in enumerate(rows)
    ]  # fmt: skip
    names = ("start_us", "window_us", "function", "count")
    return open_trace(
        write_trace(folder / "trace", table, [dict(zip(names, call, strict=True)) for call in sorted(calls)])
    )


def compiled_account(trace: Any, spec: PolicySpec, options: ServerlessOptions) -> tuple[Any, Any, int]:
    done = replay(trace, [spec], options)
    found = done.outcomes[0]
    return np.stack([found.cold_starts, found.idle_us, found.loads], axis=1), done.subjects.facts, done.window_us[1]


@pytest.mark.parametrize("name", WINDOWED)
@settings(max_examples=25)
@given(rows=functions, rhythm=rhythms, level=st.sampled_from(["function", "app"]))
def test_minutes_agree(name: str, rows: list[tuple[str, int, int]], rhythm: list[list[int]], level: Any) -> None:
    calls = []
    for n in range(len(rows)):
        minute = n
        for gap in rhythm[n]:
            calls.append((minute * MINUTE_US, MINUTE_US, n, 3))
            minute += gap + 1
    with tempfile.TemporaryDirectory() as folder:
        trace = a_trace(Path(folder), rows, calls)
        found, facts, end_us = compiled_account(trace, PolicySpec(name), ServerlessOptions(level=level))
    busy = [(start // MINUTE_US, n if level == "function" else 0) for start, _, n, _ in calls]
    brain = Brain(get_serverless_policy(name), {}, facts)
    np.testing.assert_array_equal(found, naive_minutes(brain, busy, -(-end_us // MINUTE_US)))


@settings(max_examples=60)
@given(
    rows=st.lists(functions, min_size=2, max_size=3),
    data=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 8), st.integers(1, 9)), min_size=1, max_size=60),
    memory=st.sampled_from([64, 300, 1100, 2500]),
)
def test_caches_agree(rows: Any, data: list[tuple[int, int, int]], memory: int) -> None:
    table = [row for each in rows for row in each]
    count_of = {(minute, n % len(table)): count for minute, n, count in data}
    calls = [(minute, n, count) for (minute, n), count in sorted(count_of.items())]
    with tempfile.TemporaryDirectory() as folder:
        trace = a_trace(Path(folder), table, [(m * MINUTE_US, MINUTE_US, n, count) for m, n, count in calls])
        spec = PolicySpec("greedy-dual", {"memory": memory})
        found, facts, end_us = compiled_account(trace, spec, ServerlessOptions())
    expected = naive_cache(get_serverless_policy("greedy-dual"), memory, facts, calls, -(-end_us // MINUTE_US))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CAUSAL)
@settings(max_examples=25)
@given(
    rows=functions,
    data=st.lists(
        st.tuples(st.integers(0, 120), st.integers(0, 59), st.integers(0, 2), st.integers(1, 12)),
        min_size=1, max_size=40,
    ),
    concurrency=st.integers(1, 3),
    is_window=st.booleans(),
)  # fmt: skip
def test_events_agree(name: str, rows: Any, data: Any, concurrency: int, is_window: bool) -> None:
    calls = {}
    for minute, second, n, count in data:
        start = minute * MINUTE_US + (0 if is_window else second * 1_000_000)
        calls[start, n % len(rows)] = (start, MINUTE_US if is_window else 0, n % len(rows), count)
    kept = list(calls.values())
    with tempfile.TemporaryDirectory() as folder:
        trace = a_trace(Path(folder), rows, kept)
        options = ServerlessOptions(grain="event", concurrency=concurrency)
        found, facts, end_us = compiled_account(trace, PolicySpec(name), options)
    single = [
        (start + window * i // count, n, 2_000_000) for start, window, n, count in sorted(kept) for i in range(count)
    ]
    brain = Brain(get_serverless_policy(name), {}, facts)
    expected = naive_events(brain, sorted(single, key=lambda call: call[0]), [concurrency] * len(rows), end_us)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CAUSAL)
@given(history=gaps, idle=st.integers(1, 300), more=st.integers(1, 300))
def test_no_policy_looks_ahead(name: str, history: list[int], idle: int, more: int) -> None:
    facts = np.zeros((1, FACTS))
    facts[0] = (0, 0.25, 2_000_000)
    brain = Brain(get_serverless_policy(name), {}, facts)
    now_us = 0
    brain.learn(0, 0, -1)
    for gap in history:
        now_us += (gap + 1) * MINUTE_US
        brain.learn(0, now_us, gap * MINUTE_US)
    known, unknown = (brain.windows(0, now_us, (idle + extra) * MINUTE_US) for extra in (0, more))
    assert follow(known, idle * MINUTE_US, MINUTE_US) == follow(unknown, idle * MINUTE_US, MINUTE_US)


@settings(max_examples=40)
@given(
    gaps=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 1)), min_size=1, max_size=9),
    price=st.sampled_from([0.5, 3.0, 20.0]),
    by_time=st.sampled_from([0.0, 1.0]),
)
def test_nobody_beats_the_oracle_at_its_memory(gaps: list[tuple[int, int]], price: float, by_time: float) -> None:
    """Every subset of idle times that could be kept, by brute force; the same for those loaded a minute ahead."""
    rows = [("http", 512, 1_000_000), ("http", 2048, 4_000_000)]
    calls, at = [(0, MINUTE_US, 0, 1), (0, MINUTE_US, 1, 1)], [0, 0]
    for gap, n in gaps:
        at[n] += gap + 1
        calls.append((at[n] * MINUTE_US, MINUTE_US, n, 1))
    worth = (1.0, 4.0) if by_time else (1.0, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        trace = a_trace(Path(folder), rows, calls)
        for name in ("oracle", "oracle-pre-warm"):
            done = replay(trace, [PolicySpec(name, {"price": price, "by-time": by_time})], ServerlessOptions())
            outcome = done.outcomes[0]
            lost = float((outcome.cold_starts - 1) @ np.array(worth))
            minutes = [gap if name == "oracle" else 1 for gap, _ in gaps]
            sizes = [minutes[k] * (512, 2048)[n] / 1024 / 60 for k, (_, n) in enumerate(gaps)]
            for kept in itertools.product((False, True), repeat=len(gaps)):
                memory = sum(size for size, keep in zip(sizes, kept, strict=True) if keep)
                loss = sum(worth[n] for (_, n), keep in zip(gaps, kept, strict=True) if not keep)
                assert loss + price * memory >= lost + price * outcome.idle_gb_h - 1e-9
                assert memory > outcome.idle_gb_h + 1e-9 or loss >= lost - 1e-9
