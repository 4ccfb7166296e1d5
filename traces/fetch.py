"""Download published trace parts: resumed, verified, each file whole or not there.

A file is downloaded to `NAME.part` and renamed once it is verified: by SHA-256 where the source lists it, and as gzip
always. An interrupted download goes on where it stopped (HTTP Range), guarded by the source's ETag or date so that two
versions never mix; a server without ranges is asked for the whole file again. Files that are already there are
verified and kept. What fails for a reason that may pass (a cut connection, 503) is tried again with growing pauses.
"""

from __future__ import annotations

import email.utils
import errno
import hashlib
import http.client
import random
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

# Where the dataset itself is published, and how: Google, "Google cluster-usage traces: format + schema", 2014.
PUBLIC_URL = {"google2011": "https://commondatastorage.googleapis.com/clusterdata-2011-2/"}
TABLES = {
    "google2011": {
        "machine_events": 1,
        "machine_attributes": 1,
        "job_events": 500,
        "task_events": 500,
        "task_constraints": 500,
        "task_usage": 500,
    }
}
_ELSEWHERE = {
    "google2019": "it is published in BigQuery; export the tables there",
    "openb": "its two CSV files are in a Git repository; copy them from there",
}
# The public bucket says SHA256SUM, our own traces SHA256SUMS.
_SUM_FILES = ("SHA256SUMS", "SHA256SUM")
_SUM_LINE = re.compile(r"([0-9a-f]{64})[ *]+(?:\./)?(\w+)/(part-(\d{5})-of-\d{5}\.csv\.gz)\s*", re.ASCII)
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_BLOCK = 1 << 20


class FetchError(Exception):
    """A download that failed for good; the message says what and why. What was fetched before it stays."""

    exit_code = 1


class FetchUsageError(ValueError):
    """A request that makes no sense."""

    exit_code = 2


class _MayPass(Exception):
    """A failure worth another try, after `pause_s` if the server named one."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of the source. path: relative to the base address and to the folder. sha256: None if not listed."""

    path: str
    sha256: str | None


@dataclass(slots=True)
class FetchReport:
    """What a fetch did. kept: files that were there and are intact. verified: by what."""

    files: int = 0
    fetched: int = 0
    kept: int = 0
    resumed: int = 0
    retries: int = 0
    bytes: int = 0
    seconds: float = 0.0
    verified: dict[str, int] = field(default_factory=lambda: {"sha256": 0, "gzip": 0})


def parse_parts(text: str) -> set[int]:
    """Read "0-13,20" as part numbers."""
    parts: set[int] = set()
    for piece in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,5})(?:-(\d{1,5}))?\s*", piece, re.ASCII)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise FetchUsageError(f"--parts: {piece.strip()!r} is neither a number nor a range; write 0-13,20")
        parts.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return parts


def fetch(
    format_name: str,
    folder: Path,
    *,
    base_url: str | None = None,
    tables: Iterable[str] | None = None,
    parts: set[int] | None = None,
    connections: int = 4,
    tries: int = 5,
    pause_s: float = 1.0,
    timeout_s: float = 60.0,
    force: bool = False,
    progress: Callable[[str, int, int], None] = lambda step, done, of: None,
) -> FetchReport:
    """Download tables (all by default) and parts (all by default) of a published trace into `folder`.

    tries: attempts in a row without a new byte before a file is given up; the pause doubles from `pause_s`, to at most
    30 s. progress: called with a step, files done, and files in all. One-part tables ignore `parts`.
    Raises FetchUsageError on a senseless request, FetchError if a file cannot be had.
    """
    base, chosen = _check(format_name, base_url, tables, connections, tries)
    started = time.monotonic()
    source = _Source(base, timeout_s, tries, pause_s)
    sums = source.read_sums()
    files = _choose(format_name, chosen, parts, sums)
    report, lock = FetchReport(files=len(files)), threading.Lock()
    _make_folder(folder)

    def fetch_one(remote: RemoteFile) -> None:
        source.fetch(remote, folder, force, report, lock)
        with lock:
            progress("files", report.fetched + report.kept, report.files)

    with ThreadPoolExecutor(connections) as pool:
        futures = [pool.submit(fetch_one, remote) for remote in files]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:
            source.stop()
            pool.shutdown(cancel_futures=True)
            raise
        if any(future.exception() for future in done):
            source.stop()
            pool.shutdown(cancel_futures=True)
    failures = [f.exception() for f in futures if f.done() and not f.cancelled() and f.exception()]
    _write_sums(folder, {file.path: file.sha256 for file in files if file.sha256 and (folder / file.path).exists()})
    if failures:
        raise next((e for e in failures if not isinstance(e, _Stopped)), failures[0])  # type: ignore[misc]
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _check(
    format_name: str, base_url: str | None, tables: Iterable[str] | None, connections: int, tries: int
) -> tuple[str, list[str]]:
    if format_name not in TABLES:
        why = _ELSEWHERE.get(format_name, f"known are: {', '.join(TABLES)}")
        raise FetchUsageError(f"cannot fetch format {format_name!r}: {why}")
    known = TABLES[format_name]
    chosen = list(dict.fromkeys(tables)) if tables is not None else list(known)
    wrong = [table for table in chosen if table not in known]
    if wrong or not chosen:
        raise FetchUsageError(f"no table {', '.join(wrong) or 'named'} in {format_name}; it has {', '.join(known)}")
    if connections < 1 or tries < 1:
        raise FetchUsageError("connections and tries must be at least 1")
    base = base_url or PUBLIC_URL[format_name]
    parsed = urllib.parse.urlsplit(base)
    if parsed.scheme not in ("http", "https") or not parsed.netloc:
        raise FetchUsageError(f"base address must be http:// or https://, not {base!r}")
    return base.rstrip("/") + "/", chosen


