"""What `helm test` runs, against servers that answer well and badly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.helm.conftest import Render


@contextmanager
def extender(status: int, answer: Any) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A server on loopback that gives one answer; its port, and the bodies it was sent."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/filter"
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(render: Render, port: int) -> subprocess.CompletedProcess[str]:
    """The test pod's own command, with the name and port of its arguments replaced."""
    command = render()["Pod", "s-stowage-test"]["spec"]["containers"][0]["command"]
    assert command[:2] == ["python", "-c"]
    assert command[3:] == ["s-stowage-scheduler.stowage-system.svc", "8787"]
    environment = {**os.environ, "NODE_NAME": "node-1"}
    return subprocess.run(
        [sys.executable, "-c", command[2], "127.0.0.1", str(port)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"NodeNames": ["node-1"], "FailedNodes": None, "Error": ""}, "node-1 is accepted"),
        ({"NodeNames": [], "FailedAndUnresolvableNodes": {"node-1": "no room"}, "Error": ""}, "is refused: no room"),
    ],
)
def test_an_answer_for_every_node_passes(render: Render, answer: Any, said: str) -> None:
    with extender(200, answer) as (port, bodies):
        done = run(render, port)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert bodies[0]["NodeNames"] == ["node-1"]
    assert bodies[0]["Nodes"] is None


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (500, {"NodeNames": ["node-1"]}, "status 500"),
        (200, {"NodeNames": None, "Error": "cache is stale"}, "cache is stale"),
        (200, {"NodeNames": []}, "neither accepts nor refuses node-1"),
        (200, {"NodeNames": ["node-1"], "FailedNodes": {"node-1": "x"}}, "neither"),
    ],
)
def test_a_bad_answer_fails_and_says_why(render: Render, status: int, answer: Any, said: str) -> None:
    with extender(status, answer) as (port, _):
        done = run(render, port)
    assert done.returncode == 1
    assert said in done.stderr


def test_no_answer_fails(render: Render) -> None:
    with extender(200, {}) as (port, _):
        pass
    assert run(render, port).returncode != 0
