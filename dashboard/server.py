"""One process: Streamlit's pages, and probes and metrics beside them."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import streamlit as st
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from streamlit.runtime.caching.global_cache_budget import reconfigure_global_cache_budget_from_config
from streamlit.web import bootstrap

from analytics.errors import InputError
from dashboard import live, metrics, settings
from dashboard.admission import LOOPBACK, Admission
from dashboard.cli import SECRET_HEADER

HERE = Path(__file__).parent
SHUTDOWN_S: Final = 5  # for requests under way, after which tabs are cut off; they come back by themselves
MOST_MESSAGE_BYTES: Final = 16 << 20

logger = logging.getLogger(__name__)


def serve(
    chosen: settings.Settings, host: str, port: int, names: tuple[str, ...], most_sessions: int,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Serve until SIGTERM or SIGINT. host: empty for every address of both families. names: see `allowed_hosts`.
    headers: by name, what a proxy tells of who comes.

    Raises InputError if a folder is not there, or the address and port cannot be had.
    """
    check_sources(chosen)
    if chosen.limit_namespaces and chosen.cluster is None:
        raise InputError("--limit-namespaces asks a cluster what people may see: give --kubeconfig or --in-cluster")
    with listen(host, port) as listening:
        settings.use(chosen)
        use_options(host, port, headers)
        app = make_app(allowed_hosts(host, names), most_sessions)
        server = uvicorn.Server(
            uvicorn.Config(
                app, ws="websockets-sansio", ws_max_size=MOST_MESSAGE_BYTES, ws_per_message_deflate=False,
                timeout_graceful_shutdown=SHUTDOWN_S, access_log=False, log_level="warning",
            )
        )  # fmt: skip
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # uvicorn raises it again when it has ended
        shown = f"[{host}]" if ":" in host else host or "localhost"
        print(f"stowage: pages on http://{shown}:{port} (Ctrl-C ends it)", file=sys.stderr, flush=True)
        server.run(sockets=[listening])


def check_sources(chosen: settings.Settings) -> None:
    """Raise InputError for what is not there or is no address; the journal is made by a planner, perhaps later."""
    lost = [str(path) for path in chosen.paths if not path.exists()]
    if lost:
        raise InputError(f"there is no {', no '.join(lost)}: give folders or files that exist")
    for address in chosen.metrics:
        if not _is_web_address(address):
            raise InputError(
                f"--metrics {address}: not an http address; give one such as http://localhost:9090/metrics"
            )
    if chosen.journal and not chosen.journal.exists():
        logger.warning("event=no_journal path=%s its pages stay empty until a planner writes there", chosen.journal)


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InputError if the address or the port is not to be had."""
    try:
        if host:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=128)
        both = socket.has_dualstack_ipv6()
        return socket.create_server(
            ("", port), family=socket.AF_INET6 if both else socket.AF_INET, backlog=128, dualstack_ipv6=both
        )
    except OSError as error:
        why = error.strerror if isinstance(error, socket.gaierror) or not error.errno else os.strerror(error.errno)
        raise InputError(
            f"cannot listen on {host or 'any address'}, port {port}: {why}; choose others with --host and --port"
        ) from error


def allowed_hosts(host: str, names: tuple[str, ...]) -> frozenset[str]:
    """Names we answer to. On this machine's own address these are its own; elsewhere any, unless some are given."""
    own = {host, *LOOPBACK} if host in LOOPBACK else {host} if names else set()
    return frozenset(name.lower() for name in (*own, *names) if name)


def make_app(hosts: frozenset[str] = frozenset(), most_sessions: int = 50) -> Any:
    """The ASGI application."""
    routes = [Route("/healthz", _healthy), Route("/readyz", _ready), Route("/metrics", _metrics)]
    admission = Middleware(Admission, hosts=hosts, most_sessions=most_sessions)
    return st.App(HERE / "app.py", routes=routes, middleware=[admission], on_script_error=_apologise)


def read_secret(path: Path | None, user_header: str, cluster: str | None) -> str:
    """What the proxy shows. Raises InputError if headers would be believed without it, or it is no secret."""
    if not user_header:
        return ""
    if path is None:
        raise InputError("--user-header without --proxy-secret: anybody could send that header")
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as unreadable:
        raise InputError(f"--proxy-secret {path}: it cannot be read") from unreadable
    if len(secret) < 16 or cluster is None:
        raise InputError("--proxy-secret: at least 16 characters, and for a live cluster (--kubeconfig, --in-cluster)")
    return secret


def trusted_headers(user_header: str, groups_header: str) -> dict[str, str]:
    """Header to key of `st.user`, as Streamlit takes it."""
    if not user_header:
        return {}
    known = {user_header: live.USER_KEY, groups_header: live.GROUPS_KEY, SECRET_HEADER: live.SECRET_KEY}
    return {header: key for header, key in known.items() if header}


def use_options(host: str, port: int, headers: Mapping[str, str] = MappingProxyType({})) -> None:
    """Give Streamlit the options of theme.toml and those of the command."""
    ours = {
        "server_address": host or "::", "server_port": port, "server_maxMessageSize": MOST_MESSAGE_BYTES >> 20,
        **({"server_trustedUserHeaders": json.dumps(dict(headers))} if headers else {}),
    }  # fmt: skip
    bootstrap.load_config_options(page_options() | ours)
    reconfigure_global_cache_budget_from_config()


def page_options() -> dict[str, Any]:
    """Streamlit's options of theme.toml, by the names its flags have."""
    return dict(_flatten(tomllib.loads((HERE / "theme.toml").read_text(encoding="utf-8")), ()))


def _flatten(table: dict[str, Any], above: tuple[str, ...]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            found += _flatten(value, (*above, name))
        else:
            found.append(("_".join((*above, name)), value))
    return found


def _apologise(error: Exception) -> bool:
    """Say that a page failed, in its place; Streamlit has logged why."""
    st.error(
        "This page failed, by a fault of ours: the reason is in the dashboard's log. The other pages go on.",
        icon=":material/error:",
    )
    return True


async def _healthy(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _ready(request: Request) -> Response:
    """Ready once everything we were pointed at can be looked at."""
    lost = [str(path) for path in settings.current().paths if not path.exists()]
    return JSONResponse({"missing": lost}, status_code=503 if lost else 200)


async def _metrics(request: Request) -> Response:
    return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)
