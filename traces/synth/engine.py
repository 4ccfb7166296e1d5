"""The cell at work: an event-driven simulation, compiled, that emits rows in time order.

Every task waits, starts on a machine, ends by itself, is evicted, or stops with its job; what comes back is submitted
again a few microseconds later. State between two calls of `advance` is what runs or waits plus one heap of coming
events (about one per live task), so memory does not grow with the length of the trace. Placement takes the emptier of
two random machines that fit under the recorded over-commit: the recorded spread over machines, without a full scan.

Events carry the task's version: whatever ends an attempt raises it, which voids the events of that attempt.
"""

from __future__ import annotations

from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from traces.compiled import compiled
from traces.synth import calibration as cal
from traces.synth.jobs import CRASHES, FOREVER, NEVER_US, RESTARTS

SUBMIT, SCHEDULE, EVICT, FAIL, FINISH, KILL = range(6)
INCOMPLETE_SUBMIT = 16 + SUBMIT  # a snapshot row that names the machine and lacks the request
PENDING, RUNNING = 1, 2  # task states; 0 is done or not yet there
UNBORN, SUBMITTED, STARTED, ENDED = range(4)  # job states
DONE, ROWS_FULL, HEAP_FULL, SLOTS_FULL, SPREAD_FULL = range(5)  # why `advance` returned

# Kinds of coming events. An ending's kind is the event code of its row.
TRY, AGAIN, ARRIVE, STOP = 6, 7, 8, 9
ROOM = 2048  # free heap entries needed to process one event (a machine runs at most 1000 tasks)

# Positions in State.counts.
HEAP, ROWS, JOB_ROWS, SLOT_TOP, MACHINE_CURSOR, SPREAD_TOP, FREE_SPREAD = range(7)


P = ParamSpec("P")
R = TypeVar("R")


class Tuning(NamedTuple):
    """What the loop needs of `calibration`: arguments, because compiled code is cached without regard to them."""

    delay_u: NDArray[np.float64]
    delay_log_s: NDArray[np.float64]  # at delay_u, first attempts by tier and then later ones
    run_spread: float  # scale of the logistic noise on run times
    shared_delay: float
    straggler_kills: float
    stray_fails: float
    retry_us: float
    submit_step_us: int
    stop_step_us: int
    evict_resubmit_us: int
    fail_resubmit_us: int
    kill_resubmit_us: int
    evict_after_remove_us: int
    evict_step_us: int
    most_tasks: int


class State(NamedTuple):
    """Everything the simulation knows. Arrays are grown by `world.World`, never here."""

    counts: NDArray[np.int64]
    random: NDArray[np.uint64]
    # coming events, a binary heap by time
    heap_us: NDArray[np.int64]
    heap_what: NDArray[np.int64]  # kind, version or position, and slot or job: see `pack`
    # machines
    machine_cpu: NDArray[np.int64]  # capacity times over-commit, in millionths
    machine_memory: NDArray[np.int64]
    used_cpu: NDArray[np.int64]
    used_memory: NDArray[np.int64]
    machine_tasks: NDArray[np.int32]
    machine_up: NDArray[np.uint8]
    event_us: NDArray[np.int64]
    event_machine: NDArray[np.int32]
    event_code: NDArray[np.int8]
    candidates: NDArray[np.int32]
    candidates_start: NDArray[np.int64]
    # jobs
    job_tasks: NDArray[np.int32]
    job_left: NDArray[np.int32]
    job_slot: NDArray[np.int32]
    job_state: NDArray[np.int8]
    job_tier: NDArray[np.int8]
    job_cpu: NDArray[np.int64]
    job_memory: NDArray[np.int64]
    job_fate: NDArray[np.int8]
    job_run_us: NDArray[np.float64]
    job_stop_event: NDArray[np.int8]
    job_waiting: NDArray[np.bool_]
    job_delay_u: NDArray[np.float64]
    job_evicted_every_us: NDArray[np.float64]
    job_fails_every_us: NDArray[np.float64]
    job_constraint: NDArray[np.int8]
    job_spread: NDArray[np.int32]  # row of `taken`; -1: any machine, -2: different machines, no row yet
    # tasks, in blocks of a power of two per live job
    task_state: NDArray[np.int8]
    task_machine: NDArray[np.int32]
    task_version: NDArray[np.int32]
    task_job: NDArray[np.int32]
    task_start_us: NDArray[np.int64]
    free_block: NDArray[np.int32]  # per size class, head of the list
    next_block: NDArray[np.int32]
    taken: NDArray[np.uint64]  # bit per machine for each job with different machines
    free_spread: NDArray[np.int32]
    tuning: Tuning


