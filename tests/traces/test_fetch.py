"""Downloads from a real HTTP server on loopback that behaves as badly as asked."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import json
import os
import shutil
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from traces import fetch as fetch_module
from traces.cli import app
from traces.fetch import FetchError, FetchReport, FetchUsageError, fetch, parse_parts

PART = "task_events/part-{:05d}-of-00500.csv.gz"


@dataclass
class Server:
    """What is served and how. Plans are used up one request at a time, per path."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tags: bool = True
    version: str = '"v1"'
    cuts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))  # bytes of body before the cut
    statuses: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    spoils: dict[str, int] = field(default_factory=dict)  # bodies to spoil
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path and Range

    def add(self, path: str, body: bytes, listed: bool = True) -> bytes:
        self.files[path] = body
        if listed:
            line = f"{hashlib.sha256(body).hexdigest()}  ./{path}\n".encode()
            self.files["SHA256SUM"] = self.files.get("SHA256SUM", b"") + line
        return body


def make_handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            wanted = self.headers.get("Range")
            server.asked.append((path, wanted))
            if server.statuses[path]:
                self.send_response(server.statuses[path].pop(0))
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if path not in server.files:
                self.send_error(404)
                return
            body, start = server.files[path], 0
            unchanged = self.headers.get("If-Range") in (None, server.version)
            if wanted and server.ranges and unchanged:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            rest = body[start:]
            self.send_header("Content-Length", str(len(rest)))
            if server.tags:
                self.send_header("ETag", server.version)
            self.end_headers()
            if server.spoils.get(path, 0) > 0:
                server.spoils[path] -= 1
                rest = rest[:-20] + bytes(20)
            if server.cuts[path]:
                rest = rest[: server.cuts[path].pop(0)]
            self.wfile.write(rest)

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    plan = Server()
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), make_handler(plan))
    plan.url = f"http://127.0.0.1:{httpd.server_port}/"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield plan
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def a_part(number: int, size: int = 300_000) -> bytes:
    return gzip.compress(os.urandom(size) + b"%d" % number, mtime=0)


def get(server: Server, folder: Path, parts: str = "0", **options: object) -> FetchReport:
    defaults: dict[str, object] = {"base_url": server.url, "tables": ["task_events"], "pause_s": 0.01, "tries": 3}
    return fetch("google2011", folder, parts=parse_parts(parts), **{**defaults, **options})  # type: ignore[arg-type]


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.part*"))


def test_parts_arrive_whole_with_their_checksums(server: Server, tmp_path: Path) -> None:
    bodies = [server.add(PART.format(number), a_part(number)) for number in range(5)]
    report = get(server, tmp_path, "0-2,4")
    assert (report.files, report.fetched, report.kept, report.verified) == (4, 4, 0, {"sha256": 4, "gzip": 0})
    assert [(tmp_path / PART.format(n)).read_bytes() for n in (0, 1, 2, 4)] == [bodies[n] for n in (0, 1, 2, 4)]
    assert not (tmp_path / PART.format(3)).exists()
    assert leftovers(tmp_path) == []
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ./")[1] for line in lines] == [PART.format(n) for n in (0, 1, 2, 4)]


def test_what_is_there_is_verified_and_kept(server: Server, tmp_path: Path) -> None:
    for number in range(3):
        server.add(PART.format(number), a_part(number))
    get(server, tmp_path, "0-1")
    server.asked.clear()
    report = get(server, tmp_path, "0-2")
    assert (report.fetched, report.kept) == (1, 2)
    assert [path for path, _ in server.asked if path.startswith("task")] == [PART.format(2)]
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 3


def test_a_damaged_file_that_is_there_is_refused_and_replaced_by_force(server: Server, tmp_path: Path) -> None:
    body = server.add(PART.format(0), a_part(0))
    get(server, tmp_path)
    (tmp_path / PART.format(0)).write_bytes(b"mine")
    with pytest.raises(FetchError, match=r"SHA-256.*--force"):
        get(server, tmp_path)
    assert (tmp_path / PART.format(0)).read_bytes() == b"mine"
    get(server, tmp_path, force=True)
    assert (tmp_path / PART.format(0)).read_bytes() == body


