"""The HTTP server on a real socket: keep-alive, chunks, bounds, and an orderly end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from scheduler.live.http_server import MAX_HEAD_BYTES, HttpServer, Limits, Response

LIMITS = Limits(body_bytes=10_000, connections=4, request_s=0.3, idle_s=30.0)


def echo(method: bytes, path: bytes, body: bytes) -> Response:
    if path == b"/fail":
        raise ValueError("broken handler")
    return Response(200, method + b" " + path + b" " + body)


class Client:
    """One connection, raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        status = int(first.split()[1])
        if status == 100:
            return await self.answer()
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        await self.send(data)
        return await self.answer()

    async def is_closed(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(), 5) == b""
        except ConnectionResetError:
            return True


Connect = Callable[[], Awaitable[Client]]


def served(test: Callable[[Connect, HttpServer], Awaitable[None]], limits: Limits = LIMITS) -> list[int]:
    """Run a test against a server; the refusals it counted."""
    refused: list[int] = []

    async def run() -> None:
        server = HttpServer(echo, limits, refused.append)
        port = await server.start("127.0.0.1", 0)
        clients: list[Client] = []

        async def connect() -> Client:
            clients.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
            return clients[-1]

        await test(connect, server)
        for one in clients:
            one.writer.close()
        await server.stop(0.0)

    asyncio.run(run())
    return refused


def post(body: bytes = b"", path: str = "/filter", *head: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *head]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def test_one_connection_serves_many_requests_each_with_its_length() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        client = await connect()
        for body in (b"one", b"", b"x" * 9_000):
            status, headers, answer = await client.ask(post(body))
            assert (status, answer) == (200, b"POST /filter " + body)
            assert headers["content-type"] == "application/json"
            assert "connection" not in headers
        assert len(server.connections) == 1

    assert served(test) == []


def test_requests_may_come_in_any_pieces_and_several_at_once() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        client = await connect()
        for byte in post(b"abc", "/a?b=c"):
            await client.send(bytes([byte]))
        assert (await client.answer())[2] == b"POST /a abc"
        await client.send(post(b"1", "/x") + post(b"2", "/y"))
        assert [(await client.answer())[2] for _ in range(2)] == [b"POST /x 1", b"POST /y 2"]

    served(test)


def test_a_chunked_body_is_read_and_bounded() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        head = b"POST /f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        client = await connect()
        assert (await client.ask(head + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"))[2] == b"POST /f abc"
        await client.send(head + b"1000\r\n" + b"x" * 0x1000 + b"\r\n" + b"2000\r\n" + b"x" * 0x2000)
        assert (await client.answer())[0] == 413
        assert await client.is_closed()

    assert served(test) == [413]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /f HTTP/1.1\r\nContent-Length: 10001\r\n\r\n", 413),
        (b"POST /f HTTP/1.1\r\nA: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (b"POST /f HTTP/1.1\r\n" + b"A: b\r\n" * 10_000, 431),
        (b"GET /" + b"x" * 2 * MAX_HEAD_BYTES, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"POST /f HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /f HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", 408),
        (b"POST /f HT", 408),
    ],
)  # fmt: skip
def test_what_breaks_a_bound_is_answered_once_and_closed(sent: bytes, status: int) -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        client = await connect()
        assert (await client.ask(sent))[0] == status
        assert await client.is_closed()

    assert served(test) == [status]


def test_an_upgrade_is_not_made() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        client = await connect()
        head = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert (await client.ask(head + b"\x81\x85"))[0] == 200
        assert await client.is_closed()

    served(test)


def test_expect_continue_is_granted() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        client = await connect()
        await client.send(post(b"abc", "/f", "Expect: 100-continue")[:-3])
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.ask(b"abc"))[2] == b"POST /f abc"

    served(test)


def test_a_failing_handler_answers_500_and_the_connection_goes_on() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        client = await connect()
        assert (await client.ask(post(b"", "/fail")))[0] == 500
        assert (await client.ask(post(b"a")))[0] == 200

    served(test)


def test_one_connection_too_many_is_turned_away() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        held = [await connect() for _ in range(4)]
        for one in held:
            assert (await one.ask(post()))[0] == 200
        late = await connect()
        assert (await late.answer())[0] == 503
        assert (await held[0].ask(post()))[0] == 200

    assert served(test) == [503]


def test_idle_connections_are_closed() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        client = await connect()
        await client.ask(post())
        assert await client.is_closed()

    served(test, Limits(idle_s=0.2))


def test_a_request_under_way_is_finished_at_the_end_and_idle_ones_are_not_waited_for() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        idle, busy = await connect(), await connect()
        await idle.ask(post())
        await busy.send(post(b"abc")[:-1])
        while not any(not one.is_idle for one in server.connections):
            await asyncio.sleep(0.01)
        ending = asyncio.create_task(server.stop(5.0))
        assert await idle.is_closed()
        status, headers, answer = await busy.ask(b"c")
        assert (status, headers["connection"], answer) == (200, "close", b"POST /filter abc")
        await ending
        with pytest.raises(ConnectionRefusedError):
            await connect()

    served(test, Limits(request_s=30.0))


def test_a_peer_that_does_not_read_is_not_read_from_either() -> None:
    async def test(connect: Connect, server: HttpServer) -> None:
        client = await connect()
        sock: Any = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        request, sent = post(b"x" * 9_000), 0
        for _ in range(5_000):
            client.writer.write(request)
            sent += len(request)
            try:
                await asyncio.wait_for(client.writer.drain(), 0.2)
            except TimeoutError:
                break
        assert sent < 40_000_000  # it stopped taking more long before all were sent
        client.writer.transport.abort()

    served(test, Limits(body_bytes=10_000, request_s=30.0))
