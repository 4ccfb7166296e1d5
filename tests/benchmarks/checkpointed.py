"""A computation that saves its state, is killed, and goes on from the saved state somewhere else.

`python -m tests.benchmarks.checkpointed STATE PROGRESS SAVE_AT` is the computation: STATE is the file to go on from
and to save to, PROGRESS the descriptor of shared memory where it says how far it is, SAVE_AT the step after which it
saves.
"""

from __future__ import annotations

import mmap
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.live_copy import TokenBucket, child

STEP_S = 0.01
CHUNK_BYTES = 1 << 16
# What PROGRESS holds: steps done, steps in the saved state, when it was saved (monotonic ns).
DONE, SAVED, SAVED_AT_NS = range(3)

Counters = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Restarted:
    """One move as it went. age_s: from the end of the save to the kill; total_s: from the kill to the same step."""

    age_s: float
    downtime_s: float
    total_s: float
    moved_bytes: int


def step(state: Counters, number: int) -> None:
    """One step of the computation: the next 4,096 counters of the state, in turn, grow by the step's number."""
    at = 1 + 4096 * number % (len(state) - 4096)
    state[at : at + 4096] += number
    state[0] = number


def compute(path: Path, progress: Counters, save_at: int) -> None:
    """Step for ever, a step per STEP_S as an accelerator would, from what the file holds."""
    state: Counters = np.load(path)
    first, began = int(state[0]), time.monotonic()
    number = first
    while True:
        number += 1
        step(state, number)
        time.sleep(max(0.0, began + (number - first) * STEP_S - time.monotonic()))
        progress[DONE] = number
        if number == save_at:
            np.save(path, state)
            began = time.monotonic() - (number - first) * STEP_S
            progress[SAVED], progress[SAVED_AT_NS] = number, time.monotonic_ns()


def move_once(folder: Path, state_bytes: int, age_s: float, bytes_per_s: float) -> Restarted:
    """Start, save, kill `age_s` after the save, copy the file over loopback, start there, wait for the step reached.

    Raises RuntimeError if what the second process computed is not what one process would have.
    """
    here, there = folder / "here.npy", folder / "there.npy"
    np.save(here, np.zeros(state_bytes // 8, np.int64))
    with _shared_progress() as (file, progress), child(*_words(here, file, 20), keep=[file]) as process:
        _wait(progress, SAVED, 20)
        time.sleep(max(0.0, age_s - (time.monotonic_ns() - progress[SAVED_AT_NS]) / 1e9))
        _wait(progress, DONE, 21)  # something to lose
        killed = time.monotonic()
        process.kill()
        process.wait()
        reached, age_s = int(progress[DONE]), killed - progress[SAVED_AT_NS] / 1e9
    copy_over_loopback(here, there, bytes_per_s)
    with _shared_progress() as (file, progress), child(*_words(there, file, reached), keep=[file]):
        _wait(progress, DONE, 21)
        runs = time.monotonic()
        _wait(progress, DONE, reached)
        ended = time.monotonic()
        _wait(progress, SAVED, reached)
    expected = np.zeros(state_bytes // 8, np.int64)
    for number in range(1, reached + 1):
        step(expected, number)
    if not np.array_equal(expected, np.load(there)):
        raise RuntimeError("the moved computation is not what one process would have computed")
    return Restarted(age_s, runs - killed - STEP_S, ended - killed, here.stat().st_size)


def copy_over_loopback(source: Path, target: Path, bytes_per_s: float) -> None:
    """Copy a file through a TCP connection at so many bytes per second."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        keeper = threading.Thread(target=_keep, args=(server, target))
        keeper.start()
        with socket.create_connection(server.getsockname()) as connection, source.open("rb") as file:
            bucket = TokenBucket(bytes_per_s)
            while chunk := file.read(CHUNK_BYTES):
                bucket.pay(len(chunk))
                connection.sendall(chunk)
        keeper.join()


def _keep(server: socket.socket, target: Path) -> None:
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as stream, target.open("wb") as file:
        shutil.copyfileobj(stream, file)


def _words(path: Path, file: int, save_at: int) -> tuple[str, ...]:
    return "tests.benchmarks.checkpointed", str(path), str(file), str(save_at)


@contextmanager
def _shared_progress() -> Iterator[tuple[int, Counters]]:
    """The counters that a child writes and we read, and their descriptor."""
    file = os.memfd_create("stowage-progress")
    try:
        os.ftruncate(file, mmap.PAGESIZE)
        yield file, progress_of(file)
    finally:
        os.close(file)


def progress_of(file: int) -> Counters:
    return np.frombuffer(mmap.mmap(file, mmap.PAGESIZE), np.int64)


def _wait(progress: Counters, what: int, value: int) -> None:
    limit = time.monotonic() + 60
    while progress[what] < value:
        if time.monotonic() > limit:
            raise RuntimeError("the computation makes no progress")
        time.sleep(0.001)


if __name__ == "__main__":
    compute(Path(sys.argv[1]), progress_of(int(sys.argv[2])), int(sys.argv[3]))