def _choose(format_name: str, tables: list[str], parts: set[int] | None, sums: dict[str, str]) -> list[RemoteFile]:
    """List what to fetch: what the source's checksums name, else the published layout."""
    listed = list(sums) or [
        f"{table}/part-{part:05d}-of-{count:05d}.csv.gz"
        for table, count in TABLES[format_name].items()
        for part in range(count)
    ]
    files = []
    for table in tables:
        names = sorted(path for path in listed if path.startswith(f"{table}/"))
        single = TABLES[format_name][table] == 1
        files += [
            RemoteFile(path, sums.get(path))
            for path in names
            if single or parts is None or int(path.rsplit("part-", 1)[1][:5]) in parts
        ]
        if not names:
            raise FetchError(f"the source lists no {table}")
    if not files:
        raise FetchUsageError("--parts names no part that the source has")
    return files


def _make_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FetchUsageError(f"{folder} is not a folder")
    folder.mkdir(parents=True, exist_ok=True)


def _write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Keep the checksums of the files here, so that an import can check them again."""
    path = folder / "SHA256SUMS"
    kept = _parse_sums(path.read_text()) if path.exists() else {}
    merged = {**kept, **sums}
    if merged:
        beside = path.with_suffix(".part")
        beside.write_text("".join(f"{digest}  ./{name}\n" for name, digest in sorted(merged.items())))
        beside.rename(path)


def _parse_sums(text: str) -> dict[str, str]:
    """Read `HASH  ./TABLE/part-...` lines; others (a README's, say) are none of ours."""
    matches = (_SUM_LINE.fullmatch(line) for line in text.splitlines())
    return {f"{match[2]}/{match[3]}": match[1] for match in matches if match}


class _Stopped(FetchError):
    """Another file failed for good, or the user stopped."""


class _Source:
    """The server, and how patient we are with it."""

    def __init__(self, base: str, timeout_s: float, tries: int, pause_s: float) -> None:
        self._base, self._timeout_s, self._tries, self._pause_s = base, timeout_s, tries, pause_s
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def read_sums(self) -> dict[str, str]:
        """Return {path: SHA-256} as the source lists them; empty if it has no list."""
        for name in _SUM_FILES:
            try:
                with self._patiently(name, lambda name=name: self._open(name)) as response:  # type: ignore[misc]
                    return _parse_sums(response.read(64 << 20).decode("ascii", "replace"))
            except _NotThere:
                continue
        return {}

    def fetch(self, remote: RemoteFile, folder: Path, force: bool, report: FetchReport, lock: threading.Lock) -> None:
        """Bring one file into the folder, or find it there intact."""
        target = folder / remote.path
        target.parent.mkdir(exist_ok=True)
        how = "sha256" if remote.sha256 else "gzip"
        if target.exists() and not force:
            fault = _find_fault(target, remote)
            if fault:
                raise FetchError(f"{target} is there but {fault}; --force fetches it again")
            with lock:
                report.kept += 1
                report.verified[how] += 1
            return
        part = target.with_name(target.name + ".part")
        self._download(remote, part, report, lock)
        part.replace(target)
        _tag_file(part).unlink(missing_ok=True)
        with lock:
            report.fetched += 1
            report.verified[how] += 1

    def _download(self, remote: RemoteFile, part: Path, report: FetchReport, lock: threading.Lock) -> None:
        again = False
        while True:
            resumed = part.exists() and part.stat().st_size > 0
            size = self._download_whole(remote, part, report, lock)
            fault = _find_fault(part, remote)
            if not fault:
                with lock:
                    report.resumed += resumed
                    report.bytes += size
                return
            part.unlink()
            _tag_file(part).unlink(missing_ok=True)
            if again:
                raise FetchError(f"{self._base}{remote.path}: what the server sends {fault}, twice; gave up")
            again = True

    def _download_whole(self, remote: RemoteFile, part: Path, report: FetchReport, lock: threading.Lock) -> int:
        """Append to `part` until it has the length the server announces; return the bytes received."""
        received = 0

        def attempt() -> None:
            nonlocal received
            before = part.stat().st_size if part.exists() else 0
            try:
                self._download_some(remote, part)
            except _MayPass:
                with lock:
                    report.retries += 1
                raise
            finally:
                received += max(0, (part.stat().st_size if part.exists() else 0) - before)

        try:
            self._patiently(remote.path, attempt, lambda: part.stat().st_size if part.exists() else 0)
        except _NotThere:
            raise FetchError(f"{self._base}{remote.path}: not found (404); is the base address right?") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise FetchError(f"disk full while writing {part}; free some room and fetch again") from error
            raise FetchError(f"cannot write {part}: {error.strerror or error}") from error
        return received

    def _download_some(self, remote: RemoteFile, part: Path) -> None:
        """Ask for what is missing and append it. Raises _MayPass if the connection ends early."""
        have = part.stat().st_size if part.exists() else 0
        tag = _tag_file(part).read_text() if have and _tag_file(part).exists() else ""
        if have and not tag:
            have = 0  # without the source's tag, a rest could be another version's: start again
        headers = {"Range": f"bytes={have}-", "If-Range": tag} if have else {}
        try:
            response = self._open(remote.path, headers)
        except _PastTheEnd:
            return  # everything is here already: verification decides
        with response:
            if response.status == 206 and not _starts_at(response, have):
                part.unlink()
                raise _MayPass("the server sent another range than asked for")
            mode = "ab" if response.status == 206 else "wb"
            no_resume = " (the server does not resume)" if have and mode == "wb" else ""
            have = have if mode == "ab" else 0
            new_tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            if mode == "wb":
                # A weak ETag does not promise identical bytes, so it cannot guard a resumed download.
                _tag_file(part).write_text("" if new_tag.startswith("W/") else new_tag)
            length = response.headers.get("Content-Length")
            due = int(length) if length and length.isdecimal() else None
            _check_room(part, due)
            with part.open(mode) as file:
                got = self._copy(response, file)
            if due is not None and got < due:
                raise _MayPass(f"connection cut after {have + got:,} of {have + due:,} bytes{no_resume}")

    def _copy(self, response: Any, file: IO[bytes]) -> int:
        got = 0
        while True:
            if self._stop.is_set():
                raise _Stopped("stopped")
            try:
                block = response.read(_BLOCK)
            except (http.client.HTTPException, OSError) as error:
                raise _MayPass(f"connection cut: {error}") from error
            if not block:
                return got
            file.write(block)
            got += len(block)

    def _open(self, path: str, headers: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(self._base + path, headers={"User-Agent": "stowage", **(headers or {})})
        try:
            return urllib.request.urlopen(request, timeout=self._timeout_s)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise _NotThere(path) from None
            if error.code == 416:
                raise _PastTheEnd from None
            if error.code in _PASSING:
                raise _MayPass(f"HTTP {error.code} {error.reason}", _retry_after(error)) from None
            raise FetchError(f"{self._base}{path}: HTTP {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise _MayPass(str(getattr(error.reason, "strerror", None) or error.reason)) from error
        except (http.client.HTTPException, OSError) as error:
            raise _MayPass(str(error) or type(error).__name__) from error

    def _patiently(self, path: str, attempt: Callable[[], Any], reached: Callable[[], int] = lambda: 0) -> Any:
        """Run `attempt` until it succeeds; give up after `tries` in a row in which `reached` did not grow."""
        failed, best = 0, reached()
        while True:
            if self._stop.is_set():
                raise _Stopped("stopped")
            try:
                return attempt()
            except _MayPass as error:
                failed = 1 if reached() > best else failed + 1
                best = max(best, reached())
                if failed >= self._tries:
                    raise FetchError(f"{self._base}{path}: {error}; gave up after {failed} tries") from error
                pause_s = min(30.0, self._pause_s * 2 ** (failed - 1)) * (0.5 + random.random() / 2)
                self._stop.wait(max(pause_s, min(error.pause_s or 0.0, 60.0)))


class _NotThere(Exception):
    """404 or 410."""


class _PastTheEnd(Exception):
    """416: the range begins at or after the end of the file."""


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _starts_at(response: Any, offset: int) -> bool:
    return bool(re.match(rf"bytes {offset}-", response.headers.get("Content-Range", "")))


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    text = error.headers.get("Retry-After", "") if error.headers else ""
    if text.isdecimal():
        return float(text)
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time() if text else None
    except ValueError:
        return None


def _check_room(part: Path, due: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if due is not None and due > free:
        raise FetchError(f"disk full: {part.name} needs {due:,} bytes more, {part.parent} has {free:,}")


def _find_fault(path: Path, remote: RemoteFile) -> str | None:
    """Say what is wrong with a complete file, None if nothing is. Reads it once, decompressing all of it."""
    digest, inflate, ended = hashlib.sha256(), zlib.decompressobj(31), False
    damaged = False
    with path.open("rb") as file:
        while block := file.read(_BLOCK // 8):  # small, because a block may inflate a thousandfold
            digest.update(block)
            while block and not damaged:
                if ended:  # gzip members may follow each other
                    inflate, ended = zlib.decompressobj(31), False
                try:
                    inflate.decompress(block)
                except zlib.error:
                    damaged = True
                ended, block = inflate.eof, inflate.unused_data
    if remote.sha256 and digest.hexdigest() != remote.sha256:
        return f"does not match its SHA-256 (got {digest.hexdigest()[:12]}..., listed {remote.sha256[:12]}...)"
    if damaged or not ended:
        return "is not a whole gzip file"
    return None
