"""The migration model against bytes that really move: a small version of `tests.benchmarks.bench_migration`."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scheduler.core.balance.migration import Channel, Migration, WriteSet, migrate_live
from tests.benchmarks.checkpointed import move_once
from tests.benchmarks.live_copy import (
    PAGE,
    Measured,
    PageNumbers,
    Pages,
    WrittenPages,
    as_pages,
    digest_of_received,
    migrate_writer,
    receiver,
    send_live,
    track_writes,
)

PAGES = 2048


class ScriptedWriter:
    """Writes to the pages that `choose` gives while a round is sent: `ratio` writes per page sent."""

    def __init__(self, source: Pages, ratio: float, choose: Callable[[int], PageNumbers]) -> None:
        self._source, self._ratio, self._choose = source, ratio, choose
        self._sent, self.is_stopped = 0, False

    def take(self) -> PageNumbers:
        if self.is_stopped:
            return np.empty(0, np.int64)
        pages = np.unique(self._choose(round(self._ratio * self._sent)))
        self._source[pages, 17] += 1
        self._sent = len(pages) if self._sent else PAGES
        return pages

    def stop(self) -> None:
        self.is_stopped = True


def moved_and_predicted(
    ratio: float, stop_pages: int, size_pages: int | None, choose: Callable[[int], PageNumbers], max_rounds: int = 30
) -> tuple[Measured, Migration]:
    """Move 2,048 pages to a receiving process and hold its image to the source; with what the model says of it."""
    source = as_pages(mmap.mmap(-1, PAGES * PAGE))
    source[:] = np.random.default_rng(7).integers(0, 256, source.shape, np.uint8)
    writer = ScriptedWriter(source, ratio, choose)
    with receiver(PAGES) as connection:
        measured = send_live(source, writer.take, connection, None, stop_pages * PAGE, max_rounds, writer.stop)
        assert digest_of_received(connection) == hashlib.sha256(source).digest()
    bandwidth = 1000.0 * PAGE
    writes = (WriteSet(ratio * bandwidth, size_pages and size_pages * PAGE),)
    channel = Channel(bandwidth, stop_pages * PAGE, max_rounds=max_rounds)
    return measured, migrate_live(PAGES * PAGE, writes, channel, may_stop_long=True)


def test_pages_that_never_repeat_move_as_the_geometric_sum_says() -> None:
    measured, model = moved_and_predicted(0.5, 64, None, lambda count: np.arange(count))
    assert measured.pages == [2048, 1024, 512, 256, 128, 64]
    assert (model.sent_bytes, model.rounds) == (sum(measured.pages) * PAGE, measured.rounds)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
def test_pages_written_at_random_move_as_their_write_set_says(ratio: float) -> None:
    rng = np.random.default_rng(11)
    measured, model = moved_and_predicted(ratio, 200, PAGES, lambda count: rng.integers(0, PAGES, count))
    assert measured.rounds == model.rounds
    assert sum(measured.pages) * PAGE == pytest.approx(model.sent_bytes, rel=0.05)


def test_a_hot_set_written_faster_than_sent_moves_with_what_it_holds() -> None:
    rng = np.random.default_rng(3)
    measured, model = moved_and_predicted(4.0, 10, 100, lambda count: rng.integers(0, 100, count), max_rounds=1)
    assert (model.verdict, measured.pages) == ("stop-and-copy", [2048, 100])
    assert model.sent_bytes == 2148 * PAGE


def kernel_tracks_writes() -> bool:
    memory = as_pages(mmap.mmap(-1, PAGE))
    try:
        descriptor = track_writes(memory.ctypes.data, 1)
        WrittenPages(os.getpid(), memory.ctypes.data, 1).take()
        os.close(descriptor)
    except OSError:
        return False
    return True


needs_tracking = pytest.mark.skipif(not kernel_tracks_writes(), reason="needs PAGEMAP_SCAN and userfaultfd (Linux 6.7)")


@needs_tracking
def test_the_kernel_names_exactly_the_pages_written_since_the_last_look() -> None:
    memory = as_pages(mmap.mmap(-1, 64 * PAGE))
    memory[:, 0] = 1
    descriptor = track_writes(memory.ctypes.data, 64)
    written = WrittenPages(os.getpid(), memory.ctypes.data, 64)
    assert written.take().tolist() == list(range(64))
    assert written.take().tolist() == []
    memory[[3, 4, 5, 40], 100] = 9
    assert written.take().tolist() == [3, 4, 5, 40]
    written.close()
    os.close(descriptor)


@needs_tracking
def test_the_memory_of_a_process_that_writes_all_the_while_arrives_as_it_was_when_stopped() -> None:
    measured, _ = migrate_writer(PAGES * PAGE, [(2000.0, PAGES)], 64 * 2**20, 20 * PAGE, 4, seed=5)
    assert measured.pages[0] == PAGES
    assert 1 <= measured.rounds <= 4


def test_a_killed_computation_goes_on_from_its_checkpoint_elsewhere(tmp_path: Path) -> None:
    moved = move_once(tmp_path, 1 << 20, 0.05, 64 * 2**20)  # raises where its result is another
    assert moved.moved_bytes == (1 << 20) + 128  # numpy's header
