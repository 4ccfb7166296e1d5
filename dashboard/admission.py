"""Who gets in: only requests that name a host we are known by, and only as many browser tabs as memory is made for."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboard import metrics

# Probes name the pod's address, and tell nothing of anybody's data.
PROBES: Final = ("/healthz", "/readyz", "/metrics")
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
SECURITY: Final = (
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


class Admission:
    """Middleware around the whole application.

    hosts: names that a request's Host header may have, in lower case; empty: any. Without it a web page elsewhere could
    give its own name our address and read what the browser's owner sees here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], most_sessions: int) -> None:
        self._app = app
        self._hosts = hosts
        self._most_sessions = most_sessions
        self._sessions = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or scope["path"] in PROBES:
            await self._app(scope, receive, send)
        elif self._hosts and _host(scope) not in self._hosts:
            text = f"Not known by this name; start the dashboard with --allow-host {_host(scope) or 'NAME'}\n"
            await self._refuse("host", 403, text, scope, receive, send)
        elif self._is_full(scope):
            text = f"All {self._most_sessions} places are taken: close a tab, or start with more --sessions\n"
            await self._refuse("full", 503, text, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._count(scope, receive, send)
        else:
            await self._app(scope, receive, _with_security(send))

    def _is_full(self, scope: Scope) -> bool:
        """Whether this is one tab too many; its page is refused too, so that it says why."""
        opens = scope["type"] == "websocket" or b"text/html" in dict(scope["headers"]).get(b"accept", b"")
        return opens and self._sessions >= self._most_sessions

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._sessions += 1
        metrics.SESSIONS.set(self._sessions)
        try:
            await self._app(scope, receive, send)
        finally:
            self._sessions -= 1
            metrics.SESSIONS.set(self._sessions)

    async def _refuse(self, reason: str, status: int, text: str, scope: Scope, receive: Receive, send: Send) -> None:
        metrics.REFUSED.labels(reason).inc()
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013 if reason == "full" else 1008, "reason": reason})
        else:
            await PlainTextResponse(text, status)(scope, receive, send)


def _host(scope: Scope) -> str:
    """The name that the request gives us, without port; empty if it has none or a broken one."""
    named = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    try:
        return "" if "@" in named else urlsplit(f"//{named}").hostname or ""
    except ValueError:
        return ""


def _with_security(send: Send) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message.get("headers", ()), *SECURITY]}
        await send(message)

    return sending
