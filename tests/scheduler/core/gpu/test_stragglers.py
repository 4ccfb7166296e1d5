"""Slow workers of pipeline-parallel jobs: three real traces with known causes, and made ones."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.gpu.stragglers import slow_workers


@pytest.mark.parametrize("kind", ["forward-compute", "backward-compute"])
@pytest.mark.parametrize(("trace", "accused"), [("AR", [(0, 0)]), ("ST", []), ("SE", [])])
def test_the_real_traces_accuse_the_slow_worker_and_no_innocent_one(shared_data, trace, accused, kind):
    table = pq.read_table(shared_data(f"gpu/bytedance_straggler/trace-{trace}.parquet"))
    of_kind = np.array(table["optype"].to_pylist()) == kind
    columns = [np.asarray(table[name])[of_kind] for name in ("stage", "dp_rank", "step", "duration")]
    found = slow_workers(*[column.astype(np.int64) for column in columns[:3]], columns[3].astype(float))
    assert [(one.stage, one.worker) for one in found] == accused
    for one in found:
        assert one.slower > 1
        assert one.steady > 0.95


def a_job(rng, workers, steps, slow=(), jitter=0.1, batches=4):
    """Columns of a job of two stages, the second of which is twice as slow; slow: {worker of stage 0: factor}."""
    stage, worker, step, _ = (x.ravel() for x in np.indices((2, workers, steps, batches)))
    seconds = 0.2 * (1 + stage) * np.exp(jitter * rng.standard_normal(stage.size))
    for who, factor in dict(slow).items():
        seconds[(stage == 0) & (worker == who)] *= factor
    return stage, worker, step, seconds


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 16), st.integers(0, 2**32 - 1), st.data())
def test_a_worker_slower_by_a_third_is_the_only_one_accused(workers, seed, data):
    who = data.draw(st.integers(0, workers - 1))
    found = slow_workers(*a_job(np.random.default_rng(seed), workers, 30, {who: 1.33}, jitter=0.05))
    assert [(one.stage, one.worker) for one in found] == [(0, who)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 16), st.integers(0, 2**32 - 1), st.floats(0, 0.6))
def test_chance_and_heavier_stages_accuse_nobody(workers, seed, jitter):
    assert slow_workers(*a_job(np.random.default_rng(seed), workers, 40, jitter=jitter)) == []


def test_a_few_long_steps_are_no_fault_and_two_workers_are_not_judged():
    stage, worker, step, seconds = a_job(np.random.default_rng(1), 8, 40, jitter=0.02)
    seconds[(worker == 3) & (step < 15)] *= 4
    assert slow_workers(stage, worker, step, seconds) == []
    assert slow_workers(*a_job(np.random.default_rng(1), 2, 40, {1: 3.0})) == []
