"""`stowage replay`, `compare`, `sweep`, `capacity`, `sql`."""

from __future__ import annotations

from pathlib import Path

import typer

_JSON = typer.Option(False, "--json", help="One JSON object on stdout, nothing else.")


def mount(app: typer.Typer) -> None:
    """Add this folder's commands to the top level of `app`."""
    app.command("compare")(compare)
    app.command("sql")(sql)


def compare(
    runs: list[Path] = typer.Argument(help="Run folders; the first is what the others are compared with."),
    as_json: bool = _JSON,
    csv: Path | None = typer.Option(None, "--csv", help="Also write one line per metric and group to this file."),
    every_metric: bool = typer.Option(False, "--all", help="Show every metric, not only the headlines."),
    force: bool = typer.Option(False, "--force", help="Compare different traces or windows too; replace the CSV file."),
    seed: int = typer.Option(0, "--bootstrap-seed", help="Seed of the confidence intervals."),
    replicates: int = typer.Option(400, "--bootstrap", min=100, help="Resamples per interval."),
    cost_model: Path | None = typer.Option(None, "--cost-model", help="TOML file with prices and power."),
) -> None:
    """Put runs side by side, with differences to the first and their confidence intervals.

    Runs that differ in their seed only are one column. From three seeds on, intervals come from a paired bootstrap over
    seeds; with fewer, from one over whole jobs (delays, counts) and hours (utilisation) within the trace.
    """
    from analytics.compare import compare as compare_runs
    from analytics.cost import CostModel
    from analytics.errors import InputError
    from analytics.report import print_comparison
    from analytics.runs import to_json, write_text

    if csv and csv.exists() and not force:
        raise InputError(f"{csv} exists: use --force to replace it, or another name")
    model = CostModel.read(cost_model) if cost_model else None
    comparison = compare_runs(runs, force, seed, replicates, model)
    if csv:
        write_text(csv, comparison.to_csv())
    if as_json:
        print(to_json(comparison.to_json()), end="")
    else:
        print_comparison(comparison, every_metric)


def sql(
    run: Path = typer.Argument(help="A run folder."),
    statement: str = typer.Argument(help='What to ask, as in "select tier, count(*) from attempts group by tier".'),
    as_json: bool = _JSON,
) -> None:
    """Ask a run in SQL (DuckDB).

    Views: placements, series, shapes, nodes, tenants (the folder's files); attempts (placements with tier, waited_us,
    ran_us); waits; capacity (series with one row per resource); tables tiers and run_window.
    """
    import json

    import duckdb

    from analytics.errors import InputError
    from analytics.report import print_table
    from analytics.runs import read_run
    from analytics.store import open_store

    found = read_run(run)
    with open_store(found.folder, found.facts) as store:
        try:
            result = store.execute(statement)
            columns, rows = [column[0] for column in result.description or []], result.fetchall()
        except duckdb.Error as refused:
            raise InputError(f"DuckDB: {refused}") from refused
    if as_json:
        print(json.dumps({"columns": columns, "rows": rows}, default=str))
    else:
        print_table("", columns, [["" if value is None else str(value) for value in row] for row in rows])
