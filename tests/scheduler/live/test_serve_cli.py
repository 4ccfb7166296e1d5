"""`stowage serve` as a process, and `stowage snapshot`, against a small API server on a socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from scheduler.core.snapshot import parse_snapshot
from stowage import app
from tests.scheduler.live.api_world import World, a_node, a_pod

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """A cluster of two nodes and two pods, without any other kind."""
    world = World()
    for n in range(2):
        world.put("nodes", a_node(f"n{n}"))
        world.put("pods", a_pod(f"p{n}", node="n0" if n else ""))
    ending = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query, kind = parse_qs(parts.query), parts.path.rpartition("/")[2]
            if kind not in world.objects:
                status = 403 if kind == "persistentvolumes" else 404
                reason = b'{"reason":"Forbidden"}' if status == 403 else b'{"reason":"NotFound"}'
                self.plain(status, reason)
            elif "watch" not in query:
                self.plain(200, b"".join(world.pages(kind)))
            else:
                lines = world.initial_events(kind) if "sendInitialEvents" in query else []
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                data = b"\n".join([*lines, b""])
                try:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                    ending.wait(float(query["timeoutSeconds"][0]))
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:
                    self.close_connection = True

        def plain(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=lambda: httpd.serve_forever(poll_interval=0.02), daemon=True).start()
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{httpd.server_address[1]}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }))  # fmt: skip
    yield path
    ending.set()
    httpd.shutdown()
    httpd.server_close()


def post(port: int, verb: str, body: object) -> object:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{verb}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def get(port: int, page: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_serve_becomes_ready_answers_and_ends_on_sigterm(kubeconfig: Path, tmp_path: Path) -> None:
    config = tmp_path / "serve.json"
    config.write_text(json.dumps({"port": 0, "kubeconfig": str(kubeconfig), "policy": "best-fit"}))
    command = [sys.executable, str(ROOT / "stowage.py"), "serve", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        try:
            said = ""
            while "event=ready" not in said:
                said = process.stderr.readline()
                assert said, "serve ended before it was ready"
                if "event=listening" in said:
                    port = int(said.split("port=")[1].split()[0])
            assert get(port, "readyz") == get(port, "healthz") == get(port, "metrics") == 200
            asked = {"Pod": a_pod("p0"), "NodeNames": ["n0", "n1", "ghost"]}
            result = post(port, "filter", asked)
            assert isinstance(result, dict)
            assert (result["NodeNames"], list(result["FailedAndUnresolvableNodes"])) == (["n0", "n1"], ["ghost"])
            assert post(port, "prioritize", asked) == [{"Host": "n0", "Score": 10}, {"Host": "n1", "Score": 1}]
        finally:
            process.send_signal(signal.SIGTERM)
            started_s = time.monotonic()
            process.stderr.read()
            assert process.wait(30) == 0
    assert time.monotonic() - started_s < 20


def test_serve_prints_its_schema_and_refuses_bad_settings(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["serve", "--schema"])
    assert json.loads(result.stdout)["properties"]["port"]["default"] == 8787
    config = tmp_path / "bad.json"
    for text, said in (('{"prot": 1}', "prot"), ('{"policy": "kube-defualt"}', "Did you mean kube-default?")):
        config.write_text(text)
        command = [sys.executable, str(ROOT / "stowage.py"), "serve", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_snapshot_writes_what_pack_reads_and_says_what_is_missing(kubeconfig: Path, tmp_path: Path) -> None:
    target = tmp_path / "cluster.json"
    result = CliRunner().invoke(app, ["snapshot", "-o", str(target), "--kubeconfig", str(kubeconfig), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["nodes"], report["pods"]) == (2, 2)
    assert list(report["left_out"].values()) == ["Forbidden"]
    found = parse_snapshot(target.read_bytes())
    assert [(pod.key, pod.node) for pod in found.pods] == [("default/p0", None), ("default/p1", "n0")]
    again = CliRunner().invoke(app, ["snapshot", "-o", str(target), "--kubeconfig", str(kubeconfig)])
    assert again.exit_code != 0
    assert "exists" in str(again.exception)
