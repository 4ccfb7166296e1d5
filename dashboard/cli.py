"""`stowage dashboard`."""

from __future__ import annotations

from pathlib import Path

import typer

_LIVE = "Live cluster"
SECRET_HEADER = "X-Stowage-Proxy"


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
    kubeconfig: Path | None = typer.Option(
        None, "--kubeconfig", help="A live cluster: its plans, for who logs in.", rich_help_panel=_LIVE
    ),
    in_cluster: bool = typer.Option(
        False, "--in-cluster", help="The same, of the cluster this runs in.", rich_help_panel=_LIVE
    ),
    user_header: str = typer.Option(
        "", "--user-header", help="A proxy says in this header who comes; needs --proxy-secret.", rich_help_panel=_LIVE
    ),
    groups_header: str = typer.Option(
        "", "--groups-header", help="And in this one their groups, with commas between.", rich_help_panel=_LIVE
    ),
    proxy_secret: Path | None = typer.Option(
        None, "--proxy-secret", help=f"File of what the proxy shows in {SECRET_HEADER}.", rich_help_panel=_LIVE
    ),
    user_claim: str = typer.Option(
        "email", "--user-claim", help="Of a login by OpenID Connect: who it is.", rich_help_panel=_LIVE
    ),
    groups_claim: str = typer.Option("groups", "--groups-claim", help="And their groups.", rich_help_panel=_LIVE),
    user_prefix: str = typer.Option(
        "", "--user-prefix", help="What the API server puts before names and groups.", rich_help_panel=_LIVE
    ),
    limit_namespaces: bool = typer.Option(
        False, "--limit-namespaces", help="Show people only pods that they may list.", rich_help_panel=_LIVE
    ),
) -> None:
    """Show runs, reports and the live journal as pages in a browser; until it is told to stop.

    It changes nothing, unless it is given a live cluster: then who logs in (Streamlit's secrets.toml, or a proxy) may
    approve and stop plans as far as their own rights there allow, and the journal tells of it.

    Every page's address holds its filters: send it to somebody. What is missing, the pages say, with the command that
    makes it. /healthz, /readyz and /metrics are for probes and Prometheus.
    """
    from dashboard.server import read_secret, serve, trusted_headers
    from dashboard.settings import Settings

    watched = journal and journal.absolute()
    cluster = "in-cluster" if in_cluster else str(kubeconfig.absolute()) if kubeconfig else None
    chosen = Settings(
        tuple(path.absolute() for path in runs or ()), watched, tuple(metrics), cluster, user_claim, groups_claim,
        user_prefix, read_secret(proxy_secret, user_header, cluster), limit_namespaces,
    )  # fmt: skip
    serve(chosen, host, port, tuple(allow_host), sessions, trusted_headers(user_header, groups_header))
