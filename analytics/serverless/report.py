"""What people and scripts are shown of serverless replays."""

from __future__ import annotations

from typing import Any

from analytics.report import number, print_table
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
    for note in subjects.notes:
        print(note)


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
