"""The server around the pages: probes, metrics, who is let in, and how it starts and ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from analytics.errors import InputError
from dashboard import metrics
from dashboard.server import allowed_hosts, check_sources
from dashboard.settings import Settings
from tests.dashboard.serving import Server, started

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over an empty folder that has room for one tab."""
    with started(tmp_path_factory.mktemp("empty"), "--sessions", "1", "--allow-host", "stowage.example.org") as server:
        yield server


def ask(server: Server, path: str, host: str | None = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers (names in lower case) of an answer."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", path, headers=({} if host is None else {"Host": host}) | headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return found


def open_tab(server: Server, host: str = "localhost") -> socket.socket:
    """A socket on which the server was asked for a tab's connection."""
    tab = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    tab.sendall(
        f"GET /_stcore/stream HTTP/1.1\r\nHost: {host}:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    return tab


def status_of(tab: socket.socket) -> int:
    return int(tab.recv(64).split()[1])


def test_probes_answer_by_whatever_name_they_are_asked(server: Server) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert ask(server, path, host="10.1.2.3:8501")[0] == 200


def test_only_names_of_this_machine_and_those_given_are_answered(server: Server) -> None:
    for host in (f"localhost:{server.port}", "127.0.0.1", "[::1]:80", "LOCALHOST", "stowage.example.org"):
        assert ask(server, "/", host=host)[0] == 200, host
    for host in ("evil.example", "127.0.0.1.evil.example", "evil@localhost", "[::1", ""):
        status, text, _ = ask(server, "/", host=host)
        assert status == 403, host
        assert "--allow-host" in text
    with open_tab(server, "evil.example") as tab:
        assert status_of(tab) == 403


def test_names_are_free_where_the_address_is_for_others() -> None:
    assert allowed_hosts("", ()) == frozenset()
    assert allowed_hosts("", ("A.example",)) == {"a.example"}
    assert allowed_hosts("10.0.0.1", ("a.example",)) == {"a.example", "10.0.0.1"}
    assert {"localhost", "127.0.0.1", "::1"} <= allowed_hosts("localhost", ())


def test_pages_may_not_be_framed_by_others(server: Server) -> None:
    headers = ask(server, "/")[2]
    assert headers["content-security-policy"] == "frame-ancestors 'self'"
    assert headers["x-content-type-options"] == "nosniff"


def test_one_tab_too_many_is_told_so_and_takes_the_place_that_becomes_free(server: Server) -> None:
    with open_tab(server) as tab:
        assert status_of(tab) == 101
        assert "stowage_dashboard_sessions 1.0" in ask(server, "/metrics")[1]
        status, text, _ = ask(server, "/", Accept="text/html")
        assert (status, "--sessions" in text) == (503, True)
        with open_tab(server) as second:
            assert status_of(second) == 403
    deadline = time.monotonic() + 20
    while "stowage_dashboard_sessions 0.0" not in ask(server, "/metrics")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert ask(server, "/", Accept="text/html")[0] == 200


def test_readiness_ends_when_what_is_shown_is_gone(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    with started(runs) as server:
        assert ask(server, "/readyz")[0] == 200
        runs.rename(tmp_path / "gone")
        status, text, _ = ask(server, "/readyz")
        assert (status, str(runs) in text) == (503, True)
        assert ask(server, "/healthz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_to_though_a_tab_is_open(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as server, open_tab(server) as tab:
        assert status_of(tab) == 101
        server.process.send_signal(number)
        assert server.process.wait(timeout=30) == (0 if number == signal.SIGTERM else 130)
        assert "Traceback" not in server.log.read_text()


def stowage(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "stowage.py"), "dashboard", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_port_in_use_and_folders_that_are_not_there_end_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = stowage(str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert re.fullmatch(
        r"stowage: cannot listen on 127\.0\.0\.1, port \d+: Address already in use; .*--port\n", done.stderr
    )
    done = stowage(str(tmp_path), str(tmp_path / "nothing"), str(tmp_path / "none"))
    assert done.returncode == 2
    assert f"there is no {tmp_path}/nothing, no {tmp_path}/none" in done.stderr
    assert stowage("--host", "no.such.name.invalid").returncode == 2


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://x/metrics", "localhost:9090", "http:///metrics", "http://["]
)
def test_metrics_are_read_over_http_only(address: str) -> None:
    with pytest.raises(InputError, match=f"--metrics {re.escape(address)}: not an http address"):
        check_sources(Settings(metrics=(address,)))


def test_an_address_of_both_families_is_listened_on_where_none_is_given(tmp_path: Path) -> None:
    with started(tmp_path, host="") as server:
        assert ask(server, "/", host="any.example")[0] == 200
        if socket.has_dualstack_ipv6() and Path("/proc/net/if_inet6").exists():
            socket.create_connection(("::1", server.port), timeout=20).close()


def test_nothing_is_asked_of_the_internet_at_the_start(tmp_path: Path) -> None:
    """Streamlit asks for this machine's outer address when it listens on all; we do not."""
    trap = tmp_path / "sitecustomize.py"
    trap.write_text(
        "import socket, sys\n"
        "def say(self, address, connect=socket.socket.connect):\n"
        "    print('CONNECTS', address, file=sys.stderr, flush=True)\n"
        "    return connect(self, address)\n"
        "socket.socket.connect = say\n"
    )
    with started(tmp_path, host="", environment=os.environ | {"PYTHONPATH": str(tmp_path)}) as server:
        assert ask(server, "/")[0] == 200
        assert "CONNECTS" not in server.log.read_text()


def test_views_are_counted_with_their_time_and_their_failures() -> None:
    def value(name: str, page: str) -> float:
        return metrics.REGISTRY.get_sample_value(name, {"page": page}) or 0.0

    with metrics.page_view("fine"):
        pass
    with pytest.raises(RuntimeError), metrics.page_view("bad"):
        raise RuntimeError
    with pytest.raises(KeyboardInterrupt), metrics.page_view("stopped"):
        raise KeyboardInterrupt  # not an Exception, as Streamlit's own way to stop a page
    for page, failed in (("fine", 0), ("bad", 1), ("stopped", 0)):
        assert value("stowage_dashboard_page_seconds_count", page) == 1
        assert value("stowage_dashboard_failed_pages_total", page) == failed
