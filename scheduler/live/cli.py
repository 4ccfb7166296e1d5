"""The commands of the other `*_cli` modules."""

from __future__ import annotations

import typer

from scheduler.live import cleanup_cli, diagnose_cli, fabric_cli, packing_cli, planner_cli, serve_cli


def mount(app: typer.Typer) -> None:
    """Add this folder's commands to the top level of `app`."""
    packing_cli.mount(app)
    fabric_cli.mount(app)
    diagnose_cli.mount(app)
    cleanup_cli.mount(app)
    serve_cli.mount(app)
    planner_cli.mount(app)