class Rows(NamedTuple):
    """Rows of task_events and job_events as columns, filled by `advance`."""

    us: NDArray[np.int64]
    job: NDArray[np.int32]
    task: NDArray[np.int32]  # index in the job
    machine: NDArray[np.int32]
    event: NDArray[np.int8]
    job_us: NDArray[np.int64]
    job_job: NDArray[np.int32]
    job_event: NDArray[np.int8]


_PROBES, _PRODUCTION_PROBES = 48, 400  # production is placed at once, also where only few machines have room
_PRODUCTION = cal.TIERS.index("production")
_TIERS = len(cal.TIERS)


@compiled
def draw(random: NDArray[np.uint64]) -> float:
    """Return the next number in (0, 1). Splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@compiled
def pack(kind: int, extra: int, place: int) -> int:
    """Pack an event: 4 bits of kind, 28 of version or position, 31 of slot or job."""
    return (kind << 59) | ((extra & 0xFFFFFFF) << 31) | place


@compiled
def push(s: State, us: int, what: int) -> None:
    at = s.counts[HEAP]
    s.counts[HEAP] = at + 1
    while at > 0:
        parent = (at - 1) >> 1
        if s.heap_us[parent] <= us:
            break
        s.heap_us[at] = s.heap_us[parent]
        s.heap_what[at] = s.heap_what[parent]
        at = parent
    s.heap_us[at] = us
    s.heap_what[at] = what


@compiled
def drop_first(s: State) -> None:
    last = s.counts[HEAP] - 1
    s.counts[HEAP] = last
    us, what = s.heap_us[last], s.heap_what[last]
    at, child = 0, 1
    while child < last:
        if child + 1 < last and s.heap_us[child + 1] < s.heap_us[child]:
            child += 1
        if s.heap_us[child] >= us:
            break
        s.heap_us[at] = s.heap_us[child]
        s.heap_what[at] = s.heap_what[child]
        at = child
        child = 2 * at + 1
    s.heap_us[at] = us
    s.heap_what[at] = what


@compiled
def emit(s: State, rows: Rows, us: int, job: int, index: int, machine: int, event: int) -> None:
    at = s.counts[ROWS]
    rows.us[at] = us
    rows.job[at] = job
    rows.task[at] = index
    rows.machine[at] = machine
    rows.event[at] = event
    s.counts[ROWS] = at + 1


@compiled
def emit_job(s: State, rows: Rows, us: int, job: int, event: int) -> None:
    at = s.counts[JOB_ROWS]
    rows.job_us[at] = us
    rows.job_job[at] = job
    rows.job_event[at] = event
    s.counts[JOB_ROWS] = at + 1


@compiled
def draw_delay_us(s: State, job: int, again: bool) -> int:
    """Draw a wait from SUBMIT to SCHEDULE. Half of a job's first attempts wait alike, so that jobs start in bursts."""
    u = draw(s.random)
    if not again and draw(s.random) < s.tuning.shared_delay:
        u = s.job_delay_u[job]
    row = s.job_tier[job] + (_TIERS if again else 0)
    grid, values = s.tuning.delay_u, s.tuning.delay_log_s[row]
    step = 1
    while grid[step] < u:
        step += 1
    part = (u - grid[step - 1]) / (grid[step] - grid[step - 1])
    log_s = values[step - 1] + part * (values[step] - values[step - 1])
    return int(np.exp(log_s) * 1e6)


