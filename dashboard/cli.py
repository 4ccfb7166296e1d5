"""`stowage dashboard`."""

from __future__ import annotations

from pathlib import Path

import typer


def mount(app: typer.Typer) -> None:
    """Add this folder's command to the top level of `app`."""
    app.command("dashboard")(dashboard)


def dashboard(
    runs: list[Path] = typer.Argument(
        None, help="Run folders, traces, snapshots, reports (what --json printed), or folders that hold them."
    ),
    journal: Path | None = typer.Option(None, "--journal", help="Folder of the planner's journal of live decisions."),
    metrics: list[str] = typer.Option(
        [], "--metrics", help="Address where an extender or planner tells Prometheus how it does; repeatable."
    ),
    host: str = typer.Option("127.0.0.1", "--host", help="Address to listen on. Pages are for whoever reaches it."),
    port: int = typer.Option(8501, "--port", min=1, max=65535, help="Port to listen on."),
) -> None:
    """Show runs, reports and the live journal as pages in a browser; until it is told to stop. It changes nothing.

    /healthz, /readyz and /metrics are for probes. Every page's address holds its filters: send it to somebody.
    """
    from dashboard.server import serve
    from dashboard.settings import Settings

    serve(
        Settings(tuple(path.absolute() for path in runs or ()), journal and journal.absolute(), tuple(metrics)),
        host,
        port,
    )
