"""The one home of the task state machine: which event may follow which, in what order, and what attempts they make.

The states are those of the format documents ("Google cluster-usage traces: format + schema", 2014, and its v3), plus
QUEUED for the batch queue of 2019:

    UNSUBMITTED --SUBMIT--> PENDING --SCHEDULE--> RUNNING --EVICT FAIL FINISH KILL LOST--> DEAD --SUBMIT--> PENDING
    PENDING --QUEUE--> QUEUED --ENABLE--> PENDING;  PENDING and QUEUED --EVICT FAIL FINISH KILL LOST--> DEAD

Google's events carry microseconds, and several events of one task may share one (an eviction, its resubmission and the
next placement, say), in an order the files do not promise. `legal_order` therefore keeps the order of the file where
that is legal and otherwise takes the first permutation, in file order, that is. An event that no permutation makes
legal is reported and then believed: the task goes to the state the event says, so that one missing row is counted
once and not again at every later event of the task.

Tasks are addressed by seat: a job's offset plus the task's index, where the offsets are the running sum of every job's
largest index + 1. A month of Google is 25 million seats, so state is arrays, never a dictionary, and events come
in chunks of columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.compiled import compiled
from traces.schema import AFTER_END_US, EVENTS

STATES = ("UNSUBMITTED", "PENDING", "QUEUED", "RUNNING", "DEAD")
UNSUBMITTED, PENDING, QUEUED, RUNNING, DEAD = range(5)
SUBMIT, QUEUE, ENABLE, SCHEDULE, EVICT, FAIL, FINISH, KILL, LOST, UPDATE_PENDING, UPDATE_RUNNING = range(len(EVENTS))
ENDS = (EVICT, FAIL, FINISH, KILL, LOST)
ILLEGAL = -1
NOT_STATED = -1
NO_TIME = -1
NO_MACHINE = -(2**63)
LARGEST_PERMUTED = 6  # events of one task in one microsecond that are permuted; more are taken greedily


def _transition_table() -> NDArray[np.int8]:
    table = np.full((len(STATES), len(EVENTS)), ILLEGAL, np.int8)
    table[UNSUBMITTED, SUBMIT] = table[DEAD, SUBMIT] = PENDING
    table[PENDING, SCHEDULE] = RUNNING
    table[PENDING, QUEUE] = QUEUED
    for state in (PENDING, QUEUED):
        table[state, ENABLE] = PENDING
        table[state, UPDATE_PENDING] = state
    for state in (PENDING, QUEUED, RUNNING):
        table[state, list(ENDS)] = DEAD
    table[RUNNING, UPDATE_RUNNING] = RUNNING
    return table


# TRANSITIONS[state, event] is the next state, or ILLEGAL. BELIEVED[event] is the state an illegal event leaves behind.
TRANSITIONS = _transition_table()
BELIEVED = np.array([PENDING, QUEUED, PENDING, RUNNING, DEAD, DEAD, DEAD, DEAD, DEAD, PENDING, RUNNING], np.int8)


@compiled
def next_state(state: int, event: int) -> int:
    """The state after an event, or ILLEGAL (-1) where the event may not come in this state."""
    return TRANSITIONS[state, event]


@compiled
def _count_illegal(rows: NDArray[np.int64], event: NDArray[np.int8], state: int) -> int:
    illegal = 0
    for row in rows:
        after = next_state(state, event[row])
        if after == ILLEGAL:
            illegal += 1
            after = BELIEVED[event[row]]
        state = after
    return illegal


@compiled
def _advance(rows: NDArray[np.int64]) -> bool:
    """Turn rows into their next permutation in lexicographic order; False when they were in the last one."""
    left = rows.size - 2
    while left >= 0 and rows[left] >= rows[left + 1]:
        left -= 1
    if left < 0:
        return False
    right = rows.size - 1
    while rows[right] <= rows[left]:
        right -= 1
    rows[left], rows[right] = rows[right], rows[left]
    rows[left + 1 :] = rows[left + 1 :][::-1].copy()
    return True


@compiled
def _most_legal(rows: NDArray[np.int64], event: NDArray[np.int8], state: int) -> NDArray[np.int64]:
    """The first permutation of rows (ascending, one task, one microsecond) with the fewest illegal transitions."""
    best, fewest = rows.copy(), _count_illegal(rows, event, state)
    if fewest == 0:
        return best
    if rows.size > LARGEST_PERMUTED:
        return _greedy(rows, event, state)
    candidate = rows.copy()
    while fewest > 0 and _advance(candidate):
        illegal = _count_illegal(candidate, event, state)
        if illegal < fewest:
            best, fewest = candidate.copy(), illegal
    return best


@compiled
def _greedy(rows: NDArray[np.int64], event: NDArray[np.int8], state: int) -> NDArray[np.int64]:
    """Always the first row that is legal now, or the first of all when none is."""
    left, best = rows.copy(), np.empty_like(rows)
    for position in range(rows.size):
        take = 0
        for candidate in range(rows.size - position):
            if next_state(state, event[left[candidate]]) != ILLEGAL:
                take = candidate
                break
        best[position] = left[take]
        after = next_state(state, event[left[take]])
        state = after if after != ILLEGAL else BELIEVED[event[left[take]]]
        left[take : rows.size - 1] = left[take + 1 :].copy()
    return best


@compiled
def legal_order(
    time_us: NDArray[np.int64],
    seat: NDArray[np.int64],
    event: NDArray[np.int8],
    state: NDArray[np.int8],
    last_row: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.bool_]]:
    """The order in which a chunk's rows take effect, and what each does.

    time_us, seat, event: (n,), one chunk sorted by time that holds every row of each of its microseconds (see
    `whole_microseconds`); event is a position in EVENTS. state: (seats,), carried from chunk to chunk and advanced
    here, starts as UNSUBMITTED. last_row: (seats,) int32 scratch, never needs clearing, starts as zeros.
    Returns order (n,): row order[k] comes k-th; before (n,): the task's state just before it; legal (n,): whether the
    event may come in that state. Only rows of one task in one microsecond ever trade places.
    """
    rows = time_us.size
    order = np.arange(rows)
    before = np.empty(rows, np.int8)
    legal = np.empty(rows, np.bool_)
    twin = np.full(rows, -1, np.int64)  # the next row of the same task and microsecond
    is_twin = np.zeros(rows, np.bool_)
    for row in range(rows):
        # A value left by an earlier chunk cannot match: no row before this one has this seat.
        last = last_row[seat[row]]
        if last < row and seat[last] == seat[row] and time_us[last] == time_us[row]:
            twin[last] = row
            is_twin[row] = True
        last_row[seat[row]] = row
    for row in range(rows):
        if is_twin[row]:
            continue
        if twin[row] >= 0:
            places = 1
            at = twin[row]
            while at >= 0:
                places += 1
                at = twin[at]
            members = np.empty(places, np.int64)
            at = row
            for place in range(places):
                members[place] = at
                at = twin[at]
            order[members] = _most_legal(members, event, state[seat[row]])
        at = row
        while at >= 0:
            what = event[order[at]]
            before[at] = state[seat[row]]
            after = next_state(before[at], what)
            legal[at] = after != ILLEGAL
            state[seat[row]] = after if legal[at] else BELIEVED[what]
            at = twin[at]
    return order, before, legal


Chunk = dict[str, NDArray[Any]]


def whole_microseconds(chunks: Iterable[Chunk], time: str = "time_us") -> Iterator[Chunk]:
    """Cut a stream of column chunks anew, so that no microsecond is split over two of them."""
    held: Chunk | None = None
    for chunk in chunks:
        if held is not None:
            chunk = {name: np.concatenate([held[name], column]) for name, column in chunk.items()}
        if not chunk[time].size:
            continue
        cut = int(np.searchsorted(chunk[time], chunk[time][-1]))
        held = {name: column[cut:] for name, column in chunk.items()}
        if cut:
            yield {name: column[:cut] for name, column in chunk.items()}
    if held is not None:
        yield held


@dataclass(frozen=True, slots=True, eq=False)
class Seats:
    """Where every task sits in the state arrays.

    job: (J,) sorted job ids. offset: (J + 1,) the seat of each job's task 0; the last entry is the number of seats.
    """

    job: NDArray[np.int64]
    offset: NDArray[np.int64]

    @staticmethod
    def of(job: NDArray[np.int64], largest_index: NDArray[np.int64]) -> Seats:
        """Seats for jobs (any order, each once) whose largest task index is given."""
        by_job = np.argsort(job, kind="stable")
        offset = np.zeros(job.size + 1, np.int64)
        np.cumsum(largest_index[by_job].astype(np.int64) + 1, out=offset[1:])
        return Seats(job[by_job], offset)

    @property
    def count(self) -> int:
        """The number of seats, taken or not."""
        return int(self.offset[-1])

    def find(self, job: NDArray[np.int64], task_index: NDArray[np.int32]) -> NDArray[np.int64]:
        """The seat of each (job, task index); -1 for a job or an index that has none."""
        return np.asarray(_find_seats(self.job, self.offset, job, task_index))

    def jobs_of(self, seat: NDArray[np.int64]) -> NDArray[np.int64]:
        """The position in `job` of each seat's job."""
        return np.asarray(np.searchsorted(self.offset, seat, side="right") - 1)


