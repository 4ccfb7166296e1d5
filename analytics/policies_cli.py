"""`stowage policies`: every policy of the project, what it is for and where it stands."""

from __future__ import annotations

import typer


def policies(
    kind: str = typer.Option("", "--kind", help="Only what this is for, such as replay, balance or serverless."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object instead of a table."),
) -> None:
    """List the policies: what each decides, its class, who decides, and how. Those of installed packages too."""
    from analytics.policy_list import list_policies

    rows, problems = list_policies(kind)
    for problem in problems:  # one broken package must not hide the other policies
        typer.echo(f"stowage: {problem}", err=True)
    if as_json:
        import json

        typer.echo(json.dumps({"policies": rows}, indent=2))
        return
    import sys

    from rich.console import Console
    from rich.table import Table

    columns = ("name", "kind", "class", "control", "method", "summary")
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(str(row[key]) for key in columns))
    Console(width=None if sys.stdout.isatty() else 200).print(table)  # a pipe has no width to fold lines at
