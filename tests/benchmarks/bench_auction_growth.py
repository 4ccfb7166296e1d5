"""The cost of growth: the published auction instance at 1 to 100 times its size.

`python -m tests.benchmarks.bench_auction_growth --plot FILE` draws the results that are kept, as SVG.
STOWAGE_BENCH_TIMES: the largest multiple (default 100).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scheduler.core.auction.candidates import solve_plane
from scheduler.core.auction.paper_instance import UTILITIES
from scheduler.core.auction.paper_plane import plane_of
from tests.benchmarks.harness import RESULTS, Report
from tests.benchmarks.paper_jobs import paper_instance

NAME = "auction_growth"
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
WIDTH, HEIGHT, MARGIN = 640, 400, 60


def one_per_machine(times: int) -> dict[str, Any]:
    """Short lists, auction and certificate, from the bids as columns."""
    _, instance = paper_instance(times)
    plane = plane_of(instance, UTILITIES["as-run"])
    wall, cpu = time.perf_counter(), time.process_time()
    found = solve_plane(plane)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    requests = len(instance.requests)
    return {
        "requests": requests, "nodes": len(instance.machines), "cpu_s": cpu, "wall_s": wall, "gap": found.gap,
        "efficiency": found.welfare / requests, "million_steps": found.steps / 1e6,
        "target": "6 CPU s, gap 1e-4" if times == 100 else None,
    }  # fmt: skip


# What grows, and how far: its multiples, and a function from the multiple to a row's figures (`requests` and `cpu_s`
# among them, which the plot shows).
SERIES: dict[str, tuple[tuple[int, ...], Callable[[int], dict[str, Any]]]] = {
    "one per machine": ((1, 3, 10, 30, 100), one_per_machine),
}


def bench(work: Path) -> Report:
    longest = int(os.environ.get("STOWAGE_BENCH_TIMES", "100"))
    report = Report(NAME, f"The published auction instance, repeated: {paper_instance()[0]}")
    for name, (multiples, step) in SERIES.items():
        step(1)  # compiled or read from the cache
        for times in multiples:
            if times <= longest:
                report.add(f"{name}, {times}x", series=name, **step(times))
                report.write()  # what is known, should a larger one be stopped
    report.notes.append("gap: (bound - welfare) / bound, the bound over all pairs, also those that no request lists.")
    return report


def draw_growth(rows: Sequence[Mapping[str, Any]]) -> str:
    """An SVG of CPU seconds over requests, both logarithmic, a line per series; dotted: proportional to the first."""
    low_x, high_x = (math.log10(of(row["requests"] for row in rows)) for of in (min, max))
    low_y, high_y = (of(math.log10(row["cpu_s"]) for row in rows) for of in (min, max))
    low_y, high_y = math.floor(low_y), math.ceil(high_y + 1e-9)

    def at(requests: float, seconds: float) -> str:
        x = (math.log10(requests) - low_x) / max(high_x - low_x, 1e-9)
        y = (math.log10(seconds) - low_y) / max(high_y - low_y, 1)
        return f"{MARGIN + x * (WIDTH - 2 * MARGIN):.1f},{HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">requests (four per node)</text>',
        '<text x="14" y="24">CPU seconds</text>',
    ]
    for power in range(low_y, high_y + 1):
        left, right = at(10**low_x, 10**power), at(10**high_x, 10**power)
        parts.append(f'<polyline points="{left} {right}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{left.split(",")[1]}" text-anchor="end">{10.0**power:g}</text>')
    for requests in sorted({row["requests"] for row in rows}):
        x = at(requests, 10**low_y).split(",")[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{requests:,}</text>')
    for number, name in enumerate(dict.fromkeys(row["series"] for row in rows)):
        colour = COLOURS[number % len(COLOURS)]
        points = sorted((row["requests"], row["cpu_s"]) for row in rows if row["series"] == name)
        line = " ".join(at(*point) for point in points)
        (first, cost), last = points[0], points[-1][0]
        straight = f"{at(first, cost)} {at(last, cost * last / first)}"
        parts.append(f'<polyline points="{straight}" fill="none" stroke="{colour}" stroke-dasharray="2 4"/>')
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{MARGIN + 12}" y="{MARGIN + 16 * number}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the results that are kept.")
    parser.add_argument("--plot", type=Path, required=True, metavar="FILE", help="the SVG to write")
    rows = json.loads((RESULTS / f"{NAME}.json").read_text())["rows"]
    parser.parse_args().plot.write_text(draw_growth(rows))


if __name__ == "__main__":
    main()
