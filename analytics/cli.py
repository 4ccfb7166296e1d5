"""`stowage replay`, `compare`, `sweep`, `capacity`, `sql`, and the commands of the other `*_cli` modules."""

from __future__ import annotations

from pathlib import Path

import typer

from analytics import (
    auction_cli,
    balance_cli,
    bench_cli,
    fgd_cli,
    policies_cli,
    serverless_cli,
    serverless_place_cli,
    serverless_pools_cli,
    serverless_studies_cli,
)

_GANGS = "Faults"
_JSON = typer.Option(False, "--json", help="One JSON object on stdout, nothing else.")


def mount(app: typer.Typer) -> None:
    """Add this folder's commands to the top level of `app`."""
    app.command("replay")(replay)
    app.command("compare")(compare)
    app.command("sweep")(sweep)
    app.command("capacity")(capacity)
    app.command("sql")(sql)
    app.command("policies")(policies_cli.policies)
    app.command("auction")(auction_cli.auction)
    app.command("balance")(balance_cli.balance)
    app.command("fgd")(fgd_cli.fgd)
    serverless_studies_cli.mount(serverless_cli.app)
    serverless_place_cli.mount(serverless_cli.app)
    serverless_pools_cli.mount(serverless_cli.app)
    app.add_typer(serverless_cli.app, name="serverless", help="Replay calls of functions: cold starts, idle memory.")
    app.add_typer(bench_cli.app, name="bench", help="Run published benchmarks and print their figures beside ours.")


