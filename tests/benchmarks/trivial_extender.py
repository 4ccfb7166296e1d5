"""The least that an extender can do: every node passes, none is preferred. The floor of what asking costs."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import uvloop

from scheduler.live.http_server import TEXT, HttpServer, Limits, Response


class Asked(msgspec.Struct, rename={"names": "NodeNames"}):
    """What is read of a request."""

    names: msgspec.Raw


_decoder = msgspec.json.Decoder(Asked)


def answer(method: bytes, path: bytes, body: bytes) -> Response:
    """All names back for filter, no score for prioritize."""
    if path == b"/readyz":
        return Response(200, b"ok", TEXT)
    if path == b"/prioritize":
        return Response(200, b"[]")
    return Response(200, b'{"NodeNames":' + bytes(_decoder.decode(body).names) + b"}")


async def serve(port: int) -> None:
    """Answer until killed."""
    await HttpServer(answer, Limits()).start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