@compiled
def find_machine(s: State, job: int) -> int:
    """Return a machine with room for one task of the job, the emptier of the first two found; -1 if none is found."""
    kind = s.job_constraint[job]
    start = s.candidates_start[kind]
    choices = s.candidates_start[kind + 1] - start
    cpu, memory, spread = s.job_cpu[job], s.job_memory[job], s.job_spread[job]
    best, best_load = -1, 0.0
    for _ in range(_PROBES if s.job_tier[job] < _PRODUCTION else _PRODUCTION_PROBES):
        machine = s.candidates[start + int(draw(s.random) * choices)]
        if not s.machine_up[machine] or s.machine_tasks[machine] >= s.tuning.most_tasks:
            continue
        new_cpu, new_memory = s.used_cpu[machine] + cpu, s.used_memory[machine] + memory
        if new_cpu > s.machine_cpu[machine] or new_memory > s.machine_memory[machine]:
            continue
        if spread >= 0 and (s.taken[spread, machine >> 6] >> np.uint64(machine & 63)) & np.uint64(1):
            continue
        load = new_cpu / s.machine_cpu[machine] + new_memory / s.machine_memory[machine]
        if best >= 0:
            return machine if load < best_load else best
        best, best_load = machine, load
    return best


@compiled
def start_task(s: State, us: int, job: int, slot: int, machine: int) -> None:
    """Put a pending task on a machine and schedule the end of its attempt."""
    s.used_cpu[machine] += s.job_cpu[job]
    s.used_memory[machine] += s.job_memory[job]
    s.machine_tasks[machine] += 1
    spread = s.job_spread[job]
    if spread >= 0:
        s.taken[spread, machine >> 6] |= np.uint64(1) << np.uint64(machine & 63)
    s.task_state[slot] = RUNNING
    s.task_machine[slot] = machine
    s.task_start_us[slot] = us
    age = -np.log(draw(s.random))
    if s.job_tier[job] == 0:  # Weibull with shape 2/3, mean 1: the recorded hazard of free tasks falls with age
        age *= np.sqrt(age) / 1.33
    ending, after_us = EVICT, age * s.job_evicted_every_us[job]
    fail_us = -np.log(draw(s.random)) * s.job_fails_every_us[job]
    if fail_us < after_us:
        ending, after_us = FAIL, fail_us
    fate = s.job_fate[job]
    if fate != FOREVER:
        noise = draw(s.random)
        run_us = s.job_run_us[job] * np.exp(s.tuning.run_spread * np.log(noise / (1.0 - noise)))
        natural = FINISH
        if fate == CRASHES:
            natural = FAIL
        elif fate == RESTARTS:
            natural = KILL
        else:
            luck = draw(s.random)
            if luck < s.tuning.stray_fails:
                natural, run_us = FAIL, run_us * (0.05 + 0.9 * draw(s.random))
            elif luck < s.tuning.stray_fails + s.tuning.straggler_kills:
                natural = KILL
        if run_us < after_us:
            ending, after_us = natural, run_us
    # An attempt lasts a second at least; endings after several months are never reached and may overflow.
    end_us = us + int(min(max(after_us, 1e6), 1e14))
    push(s, end_us, pack(ending, s.task_version[slot], slot))


@compiled
def leave_machine(s: State, job: int, slot: int) -> None:
    machine = s.task_machine[slot]
    s.used_cpu[machine] -= s.job_cpu[job]
    s.used_memory[machine] -= s.job_memory[job]
    s.machine_tasks[machine] -= 1
    spread = s.job_spread[job]
    if spread >= 0:
        s.taken[spread, machine >> 6] &= ~(np.uint64(1) << np.uint64(machine & 63))


@compiled
def size_class(tasks: int) -> int:
    size = 0
    while (1 << size) < tasks:
        size += 1
    return size


@compiled
def open_job(s: State, job: int) -> int:
    """Give a job its task slots and, where it needs one, its row of taken machines; DONE, or what ran out."""
    size = size_class(s.job_tasks[job])
    slot = s.free_block[size]
    if slot < 0 and s.counts[SLOT_TOP] + (1 << size) > len(s.task_state):
        return SLOTS_FULL
    if s.job_spread[job] == -2:
        if s.counts[FREE_SPREAD] > 0:
            s.counts[FREE_SPREAD] -= 1
            s.job_spread[job] = s.free_spread[s.counts[FREE_SPREAD]]
        elif s.counts[SPREAD_TOP] < len(s.taken):
            s.job_spread[job] = s.counts[SPREAD_TOP]
            s.counts[SPREAD_TOP] += 1
        else:
            return SPREAD_FULL
    if slot >= 0:
        s.free_block[size] = s.next_block[slot]
    else:
        slot = s.counts[SLOT_TOP]
        s.counts[SLOT_TOP] += 1 << size
    s.job_slot[job] = slot
    s.job_left[job] = s.job_tasks[job]
    for index in range(s.job_tasks[job]):
        s.task_job[slot + index] = job
    s.job_state[job] = SUBMITTED
    return DONE


