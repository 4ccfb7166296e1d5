"""README's table: every policy beside what Google's scheduler did, on the real 19.65 h slice.

`make readme-table`, or `python -m tests.benchmarks.slice_table [FOLDER]`. The runs stay in FOLDER (a temporary one by
default), where a repeat finds them. Prints Markdown and writes results/slice_table.json.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from scheduler.core.policies import policy_names
from tests.benchmarks.harness import REAL, Report, migrates, show, slice_trace, stowage

# Measured elsewhere: bench_auction_replay has those that tell tenants apart.
OTHERS = ("auction", "drf", "packing")
PLACING = tuple(name for name in policy_names() if name not in OTHERS and not migrates(name))
# Name, CPU and memory factor, preemption, policies.
STUDIES: tuple[tuple[str, float, float, str, tuple[str, ...]], ...] = (
    ("over-committed", 1.25, 1.1, "policy", PLACING),
    ("over-committed, preempting", 1.25, 1.1, "on", ("best-fit", "kube-default")),
    ("as installed", 1.0, 1.0, "policy", ("best-fit", "worst-fit", "kube-default")),
)
COLUMNS = ("production", "middle", "free", "never started", "preempted", "CPU", "memory", "stranded memory")


def main(work: Path) -> None:
    if not REAL.exists():
        sys.exit(f"the table is about the real slice, and {REAL} is not there")
    _, trace = slice_trace(work)
    report = Report("slice_table", "Policies beside the recording, real 19.65 h slice")
    for number, (study, cpu, memory, preemption, policies) in enumerate(STUDIES):
        file = work / f"study-{number}.toml"
        file.write_text(
            f'trace = "{trace.name}"\nout = "study-{number}"\npolicies = {list(policies)}\n'
            f"recorded = {'true' if number == 0 else 'false'}\n"
            f'[replay]\npreemption = "{preemption}"\novercommit = {{ cpu = {cpu}, memory = {memory} }}\n'
        )
        found, _ = stowage("sweep", file, "--workers", "1")
        for cell in found["cells"]:
            name = cell["run"].partition("_")[0]
            report.add(name if name == "recorded" else f"{name}, {study}", **_figures(cell["metrics"]))
    report.notes.append("Waits in seconds: median / p90 / p99 of the attempts that started.")
    report.write()
    print(f"| | {' | '.join(COLUMNS)} |")
    print(f"| --- {'| ---: ' * len(COLUMNS)}|")
    for row in report.rows:
        print(f"| {' | '.join([row['row'], *(show(row[name]) for name in COLUMNS)])} |")


def _figures(metrics: dict[str, Any]) -> dict[str, Any]:
    waits = {
        tier: " / ".join(show(float(metrics[f"delay_s.{tier}.{quantile}"])) for quantile in ("p50", "p90", "p99"))
        for tier in ("production", "middle", "free")
    }
    return {
        **waits,
        "never started": int(metrics["never_placed"]),
        "preempted": int(metrics["preemptions"]),
        "CPU": f"{metrics['utilisation.cpu']:.1%}",
        "memory": f"{metrics['utilisation.memory']:.1%}",
        "stranded memory": f"{metrics['stranded.memory']:.1%}",
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="stowage-table-") as folder:
        place = Path(sys.argv[1] if len(sys.argv) > 1 else folder).absolute()
        place.mkdir(parents=True, exist_ok=True)
        main(place)
