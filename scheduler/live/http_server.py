"""A small HTTP/1.1 server for requests that are answered at once, from memory.

One asyncio protocol over `httptools`: half the CPU of an ASGI server per request, and every limit in one place. Answers
carry a Content-Length always (a chunked one whose end is late makes Go's client open a new connection per request).

Bounds: bytes of head and body, time for a request to arrive, idle time, connections, and what is written to a peer that
does not read. The handler runs on the event loop, so it must neither wait nor do I/O.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast

import httptools

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 16 << 10
JSON: Final = b"application/json"
TEXT: Final = b"text/plain; charset=utf-8"

_SWEEP_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Response:
    """What to answer. head: more header lines, each ending in CRLF."""

    status: int
    body: bytes
    content_type: bytes = JSON
    head: bytes = b""


Handler = Callable[[bytes, bytes, bytes], Response]
"""Called with method, path (without query) and body."""


@dataclass(frozen=True, slots=True)
class Limits:
    """See the module."""

    body_bytes: int = 16 << 20
    connections: int = 128
    request_s: float = 5.0
    idle_s: float = 300.0


class HttpServer:
    """Listens until `stop`. on_refused is told the status of each request that broke a bound."""

    def __init__(
        self, handler: Handler, limits: Limits, on_refused: Callable[[int], None] = lambda status: None
    ) -> None:
        self.handler, self.limits, self.on_refused = handler, limits, on_refused
        self.connections: set[_Connection] = set()
        self.is_stopping = False
        self._server: asyncio.Server | None = None
        self._sweep: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen; the port it got."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self, loop), host, port, ssl=tls, ssl_handshake_timeout=5.0 if tls else None
        )
        self._sweep = loop.call_later(_SWEEP_S, self._look_at_clocks, loop)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self, grace_s: float) -> None:
        """Take no more connections, finish requests under way, close idle connections; then close what is left."""
        self.is_stopping = True
        if self._server is not None:
            self._server.close()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + grace_s
        while True:
            for one in list(self.connections):
                if one.is_idle:
                    one.close()
            if not self.connections or loop.time() >= until_s:
                break
            await asyncio.sleep(0.02)
        for one in list(self.connections):
            one.abort()
        if self._sweep is not None:
            self._sweep.cancel()

    def _look_at_clocks(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for one in list(self.connections):
            one.look_at_clock(now_s)
        self._sweep = loop.call_later(_SWEEP_S, self._look_at_clocks, loop)


class _Connection(asyncio.Protocol):
    def __init__(self, server: HttpServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server, self._loop = server, loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._since_s = loop.time()
        self._is_dead = False
        self._start()

    def _start(self) -> None:
        self._url = b""
        self._body: list[bytes] = []
        self._head_bytes = self._body_bytes = self._unparsed_bytes = 0
        self._is_in_head = True
        self._expects = False
        self.is_idle = True

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._server.connections) >= self._server.limits.connections or self._server.is_stopping:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
            return
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_dead, self._transport = True, None
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._is_dead:
            return
        if self.is_idle:
            self.is_idle, self._since_s = False, self._loop.time()
        self._unparsed_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close()  # answered as HTTP/1.1 already; what follows would be another protocol
        except httptools.HttpParserError as error:
            if not self._is_dead:
                self._refuse(HTTPStatus.BAD_REQUEST, f"not HTTP/1.1: {error}")
            return
        if self._is_in_head and self._unparsed_bytes > MAX_HEAD_BYTES:  # one line without an end
            self._refuse_head()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # ---- the parser's side

    def on_message_begin(self) -> None:
        if not self._is_dead:
            self._start()
            self.is_idle, self._since_s = False, self._loop.time()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        lowered = name.lower()
        if lowered == b"content-length" and value.isdigit() and int(value) > self._server.limits.body_bytes:
            self._refuse_body()
        elif lowered == b"expect" and value.lower() == b"100-continue":
            self._expects = True

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._expects and not self._is_dead and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        if self._is_dead:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._server.limits.body_bytes:
            self._refuse_body()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._is_dead:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method, path = self._parser.get_method(), self._url.partition(b"?")[0]
        try:
            answer = self._server.handler(method, path, body)
        except Exception:
            logger.exception("event=request_failed path=%r bytes=%d", path[:200], len(body))
            answer = Response(500, b"internal error\n", TEXT)
        keep = self._parser.should_keep_alive() and not self._server.is_stopping
        self._write(answer, keep, without_body=method == b"HEAD")
        self._start()
        self._since_s = self._loop.time()
        if not keep:
            self.close()

    # ---- answers

    def look_at_clock(self, now_s: float) -> None:
        """Close what took too long."""
        limits = self._server.limits
        if self.is_idle:
            if now_s - self._since_s > limits.idle_s:
                self.close()
        elif now_s - self._since_s > limits.request_s:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request did not arrive within {limits.request_s:g} s")

    def close(self) -> None:
        """Close once everything is written."""
        self._is_dead = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        self._is_dead = True
        if self._transport is not None:
            self._transport.abort()

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES and not self._is_dead:
            self._refuse_head()

    def _refuse_head(self) -> None:
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_HEAD_BYTES} bytes of headers")

    def _refuse_body(self) -> None:
        most = self._server.limits.body_bytes
        self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request body has at most {most} bytes")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        if self._is_dead:
            return
        self._server.on_refused(int(status))
        self._body = []
        self._write(Response(int(status), f"{message}\n".encode(), TEXT), keep=False)
        self.close()

    def _write(self, answer: Response, keep: bool, without_body: bool = False) -> None:
        if self._transport is None:
            return
        phrase = HTTPStatus(answer.status).phrase.encode()
        self._transport.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n%b"
            % (
                answer.status, phrase, answer.content_type, len(answer.body), answer.head,
                b"" if keep else b"Connection: close\r\n", b"" if without_body else answer.body,
            )
        )  # fmt: skip
