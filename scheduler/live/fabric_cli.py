"""`stowage fabric`."""

from __future__ import annotations

from typing import Any

import typer

HASHINGS = 20


def mount(app: typer.Typer) -> None:
    """Add the command to the top level of `app`."""
    app.command()(fabric)


def fabric(
    spec: str = typer.Argument(help="JSON: leaves, spines, connections, links that are down; - for standard input."),
    may_split: bool = typer.Option(True, "--split/--whole", help="Split a few flows to reach the ideal, or none."),
    seed: int = typer.Option(0, "--seed", min=0, help="Seed of the hashing (ECMP) that it is compared with."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object with every connection's paths."),
) -> None:
    """Give every connection of a collective its spine, so that no link carries more than it must.

    Prints the load of the most loaded link against the least that is possible, and what hashing and a greedy choice
    would make of the same connections.
    """
    import sys

    import msgspec
    import numpy as np

    from scheduler.core.errors import StowageInputError
    from scheduler.core.gpu.flows import ecmp, greedy, ideal_load, place
    from scheduler.core.gpu.paths import paths_of, read_fabric
    from scheduler.live.packing_cli import read_bytes

    try:
        found, links, flows = read_fabric(read_bytes(spec))
    except StowageInputError as error:
        raise StowageInputError(f"{spec}: {error}") from error
    ideal = ideal_load(links, flows)
    chosen = place(links, flows, may_split=may_split)
    rng = np.random.default_rng(seed)
    load = chosen.max_load(links, flows)
    beside = {"greedy": greedy(links, flows).max_load(links, flows)}
    for pairs in (1, 2, 4, 8):
        every = [ecmp(links, flows, pairs, rng).max_load(links, flows) for _ in range(HASHINGS)]
        beside[f"ecmp_{pairs}"] = float(np.mean(every))
    report: dict[str, Any] = {
        "connections": len(found.connections), "over_spines": int(flows.crossing.size), "split_flows": chosen.split,
        "max_load": load, "ideal": ideal, "ratio": load / ideal if ideal else 1.0, "beside": beside,
    }  # fmt: skip
    if as_json:
        report["paths"] = list(paths_of(found, chosen))
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        return
    print(f"{report['connections']} connections, {report['over_spines']} of them over spines, {chosen.split} split")
    print(f"most loaded link: {load:.3f} flows, {report['ratio']:.3f} of the least possible {ideal:.3f}")
    for name, other in beside.items() if ideal else ():
        print(f"  {name:<8} {other:8.3f}   {other / ideal:6.3f} of the least")
