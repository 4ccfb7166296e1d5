"""/healthz, /readyz, /metrics and /pods/NAMESPACE/NAME of a planner, from a thread of their own."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from scheduler.live.planner.service import Planner


class HealthServer:
    """Answers while the planner lives."""

    def __init__(self, host: str, port: int, planner: Planner) -> None:
        handler = type("Handler", (_Handler,), {"planner": planner})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Begin; returns at once."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    planner: Planner
    timeout = 10  # of a peer that sends nothing

    def do_GET(self) -> None:
        """Every path there is."""
        planner = self.planner
        if self.path == "/healthz":
            self._answer(200 if planner.is_alive() else 500, b"ok" if planner.is_alive() else b"no turn for a minute")
        elif self.path == "/readyz":
            self._answer(200 if planner.is_ready() else 503, b"ok" if planner.is_ready() else b"not synced")
        elif self.path == "/metrics":
            self._answer(200, generate_latest(planner.recorder.metrics.registry), CONTENT_TYPE_LATEST)
        elif self.path.startswith("/pods/"):
            record = planner.recorder.record_of(self.path.removeprefix("/pods/"))
            body = msgspec.json.encode(record) if record is not None else b"no record of this pod"
            self._answer(200 if record is not None else 404, body, "application/json" if record else "text/plain")
        else:
            self._answer(404, b"not found")

    def _answer(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Probes are not news."""
