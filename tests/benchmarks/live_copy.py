"""A memory image moved while a process writes to it: sender, receiver, and the pages written in between.

    writer (its own process)  --shared memory-->  sender (the caller)  --TCP, token bucket-->  receiver (own process)

Which pages were written is the kernel's account: the writer's mapping is write-protected through userfaultfd in its
asynchronous mode, and PAGEMAP_SCAN (Linux 6.7) reads the written pages and protects them again in one step. A page
is read after it was protected, so a write that the read misses is in the next round. The writer is stopped like a
machine is: SIGSTOP, then the last pages.

`python -m tests.benchmarks.live_copy write|receive ...` are the two processes.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import mmap
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
PAGE = 4096
CHUNK_PAGES = 16
HEADER = struct.Struct("<IQ")  # pages that follow, or one of the commands below; bytes that follow
END, DIGEST = 0xFFFFFFFF, 0xFFFFFFFE

Pages = NDArray[np.uint8]  # (P, PAGE)
PageNumbers = NDArray[np.int64]


class WrittenPages:
    """The pages of a mapping that were written since the last look.

    owner: the process that registered the mapping by `track_writes`; address: where it has it.
    """

    _SCAN = 0xC0606610  # _IOWR('f', 16, struct pm_scan_arg)
    _WRITTEN, _PROTECT_AND_CHECK = 1 << 1, 1 << 0 | 1 << 1

    def __init__(self, owner: int, address: int, pages: int) -> None:
        self._pagemap = os.open(f"/proc/{owner}/pagemap", os.O_RDONLY)
        self._start, self._end = address, address + pages * PAGE
        self._regions = np.zeros((pages // 2 + 1, 3), np.uint64)  # start, end, categories

    def take(self) -> PageNumbers:
        """Ascending page numbers; these pages count as not written from now on."""
        scan = struct.pack(
            "<12Q", 96, self._PROTECT_AND_CHECK, self._start, self._end, 0, self._regions.ctypes.data,
            len(self._regions), 0, 0, self._WRITTEN, 0, self._WRITTEN,
        )  # fmt: skip
        found = fcntl.ioctl(self._pagemap, self._SCAN, bytearray(scan))
        bounds = (self._regions[:found, :2].astype(np.int64) - self._start) // PAGE
        return np.concatenate([np.arange(a, b) for a, b in bounds.tolist()] or [np.empty(0, np.int64)])

    def close(self) -> None:
        os.close(self._pagemap)


def track_writes(address: int, pages: int) -> int:
    """Have the kernel note which pages of this process's own mapping are written; gives the descriptor to keep open.

    Raises OSError where there is no userfaultfd, or none that tracks asynchronously (before Linux 6.7).
    """
    if platform.machine() != "x86_64":
        raise OSError("userfaultfd is called by its x86-64 number")
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK | 1)  # userfaultfd(..., UFFD_USER_MODE_ONLY)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    wanted = 1 << 12 | 1 << 13 | 1 << 15  # write-protect: shared memory, untouched pages, asynchronous
    fcntl.ioctl(descriptor, 0xC018AA3F, bytearray(struct.pack("<3Q", 0xAA, wanted, 0)))  # UFFDIO_API
    fcntl.ioctl(descriptor, 0xC020AA00, bytearray(struct.pack("<4Q", address, pages * PAGE, 1 << 1, 0)))  # _REGISTER
    return descriptor


def as_pages(memory: mmap.mmap) -> Pages:
    return np.frombuffer(memory, np.uint8).reshape(-1, PAGE)


class TokenBucket:
    """Lets so many bytes per second pass; empty at first, and full at what 20 ms bring."""

    def __init__(self, bytes_per_s: float) -> None:
        self._rate, self._tokens, self._last = bytes_per_s, 0.0, time.monotonic()

    def pay(self, size: int) -> None:
        """Wait until so many bytes may be sent."""
        while True:
            now = time.monotonic()
            self._tokens = min(self._tokens + (now - self._last) * self._rate, max(size, self._rate * 0.02))
            self._last = now
            if self._tokens >= size:
                self._tokens -= size
                return
            time.sleep((size - self._tokens) / self._rate)


@dataclass(slots=True)
class Measured:
    """One migration as it went. pages: sent per round, the last after the stop. wire_bytes: with all headers."""

    pages: list[int] = field(default_factory=list)
    wire_bytes: int = 0
    total_s: float = 0.0
    downtime_s: float = 0.0

    @property
    def rounds(self) -> int:
        return len(self.pages) - 1


def send_live(
    source: Pages, take: Callable[[], PageNumbers], connection: socket.socket, bytes_per_s: float | None,
    stop_bytes: float, max_rounds: int, stop: Callable[[], None],
) -> Measured:  # fmt: skip
    """Pre-copy `source` over the connection until the receiver says that it has all.

    take: the pages written since it was last called. bytes_per_s: None for as fast as it goes. stop: stops the writer.
    """
    measured = Measured()
    bucket = TokenBucket(bytes_per_s) if bytes_per_s else None
    began = time.monotonic()
    take()
    waiting: PageNumbers = np.arange(len(source))
    while len(waiting) * PAGE > stop_bytes and measured.rounds + 1 < max_rounds:
        measured.wire_bytes += _send_pages(source, waiting, connection, bucket)
        measured.pages.append(len(waiting))
        waiting = take()
    stopped = time.monotonic()
    stop()
    waiting = np.union1d(waiting, take())
    measured.wire_bytes += _send_pages(source, waiting, connection, bucket)
    measured.pages.append(len(waiting))
    connection.sendall(HEADER.pack(END, 0))
    _read(connection, memoryview(bytearray(1)))
    ended = time.monotonic()
    measured.total_s, measured.downtime_s = ended - began, ended - stopped
    return measured


def _send_pages(source: Pages, numbers: PageNumbers, connection: socket.socket, bucket: TokenBucket | None) -> int:
    sent = 0
    for at in range(0, len(numbers), CHUNK_PAGES):
        chunk = numbers[at : at + CHUNK_PAGES]
        message = HEADER.pack(len(chunk), len(chunk) * (8 + PAGE)) + chunk.tobytes() + source[chunk].tobytes()
        if bucket:
            bucket.pay(len(message))
        connection.sendall(message)
        sent += len(message)
    return sent


def receive(connection: socket.socket, image: Pages) -> None:
    """Keep the image up to date until the connection closes; answers END, and DIGEST with SHA-256."""
    header = memoryview(bytearray(HEADER.size))
    body = memoryview(bytearray(CHUNK_PAGES * (8 + PAGE)))
    while _read(connection, header):
        count, size = HEADER.unpack(header)
        if count == END:
            connection.sendall(b"!")
        elif count == DIGEST:
            connection.sendall(hashlib.sha256(image).digest())
        else:
            _read(connection, body[:size])
            numbers = np.frombuffer(body[: 8 * count], np.int64)
            image[numbers] = np.frombuffer(body[8 * count : size], np.uint8).reshape(count, PAGE)


def _read(connection: socket.socket, into: memoryview) -> bool:
    """Fill `into`; False where the connection was closed before."""
    while into:
        read = connection.recv_into(into)
        if not read:
            return False
        into = into[read:]
    return True


def digest_of_received(connection: socket.socket) -> bytes:
    connection.sendall(HEADER.pack(DIGEST, 0))
    digest = bytearray(32)
    _read(connection, memoryview(digest))
    return bytes(digest)


@contextmanager
def child(*words: str, keep: Sequence[int] = ()) -> Iterator[subprocess.Popen[str]]:
    """A process of this package, ended by its own handle when the block ends."""
    command = [sys.executable, "-m", *words]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, pass_fds=keep
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line a child prints; RuntimeError where it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args} ended with {process.wait()}")
    return line.strip()


@contextmanager
def receiver(pages: int) -> Iterator[socket.socket]:
    """A connection to a process that keeps an image of so many pages."""
    with (
        child("tests.benchmarks.live_copy", "receive", str(pages)) as process,
        socket.create_connection(("127.0.0.1", int(read_line(process)))) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def stop_process(pid: int) -> None:
    """SIGSTOP, and wait until it took effect."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.0002)


