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
    host: str = typer.Option(
        "127.0.0.1", "--host", help="Address to listen on; '' for all. Pages are for whoever reaches it."
    ),
    port: int = typer.Option(8501, "--port", min=1, max=65535, help="Port to listen on."),
    allow_host: list[str] = typer.Option(
        [],
        "--allow-host",
        help="Name by which browsers may reach it, as a proxy's (repeatable). On 127.0.0.1 only "
        "localhost is allowed, elsewhere any name, unless names are given.",
    ),
    sessions: int = typer.Option(50, "--sessions", min=1, max=1000, help="Browser tabs served at once, at most."),
) -> None:
    """Show runs, reports and the live journal as pages in a browser; until it is told to stop. It changes nothing.

    Every page's address holds its filters: send it to somebody. What is missing, the pages say, with the command that
    makes it. /healthz, /readyz and /metrics are for probes and Prometheus.
    """
    from dashboard.server import serve
    from dashboard.settings import Settings

    watched = journal and journal.absolute()
    chosen = Settings(tuple(path.absolute() for path in runs or ()), watched, tuple(metrics))
    serve(chosen, host, port, tuple(allow_host), sessions)
