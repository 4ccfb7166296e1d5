"""`stowage policies`, and the commands of the other `*_cli` modules."""

from __future__ import annotations

import typer

from scheduler.live import cleanup_cli, diagnose_cli, fabric_cli, packing_cli, planner_cli, serve_cli


def mount(app: typer.Typer) -> None:
    """Add this folder's commands to the top level of `app`."""
    app.command("policies")(policies)
    packing_cli.mount(app)
    fabric_cli.mount(app)
    diagnose_cli.mount(app)
    cleanup_cli.mount(app)
    serve_cli.mount(app)
    planner_cli.mount(app)


def policies(as_json: bool = typer.Option(False, "--json", help="Print one JSON object instead of a table.")) -> None:
    """List the scheduling policies: the built-in ones, and those that installed packages add."""
    from scheduler.core.errors import StowageInputError
    from scheduler.core.policies import get_policy, policy_names

    rows: list[dict[str, object]] = []
    for name in policy_names():
        try:
            policy = get_policy(name)
        except StowageInputError as error:  # one broken package must not hide the other policies
            typer.echo(f"stowage: {error}", err=True)
            continue
        kind = policy.taxonomy
        rows.append({
            "name": policy.name, "summary": policy.summary, "class": kind.level, "control": kind.control,
            "method": kind.method, "preempts": policy.preempts, "needs_rescan": policy.needs_rescan,
            "parameters": [
                {"name": one.name, "default": one.default, "range": one.range, "summary": one.summary}
                for one in policy.parameters
            ],
        })
    if as_json:
        import json

        typer.echo(json.dumps({"policies": rows}, indent=2))
        return
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table("name", "class", "control", "method", "summary", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "class", "control", "method", "summary")))
    Console(width=None if sys.stdout.isatty() else 200).print(table)  # a pipe has no width to fold lines at
