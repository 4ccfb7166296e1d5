"""`stowage clean-up`: take back what Stowage wrote on a cluster."""

from __future__ import annotations

from pathlib import Path

import typer

AS_JSON = typer.Option(False, "--json", help="Print one JSON object instead of lines.")


def mount(app: typer.Typer) -> None:
    """Add the command to the top level of `app`."""
    app.command("clean-up")(clean_up)


def clean_up(
    kubeconfig: Path | None = typer.Option(None, help="The cluster; without it the pod's own, or $KUBECONFIG."),
    planner: str | None = typer.Option(None, help="Stop this planner first: namespace/name of its Deployment."),
    selector: str = typer.Option("", help="Labels of the planner's pods, to wait for their end."),
    wait: float = typer.Option(60.0, min=0, help="Longest wait for the planner's pods, seconds."),
    keep_plans: bool = typer.Option(False, "--keep-plans", help="Take our finalizer off plans, but delete none."),
    prices: bool = typer.Option(False, "--prices", help="Only take prices of price rounds off nodes."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what would be changed."),
    as_json: bool = AS_JSON,
) -> None:
    """Delete plans, and take our taints, annotations and gates off nodes and pods. Running pods stay where they are."""
    import json
    import time
    from dataclasses import asdict

    from scheduler.live import cleanup
    from scheduler.live.api import Api

    api = Api.connect(kubeconfig)
    left: list[str] = []
    if planner is not None and not dry_run:
        left = cleanup.stop_planner(api, planner, selector, wait, time.sleep)
        if left:
            typer.echo(f"stowage: still there after {wait:g} s: {', '.join(left)}; going on", err=True)
    if prices:
        done = cleanup.take_prices(api, write=not dry_run)
    else:
        done = cleanup.clean_up(api, keep_plans=keep_plans, write=not dry_run)
    done.planner_pods = left
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2))
        return
    would = "would be " if dry_run else ""
    for kind, names, what in (
        ("plan", done.plans, "freed" if keep_plans else "deleted"),
        ("node", done.nodes, "cleaned"),
        ("pod", done.pods, "cleaned"),
    ):
        for name in names:
            typer.echo(f"{kind} {name} {would}{what}")
