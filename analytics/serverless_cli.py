"""`stowage serverless replay|compare|policies`."""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True)

_POLICY = typer.Option(
    [], "--policy", help="Who decides, as in hybrid or fixed:keep-alive=20m (stowage serverless policies); repeatable."
)
_KEEP_ALIVE = typer.Option([], "--keep-alive", help="Keep-alive of policies that have one, as in 10m; repeatable.")
_LEVEL = typer.Option("function", "--level", help="What is loaded as one: function or app.")
_GRAIN = typer.Option("minute", "--grain", help="minute: calls per minute; event: every call, with its pods.")
_FROM = typer.Option(None, "--from", help="Start of the window in the trace's time, as in 12h or 1.5d.")
_TO = typer.Option(None, "--to", help="End of the window.")
_CONCURRENCY = typer.Option(None, "--concurrency", help="Calls that one pod serves at once; --grain event.")
_SPEED_UP = typer.Option(
    [], "--speed-up", help="What if a part of cold starts were faster, as in deploy_dependency=2; repeatable."
)
_COLD_START = typer.Option("1s", "--cold-start", help="Cold start of functions whose trace says nothing about theirs.")
_REGION = typer.Option([], "--region", help="Only functions of this region; repeatable.")
_JSON = typer.Option(False, "--json", help="One JSON object on stdout, nothing else.")


@app.command()
def replay(
    trace: Path = typer.Argument(help="An imported trace with functions and invocations."),
    policy: list[str] = _POLICY,
    keep_alive: list[str] = _KEEP_ALIVE,
    level: str = _LEVEL,
    grain: str = _GRAIN,
    from_: str | None = _FROM,
    to: str | None = _TO,
    concurrency: int | None = _CONCURRENCY,
    speed_up: list[str] = _SPEED_UP,
    cold_start: str = _COLD_START,
    region: list[str] = _REGION,
    out: Path | None = typer.Option(None, "-o", "--out", help="Run folder to write, with figures per function."),
    force: bool = typer.Option(False, "--force", help="Replace an existing run."),
    as_json: bool = _JSON,
) -> None:
    """Replay calls of functions under keep-alive policies, all in one pass: cold starts against idle memory."""
    from analytics.report import show_share
    from analytics.runs import to_json
    from analytics.serverless.options import parse_options, parse_specs
    from analytics.serverless.replay import replay as run_replay
    from analytics.serverless.report import print_pass, report_pass
    from analytics.serverless.runs import write_pass
    from traces.schema import open_trace

    options = parse_options(level, grain, from_, to, concurrency, speed_up, cold_start, region)
    opened = open_trace(trace)
    with show_share("replaying (the first run compiles)") as tick:
        done = run_replay(opened, parse_specs(policy, keep_alive), options, tick)
    if out is not None:
        write_pass(out, opened, done, options, force)
    if as_json:
        print(to_json(report_pass(done)), end="")
    else:
        print_pass(done)


@app.command()
def compare(
    trace: Path = typer.Argument(help="An imported trace with functions and invocations."),
    policy: list[str] = typer.Option(
        ["hazard"], "--policy", help="Candidate, swept to the memory of each other policy; repeatable."
    ),
    against: list[str] = typer.Option(
        ["fixed", "hybrid", "hybrid-iat"], "--against", help="Policy to meet, as it is; repeatable."
    ),
    level: str = _LEVEL,
    from_: str | None = _FROM,
    to: str | None = _TO,
    speed_up: list[str] = _SPEED_UP,
    cold_start: str = _COLD_START,
    region: list[str] = _REGION,
    grain: str = _GRAIN,
    concurrency: int | None = _CONCURRENCY,
    plot: Path | None = typer.Option(None, "--plot", help="Write all frontiers to this SVG file."),
    force: bool = typer.Option(False, "--force", help="Replace an existing plot."),
    seed: int = typer.Option(0, "--bootstrap-seed", help="Seed of the confidence intervals."),
    replicates: int = typer.Option(400, "--bootstrap", min=100, help="Resamples per interval."),
    as_json: bool = _JSON,
) -> None:
    """Compare policies at equal idle memory, with intervals over functions, and sweep the frontier of each."""
    from analytics.errors import InputError
    from analytics.report import show_share
    from analytics.runs import to_json, write_text
    from analytics.serverless.frontier import compare_policies
    from analytics.serverless.options import parse_options, parse_specs
    from analytics.serverless.report import plot_comparison, print_comparison
    from traces.schema import open_trace

    if plot and plot.exists() and not force:
        raise InputError(f"{plot} exists: use --force to replace it, or another name")
    options = parse_options(level, grain, from_, to, concurrency, speed_up, cold_start, region)
    with show_share("sweeping (the first run compiles)") as tick:
        found = compare_policies(
            open_trace(trace), parse_specs(policy, []), parse_specs(against, []), options, seed, replicates, tick
        )
    if plot:
        write_text(plot, plot_comparison(found))
    if as_json:
        print(to_json(found.to_json()), end="")
    else:
        print_comparison(found)


@app.command()
def policies(as_json: bool = _JSON) -> None:
    """List the keep-alive policies with their parameters."""
    from analytics.report import print_table
    from analytics.runs import to_json
    from analytics.serverless.report import describe_policies

    rows = describe_policies()
    if as_json:
        print(to_json({"policies": rows}), end="")
        return
    for row in rows:
        print(f"{row['name']}: {row['summary']}")
        if row["parameters"]:
            print_table("", ["  parameter", "default", "help"], [
                [f"  {each['name']}", each["default"], each["help"]] for each in row["parameters"]
            ])  # fmt: skip