def migrate_writer(
    memory_bytes: int, writes: Sequence[tuple[float, int]], bytes_per_s: float, stop_bytes: float, max_rounds: int,
    seed: int,
) -> tuple[Measured, float]:  # fmt: skip
    """Migrate the memory of a process that writes to it all the while; gives what was measured, and its writes per s.

    writes: (pages per second, pages written to), side by side from the start of the memory.
    Raises RuntimeError if the received image is not the source's.
    """
    pages = memory_bytes // PAGE
    file = os.memfd_create("stowage-live-copy")
    try:
        os.ftruncate(file, memory_bytes)
        source = as_pages(mmap.mmap(file, memory_bytes))
        source[:] = np.random.default_rng(seed).integers(0, 256, PAGE, np.uint8)
        sets = [f"{rate}:{size}" for rate, size in writes]
        with (
            receiver(pages) as connection,
            child("tests.benchmarks.live_copy", "write", str(file), str(seed), *sets, keep=[file]) as writer,
        ):
            written = WrittenPages(writer.pid, int(read_line(writer)), pages)
            time.sleep(0.3)  # the writer runs at its pace before anything is measured
            done, when = int(source[-1, -8:].view(np.int64)[0]), time.monotonic()
            measured = send_live(
                source, written.take, connection, bytes_per_s, stop_bytes, max_rounds, lambda: stop_process(writer.pid)
            )
            live_s = time.monotonic() - when - measured.downtime_s
            rate = (int(source[-1, -8:].view(np.int64)[0]) - done) / live_s
            if digest_of_received(connection) != hashlib.sha256(source).digest():
                raise RuntimeError("the received image is not the source's")
            written.close()
        return measured, rate
    finally:
        os.close(file)


def write(file: int, seed: int, sets: list[tuple[float, int]]) -> None:
    """Write to random pages of each set at its rate, for ever; the number of writes stands in the last 8 bytes."""
    memory = mmap.mmap(file, 0)
    source = as_pages(memory)
    rng = np.random.default_rng(seed)
    source[:, 0] += 1  # every page is mapped before it is tracked
    descriptor = track_writes(source.ctypes.data, len(source))
    print(source.ctypes.data, flush=True)
    first = np.cumsum([0, *(size for _, size in sets)])
    counter = source[-1, -8:].view(np.int64)
    done = np.zeros(len(sets), np.int64)
    began = time.monotonic()
    while descriptor:
        for n, (rate, size) in enumerate(sets):
            due = int((time.monotonic() - began) * rate) - int(done[n])
            source[first[n] + rng.integers(0, size, due), rng.integers(0, PAGE - 8)] += 1
            done[n] += due
        counter[0] = done.sum()
        time.sleep(0.001)


def main(words: list[str]) -> None:
    if words[0] == "write":
        sets = [(float(rate), int(size)) for rate, _, size in (word.partition(":") for word in words[3:])]
        write(int(words[1]), int(words[2]), sets)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        image = as_pages(mmap.mmap(-1, int(words[1]) * PAGE))
        image[:, 0] = 1  # its pages exist before they are sent
        receive(server.accept()[0], image)


if __name__ == "__main__":
    main(sys.argv[1:])
