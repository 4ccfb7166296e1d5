"""The API client against an HTTP server in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from scheduler.live.api import Address, Api, ApiError, ConfigError


@dataclass
class FakeServer:
    """Answers by path; `seen` holds (method, path, query, headers, body)."""

    url: str = ""
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, list[str]], dict[str, str], bytes]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    drop_after_answer: bool = False
    release: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fake.seen.append((self.command, parts.path, parse_qs(parts.query), dict(self.headers), body))
            fake.connections.add(self.client_address)
            if "watch" in parse_qs(parts.query):
                self.stream()
                return
            status, data = fake.answers.get(parts.path, (404, b'{"kind":"Status","reason":"NotFound","message":"no"}'))
            if parts.path == "/pages":
                more = parse_qs(parts.query).get("continue", [""])[0]
                data = json.dumps({"metadata": {"continue": "" if more else "next"}, "items": [more]}).encode()
                status = 200
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(data)
            if fake.drop_after_answer:
                self.close_connection = True

        def stream(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b'{"a":1}\n{"b"', b":2}\n", b'{"c":3}\n'):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            fake.release.wait(5)
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    fake.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield fake
    fake.release.set()
    httpd.shutdown()
    httpd.server_close()


def an_api(server: FakeServer, **options: Any) -> Api:
    return Api(Address.parse(server.url), timeout_s=5, **options)


def test_requests_share_one_connection_and_carry_the_token(server: FakeServer) -> None:
    server.answers["/x"] = (200, b"{}")
    api = an_api(server, authorization=lambda: "Bearer t")
    assert [api.get("/x", {"limit": 3, "watchers": True}) for _ in range(3)] == [b"{}"] * 3
    assert len(server.connections) == 1
    _, _, query, headers, _ = server.seen[0]
    assert query == {"limit": ["3"], "watchers": ["true"]}
    assert headers["Authorization"] == "Bearer t"


def test_each_write_sends_its_body_once_with_its_type(server: FakeServer) -> None:
    server.answers["/x"] = (201, b"{}")
    api = an_api(server)
    api.post("/x", b"1")
    api.put("/x", b"2")
    api.patch("/x", b"3")
    api.delete("/x", b"4")
    sent = [(method, headers["Content-Type"], body) for method, _, _, headers, body in server.seen]
    assert sent == [
        ("POST", "application/json", b"1"),
        ("PUT", "application/json", b"2"),
        ("PATCH", "application/merge-patch+json", b"3"),
        ("DELETE", "application/json", b"4"),
    ]


def test_a_refusal_says_status_reason_message_and_when_to_try_again(server: FakeServer) -> None:
    server.answers["/busy"] = (429, b'{"kind":"Status","reason":"TooManyRequests","message":"budget"}')
    server.answers["/old"] = (410, b'{"reason":"Expired","message":"too old"}')
    server.answers["/bad"] = (500, b"<html>")
    api = an_api(server)
    with pytest.raises(ApiError, match="budget") as busy:
        api.post("/busy", b"{}")
    assert (busy.value.status, busy.value.retry_after_s, busy.value.is_transient) == (429, 7.0, True)
    with pytest.raises(ApiError) as old:
        api.get("/old")
    assert old.value.is_gone
    with pytest.raises(ApiError, match="<html>"):
        api.get("/bad")
    with pytest.raises(ApiError) as missing:
        api.get("/missing")
    assert missing.value.is_not_found
    assert not missing.value.is_transient


def test_a_connection_that_the_server_closed_is_replaced(server: FakeServer) -> None:
    server.answers["/x"] = (200, b"{}")
    server.drop_after_answer = True
    api = an_api(server)
    for _ in range(3):
        assert api.get("/x") == b"{}"
    assert len(server.connections) == 3


def test_a_list_follows_its_continue_tokens(server: FakeServer) -> None:
    pages = [json.loads(page)["items"] for page in an_api(server).list_pages("/pages")]
    assert pages == [[""], ["next"]]


def test_a_watch_gives_whole_lines_and_ends_when_the_server_ends_it(server: FakeServer) -> None:
    watch = an_api(server).watch("/w", {"resourceVersion": "5"})
    lines: list[bytes] = []
    for batch in watch:
        lines += batch
        if len(lines) == 3:
            server.release.set()
    assert lines == [b'{"a":1}', b'{"b":2}', b'{"c":3}']
    assert server.seen[0][2]["watch"] == ["true"]


def test_closing_a_watch_wakes_its_reader(server: FakeServer) -> None:
    watch = an_api(server).watch("/w")
    ended = threading.Event()

    def read() -> None:
        for _ in watch:
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert not ended.wait(0.1)
    watch.close()
    assert ended.wait(2)


def test_a_silent_watch_ends_with_an_error(server: FakeServer) -> None:
    watch = an_api(server).watch("/w", idle_timeout_s=0.1)
    with pytest.raises(ApiError, match="timed out"):
        list(watch)


def test_nobody_there_is_unreachable_and_transient() -> None:
    with pytest.raises(ApiError) as error:
        Api(Address("http", "127.0.0.1", 1)).get("/")
    assert (error.value.status, error.value.reason, error.value.is_transient) == (0, "Unreachable", True)


def test_a_kubeconfig_gives_server_token_and_namespace(server: FakeServer, tmp_path: Path) -> None:
    server.answers["/x"] = (200, b"{}")
    config = tmp_path / "config"
    config.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "here"}},
            {"name": "two", "context": {"cluster": "c", "user": "u", "namespace": "there"}},
        ],
    }))  # fmt: skip
    api = Api.connect(config)
    assert api.get("/x") == b"{}"
    assert server.seen[0][3]["Authorization"] == "Bearer secret"
    assert api.namespace == "here"
    assert Api.connect(config, "two").namespace == "there"


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        Api.connect(tmp_path / "nowhere")


def test_an_address_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"10\.0\.0\.1:6443"):
        Address.parse("10.0.0.1:6443")
