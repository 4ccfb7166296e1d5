"""`stowage dashboard` in a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 120  # numba and Streamlit on a busy machine


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. log: what it wrote."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def metric(self, line: str) -> float:
        """The value in the line of /metrics that begins so; 0 where there is none."""
        with urllib.request.urlopen(self.url("metrics"), timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return next((float(each.rsplit(" ", 1)[1]) for each in lines if each.startswith(line)), 0.0)


@contextlib.contextmanager
def started(
    *words: str | Path, host: str = "127.0.0.1", environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server over these folders with these options; it is told to end, and must, when the block does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="stowage-dashboard-") as folder:
        log = Path(folder) / "log"
        command = [sys.executable, ROOT / "stowage.py", "dashboard", *words, "--host", host, "--port", str(port)]
        with log.open("wb") as out:
            process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=out, cwd=ROOT, env=environment)
        server = Server(process, port, log)
        try:
            _wait_until_it_answers(server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            finally:
                process.kill()


def _wait_until_it_answers(server: Server) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(server.url("healthz"), timeout=5).close()
            return
        except OSError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the dashboard did not start:\n{server.log.read_text()}") from None
            time.sleep(0.1)
