"""A watcher against an API server on a socket that lists, watches, cuts, forgets and lies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from scheduler.live.api import Address, Api
from scheduler.live.cluster_cache import ClusterCache
from scheduler.live.server import stale_reason
from scheduler.live.watch import Watcher, cache_sinks, deliver_locked
from tests.scheduler.live.api_world import World, a_node, line


@dataclass
class Server:
    """Serves the nodes of a world. oldest: watches from before it get 410. lie: lines that never reach a watch."""

    world: World = field(default_factory=World)
    url: str = ""
    has_watch_list: bool = True
    oldest: int = 0
    is_down: bool = False
    is_silent: bool = False
    lie: Callable[[bytes], bool] = lambda line: False
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    fake = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            fake.asked.append(query)
            if fake.is_down:
                self.close_connection = True
                return
            if "watch" not in query:
                self.plain(200, b"".join(fake.world.pages("nodes")))
            elif "sendInitialEvents" in query:
                if fake.has_watch_list:
                    self.stream(query, fake.world.initial_events("nodes"))
                else:
                    self.plain(422, b'{"kind":"Status","reason":"Invalid","message":"sendInitialEvents is forbidden"}')
            elif int(query["resourceVersion"][0]) < fake.oldest:
                gone = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "metadata": {}}
                self.stream(query, [line("ERROR", gone)], ends=True)
            else:
                self.stream(query, fake.world.since("nodes", query["resourceVersion"][0]))

        def plain(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def stream(self, query: dict[str, list[str]], lines: list[bytes], ends: bool = False) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            until = time.monotonic() + float(query["timeoutSeconds"][0])
            sent = fake.world.version
            try:
                while True:
                    for one in lines:
                        if not fake.lie(one):
                            data = one + b"\n"
                            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                    self.wfile.flush()
                    if ends or time.monotonic() > until or fake.ending.is_set() or fake.is_down:
                        break
                    time.sleep(0.01)
                    lines, sent = fake.world.since("nodes", str(sent)), fake.world.version
                    while fake.is_silent and not fake.ending.is_set():
                        time.sleep(0.01)
                if not fake.is_down:
                    self.wfile.write(b"0\r\n\r\n")
                else:
                    self.close_connection = True
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    fake.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    threading.Thread(target=lambda: httpd.serve_forever(poll_interval=0.02), daemon=True).start()
    yield fake
    fake.ending.set()
    httpd.shutdown()
    httpd.server_close()


class Watching:
    """A cache and the watcher of its nodes."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.cache = ClusterCache()
        api = Api(Address.parse(server.url), timeout_s=5)
        self.watcher: Watcher[Any] = Watcher(api, cache_sinks(self.cache)[0], deliver_locked(self.cache), **options)

    def __enter__(self) -> Watching:
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()
        self.watcher.join(10)
        assert not self.watcher._thread.is_alive()

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for what the watcher's thread will do."""
        deadline = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < deadline, (self.names(), self.watcher.life)
            time.sleep(0.01)

    def names(self) -> set[str]:
        with self.cache.lock:
            return set(self.cache.columns.row_of)


@pytest.mark.parametrize("has_watch_list", [True, False])
def test_it_lists_and_then_follows(server: Server, has_watch_list: bool) -> None:
    server.has_watch_list = has_watch_list
    server.world.put("nodes", a_node("a"))
    with Watching(server) as watching:
        watching.until(lambda: watching.names() == {"a"} and watching.watcher.feed.is_synced)
        server.world.put("nodes", a_node("b"))
        server.world.delete("nodes", "a")
        watching.until(lambda: watching.names() == {"b"})
    assert watching.watcher.life.lists == {"start": 1}


def test_a_watch_is_renewed_from_where_it_ended_and_each_renewal_is_a_sign_of_life(server: Server) -> None:
    server.world.put("nodes", a_node("a"))
    with Watching(server, renew_s=1) as watching:
        watching.until(lambda: sum("resourceVersion" in query for query in server.asked) >= 3)
        assert stale_reason([watching.watcher], 10.0, watching.watcher.life.seen_s + 9.9) == ""
        assert "for 11 s" in stale_reason([watching.watcher], 10.0, watching.watcher.life.seen_s + 11.0)
    assert watching.watcher.life.lists == {"start": 1}
    assert watching.watcher.feed.events == {"ADDED": 1, "BOOKMARK": 1}


def test_an_expired_version_is_listed_anew(server: Server) -> None:
    server.world.put("nodes", a_node("a"))
    with Watching(server, renew_s=1) as watching:
        watching.until(lambda: watching.watcher.feed.is_synced)
        server.is_down = True
        watching.until(lambda: watching.watcher.life.failures > 0)
        server.world.delete("nodes", "a")
        server.world.put("nodes", a_node("b"))
        server.oldest = server.world.version
        server.is_down = False
        watching.until(lambda: watching.names() == {"b"})
    assert watching.watcher.life.lists["expired"] >= 1


def test_a_server_that_is_away_makes_the_cache_stale_and_its_return_makes_it_fresh(server: Server) -> None:
    with Watching(server, renew_s=1) as watching:
        watching.until(lambda: watching.watcher.feed.is_synced)
        server.is_down = True
        watching.until(lambda: not watching.watcher.is_fresh(time.monotonic(), 0.5))
        server.is_down = False
        server.world.put("nodes", a_node("late"))
        watching.until(lambda: watching.names() == {"late"} and watching.watcher.is_fresh(time.monotonic(), 0.5))


def test_nothing_is_fresh_before_the_first_list(server: Server) -> None:
    server.is_down = True
    with Watching(server) as watching:
        watching.until(lambda: watching.watcher.life.failures > 0)
        why = stale_reason([watching.watcher], 10.0, time.monotonic())
        assert why == "stowage has not read the cluster's nodes yet"


def test_a_silent_gap_is_found_by_comparing_with_a_fresh_list(server: Server) -> None:
    server.lie = lambda one: b'"name":"hidden"' in one and b"ADDED" in one and b"BOOKMARK" not in one and armed
    armed = True
    server.world.put("nodes", a_node("a"))
    with Watching(server, renew_s=1, resync_s=0.5) as watching:
        watching.until(lambda: watching.watcher.feed.is_synced)
        server.world.put("nodes", a_node("hidden"))
        server.world.put("nodes", a_node("b"))
        watching.until(lambda: "b" in watching.names())
        assert "hidden" not in watching.names()
        watching.until(lambda: len(server.asked) > 4)
        armed = False
        watching.until(lambda: watching.names() == {"a", "b", "hidden"})
    assert watching.watcher.life.lists["resync"] >= 1


def test_an_object_that_cannot_be_decoded_is_left_out_and_counted(server: Server) -> None:
    broken = a_node("broken")
    broken["status"]["allocatable"] = ["not", "a", "map"]
    server.world.put("nodes", broken)
    server.world.put("nodes", a_node("a"))
    with Watching(server) as watching:
        watching.until(lambda: watching.watcher.feed.is_synced)
        assert watching.names() == {"a"}
        server.world.put("nodes", {**a_node("a"), "spec": 7})
        server.world.put("nodes", a_node("b"))
        watching.until(lambda: watching.names() == {"b"})
    assert watching.watcher.feed.undecodable == 2
