"""`stowage serverless place`."""

from __future__ import annotations

from pathlib import Path

import typer


def mount(app: typer.Typer) -> None:
    """Add the command to `stowage serverless`."""
    app.command()(place)


def place(
    trace: Path = typer.Argument(help="An imported trace with functions and invocations."),
    nodes: list[str] = typer.Option(
        ..., "--nodes", help="A fleet, as in 20x16cpu,64Gi or 20x16cpu,64Gi+4x32cpu,128Gi; repeatable."
    ),
    placement: list[str] = typer.Option(
        ["best-fit"], "--placement", help="Who chooses the node of a cold start (stowage policies); repeatable."
    ),
    policy: list[str] = typer.Option(
        [], "--policy", help="Who decides how long pods stay (stowage serverless policies); repeatable."
    ),
    keep_alive: list[str] = typer.Option([], "--keep-alive", help="Keep-alive of policies that have one; repeatable."),
    wait: str = typer.Option("1m", "--wait-at-most", help="How long a call waits for room before it is refused."),
    chains: str | None = typer.Option(
        None, "--chains", help="Load pods of functions that follow a called one within this time, learnt, as in 10s."
    ),
    chain_share: float = typer.Option(0.5, "--chain-share", help="Share of a function's calls that one must follow."),
    cpu: str = typer.Option("100m", "--cpu", help="Requested by pods of functions whose trace says nothing of CPU."),
    level: str = typer.Option("function", "--level", help="What is loaded as one: function or app."),
    from_: str | None = typer.Option(None, "--from", help="Start of the window in the trace's time, as in 12h."),
    to: str | None = typer.Option(None, "--to", help="End of the window."),
    concurrency: int | None = typer.Option(None, "--concurrency", help="Calls that one pod serves at once."),
    speed_up: list[str] = typer.Option([], "--speed-up", help="As in deploy_dependency=2; repeatable."),
    cold_start: str = typer.Option("1s", "--cold-start", help="Cold start where the trace says nothing about it."),
    region: list[str] = typer.Option([], "--region", help="Only functions of this region; repeatable."),
    seed: int = typer.Option(0, "--seed", min=0, help="Of placements that draw, as random."),
    plot: Path | None = typer.Option(None, "--plot", help="Write cold starts against nodes to this SVG file."),
    force: bool = typer.Option(False, "--force", help="Replace an existing plot."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout, nothing else."),
) -> None:
    """Replay calls with every pod on a node: nodes, packing and cold starts of each policy, placement and fleet.

    Where no node has room, idle pods are unloaded early, longest idle first; where all pods are busy, calls wait.
    """
    from analytics.errors import InputError
    from analytics.options import parse_cpu_milli, parse_duration_us
    from analytics.report import show_share
    from analytics.runs import to_json, write_text
    from analytics.serverless.options import parse_options, parse_specs
    from analytics.serverless.placing.fleet import Fleet
    from analytics.serverless.placing.place import PlacingOptions
    from analytics.serverless.placing.place import place as run_placing
    from analytics.serverless.placing.report import plot_placings, print_placings, report_placings
    from traces.schema import open_trace

    if plot and plot.exists() and not force:
        raise InputError(f"{plot} exists: use --force to replace it, or another name")
    replayed = parse_options(level, "event", from_, to, concurrency, speed_up, cold_start, region)
    options = PlacingOptions(
        tuple(parse_specs(policy, keep_alive)), tuple(placement), tuple(map(Fleet.parse, nodes)),
        parse_duration_us(wait), parse_cpu_milli(cpu), seed,
        None if chains is None else parse_duration_us(chains), chain_share,
    )  # fmt: skip
    with show_share("placing (the first run compiles)") as tick:
        found = run_placing(open_trace(trace), options, replayed, tick)
    if plot:
        write_text(plot, plot_placings(found))
    if as_json:
        print(to_json(report_placings(found)), end="")
    else:
        print_placings(found)