@compiled
def close_job(s: State, rows: Rows, us: int, job: int, event: int) -> None:
    emit_job(s, rows, us, job, event)
    s.job_state[job] = ENDED
    slot, size = s.job_slot[job], size_class(s.job_tasks[job])
    s.next_block[slot] = s.free_block[size]
    s.free_block[size] = slot
    if s.job_spread[job] >= 0:
        s.free_spread[s.counts[FREE_SPREAD]] = s.job_spread[job]
        s.counts[FREE_SPREAD] += 1


@compiled
def submit_tasks(s: State, rows: Rows, us: int, job: int, index: int) -> None:
    """Submit a job's tasks from `index` on, one step apart, until another event comes first or the rows are full."""
    slot = s.job_slot[job]
    while True:
        emit(s, rows, us, job, index, -1, SUBMIT)
        s.task_state[slot + index] = PENDING
        if not s.job_waiting[job]:
            push(s, us + draw_delay_us(s, job, False), pack(TRY, s.task_version[slot + index], slot + index))
        index += 1
        us += s.tuning.submit_step_us
        if index == s.job_tasks[job]:
            return
        waits = s.counts[HEAP] > 0 and s.heap_us[0] <= us
        if waits or s.counts[ROWS] + 4 > len(rows.us) or s.counts[HEAP] + 4 > len(s.heap_us):
            push(s, us, pack(ARRIVE, index, job))
            return


@compiled
def stop_tasks(s: State, rows: Rows, us: int, job: int, index: int) -> None:
    """Kill (or give up) what is left of a job from task `index` on, in the same manner; the last one ends the job."""
    if s.job_state[job] == ENDED:
        return
    slot = s.job_slot[job]
    while True:
        at = slot + index
        if s.task_state[at] != 0:
            running = s.task_state[at] == RUNNING
            emit(s, rows, us, job, index, s.task_machine[at] if running else -1, s.job_stop_event[job])
            if running:
                leave_machine(s, job, at)
            s.task_state[at] = 0
            s.job_left[job] -= 1
            us += s.tuning.stop_step_us
        s.task_version[at] += 1  # also where the task is between two attempts: it does not come back
        index += 1
        if index == s.job_tasks[job] or s.job_left[job] == 0:
            close_job(s, rows, us, job, s.job_stop_event[job])
            return
        waits = s.counts[HEAP] > 0 and s.heap_us[0] <= us
        if waits or s.counts[ROWS] + 4 > len(rows.us) or s.counts[HEAP] + 4 > len(s.heap_us):
            push(s, us, pack(STOP, index, job))
            return


@compiled
def try_task(s: State, rows: Rows, us: int, slot: int) -> None:
    job = s.task_job[slot]
    machine = find_machine(s, job)
    if machine < 0:
        pause_us = int(-np.log(draw(s.random)) * s.tuning.retry_us) + 1_000_000
        push(s, us + pause_us, pack(TRY, s.task_version[slot], slot))
        return
    emit(s, rows, us, job, slot - s.job_slot[job], machine, SCHEDULE)
    if s.job_state[job] == SUBMITTED:
        s.job_state[job] = STARTED
        emit_job(s, rows, us, job, SCHEDULE)
    start_task(s, us, job, slot, machine)


@compiled
def end_attempt(s: State, rows: Rows, us: int, slot: int, event: int) -> None:
    job = s.task_job[slot]
    emit(s, rows, us, job, slot - s.job_slot[job], s.task_machine[slot], event)
    leave_machine(s, job, slot)
    s.task_state[slot] = 0
    s.task_version[slot] += 1
    if event == EVICT:
        push(s, us + s.tuning.evict_resubmit_us, pack(AGAIN, s.task_version[slot], slot))
    elif event == FAIL:
        push(s, us + s.tuning.fail_resubmit_us, pack(AGAIN, s.task_version[slot], slot))
    elif event == KILL and s.job_fate[job] == RESTARTS:
        push(s, us + s.tuning.kill_resubmit_us, pack(AGAIN, s.task_version[slot], slot))
    else:
        s.job_left[job] -= 1
        if s.job_left[job] == 0:
            close_job(s, rows, us, job, event)


