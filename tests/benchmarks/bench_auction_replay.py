"""The auction as a policy, real users as tenants: the 19.65 h slice against the recording, kube-default, best-fit, DRF.

`STOWAGE_BENCH_DIR=FOLDER python -m tests.benchmarks auction_replay`: the runs stay in FOLDER, where a repeat finds
them. Differences are those of `stowage compare` to the auction, with intervals over whole jobs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Report, show, slice_trace, stowage

BASE = "auction"
RUNS: dict[str, tuple[str, ...]] = {
    "recorded": ("--mode", "recorded"),
    **{policy: ("--policy", policy) for policy in ("kube-default", "best-fit", "drf", "auction")},
}
OVERCOMMIT = ("--overcommit", "cpu=1.25", "--overcommit", "memory=1.1")
METRICS = {
    "welfare": "welfare.kept", "lost": "welfare.lost", "Jain": "fairness.jain_kept_share",
    "least share": "fairness.min_kept_share", "5 % least": "fairness.low_kept_share",
    "never started": "never_placed",
    **{
        f"{tier} {quantile}": f"delay_s.{tier}.{quantile}"
        for tier in ("production", "middle", "free")
        for quantile in ("p50", "p90", "p99", "mean")
    },
}  # fmt: skip


def bench(work: Path) -> Report:
    what, trace = slice_trace(work)
    report = Report("auction_replay", f"The auction in the replay, {what}")
    folders = {name: _replay(work, trace, name, options) for name, options in RUNS.items()}
    others = [name for name in RUNS if name != BASE]
    found, _ = stowage("compare", folders[BASE], *(folders[name] for name in others))
    group = {runs[0]: name for name, runs in found["groups"].items()}
    for name in RUNS:
        run = folders[name].name
        figures: dict[str, Any] = {}
        for label, metric in METRICS.items():
            values = found["metrics"].get(metric, {})
            figures[label] = values.get(run)
            change = found["differences"].get(metric, {}).get(group[run])
            if change and change["low"] is not None:
                figures[f"{label}, less auction's"] = " ".join(
                    [show(change["difference"]), f"[{show(change['low'])}, {show(change['high'])}]"]
                )
        report.add(name, **figures)
    report.notes.append("Waits in seconds. Intervals: 95 %, whole jobs drawn, the same for both runs.")
    return report


def _replay(work: Path, trace: Path, name: str, options: tuple[str, ...]) -> Path:
    folder = work / "auction-runs" / name
    if not (folder / "run.json").exists():
        over = () if name == "recorded" else OVERCOMMIT
        stowage("replay", trace, "-o", folder, *options, *over)
    return folder
