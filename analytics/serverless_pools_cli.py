"""`stowage serverless pools`."""

from __future__ import annotations

from pathlib import Path

import typer


def mount(app: typer.Typer) -> None:
    """Add the command to `stowage serverless`."""
    app.command()(pools)


def pools(
    trace: Path = typer.Argument(help="An imported trace with cold starts and their components."),
    quantile: list[float] = typer.Option(
        [0.5, 0.8, 0.9, 0.95, 0.99], "--quantile", help="Share of past minutes a pool is to serve whole; repeatable."
    ),
    past_days: int = typer.Option(7, "--past-days", min=1, help="Days before that a size is learnt from."),
    region: list[str] = typer.Option([], "--region", help="Only pools of this region; repeatable."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout, nothing else."),
) -> None:
    """Size pools of ready pods per configuration from the same hour of past days: hits against idle memory.

    Beside it at equal idle memory: one price of idle memory for all pools, one size for the whole day, and the bound
    that knows every hour's cold starts.
    """
    from analytics.runs import to_json
    from analytics.serverless.pools import read_demand, size_all
    from analytics.serverless.pools_report import pools_object, print_pools
    from traces.schema import open_trace

    found = size_all(read_demand(open_trace(trace), region), quantile, past_days)
    if as_json:
        print(to_json(pools_object(found)), end="")
    else:
        print_pools(found)