@compiled
def submit_again(s: State, rows: Rows, us: int, slot: int) -> None:
    job = s.task_job[slot]
    emit(s, rows, us, job, slot - s.job_slot[job], -1, SUBMIT)
    s.task_state[slot] = PENDING
    push(s, us + draw_delay_us(s, job, True), pack(TRY, s.task_version[slot], slot))


@compiled
def change_machine(s: State, us: int, machine: int, code: int) -> None:
    """Take a machine up or down; what runs on one that goes is evicted within milliseconds."""
    if code == 0:
        s.machine_up[machine] = 1
    elif code == 1:
        s.machine_up[machine] = 0
        evict_us = us + s.tuning.evict_after_remove_us
        for slot in range(s.counts[SLOT_TOP]):
            if s.task_state[slot] == RUNNING and s.task_machine[slot] == machine:
                s.task_version[slot] += 1
                push(s, evict_us, pack(EVICT, s.task_version[slot], slot))
                evict_us += s.tuning.evict_step_us


@compiled
def advance(s: State, rows: Rows, until_us: int) -> int:
    """Run up to (excluding) `until_us`, filling `rows`. Returns DONE, or what ran out; call again after making room."""
    while True:
        if s.counts[ROWS] + 4 > len(rows.us) or s.counts[JOB_ROWS] + 4 > len(rows.job_us):
            return ROWS_FULL
        if s.counts[HEAP] + ROOM > len(s.heap_us):
            return HEAP_FULL
        cursor = s.counts[MACHINE_CURSOR]
        machine_us = s.event_us[cursor] if cursor < len(s.event_us) else NEVER_US
        us = s.heap_us[0] if s.counts[HEAP] > 0 else NEVER_US
        if machine_us <= us:
            if machine_us >= until_us:
                return DONE
            s.counts[MACHINE_CURSOR] = cursor + 1
            change_machine(s, machine_us, s.event_machine[cursor], s.event_code[cursor])
            continue
        if us >= until_us:
            return DONE
        what = s.heap_what[0]
        kind, extra, place = what >> 59, (what >> 31) & 0xFFFFFFF, what & 0x7FFFFFFF
        if kind == ARRIVE:
            if extra == 0:
                full = open_job(s, place)
                if full != DONE:
                    return full
                emit_job(s, rows, us, place, SUBMIT)
            drop_first(s)
            # A stop may come while tasks are still being submitted: nothing follows it.
            if s.job_state[place] != ENDED:
                submit_tasks(s, rows, us, place, extra)
            continue
        drop_first(s)
        if kind == STOP:
            stop_tasks(s, rows, us, place, extra)
        elif (s.task_version[place] & 0xFFFFFFF) != extra:
            continue
        elif kind == TRY:
            try_task(s, rows, us, place)
        elif kind == AGAIN:
            submit_again(s, rows, us, place)
        else:
            end_attempt(s, rows, us, place, kind)


@compiled
def announce(s: State, first: int, submit_us: NDArray[np.int64], stop_us: NDArray[np.int64]) -> None:
    """Put the arrivals and the stops of jobs from `first` on among the coming events."""
    for job in range(len(submit_us)):
        push(s, submit_us[job], pack(ARRIVE, 0, first + job))
        if stop_us[job] < NEVER_US:
            push(s, stop_us[job], pack(STOP, 0, first + job))


@compiled
def settle(s: State, us: int, first: int, last: int) -> tuple[int, int]:
    """Start jobs `first` to `last` (excluded) at once, as part of a snapshot; those that find no machine stay pending.

    Returns DONE and the next job, or what ran out and the job to go on with.
    """
    for job in range(first, last):
        if s.counts[HEAP] + s.job_tasks[job] + ROOM > len(s.heap_us):
            return HEAP_FULL, job
        full = open_job(s, job)
        if full != DONE:
            return full, job
        slot = s.job_slot[job]
        for at in range(slot, slot + s.job_tasks[job]):
            s.task_state[at] = PENDING
            if s.job_waiting[job]:
                continue
            machine = find_machine(s, job)
            if machine < 0:
                push(s, us + draw_delay_us(s, job, True), pack(TRY, s.task_version[at], at))
            else:
                start_task(s, us, job, at, machine)
                s.job_state[job] = STARTED
    return DONE, last
