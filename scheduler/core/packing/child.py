"""The parent's side of the solver process: start early, ask, poll, stop, and survive its death.

The process is kept between solves, because starting it costs more than a one-second budget can pay. When it dies or
does not answer, the search goes on without it and says so; the next request starts another.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from scheduler.core.packing.stage import Stage
from scheduler.core.packing.worker import Report, Request, framed

MEMORY_BYTES = 4 << 30
ROOT = Path(__file__).resolve().parents[3]


class SolverProcess:
    """One child process; `poll` never waits longer than told."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self.memory_bytes = memory_bytes
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.deaths: list[str] = []
        self._buffer = bytearray()
        self._outbox = bytearray()
        self._number = 0

    def start(self) -> None:
        """Start the process if there is none; returns at once."""
        if self.process is not None and self.process.poll() is None:
            return
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        environment["STOWAGE_SOLVER_MEMORY_BYTES"] = str(self.memory_bytes)
        self.ready = False
        self._buffer.clear()
        self._outbox.clear()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from scheduler.core.packing.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        if self.process.stdin is not None:
            os.set_blocking(self.process.stdin.fileno(), False)

    def wait_ready(self, seconds: float = 30.0) -> bool:
        """Wait until the process has loaded its libraries."""
        end = time.monotonic() + seconds
        self.start()
        while not self.ready and time.monotonic() < end and self.is_alive():
            self.poll(0.05)
        return self.ready

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def ask(self, kind: str, stage: Stage, seconds: float, *, deterministic: bool = False, seed: int = 0) -> int:
        """Send a request; its number, or -1 if the process could not take it."""
        self.start()
        self._number += 1
        request = Request(self._number, kind, stage, seconds, deterministic, seed)
        return self._number if self._send(request) else -1

    def stop(self) -> None:
        """Stop whatever was asked so far; the answers still to come are old news."""
        if self.is_alive():
            self._send(self._number)

    def _send(self, message: object) -> bool:
        process = self.process
        if process is None or process.stdin is None:
            return False
        self._outbox += framed(message)
        return self._flush()

    def _flush(self) -> bool:
        """Write what the process takes now; the rest waits for the next look. False if it is gone."""
        process = self.process
        if process is None or process.stdin is None:
            return False
        try:
            while self._outbox:
                del self._outbox[: os.write(process.stdin.fileno(), self._outbox)]
        except BlockingIOError:
            return True
        except OSError:
            self._bury("could not be reached")
            return False
        return True

    def poll(self, seconds: float) -> list[Report]:
        """Reports that arrive within the time; returns early with the first."""
        process = self.process
        if process is None or process.stdout is None:
            return []
        reports: list[Report] = []
        if self._outbox and not self._flush():
            return []
        descriptor = process.stdout.fileno()
        readable, _, _ = select.select([descriptor], [], [], max(0.0, seconds))
        while readable:
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                self._bury("died")
                break
            self._buffer += chunk
            readable, _, _ = select.select([descriptor], [], [], 0)
        while len(self._buffer) >= 8:
            (size,) = struct.unpack_from("<Q", self._buffer)
            if len(self._buffer) < 8 + size:
                break
            report: Report = pickle.loads(bytes(self._buffer[8 : 8 + size]))
            del self._buffer[: 8 + size]
            if report.status == "READY":
                self.ready = True
            else:
                reports.append(report)
        return reports

    def kill(self, why: str) -> None:
        """End the process; the reason goes into `deaths`."""
        if self.process is not None:
            self.process.kill()
            self._bury(why)

    def _bury(self, why: str) -> None:
        process, self.process, self.ready = self.process, None, False
        if process is None:
            return
        try:
            code = process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue
        self.deaths.append(f"solver process {why} (exit code {code})")


_lock = threading.Lock()
_shared: SolverProcess | None = None


def shared_solver() -> SolverProcess:
    """The process every solve in this interpreter shares, started on first use and ended with the interpreter."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = SolverProcess()
            atexit.register(lambda: _shared.kill("no longer needed") if _shared else None)
        _shared.start()
        return _shared
