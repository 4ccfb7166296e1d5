"""One program of the control plane as a child process: started, paused, killed and started again by name.

A component dies with the Python that started it, however that ends: the kernel sends SIGKILL when the starting thread
ends (PR_SET_PDEATHSIG), so all starting is done by one thread that lives as long as the interpreter.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Run in the new process, before the program: die with the parent, and leave at once if it died in between.
LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]): os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
# Outside the range from which the kernel gives ports to outgoing connections: a restart finds its port still free.
PORTS = range(20_000, 32_000)

_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="component-starter")
_handed_out: set[int] = set()
_ports_lock = threading.Lock()


class ComponentError(Exception):
    """A program ended, or did not become ready in time; the message has the end of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on and that this process has not handed out before."""
    with _ports_lock:
        while True:
            port = random.SystemRandom().choice(PORTS)
            if port in _handed_out:
                continue
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                _handed_out.add(port)
                return port


class Component:
    """A named program with its command, log and readiness.

    is_ready: asked until true after each start; it may raise OSError while the program is not listening.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], log: Path, is_ready: Callable[[], bool], timeout_s: float = 120
    ) -> None:
        self.name, self.command, self.log = name, [str(word) for word in command], log
        self.is_ready, self.timeout_s = is_ready, timeout_s
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; ComponentError if it does not run."""
        if not self.is_running:
            raise ComponentError(f"{self.name} is not running")
        assert self.process is not None
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, wait: bool = True) -> None:
        """Start it, and return when it is ready, or at once with wait=False. Raises ComponentError."""
        if self.is_running:
            raise ComponentError(f"{self.name} is running already")
        self.process = _starter.submit(self._spawn).result()
        if wait:
            self.wait_until_ready()

    def _spawn(self) -> subprocess.Popen[bytes]:
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid())]
        with self.log.open("ab") as log:
            # A process group of its own: no Ctrl-C of the terminal reaches it before we take it down in order.
            return subprocess.Popen(
                [*launcher, *self.command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )

    def wait_until_ready(self) -> None:
        """Return when it is ready. Raises ComponentError if it ends first, or takes longer than timeout_s."""
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            if not self.is_running:
                code = self.process.returncode if self.process else None
                raise ComponentError(f"{self.name} ended with {code}; the end of {self.log}:\n{self.log_tail()}")
            with contextlib.suppress(OSError):
                if self.is_ready():
                    return
            time.sleep(0.05)
        raise ComponentError(
            f"{self.name} was not ready in {self.timeout_s} s; the end of {self.log}:\n{self.log_tail()}"
        )

    def signal(self, number: int) -> None:
        """Send a signal to the program and whatever it started."""
        os.killpg(self.pid, number)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without warning (SIGKILL), as a crash would; nothing if it does not run."""
        if self.is_running:
            assert self.process is not None
            self.signal(signal.SIGKILL)
            self.process.wait()

    def stop(self, patience_s: float = 10) -> None:
        """Ask it to end (SIGTERM), and kill it when it has not after patience_s; nothing if it does not run."""
        if not self.is_running:
            return
        assert self.process is not None
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self, wait: bool = True) -> None:
        """Kill it and start it again with the same command."""
        self.kill()
        self.start(wait)

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log, shortened to what a failure message can carry."""
        if not self.log.exists():
            return ""
        return "\n".join(line[:500] for line in self.log.read_text(errors="replace").splitlines()[-lines:])
