"""One process: Streamlit's pages, and probes and metrics beside them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import streamlit as st
from prometheus_client import CONTENT_TYPE_LATEST, Counter, ProcessCollector, generate_latest
from prometheus_client.registry import CollectorRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from streamlit.web import bootstrap
from streamlit.web.server.starlette import UvicornRunner

from dashboard import settings

HERE = Path(__file__).parent

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
FAILED_PAGES = Counter(
    "stowage_dashboard_failed_pages", "Pages that ended in an error we did not foresee.", registry=REGISTRY
)


def serve(chosen: settings.Settings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings.use(chosen)
    bootstrap.load_config_options(page_options() | {"server_address": host, "server_port": port})
    UvicornRunner(make_app()).run()


def make_app() -> Any:
    """The ASGI application."""
    routes = [Route("/healthz", _healthy), Route("/readyz", _ready), Route("/metrics", _metrics)]
    return st.App(HERE / "app.py", routes=routes, on_script_error=_count_failure)


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


def _count_failure(error: Exception) -> None:
    FAILED_PAGES.inc()


async def _healthy(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _ready(request: Request) -> Response:
    """Ready once everything we were pointed at can be looked at."""
    lost = [str(path) for path in settings.current().paths if not path.exists()]
    return JSONResponse({"missing": lost}, status_code=503 if lost else 200)


async def _metrics(request: Request) -> Response:
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
