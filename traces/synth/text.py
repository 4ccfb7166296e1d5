"""Rows as CSV bytes, compiled: the format of the published parts, column by column.

Everything a job's rows share (user, classes, requests, names) is written once per job as a tail; a row is a few
integers and a copy of its job's tail.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.compiled import compiled
from traces.synth.engine import INCOMPLETE_SUBMIT, Rows
from traces.synth.jobs import Jobs
from traces.synth.machines import CONSTRAINTS, hash_text

Bytes = NDArray[np.uint8]
Integers = NDArray[Any]
_COMMA, _ZERO, _NEWLINE, _POINT = ord(","), ord("0"), ord("\n"), ord(".")
_TASK_TAIL, _JOB_TAIL = 104, 144
_MOST_PER_ROW = 200


@functools.lru_cache(maxsize=1 << 16)
def decimal(value: float) -> str:
    """Write at most 4 significant digits and no exponent, as the trace does: 0.5, 0.06873, 0.000002861."""
    return np.format_float_positional(value, precision=4, unique=False, fractional=False, trim="-") if value else "0"


class JobTexts:
    """The tails of every job so far. `arrays` may be read by other threads: growth replaces them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._jobs = 0
        self.id = np.zeros(1 << 12, np.int64)
        self.constraint = np.zeros(1 << 12, np.int8)
        self.task_tail = np.zeros((1 << 12, _TASK_TAIL), np.uint8)
        self.task_length = np.zeros(1 << 12, np.int16)
        self.brief_length = np.zeros(1 << 12, np.int16)
        self.job_tail = np.zeros((1 << 12, _JOB_TAIL), np.uint8)
        self.job_length = np.zeros(1 << 12, np.int16)
        self._user = functools.lru_cache(maxsize=None)(lambda user: hash_text(seed, "user", user))
        self._logical = functools.lru_cache(maxsize=1 << 16)(lambda user, name: hash_text(seed, "name", user, name))

    def add(self, jobs: Jobs) -> None:
        first, self._jobs = self._jobs, self._jobs + len(jobs)
        while self._jobs > len(self.id):
            for name in ("id", "constraint", "task_tail", "task_length", "brief_length", "job_tail", "job_length"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        for job, row in enumerate(zip(*_text_columns(jobs), strict=True), start=first):
            priority, kind, cpu, memory, disk, spread, user, name, constraint = row
            tenant = self._user(user)
            brief = f"{tenant},{kind},{priority}"
            request = f"{decimal(cpu)},{decimal(memory)},{decimal(disk)},{spread:d}"
            self._put(self.task_tail, self.task_length, job, f"{brief},{request}\n")
            self.brief_length[job] = len(brief)
            unique = hash_text(self._seed, "job", job)
            self._put(self.job_tail, self.job_length, job, f"{tenant},{kind},{unique},{self._logical(user, name)}\n")
            self.id[job] = 3_418_309 + 9_000 * job + job * 7919 % 9_000  # rising with submission, with gaps
            self.constraint[job] = constraint

    @staticmethod
    def _put(tails: NDArray[np.uint8], lengths: NDArray[np.int16], row: int, text: str) -> None:
        data = text.encode()
        tails[row, : len(data)] = np.frombuffer(data, np.uint8)
        lengths[row] = len(data)

    def format_tasks(self, rows: Rows, machine_id: NDArray[np.int64]) -> memoryview:
        out = np.empty(len(rows.us) * _MOST_PER_ROW, np.uint8)
        used = _format_tasks(
            out, rows.us, rows.job, rows.task, rows.machine, rows.event,
            self.id, machine_id, self.task_tail, self.task_length, self.brief_length,
        )  # fmt: skip
        return out[:used].data

    def format_jobs(self, rows: Rows) -> memoryview:
        out = np.empty(len(rows.job_us) * _MOST_PER_ROW, np.uint8)
        used = _format_jobs(out, rows.job_us, rows.job_job, rows.job_event, self.id, self.job_tail, self.job_length)
        return out[:used].data

    def format_constraints(self, rows: Rows, terms: ConstraintTexts) -> tuple[memoryview, int]:
        """Format one row per SUBMIT and term of the task's constraint class; also return how many."""
        kind = self.constraint[rows.job]
        wanted = np.flatnonzero((kind > 0) & ((rows.event == 0) | (rows.event == INCOMPLETE_SUBMIT)))
        per_row = terms.count[kind[wanted]]
        at = np.repeat(wanted, per_row)
        term = terms.first[kind[at]] + (np.arange(len(at)) - np.repeat(np.cumsum(per_row) - per_row, per_row))
        out = np.empty(len(at) * _MOST_PER_ROW, np.uint8)
        used = _format_constraints(
            out, rows.us[at], self.id[rows.job[at]], rows.task[at], term, terms.tail, terms.length
        )
        return out[:used].data, len(at)


def _text_columns(jobs: Jobs) -> list[list[Any]]:
    asked = (jobs.cpu, jobs.memory, jobs.disk, jobs.spread)
    columns = (jobs.priority, jobs.scheduling_class, *asked, jobs.user, jobs.name, jobs.constraint)
    return [column.tolist() for column in columns]


class ConstraintTexts:
    """The tail of every constraint term: operator, attribute, value. `classes` are the numbers in use, 0 first."""

    def __init__(self, classes: list[int], seed: int) -> None:
        terms = [CONSTRAINTS[number - 1] if number else () for number in classes]
        self.count = np.array([len(t) for t in terms], np.int64)
        self.first = np.cumsum(self.count) - self.count
        texts = [
            f"{operator},{hash_text(seed, 'attribute', name)},{attribute_text(seed, name, value)}\n".encode()
            for term in terms
            for name, operator, value in term
        ]
        self.length = np.array([len(text) for text in texts] or [0], np.int16)
        self.tail = np.zeros((max(len(texts), 1), 128), np.uint8)
        for row, text in enumerate(texts):
            self.tail[row, : len(text)] = np.frombuffer(text, np.uint8)


def attribute_text(seed: int, name: str, value: object) -> str:
    """Integers stand as they are, words are hashed: STRING_HASH_OR_INTEGER."""
    text = str(value)
    return text if text.lstrip("-").isdigit() else hash_text(seed, "value", name, text)


@compiled
def _put_int(out: Bytes, at: int, value: int) -> int:
    if value == 0:
        out[at] = _ZERO
        return at + 1
    digits = 0
    rest = value
    while rest > 0:
        rest //= 10
        digits += 1
    end = at + digits
    place = end
    while value > 0:
        place -= 1
        rest = value // 10
        out[place] = _ZERO + (value - 10 * rest)
        value = rest
    return end


@compiled
def _put_tail(out: Bytes, at: int, tail: Bytes, length: int) -> int:
    for byte in range(length):
        out[at + byte] = tail[byte]
    return at + length


@compiled
def _format_tasks(
    out: Bytes,
    us: Integers,
    job: Integers,
    index: Integers,
    machine: Integers,
    event: Integers,
    job_id: Integers,
    machine_id: Integers,
    tails: Bytes,
    lengths: Integers,
    briefs: Integers,
) -> int:
    at = 0
    for row in range(len(us)):
        incomplete = event[row] == INCOMPLETE_SUBMIT
        at = _put_int(out, at, us[row])
        out[at] = _COMMA
        at += 1
        if incomplete:
            out[at] = _ZERO + 2
            at += 1
        out[at] = _COMMA
        at = _put_int(out, at + 1, job_id[job[row]])
        out[at] = _COMMA
        at = _put_int(out, at + 1, index[row])
        out[at] = _COMMA
        at += 1
        if machine[row] >= 0:
            at = _put_int(out, at, machine_id[machine[row]])
        out[at] = _COMMA
        out[at + 1] = _ZERO if incomplete else _ZERO + event[row]
        out[at + 2] = _COMMA
        if incomplete:
            at = _put_tail(out, at + 3, tails[job[row]], briefs[job[row]])
            for _ in range(4):
                out[at] = _COMMA
                at += 1
            out[at] = _NEWLINE
            at += 1
        else:
            at = _put_tail(out, at + 3, tails[job[row]], lengths[job[row]])
    return at


@compiled
def _format_jobs(
    out: Bytes, us: Integers, job: Integers, event: Integers, job_id: Integers, tails: Bytes, lengths: Integers
) -> int:
    at = 0
    for row in range(len(us)):
        at = _put_int(out, at, us[row])
        out[at] = _COMMA
        out[at + 1] = _COMMA
        at = _put_int(out, at + 2, job_id[job[row]])
        out[at] = _COMMA
        out[at + 1] = _ZERO + event[row]
        out[at + 2] = _COMMA
        at = _put_tail(out, at + 3, tails[job[row]], lengths[job[row]])
    return at


@compiled
def _format_constraints(
    out: Bytes, us: Integers, job_id: Integers, index: Integers, term: Integers, tails: Bytes, lengths: Integers
) -> int:
    at = 0
    for row in range(len(us)):
        at = _put_int(out, at, us[row])
        out[at] = _COMMA
        at = _put_int(out, at + 1, job_id[row])
        out[at] = _COMMA
        at = _put_int(out, at + 1, index[row])
        out[at] = _COMMA
        at = _put_tail(out, at + 1, tails[term[row]], lengths[term[row]])
    return at