@compiled
def _find_seats(
    jobs: NDArray[np.int64], offset: NDArray[np.int64], job: NDArray[np.int64], index: NDArray[np.int32]
) -> NDArray[np.int64]:
    seats = np.empty(job.size, np.int64)
    at = 0
    for row in range(job.size):
        if at >= jobs.size or jobs[at] != job[row]:  # events come in bursts of one job: often no search is needed
            at = np.searchsorted(jobs, job[row])
        known = at < jobs.size and jobs[at] == job[row] and 0 <= index[row] < offset[at + 1] - offset[at]
        seats[row] = offset[at] + index[row] if known else -1
    return seats


# Per seat, one cache line: the open attempt, then the facts of the task. `open` is 1 while an attempt is.
TASK = np.dtype(
    [("first_submit_us", "i8"), ("submit_us", "i8"), ("schedule_us", "i8"), ("run_us", "i8"), ("machine", "i8"),
     ("attempts", "i4"), ("priority", "i4"), ("cpu_milli", "i4"), ("memory_mib", "i4"), ("disk_mib", "i4"),
     ("scheduling_class", "i1"), ("different_machines", "i1"), ("open", "i1"), ("seen", "i1")]
)  # fmt: skip
ATTEMPT = np.dtype(
    [("seat", "i8"), ("submit_us", "i8"), ("schedule_us", "i8"), ("end_us", "i8"), ("machine", "i8"),
     ("attempt", "i4"), ("end", "i4")]
)  # fmt: skip