def replay(
    trace: Path | None = typer.Argument(None, help="An imported trace; left out with --gang-nodes."),
    out: Path | None = typer.Option(None, "-o", "--out", help="Run folder to write."),
    mode: str = typer.Option("what-if", "--mode", help="recorded: apply what happened; what-if: decide again."),
    policy: str = typer.Option("kube-default", "--policy", help="Who decides (stowage policies lists them)."),
    seed: int = typer.Option(0, "--seed", help="Seed of everything random."),
    nodes: str = typer.Option("x1", "--nodes", help="Machines: x0.9 of the recorded ones, or their number."),
    drop_shape: list[str] = typer.Option(
        [], "--drop-shape", help="Leave out machines of this shape (cores/memory[/GPUs], as in 64/256Gi); repeatable."
    ),
    scale_load: float = typer.Option(1.0, "--scale-load", help="Multiply the jobs by this."),
    from_: str | None = typer.Option(None, "--from", help="Start of the window, as in 12h or 1.5d."),
    to: str | None = typer.Option(None, "--to", help="End of the window."),
    initial: str = typer.Option(
        "recorded", "--initial", help="What runs when the window opens: recorded (where it ran), or empty (all wait)."
    ),
    overcommit: list[str] = typer.Option(
        [],
        "--overcommit",
        help="Requests may exceed a machine by this factor, as in cpu=1.2; beyond it, it is overloaded; repeatable.",
    ),
    load: str = typer.Option("requests", "--load", help="What overloads: requests, or use, where the trace has it."),
    settings: list[str] = typer.Option(
        [], "--set", help="A parameter of the policy, name=value (stowage policies --json lists them); repeatable."
    ),
    node_failures: float = typer.Option(
        0.0, "--node-failures", help="Share of the nodes that go down once, at times drawn from the seed."
    ),
    node_outage: str = typer.Option("30m", "--node-outage", help="How long each of them is away."),
    preemption: str = typer.Option("policy", "--preemption", help="on, off, or what the policy says."),
    interval: str = typer.Option("5m", "--interval", help="Distance of the samples over time."),
    faults: str | None = typer.Option(
        None,
        "--faults",
        help="An imported trace of faults (stowage trace import infinitehbd), or fitted: drawn from the seed",
        rich_help_panel=_GANGS,
    ),
    gang_nodes: list[int] = typer.Option(
        [],
        "--gang-nodes",
        help="Replay a gang on this many nodes of the faults' fleet; repeatable.",
        rich_help_panel=_GANGS,
    ),
    recovery: list[str] = typer.Option(
        [], "--recovery", help="manual, automated [default: both]; repeatable.", rich_help_panel=_GANGS
    ),
    detect: str | None = typer.Option(None, "--detect", help="Until a fault is noticed: 30s.", rich_help_panel=_GANGS),
    diagnose: str | None = typer.Option(
        None, "--diagnose", help="Until the broken nodes are isolated: 90s.", rich_help_panel=_GANGS
    ),
    restart: str | None = typer.Option(
        None, "--restart", help="From having nodes to the next step: 5m.", rich_help_panel=_GANGS
    ),
    checkpoint: str | None = typer.Option(
        None, "--checkpoint", help="Work between checkpoints: 10m, or never.", rich_help_panel=_GANGS
    ),
    checkpoint_cost: str | None = typer.Option(
        None, "--checkpoint-cost", help="Time to save one: 0s.", rich_help_panel=_GANGS
    ),
    placement: str = typer.Option(
        "aware",
        "--placement",
        help="aware of repairs, quarantine for a day after them, or blind.",
        rich_help_panel=_GANGS,
    ),
    spares: int | None = typer.Option(
        None, "--spares", help="Spare nodes [default: the rest of the fleet].", rich_help_panel=_GANGS
    ),
    fleet: int | None = typer.Option(
        None,
        "--fleet",
        min=1,
        help="Nodes that the faults are of [default: as the trace says].",
        rich_help_panel=_GANGS,
    ),
    force: bool = typer.Option(False, "--force", help="Replace an existing run."),
    as_json: bool = _JSON,
) -> None:
    """Replay a trace: as it was recorded, or decided again by a policy on this or another cluster.

    Same trace, options and seed give the same bytes. What the run cost is beside the folder, in OUT.cost.json.

    With --faults, machines go down and come back as the nodes of a fault trace did, and what ran on them starts again.
    With --gang-nodes too and no trace: gangs on that fleet, and where their hours go.
    """
    phases = {
        "detect": detect, "diagnose": diagnose, "restart": restart, "checkpoint": checkpoint,
        "checkpoint_cost": checkpoint_cost,
    }  # fmt: skip
    if gang_nodes:
        _replay_gangs(trace, faults, gang_nodes, recovery, phases, placement, spares, fleet, seed, as_json)
        return
    from typing import Any, cast

    from analytics.errors import InputError
    from analytics.options import (
        ClusterSize,
        MachineShape,
        ReplayOptions,
        parse_duration_us,
        parse_overcommit,
        parse_settings,
    )
    from analytics.replay import run_replay
    from analytics.report import print_run, show_share
    from analytics.runs import read_run, to_json

    if recovery or spares is not None or fleet is not None or placement != "aware" or any(phases.values()):
        raise InputError("recovery, its phases, placement, spares and fleet are of gangs: they go with --gang-nodes")
    if trace is None or out is None:
        raise InputError("Missing a trace or -o: give an imported trace and -o FOLDER, or --faults with --gang-nodes")
    options = ReplayOptions(
        trace,
        out,
        mode=cast(Any, mode),
        policy="recorded" if mode == "recorded" else policy,
        seed=seed,
        nodes=ClusterSize.parse(nodes),
        drop_shape=tuple(MachineShape.parse(shape) for shape in drop_shape),
        scale_load=scale_load,
        from_us=None if from_ is None else parse_duration_us(from_),
        to_us=None if to is None else parse_duration_us(to),
        initial=cast(Any, initial),
        overcommit=parse_overcommit(overcommit),
        preemption=cast(Any, preemption),
        interval_us=parse_duration_us(interval),
        faults=faults,
        load=cast(Any, load),
        settings=parse_settings(settings),
        node_failures=node_failures,
        node_outage_us=parse_duration_us(node_outage),
    )
    with show_share("replaying (the first run compiles, about a minute)") as tick:
        run = read_run(run_replay(options, force, tick))
    if as_json:
        print(to_json(run.report()), end="")
    else:
        print_run(run)


def _replay_gangs(
    trace: Path | None, faults: str | None, gang_nodes: list[int], recovery: list[str], phases: dict[str, str | None],
    placement: str, spares: int | None, fleet: int | None, seed: int, as_json: bool,
) -> None:  # fmt: skip
    from analytics.errors import InputError
    from analytics.faults.history import find_history
    from analytics.faults.report import GangReplay, parse_recoveries, print_gangs, replay_gangs
    from analytics.runs import to_json

    if faults is None or trace is not None:
        raise InputError("--gang-nodes takes --faults FOLDER, and no other trace")
    asked = GangReplay(tuple(gang_nodes), parse_recoveries(recovery, phases), placement, spares, seed)
    answer = replay_gangs(find_history(faults, fleet, seed), asked)
    if as_json:
        print(to_json(answer), end="")
    else:
        print_gangs(answer)


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


