"""Our own programs beside a test cluster: the extender, a scheduler that asks it, and a middleman that misbehaves."""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.cluster.component import Component, free_port
from tests.cluster.control_plane import Cluster, is_healthy

ROOT = Path(__file__).resolve().parents[2]
SCHEDULER = "stowage"
Json = dict[str, Any]


@dataclass
class Extender:
    """A running `stowage serve`."""

    component: Component
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answered(self, verb: str) -> int:
        """How many requests of a verb it has answered with 200, by its own count."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        pattern = r"^stowage_extender_requests_total\{([^}]*)\} (\S+)$"
        found = [(labels, float(value)) for labels, value in re.findall(pattern, text, re.MULTILINE)]
        return int(sum(value for labels, value in found if f'verb="{verb}"' in labels and 'code="200"' in labels))


PROGRAM: Sequence[str | Path] = (sys.executable, ROOT / "stowage.py")


def start_extender(
    cluster: Cluster, name: str = "extender", program: Sequence[str | Path] = PROGRAM, **settings: Any
) -> Extender:
    """Start `stowage serve` against the cluster and return when its cache is synced."""
    port = free_port()
    config = cluster.folder / f"{name}.json"
    config.write_text(json.dumps({"port": port, "kubeconfig": str(cluster.kubeconfig), **settings}))
    command = [*program, "serve", "--config", config]
    return Extender(cluster.run(name, command, lambda: is_healthy(f"http://127.0.0.1:{port}/readyz")), port)


def scheduler_config(url: str, *, ignorable: bool = True, max_backoff_s: int = 1) -> Json:
    """A KubeSchedulerConfiguration as the chart's, whose scheduler asks the extender at this URL."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"qps": 500, "burst": 1000},
        "podMaxBackoffSeconds": max_backoff_s,
        "leaderElection": {"leaderElect": False},
        "profiles": [{"schedulerName": SCHEDULER}],
        "extenders": [
            {
                "urlPrefix": url,
                "filterVerb": "filter",
                "prioritizeVerb": "prioritize",
                "preemptVerb": "preempt",
                "weight": 3,
                "httpTimeout": "1s",
                "nodeCacheCapable": True,
                "ignorable": ignorable,
            }
        ],
    }


@dataclass
class Middleman:
    """Stands between kube-scheduler and the extender and passes requests on, or does what `mode` says instead.

    pass; slow: passes on after `delay_s`; hang up: closes without an answer; rubbish: no JSON, with status 200; error:
    status 500; empty: `{}`; strangers: well-formed, naming nodes that do not exist.
    """

    extender_port: int
    mode: str = "pass"
    delay_s: float = 3.0
    seen: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Middleman:
        middleman = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                mode = middleman.mode
                middleman.seen.append(f"{mode} {self.path.strip('/')}")
                if mode == "hang up":
                    self.close_connection = True
                    return
                if mode == "slow":
                    time.sleep(middleman.delay_s)
                self.answer(*middleman.reply(mode, self.path, body))

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, mode: str, path: str, body: bytes) -> tuple[int, bytes]:
        if mode == "rubbish":
            return 200, b"<html>it works</html>"
        if mode == "error":
            return 500, b'{"message": "broken"}'
        if mode == "empty":
            return 200, b"{}" if "prioritize" not in path else b"[]"
        if mode == "strangers":
            strangers = [{"Host": "nowhere", "Score": 10}]
            return 200, json.dumps(strangers if "prioritize" in path else {"NodeNames": ["nowhere"]}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.extender_port, timeout=10)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as problem:
            return 502, json.dumps({"message": str(problem)}).encode()
        finally:
            connection.close()
