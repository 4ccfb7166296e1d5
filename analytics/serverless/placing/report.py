"""What people and scripts are shown of pods on nodes."""

from __future__ import annotations

from typing import Any

from analytics.plot import draw_lines
from analytics.report import number, print_table
from analytics.serverless.placing.place import Placings


def report_placings(found: Placings) -> dict[str, Any]:
    """What `stowage serverless place --json` prints."""
    return {"rows": [row.figures() for row in found.rows], "cpu_s": found.cpu_s, "notes": list(found.notes)}


def print_placings(found: Placings) -> None:
    """One row per policy, placement and fleet."""
    columns = [
        "policy, placement", "nodes", "used, mean", "packed cpu", "packed memory", "cold starts", "unloaded early",
        "waited", "refused", "idle GB h", "mean delay, s",
    ]  # fmt: skip
    rows = []
    for placed in found.rows:
        row = placed.figures()
        rows.append([
            f"{row['policy']}, {row['placement']}", row["fleet"], f"{row['nodes_used']['mean']:.1f}",
            *(_percent(row["packed"][name]) for name in ("cpu", "memory")), number(row["cold_starts"]),
            number(row["unloaded_early"]), number(row["waited"]), number(row["refused"]), f"{row['idle_gb_h']:,.2f}",
            number(row["mean_delay_s"]),
        ])  # fmt: skip
    print_table("", columns, rows)
    calls = int(found.rows[0].invocations.sum())
    print(f"{calls:,} calls of {len(found.subjects):,} {found.subjects.level}s in {found.cpu_s:.2f} CPU s")
    for note in found.notes:
        print(note)


def plot_placings(found: Placings) -> str:
    """Cold starts and refused calls against the number of nodes, a line per policy and placement, as SVG."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for placed in found.rows:
        row = placed.figures()
        lines.setdefault(f"{row['policy']}, {row['placement']}", []).append(
            (float(row["nodes"]), float(row["cold_starts"] + row["refused"]))
        )
    return draw_lines(lines, "nodes", "cold starts and refused calls", log_y=True, title="Nodes against cold starts")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
