"""`stowage fgd`."""

from __future__ import annotations

from pathlib import Path

import typer


def fgd(
    nodes: Path = typer.Argument(help="Node list of cluster-trace-gpu-v2023: CSV or Parquet."),
    pods: Path = typer.Argument(help="Pod list: CSV or Parquet."),
    policy: str = typer.Option(
        "stowage",
        "--policy",
        help="stowage, fgd, or a published baseline: best-fit, dot-product, gpu-packing, gpu-clustering, random.",
    ),
    seeds: str = typer.Option("42-51", "--seeds", help="One seed (42), several (42,44) or a range (42-51)."),
    path: str = typer.Option(
        "scores10",
        "--path",
        help="exact: equal scores by name; random-ties; scores10: an extender's whole points, equal ones at random; "
        "scores10-nearest: the same, rounded to the nearest point.",
    ),
    expected: Path | None = typer.Option(
        None, "--expected", help="Folder of the published results; fgd_expected beside the pod list if there is one."
    ),
    workers: int | None = typer.Option(None, "--workers", min=1, help="Seeds at a time; all cores by default."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> None:
    """Place a published GPU workload pod by pod, as FGD's evaluation does, and say how much of the GPUs is allocated.

    Shows the share of GPUs allocated when x % of the cluster's GPUs have been asked for, mean over the seeds, with the
    published figures beside it. The policy stowage learns the usual pods as they arrive; fgd is given them.
    """
    from analytics.facts import usable_cores
    from analytics.fgd import run_fgd
    from analytics.fgd_files import read_cluster, read_expected, read_pods
    from analytics.fgd_report import parse_seeds, print_result
    from analytics.runs import to_json

    chosen = parse_seeds(seeds)
    cluster = read_cluster(nodes)
    work = read_pods(pods, cluster.models)
    published = read_expected(expected or pods.parent / "fgd_expected", pods.name.partition(".")[0])
    result = run_fgd(cluster, work, policy, path, chosen, workers or usable_cores())
    if as_json:
        print(to_json({**result.to_json(), "published": published}), end="")
    else:
        print_result(result, published)
