"""The simulation's memory: arrays that grow, jobs coming in, rows going out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.synth import calibration as cal
from traces.synth import engine
from traces.synth.jobs import FOREVER, NEVER_US, Jobs
from traces.synth.machines import Cell

_MILLION = 1e6
_CHUNK_ROWS = 1 << 18
_JOB_COLUMNS = [name for name in engine.State._fields if name.startswith("job_")]
_TASK_COLUMNS = [name for name in engine.State._fields if name.startswith("task_")] + ["next_block"]


class World:
    """A cell between two moments. `add` announces jobs, `run` moves time on and yields the rows of that time."""

    def __init__(self, cell: Cell, seed: int) -> None:
        self.jobs = 0
        self._rows = _empty_rows()
        self._state = _empty_state(cell, seed)

    @property
    def state(self) -> engine.State:
        return self._state

    def add(self, jobs: Jobs) -> None:
        """Announce jobs that arrive later than now."""
        first = self._append(jobs)
        self._make_room("heap_", 2 * len(jobs) + engine.ROOM)
        engine.announce(self._state, first, jobs.submit_us, jobs.stop_us)

    def settle(self, jobs: Jobs, us: int) -> None:
        """Start jobs at once, as part of the snapshot; only their stops are still to come."""
        at, first = self._append(jobs), self.jobs - len(jobs)
        why = engine.HEAP_FULL
        while why != engine.DONE:
            why, at = engine.settle(self._state, us, at, self.jobs)
            self._grow(why)
        self._make_room("heap_", 2 * len(jobs) + engine.ROOM)
        for job, stop_us in enumerate(jobs.stop_us.tolist(), start=first):
            if stop_us < NEVER_US:
                engine.push(self._state, stop_us, engine.pack(engine.STOP, 0, job))

    def run(self, until_us: int) -> Iterator[engine.Rows]:
        """Advance to `until_us` and yield full and last chunks of rows, each cut to its length."""
        why = engine.ROWS_FULL
        while why != engine.DONE:
            why = engine.advance(self._state, self._rows, until_us)
            if why in (engine.ROWS_FULL, engine.DONE):
                yield self._take_rows()
            self._grow(why)

    def snapshot(self, incomplete: Callable[[int], NDArray[np.bool_]]) -> engine.Rows:
        """Return the rows of time 0: a SUBMIT for all that is alive, then a SCHEDULE for what runs."""
        s = self._state
        alive = np.flatnonzero(s.task_state)
        job = s.task_job[alive]
        index = alive - s.job_slot[job]
        order = np.lexsort((index, job))
        alive, job, index = alive[order], job[order], index[order]
        running = s.task_state[alive] == engine.RUNNING
        machine = np.where(running, s.task_machine[alive], -1)
        blank = running & incomplete(len(alive))
        event = np.where(blank, engine.INCOMPLETE_SUBMIT, engine.SUBMIT)
        jobs = np.flatnonzero(np.isin(s.job_state[: self.jobs], (engine.SUBMITTED, engine.STARTED)))
        started = jobs[s.job_state[jobs] == engine.STARTED]
        count, job_count = len(alive) + int(running.sum()), len(jobs) + len(started)
        return engine.Rows(
            us=np.zeros(count, np.int64),
            job=np.concatenate([job, job[running]]).astype(np.int32),
            task=np.concatenate([index, index[running]]).astype(np.int32),
            machine=np.concatenate([np.where(blank, machine, -1), machine[running]]).astype(np.int32),
            event=np.concatenate([event, np.full(int(running.sum()), engine.SCHEDULE)]).astype(np.int8),
            job_us=np.zeros(job_count, np.int64),
            job_job=np.concatenate([jobs, started]).astype(np.int32),
            job_event=np.repeat([engine.SUBMIT, engine.SCHEDULE], [len(jobs), len(started)]).astype(np.int8),
        )

    def requested(self) -> NDArray[np.float64]:
        """Return (tiers, 2): CPU and memory that running tasks request."""
        s = self._state
        job = s.task_job[s.task_state == engine.RUNNING]
        tier, tiers = s.job_tier[job], len(cal.TIERS)
        asked = (np.bincount(tier, column[job], tiers) for column in (s.job_cpu, s.job_memory))
        return np.stack(list(asked), axis=1) / _MILLION

    def running_tasks(self) -> tuple[NDArray[np.int64], ...]:
        """Return job, task index, machine and start of every running task, in slot order."""
        s = self._state
        slots = np.flatnonzero(s.task_state == engine.RUNNING)
        job = s.task_job[slots].astype(np.int64)
        return job, slots - s.job_slot[job], s.task_machine[slots].astype(np.int64), s.task_start_us[slots]

    def _append(self, jobs: Jobs) -> int:
        first, self.jobs = self.jobs, self.jobs + len(jobs)
        self._make_room("job_", len(jobs), first)
        s, new = self._state, slice(first, self.jobs)
        s.job_tasks[new] = jobs.tasks
        s.job_state[new] = engine.UNBORN
        s.job_tier[new] = jobs.tier
        s.job_cpu[new] = np.rint(jobs.cpu * _MILLION)
        s.job_memory[new] = np.rint(jobs.memory * _MILLION)
        s.job_fate[new] = jobs.fate
        s.job_run_us[new] = jobs.run_s * _MILLION
        s.job_stop_event[new] = jobs.stop_event
        s.job_waiting[new] = jobs.waiting
        s.job_delay_u[new] = jobs.delay_u
        s.job_evicted_every_us[new] = jobs.evicted_every_s * _MILLION
        s.job_fails_every_us[new] = np.where(jobs.fate == FOREVER, cal.RESIDENT_FAILS_EVERY_S, 1e12) * _MILLION
        s.job_constraint[new] = jobs.constraint
        s.job_spread[new] = np.where(jobs.spread, -2, -1)
        return first

    def _take_rows(self) -> engine.Rows:
        counts, rows = self._state.counts, self._rows
        tasks, jobs = int(counts[engine.ROWS]), int(counts[engine.JOB_ROWS])
        counts[engine.ROWS] = counts[engine.JOB_ROWS] = 0
        # A full chunk is handed over and replaced, a short one copied: copying is cheaper than fresh pages.
        if tasks > _CHUNK_ROWS // 2:
            self._rows = _empty_rows()
            return _cut(rows, tasks, jobs)
        return engine.Rows._make(column.copy() for column in _cut(rows, tasks, jobs))

    def _grow(self, why: int) -> None:
        if why == engine.HEAP_FULL:
            self._double("heap_us", "heap_what")
        elif why == engine.SLOTS_FULL:
            self._double(*_TASK_COLUMNS)
        elif why == engine.SPREAD_FULL:
            self._double("taken", "free_spread")

    def _make_room(self, prefix: str, count: int, used: int | None = None) -> None:
        columns = ["heap_us", "heap_what"] if prefix == "heap_" else _JOB_COLUMNS
        used = int(self._state.counts[engine.HEAP]) if used is None else used
        while used + count > len(getattr(self._state, columns[0])):
            self._double(*columns)

    def _double(self, *names: str) -> None:
        grown: dict[str, Any] = {}
        for name in names:
            old = getattr(self._state, name)
            grown[name] = np.concatenate([old, np.zeros_like(old)])
        self._state = self._state._replace(**grown)


def _cut(rows: engine.Rows, tasks: int, jobs: int) -> engine.Rows:
    columns: list[Any] = list(rows)
    return engine.Rows._make([c[:tasks] for c in columns[:5]] + [c[:jobs] for c in columns[5:]])


def _empty_rows() -> engine.Rows:
    n = _CHUNK_ROWS
    return engine.Rows(
        us=np.empty(n, np.int64),
        job=np.empty(n, np.int32),
        task=np.empty(n, np.int32),
        machine=np.empty(n, np.int32),
        event=np.empty(n, np.int8),
        job_us=np.empty(n, np.int64),
        job_job=np.empty(n, np.int32),
        job_event=np.empty(n, np.int8),
    )


def _empty_state(cell: Cell, seed: int) -> engine.State:
    machines = len(cell.id)
    small = 1 << 12
    return engine.State(
        counts=np.zeros(8, np.int64),
        random=np.random.default_rng([seed, 5]).integers(0, 2**63, 1).astype(np.uint64),
        heap_us=np.zeros(small, np.int64),
        heap_what=np.zeros(small, np.int64),
        # A machine of unknown capacity is in no candidate list; 1 keeps the division defined.
        machine_cpu=np.maximum(np.rint(cell.cpu * _MILLION * cal.CPU_OVERCOMMIT), 1).astype(np.int64),
        machine_memory=np.maximum(np.rint(cell.memory * _MILLION * cal.MEMORY_OVERCOMMIT), 1).astype(np.int64),
        used_cpu=np.zeros(machines, np.int64),
        used_memory=np.zeros(machines, np.int64),
        machine_tasks=np.zeros(machines, np.int32),
        machine_up=cell.present.astype(np.uint8),
        event_us=cell.event_us,
        event_machine=cell.event_machine,
        event_code=cell.event_code,
        candidates=np.concatenate(cell.candidates),
        candidates_start=np.cumsum([0, *map(len, cell.candidates)]).astype(np.int64),
        job_tasks=np.zeros(small, np.int32),
        job_left=np.zeros(small, np.int32),
        job_slot=np.zeros(small, np.int32),
        job_state=np.zeros(small, np.int8),
        job_tier=np.zeros(small, np.int8),
        job_cpu=np.zeros(small, np.int64),
        job_memory=np.zeros(small, np.int64),
        job_fate=np.zeros(small, np.int8),
        job_run_us=np.zeros(small),
        job_stop_event=np.zeros(small, np.int8),
        job_waiting=np.zeros(small, np.bool_),
        job_delay_u=np.zeros(small),
        job_evicted_every_us=np.zeros(small),
        job_fails_every_us=np.zeros(small),
        job_constraint=np.zeros(small, np.int8),
        job_spread=np.zeros(small, np.int32),
        task_state=np.zeros(small, np.int8),
        task_machine=np.zeros(small, np.int32),
        task_version=np.zeros(small, np.int32),
        task_job=np.zeros(small, np.int32),
        task_start_us=np.zeros(small, np.int64),
        free_block=np.full(32, -1, np.int32),
        next_block=np.zeros(small, np.int32),
        taken=np.zeros((16, (machines + 63) // 64), np.uint64),
        free_spread=np.zeros(16, np.int32),
        tuning=_tuning(),
    )


def _tuning() -> engine.Tuning:
    return engine.Tuning(
        delay_u=np.array(cal.DELAY_U),
        delay_log_s=np.log([table[tier] for table in (cal.FIRST_DELAY_S, cal.AGAIN_DELAY_S) for tier in cal.TIERS]),
        run_spread=cal.RUN_TIME_SPREAD * np.sqrt(3) / np.pi,  # a logistic variable's scale from its deviation
        shared_delay=cal.SHARED_DELAY,
        straggler_kills=cal.STRAGGLER_KILLS,
        stray_fails=cal.STRAY_FAILS,
        retry_us=cal.RETRY_S * _MILLION,
        submit_step_us=cal.SUBMIT_STEP_US,
        stop_step_us=cal.STOP_STEP_US,
        evict_resubmit_us=cal.EVICT_RESUBMIT_US,
        fail_resubmit_us=cal.FAIL_RESUBMIT_US,
        kill_resubmit_us=cal.KILL_RESUBMIT_US,
        evict_after_remove_us=cal.EVICT_AFTER_REMOVE_US,
        evict_step_us=cal.EVICT_STEP_US,
        most_tasks=cal.MOST_TASKS_PER_MACHINE,
    )