def empty_tasks(seats: int) -> NDArray[np.void]:
    """TASK records of seats on which nobody has sat yet."""
    tasks = np.zeros(seats, TASK)
    for fact in ("priority", "scheduling_class", "cpu_milli", "memory_mib", "disk_mib", "different_machines"):
        tasks[fact] = NOT_STATED
    tasks["run_us"] = NO_TIME
    return tasks


@compiled
def record_attempts(
    order: NDArray[np.int64],
    before: NDArray[np.int8],
    time_us: NDArray[np.int64],
    seat: NDArray[np.int64],
    event: NDArray[np.int8],
    machine: NDArray[np.int64],
    tasks: NDArray[np.void],
    closed: NDArray[np.void],
) -> int:
    """Follow one chunk in legal order; write the attempts that end in it to `closed` and return how many.

    order, before: from `legal_order`. machine: NO_MACHINE where not stated. tasks: (seats,) TASK, advanced.
    closed: (>= n,) ATTEMPT. An attempt opens when the task comes alive and closes when it dies; a task that is
    submitted or scheduled again while it runs lost the end of its attempt, which closes then as LOST.
    """
    count = 0
    for position in range(order.size):
        row = order[position]
        task = tasks[seat[row]]
        what = event[row]
        after = next_state(before[position], what)
        if after == ILLEGAL:
            after = BELIEVED[what]
        if task.seen == 0:
            task.seen = 1
            task.first_submit_us = time_us[row]
        is_new_life = after in (PENDING, QUEUED) or what == SCHEDULE
        if task.open == 1 and (after == DEAD or (task.schedule_us != NO_TIME and is_new_life)):
            end = what if after == DEAD else LOST
            closed[count].seat = seat[row]
            closed[count].attempt = task.attempts - 1
            closed[count].submit_us = task.submit_us
            closed[count].schedule_us = task.schedule_us
            closed[count].machine = task.machine
            closed[count].end_us = time_us[row]
            closed[count].end = end
            count += 1
            if end != EVICT and task.schedule_us != NO_TIME:
                task.run_us = time_us[row] - task.schedule_us if time_us[row] != AFTER_END_US else NO_TIME
            task.open = 0
        if after != DEAD and task.open == 0:
            task.open = 1
            task.attempts += 1
            task.submit_us = time_us[row]
            task.schedule_us = NO_TIME
            task.machine = NO_MACHINE
        if after == RUNNING and task.schedule_us == NO_TIME:
            task.schedule_us = time_us[row]
            task.machine = machine[row]
    return count


@compiled
def _keep(old: int, new: int, is_snapshot: bool) -> int:
    return new if new != NOT_STATED and (old == NOT_STATED or is_snapshot) else old


@compiled
def record_facts(
    order: NDArray[np.int64],
    time_us: NDArray[np.int64],
    seat: NDArray[np.int64],
    tasks: NDArray[np.void],
    priority: NDArray[np.int32],
    scheduling_class: NDArray[np.int8],
    cpu_milli: NDArray[np.int32],
    memory_mib: NDArray[np.int32],
    disk_mib: NDArray[np.int32],
    different_machines: NDArray[np.int8],
) -> None:
    """Remember the first value that each task states; of a snapshot's rows (time 0) the last.

    A task that runs when the recording starts has a SUBMIT row with what it once asked for and a SCHEDULE row with what
    it asks for now; in 2011 they differ for 36,306 of 132,982 tasks. All columns (n,), NOT_STATED (-1) where empty.
    """
    for row in order:
        task = tasks[seat[row]]
        first = time_us[row] == 0
        task.priority = _keep(task.priority, priority[row], first)
        task.scheduling_class = _keep(task.scheduling_class, scheduling_class[row], first)
        task.cpu_milli = _keep(task.cpu_milli, cpu_milli[row], first)
        task.memory_mib = _keep(task.memory_mib, memory_mib[row], first)
        task.disk_mib = _keep(task.disk_mib, disk_mib[row], first)
        task.different_machines = _keep(task.different_machines, different_machines[row], first)
