"""What people and scripts are shown of serverless replays."""

from __future__ import annotations

from typing import Any

from analytics.plot import draw_lines
from analytics.report import number, print_table
from analytics.serverless.frontier import METRICS, Comparison, figures_of
from analytics.serverless.options import show
from analytics.serverless.replay import Pass
from scheduler.core.serverless import get_serverless_policy, serverless_policy_names


def report_pass(done: Pass) -> dict[str, Any]:
    """What `stowage serverless replay --json` prints: every policy, and of a single one its figures at the top too."""
    figures = [{**outcome.figures(), "policy_cpu_s": outcome.cpu_s} for outcome in done.outcomes]
    common = {"window_us": list(done.window_us), "cpu_s": done.cpu_s, "notes": list(done.subjects.notes)}
    return {**(figures[0] if len(figures) == 1 else {}), "policies": figures, **common}


def print_pass(done: Pass) -> None:
    """One row per policy."""
    columns = ["policy", "cold starts", "idle GB h", "p50 cold start, s", "p99 cold start, s", "mean delay, s"]
    rows = []
    for outcome in done.outcomes:
        found = outcome.figures()
        cold = found["cold_start_s"]
        rows.append([
            found["label"], number(found["cold_starts"]), f"{found['idle_gb_h']:,.2f}", number(cold["p50"]),
            number(cold["p99"]), number(found["delay_s"]["mean"]),
        ])  # fmt: skip
    print_table("", columns, rows)
    calls, subjects = int(done.outcomes[0].invocations.sum()), done.subjects
    print(f"{calls:,} calls of {len(subjects):,} {subjects.level}s in {done.cpu_s:.2f} CPU s")
    for note in done.subjects.notes:
        print(note)


def print_comparison(found: Comparison) -> None:
    """Who met whom at no more idle memory, each difference with its interval."""
    columns = ["candidate, against", "idle GB h", *(name for name in METRICS if name != "idle_gb_h")]
    rows = []
    for meeting in found.meetings:
        mine, others = figures_of(meeting.candidate), figures_of(meeting.other)
        cells = []
        for name in columns[2:]:
            difference, low, high = meeting.differences.get(name, (0.0, 0.0, 0.0))
            cells.append(f"{number(mine[name])} ({difference:+.4g} [{low:.4g}, {high:.4g}])")
        rows.append([meeting.candidate.spec.label, f"{mine['idle_gb_h']:.2f}", *cells])
        rows.append([meeting.other.spec.label, f"{others['idle_gb_h']:.2f}", *(number(others[n]) for n in columns[2:])])
    print_table("", columns, rows)
    print("In brackets: difference to the policy below, and its 95 % interval over functions (paired bootstrap).")
    for note in found.unmet:
        print(note)


def plot_comparison(found: Comparison) -> str:
    """Every frontier as SVG: cold starts against idle memory."""
    lines = {
        name: [(outcome.idle_gb_h, float(outcome.cold_starts.sum())) for _, outcome in line]
        for name, line in found.frontiers.items()
    }
    return draw_lines(lines, "idle memory, GB h", "cold starts", log_y=True, title="Cold starts at equal memory")


def describe_policies() -> list[dict[str, Any]]:
    """Name, summary, class and parameters of every policy, durations as people write them."""
    rows = []
    for name in serverless_policy_names():
        policy = get_serverless_policy(name)
        rows.append({
            "name": name, "summary": policy.summary, "class": policy.taxonomy.level,
            "control": policy.taxonomy.control, "method": policy.taxonomy.method, "clairvoyant": policy.clairvoyant,
            "parameters": [
                {"name": each.name, "default": show(each.default, each.unit), "unit": each.unit, "help": each.help}
                for each in policy.parameters
            ],
        })  # fmt: skip
    return rows
