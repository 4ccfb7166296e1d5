"""`stowage balance`."""

from __future__ import annotations

from pathlib import Path

import typer

_TRACE = "Of a trace"
_CLUSTER = "Of a cluster"
_MOVES = "What a move costs, of a trace or a cluster"


def balance(
    source: Path = typer.Argument(
        help="A StowageBalance file, a cluster (kubectl get nodes,pods -A -o json, or a snapshot), or a trace."
    ),
    method: str = typer.Option(
        "cover",
        "--method",
        help="cover, greedy, tabu, annealing, genetic, seeded-genetic, cp-sat, full-scan (tiny cases).",
    ),
    budget: str = typer.Option("10s", "--budget", help="Counted work, about seconds of one core: repeats itself."),
    by_clock: bool = typer.Option(False, "--clock", help="The budget is also wall clock: keeps it, may not repeat."),
    seed: int = typer.Option(0, "--seed", help="Seed of the search, and of the nodes cut from a trace."),
    compare: bool = typer.Option(False, "--compare", help="Every method, each with this budget, beside the bound."),
    at: str | None = typer.Option(
        None, "--at", help="The instant, as in 12h [default: its start].", rich_help_panel=_TRACE
    ),
    nodes: int = typer.Option(100, "--nodes", min=1, help="Machines to cut.", rich_help_panel=_TRACE),
    load: str = typer.Option("requests", "--load", help="What loads a node: requests or use.", rich_help_panel=_TRACE),
    overcommit: list[str] = typer.Option(
        [],
        "--overcommit",
        help="A machine is overloaded beyond this times what it has [default: cpu=1.25 memory=1.1].",
        rich_help_panel=_TRACE,
    ),
    nic_label: str = typer.Option(
        "stowage.dev/nic-type", "--nic-label", help="Node label: the kind of NIC.", rich_help_panel=_CLUSTER
    ),
    rack_label: str = typer.Option(
        "topology.kubernetes.io/rack", "--rack-label", help="Node label: the rack.", rich_help_panel=_CLUSTER
    ),
    group_label: str = typer.Option(
        "stowage.dev/data-parallel-group",
        "--group-label",
        help="Pod label: pods of one data-parallel group share a kind of NIC.",
        rich_help_panel=_CLUSTER,
    ),
    same_rack: str = typer.Option(
        "preferred",
        "--same-rack",
        help="Whether such a group shares a rack: preferred, required, off.",
        rich_help_panel=_CLUSTER,
    ),
    bandwidth_mbit_s: float | None = typer.Option(
        None,
        "--bandwidth-mbit-s",
        min=0,
        help="Link over which a task's memory is sent [default: 10000].",
        rich_help_panel=_MOVES,
    ),
    dirty_mib_s: float | None = typer.Option(
        None,
        "--dirty-mib-s",
        min=0,
        help="Memory written meanwhile, no page twice [default: a tenth of 10 Gbit/s, 119.2].",
        rich_help_panel=_MOVES,
    ),
    out: Path | None = typer.Option(None, "-o", "--out", help="Write the instance as a StowageBalance file."),
    force: bool = typer.Option(False, "--force", help="Replace files that are there."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout, nothing else."),
) -> None:
    """Move as little as possible so that no node is overloaded: which task goes where, why, and how far from the least.

    What counts, in this order: overload, priority without a place, cost of the moves, stranded room. Nothing is moved.
    """
    from analytics.balance import command
    from analytics.balance.cluster_file import DomainLabels
    from analytics.balance.instance_file import write_instance
    from analytics.errors import InputError
    from analytics.runs import to_json, write_text

    if out is not None and out.exists() and not force:
        raise InputError(f"{out} exists: use --force to replace it, or another name")
    labels = DomainLabels(nic_label, rack_label, group_label, same_rack)
    options = command.options_of(
        source, method, budget, by_clock, seed, at, nodes, load, overcommit, labels,
        bandwidth_mbit_s, dirty_mib_s,
    )  # fmt: skip
    answers = command.run_methods(options, compare=compare)
    if out is not None:
        write_text(out, write_instance(answers[0].instance))
    if as_json:
        report = command.to_report(answers[0])
        if compare:
            report = {"methods": {one.result.method: command.to_report(one) for one in answers}}
        print(to_json(report), end="")
    elif compare:
        command.print_comparison(answers)
    else:
        command.print_answer(answers[0])
