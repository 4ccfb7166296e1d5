"""`stowage bench ...`"""

from __future__ import annotations

from pathlib import Path

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Run published benchmarks and print the published figures beside ours."""


@app.command()
def packing(
    methods: str = typer.Option("paper,no-harm,max-pack", help="Which, comma-separated, in the order they run."),
    limit: str = typer.Option("1s", help="Time limit of one call: 1s, 10s, 500ms."),
    nodes: str = typer.Option("4,8,16,32", help="Sizes of the clusters."),
    pods_per_node: str = typer.Option("4,8", help="Pods per node."),
    priorities: str = typer.Option("4", help="Numbers of priorities: 1,2,4 for the whole grid."),
    usage: str = typer.Option("90,95,100,105", help="What the pods ask for, in % of what the nodes have."),
    seeds: str = typer.Option("4", help="A count of fresh seeds, a range (101-140), `published` or `published:5`."),
    workers: int = typer.Option(0, min=0, help="Solver threads; 0 uses every core."),
    baseline: bool = typer.Option(
        True, help="Compare with a preempting run of the default scheduler; without, with the start itself."
    ),
    preempting_start: bool = typer.Option(
        False, "--preempting-start", help="Start from the preempting run, as a real cluster would."
    ),
    results: Path | None = typer.Option(None, help="Keep finished runs in this file, and go on from it."),
    force: bool = typer.Option(False, "--force", help="Start the results file afresh."),
    csv: Path | None = typer.Option(None, help="Write one row per instance and method."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
    quiet: bool = typer.Option(False, "--quiet", help="No progress on stderr."),
) -> None:
    """Run the grid of "Priority Matters" (arXiv 2511.08373): its instances, its classes, its table beside ours.

    Every instance is generated to the byte as published, goes through an emulation of the default scheduler, and then
    to each method with the same limit. The figures hold for the machine and load that are printed with them.
    """
    from analytics.packing_table import BenchOptions, run_packing_bench

    run_packing_bench(
        BenchOptions.parse(
            methods=methods,
            limit=limit,
            nodes=nodes,
            pods_per_node=pods_per_node,
            priorities=priorities,
            usage=usage,
            seeds=seeds,
            workers=workers,
            baseline=baseline,
            preempting_start=preempting_start,
            results=results,
            force=force,
            csv=csv,
            as_json=as_json,
            quiet=quiet,
        )
    )


@app.command("packing-scale")
def packing_scale(
    nodes: str = typer.Option("100,500,1000,5000", help="Sizes of the clusters, 10 pods a node."),
    usage: str = typer.Option("95,100", help="What the pods ask for, in % of what the nodes have."),
    methods: str = typer.Option("no-harm", help="no-harm, max-pack or both."),
    limit: str | None = typer.Option(None, help="Time limit of one call; 0.4, 1, 5 and 60 s for the sizes above."),
    seeds: str = typer.Option("1", help="A count of fresh seeds, a range, `published` or `published:5`."),
    workers: int = typer.Option(2, min=1, help="Processes; 1 does without the solver process."),
    csv: Path | None = typer.Option(None, help="Write one row per run."),
    plot: Path | None = typer.Option(None, help="Write the growth as an SVG."),
    force: bool = typer.Option(False, "--force", help="Overwrite the files."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
    quiet: bool = typer.Option(False, "--quiet", help="No progress on stderr."),
) -> None:
    """Pack large clusters (4 priorities), from where the default scheduler leaves them, and show how it grows."""
    from analytics.packing_table import run_scale_bench

    run_scale_bench(
        nodes=nodes,
        usage=usage,
        methods=methods,
        limit=limit,
        seeds=seeds,
        workers=workers,
        csv=csv,
        plot=plot,
        force=force,
        as_json=as_json,
        quiet=quiet,
    )


@app.command()
def faults(
    trace: str = typer.Argument(help="An imported trace of faults, or fitted: drawn from seed 0."),
    share: float = typer.Option(0.75, "--share", help="Share of the fleet's nodes that gangs hold all the time."),
    seeds: int = typer.Option(20, "--seeds", min=2, help="Seeds, from 0."),
    split: str = typer.Option(
        "time", "--split", help="What placement learns from: the first half of the time, half of the nodes, in-sample."
    ),
    resample: bool = typer.Option(False, "--resample", help="Draw each seed's nodes with replacement."),
    fleet: int | None = typer.Option(
        None, "--fleet", min=1, help="Nodes that the faults are of [default: the trace's]."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> None:
    """Count faults that hit running gangs: placement by time since repair against blind placement, equal allocation."""
    from typing import Any, cast

    from analytics.faults.history import find_history
    from analytics.faults.hits import HitsStudy, compare_hits, print_hits
    from analytics.report import show_progress
    from analytics.runs import to_json

    study = HitsStudy(share, seeds, cast(Any, split), resample)
    with show_progress(seeds) as step:
        found = compare_hits(find_history(trace, fleet, 0), study, step)
    if as_json:
        print(to_json(found), end="")
    else:
        print_hits(found)