def sweep(
    study: Path = typer.Argument(help="A study file (TOML): trace, out, policies, nodes, scale_load, seeds, [replay]."),
    cluster: str | None = typer.Option(None, "--cluster", help="Dask scheduler to use, as in tcp://host:8786."),
    workers: int | None = typer.Option(None, "--workers", min=1, help="Local processes; all cores by default."),
    force: bool = typer.Option(False, "--force", help="Replace runs in the study's folder that are not this study's."),
    as_json: bool = _JSON,
) -> None:
    """Replay policies x cluster sizes x loads x seeds, on all cores or on a Dask cluster.

    Stop it whenever you like: finished cells are kept when it starts again. The bytes of the runs do not depend on
    where they were made.
    """
    from analytics.report import number, print_table, show_progress
    from analytics.runs import to_json
    from analytics.study import index, read_study, run_study

    plan = read_study(study)
    kept = 0
    with show_progress(len(plan.cells)) as step:
        for progress in run_study(plan, force=force, workers=workers, cluster=cluster):
            kept += progress.kept
            step(f"{progress.cell.out.name}: {progress.error or ('kept' if progress.kept else 'done')}")
    found = index(plan)
    if as_json:
        print(to_json({"out": str(plan.out), "kept": kept, "ran": len(plan.cells) - kept, **found}), end="")
        return
    columns = ["run", "p99 delay, s", "never placed", "CPU requested", "CPU stranded"]
    metrics = ["delay_s.all.p99", "never_placed", "utilisation.cpu", "stranded.cpu"]
    rows = [[cell["run"], *(number(cell["metrics"].get(name)) for name in metrics)] for cell in found["cells"]]
    print_table("", columns, rows)
    print(f"{kept} kept, {len(rows) - kept} replayed. Next: stowage compare {plan.out}/*/")


def capacity(
    trace: Path = typer.Argument(help="An imported trace."),
    policy: str = typer.Option(..., "--policy", help="Policy to decide with (stowage policies lists them)."),
    tier: str = typer.Option(..., "--tier", help="Tier whose delay counts, as in production; all for everything."),
    delay_p99: str = typer.Option(..., "--delay-p99", help="Limit of the 99th percentile of its delay, as in 60s."),
    out: Path | None = typer.Option(None, "-o", "--out", help="Keep the replays in this folder, and reuse them."),
    seed: int = typer.Option(0, "--seed", help="Seed of the replays."),
    from_: str | None = typer.Option(None, "--from", help="Start of the window, as in 12h or 1.5d."),
    to: str | None = typer.Option(None, "--to", help="End of the window."),
    initial: str = typer.Option("recorded", "--initial", help="At the window's start: recorded, or empty."),
    scale_load: float = typer.Option(1.0, "--scale-load", help="Multiply the arriving tasks by this."),
    overcommit: list[str] = typer.Option([], "--overcommit", help="Factor on a resource, as in cpu=1.2; repeatable."),
    preemption: str = typer.Option("policy", "--preemption", help="on, off, or what the policy says."),
    cluster: str | None = typer.Option(None, "--cluster", help="Dask scheduler to use, as in tcp://host:8786."),
    workers: int | None = typer.Option(None, "--workers", min=1, help="Sizes tried at once; all cores by default."),
    as_json: bool = _JSON,
) -> None:
    """Find the fewest nodes that keep a tier's p99 queueing delay under a limit, by bisection over replays.

    Attempts that never started count as waiting: see delay_censored_s in the metrics.
    """
    import contextlib
    import tempfile
    from typing import Any, cast

    from analytics.capacity import find_capacity
    from analytics.facts import usable_cores
    from analytics.options import ReplayOptions, parse_duration_us, parse_overcommit
    from analytics.report import number, print_table, show_progress
    from analytics.runs import to_json

    with contextlib.ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stowage-capacity-")))
        base = ReplayOptions(
            trace.absolute(),
            folder.absolute(),
            policy=policy,
            seed=seed,
            from_us=None if from_ is None else parse_duration_us(from_),
            to_us=None if to is None else parse_duration_us(to),
            initial=cast(Any, initial),
            scale_load=scale_load,
            overcommit=parse_overcommit(overcommit),
            preemption=cast(Any, preemption),
        )
        step = stack.enter_context(show_progress(None))
        found = find_capacity(
            base,
            tier,
            parse_duration_us(delay_p99),
            workers=workers or usable_cores(),
            cluster=cluster,
            report=lambda tried: step(f"{tried.nodes} nodes: p99 {number(tried.delay_p99_s)} s"),
        )
    if as_json:
        print(to_json(found.to_json()), end="")
        return
    rows = [
        [str(tried.nodes), number(tried.delay_p99_s), number(tried.never_placed), "yes" if tried.ok else "no"]
        for tried in found.searched
    ]
    print_table("", ["nodes", "p99 delay, s", "never placed", "within the limit"], rows)
    print(found.why)


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
