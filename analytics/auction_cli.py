"""`stowage auction`."""

from __future__ import annotations

from pathlib import Path

import typer

_PUBLISHED = "MOHAF as published"


def auction(
    instance: list[Path] = typer.Argument(
        help="A StowageMarket file, a cluster (kubectl get nodes,pods -A -o json, or a snapshot), an imported trace, "
        "or job_events of Google 2011 as published (a folder or parts): the instance of MOHAF's paper."
    ),
    mechanism: str = typer.Option(
        "exact", "--mechanism",
        help="exact, posted (prices on the door), mohaf, greedy, first-price, random, drf, kube-default.",
    ),
    per_node: str = typer.Option("many", "--per-node", help="one request a node, or as many as fit."),
    charge: str = typer.Option(
        "price", "--charge",
        help="exact: winners pay the price they meet, or tenants pay clarke: the harm they do. With one request a node "
        "that takes less than the round itself, where nodes are shared one more solve for each tenant that wins.",
    ),
    at: str | None = typer.Option(None, "--at", help="A trace: the instant, as in 12h."),
    listed: int = typer.Option(32, "--listed", min=1, help="A trace: machines that a task bids for at most."),
    seed: int = typer.Option(0, "--seed", help="Seed of the search, and of random."),
    effort: float = typer.Option(1.0, "--effort", min=0.0, help="Search where nodes are shared, in usual amounts."),
    frontier: int = typer.Option(0, "--frontier", help="Also solve this many weights between two aims."),
    towards: str = typer.Option(
        "demand", "--towards", help="The frontier's other aim: demand (units of room count alike), or tenants."
    ),
    plot: Path | None = typer.Option(None, "--plot", help="The frontier as SVG."),
    explain: str | None = typer.Option(None, "--explain", help="exact: why this request won or lost."),
    utility: str = typer.Option(
        "paper", "--utility", help="paper (.4/.3/.1/.2, normalised) or as-run (.3/.3/.2/.2).",
        rich_help_panel=_PUBLISHED,
    ),
    draw_seed: int = typer.Option(42, "--draw-seed", help="Seed of its machines.", rich_help_panel=_PUBLISHED),
    pricing: str = typer.Option(
        "as-run", "--pricing", help="as-run (a constant 0.992) or dynamic (eq 4).", rich_help_panel=_PUBLISHED
    ),
    rounds: int = typer.Option(1, "--rounds", help="Rounds of dynamic prices.", rich_help_panel=_PUBLISHED),
    payment: str = typer.Option(
        "own", "--payment", help="own (eq 5), or the second-machine of the same request.", rich_help_panel=_PUBLISHED
    ),
    clusters: int = typer.Option(
        0, "--clusters", min=0, help="Clusters of machines; 0: none.", rich_help_panel=_PUBLISHED
    ),
    reach: int = typer.Option(
        1, "--reach", min=1, help="Clusters that a request bids in.", rich_help_panel=_PUBLISHED
    ),
    out: Path | None = typer.Option(None, "-o", "--out", help="Also write the JSON object to this file."),
    force: bool = typer.Option(False, "--force", help="Replace files that are there."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout, nothing else."),
) -> None:  # fmt: skip
    """Sell the nodes of a round: who wins what, at which prices, who pays, and how far that is from the optimum.

    Every mechanism is scored by the same bids, beside the bound that no allocation exceeds. Revenue is what is paid;
    with --utility as-run it is counted as the published code does, once more times the demand.
    """
    from typing import Any, cast

    from analytics.auction.command import AuctionOptions, hold_auction
    from analytics.auction.frontier import draw_frontier
    from analytics.auction.report import print_answer, to_report
    from analytics.errors import InputError
    from analytics.runs import to_json, write_text

    for path in (out, plot):
        if path is not None and path.exists() and not force:
            raise InputError(f"{path} exists: use --force to replace it, or another name")
    if plot is not None and not frontier:
        raise InputError(f"--plot {plot} draws the frontier: it goes with --frontier N")
    options = AuctionOptions(
        tuple(instance), mechanism, per_node, charge, at, listed, seed, effort, frontier, towards, explain, utility,
        draw_seed, cast(Any, pricing), rounds, cast(Any, payment), clusters, reach,
    )  # fmt: skip
    answer = hold_auction(options)
    if plot is not None:
        write_text(plot, draw_frontier(answer.frontier, towards))
    if out is not None:
        write_text(out, to_json(to_report(answer)))
    if as_json:
        print(to_json(to_report(answer)), end="")
    else:
        print_answer(answer)