def test_a_cut_connection_is_resumed_where_it_stopped(server: Server, tmp_path: Path) -> None:
    body = server.add(PART.format(0), a_part(0))
    server.cuts[PART.format(0)] = [100_000, 50_000, 0, 1]
    report = get(server, tmp_path)
    assert (tmp_path / PART.format(0)).read_bytes() == body
    assert [asked for path, asked in server.asked if path == PART.format(0)] == [
        None, "bytes=100000-", "bytes=150000-", "bytes=150000-", "bytes=150001-",
    ]  # fmt: skip
    assert report.retries == 4
    assert report.bytes == len(body)


def test_an_interrupted_run_is_resumed_by_the_next(server: Server, tmp_path: Path) -> None:
    body = server.add(PART.format(0), a_part(0))
    server.cuts[PART.format(0)] = [200_000] + [0] * 3
    with pytest.raises(FetchError, match=r"connection cut after 200,000 of .* gave up after 3 tries"):
        get(server, tmp_path)
    assert not (tmp_path / PART.format(0)).exists()
    server.asked.clear()
    report = get(server, tmp_path)
    assert report.resumed == 1
    assert server.asked[-1] == (PART.format(0), "bytes=200000-")
    assert (tmp_path / PART.format(0)).read_bytes() == body
    assert leftovers(tmp_path) == []


def test_versions_are_never_mixed(server: Server, tmp_path: Path) -> None:
    server.add(PART.format(0), a_part(0), listed=False)
    server.cuts[PART.format(0)] = [200_000] + [0] * 3
    with pytest.raises(FetchError):
        get(server, tmp_path)
    server.version = '"v2"'
    body = server.add(PART.format(0), a_part(1), listed=False)
    get(server, tmp_path)
    assert (tmp_path / PART.format(0)).read_bytes() == body


@pytest.mark.parametrize("tags", [True, False])
def test_a_server_that_cannot_resume_is_asked_for_the_whole(server: Server, tmp_path: Path, tags: bool) -> None:
    server.ranges, server.tags = False, tags
    body = server.add(PART.format(0), a_part(0))
    server.cuts[PART.format(0)] = [100_000, 150_000]
    get(server, tmp_path)
    assert (tmp_path / PART.format(0)).read_bytes() == body


def test_a_server_that_cannot_resume_and_always_cuts_is_named(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.add(PART.format(0), a_part(0))
    server.cuts[PART.format(0)] = [1000] * 10
    with pytest.raises(FetchError, match="the server does not resume"):
        get(server, tmp_path)


def test_a_passing_failure_is_tried_again(server: Server, tmp_path: Path) -> None:
    body = server.add(PART.format(0), a_part(0))
    server.statuses[PART.format(0)] = [503, 429]
    server.statuses["SHA256SUM"] = [500]
    assert get(server, tmp_path).retries == 2
    assert (tmp_path / PART.format(0)).read_bytes() == body


def test_a_lasting_503_gives_up(server: Server, tmp_path: Path) -> None:
    server.add(PART.format(0), a_part(0))
    server.statuses[PART.format(0)] = [503] * 10
    with pytest.raises(FetchError, match=r"HTTP 503.*gave up after 3 tries"):
        get(server, tmp_path)


def test_a_refusal_is_not_repeated(server: Server, tmp_path: Path) -> None:
    server.add(PART.format(0), a_part(0))
    server.statuses[PART.format(0)] = [403]
    with pytest.raises(FetchError, match="HTTP 403"):
        get(server, tmp_path)
    assert Counter(path for path, _ in server.asked)[PART.format(0)] == 1


def test_a_missing_part_is_named_and_the_rest_stays(server: Server, tmp_path: Path) -> None:
    server.add(PART.format(0), a_part(0), listed=False)
    with pytest.raises(FetchError, match=r"part-00001-of-00500.csv.gz: not found \(404\)"):
        get(server, tmp_path, "0-1", connections=1)
    assert (tmp_path / PART.format(0)).exists()


def test_bytes_spoilt_once_are_fetched_again(server: Server, tmp_path: Path) -> None:
    body = server.add(PART.format(0), a_part(0))
    server.spoils[PART.format(0)] = 1
    get(server, tmp_path)
    assert (tmp_path / PART.format(0)).read_bytes() == body


@pytest.mark.parametrize(("listed", "message"), [(True, "SHA-256"), (False, "not a whole gzip file")])
def test_spoilt_bytes_are_never_kept(server: Server, tmp_path: Path, listed: bool, message: str) -> None:
    server.add(PART.format(0), a_part(0), listed=listed)
    server.spoils[PART.format(0)] = 9
    with pytest.raises(FetchError, match=message):
        get(server, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_truncated_gzip_without_checksum_is_refused(server: Server, tmp_path: Path) -> None:
    server.add(PART.format(0), a_part(0)[:-100], listed=False)
    with pytest.raises(FetchError, match="not a whole gzip file"):
        get(server, tmp_path)


def test_a_resumed_file_that_turns_out_wrong_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    body = server.add(PART.format(0), a_part(0))
    part = tmp_path / (PART.format(0) + ".part")
    part.parent.mkdir()
    part.write_bytes(bytes(len(body)))  # as long as the whole file, so that the server answers 416
    part.with_name(part.name + ".tag").write_text(server.version)
    get(server, tmp_path)
    assert (tmp_path / PART.format(0)).read_bytes() == body


def test_a_refused_connection_is_said(tmp_path: Path, server: Server) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
    with pytest.raises(FetchError, match=r"Connection refused; gave up after 3 tries"):
        get(server, tmp_path, base_url=url)


def test_a_full_disk_is_said_before_and_while_writing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add(PART.format(0), a_part(0))
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(fetch_module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(FetchError, match=r"disk full: .* needs .* bytes more, .* has 1,000"):
            get(server, tmp_path)

    def fill_up(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch_module._Source, "_copy", fill_up)
    with pytest.raises(FetchError, match="disk full while writing"):
        get(server, tmp_path)


def test_the_source_decides_how_many_parts_there_are(server: Server, tmp_path: Path) -> None:
    """A mirror of a shorter trace lists its own parts; one-part tables ignore the choice of parts."""
    for number in range(3):
        server.add(f"job_events/part-{number:05d}-of-00003.csv.gz", a_part(number))
    server.add("machine_events/part-00000-of-00001.csv.gz", a_part(9))
    report = get(server, tmp_path, "1-2", tables=["job_events", "machine_events"])
    assert report.fetched == 3
    assert (tmp_path / "machine_events").exists()


def test_names_that_leave_the_folder_are_ignored(server: Server, tmp_path: Path) -> None:
    server.add(PART.format(0), a_part(0))
    server.files["SHA256SUM"] += b"0" * 64 + b"  ./../../etc/part-00000-of-00500.csv.gz\n"
    assert get(server, tmp_path).fetched == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tables": ["task_event"]}, "no table task_event in google2011; it has machine_events"),
        ({"base_url": "file:///etc"}, "must be http"),
        ({"base_url": "nonsense"}, "must be http"),
        ({"parts": "700"}, "names no part"),
        ({"parts": "3-1"}, "neither a number nor a range"),
        ({"parts": "a"}, "neither a number nor a range"),
        ({"connections": 0}, "at least 1"),
    ],
)
def test_senseless_requests_are_refused(
    server: Server, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    server.add(PART.format(0), a_part(0))
    with pytest.raises(FetchUsageError, match=message) as caught:
        get(server, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("name", "hint"), [("google2019", "BigQuery"), ("borg", "known are: google2011")])
def test_formats_without_public_files_are_explained(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(FetchUsageError, match=hint):
        fetch(name, tmp_path)


def test_the_command_reports_in_json(server: Server, tmp_path: Path) -> None:
    server.add(PART.format(0), a_part(0))
    server.add("machine_events/part-00000-of-00001.csv.gz", a_part(1))
    arguments = ["fetch", "google2011", "-o", str(tmp_path / "t"), "--base-url", server.url, "--parts", "0"]
    result = CliRunner().invoke(app, [*arguments, "--tables", "task_events,machine_events", "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["fetched"], answer["kept"], answer["verified"]["sha256"]) == (2, 0, 2)
    again = CliRunner().invoke(app, [*arguments, "--tables", "task_events"])
    assert "1 were there" in again.stdout
