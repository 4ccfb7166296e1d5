"""The workspace of real data that the dashboard's bench looks at; what is there already is taken as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dashboard.screens import PageInfo
from tests.benchmarks.harness import ROOT, slice_trace, stowage

DATA = ROOT.parent / "shared" / "data"
OPENB = DATA / "gpu" / "openb"
SAMPLE = DATA / "azure_functions" / "2019_invitro_sample" / "500"
OVERCOMMIT = ("--overcommit", "cpu=1.25", "--overcommit", "memory=1.1")
POLICIES = ("best-fit", "kube-default", "drf", "auction")


def workspace(work: Path) -> tuple[str, Path]:
    """What it is of, and its folder: the slice recorded and under four policies, and one of everything else."""
    folder = work / "dashboard"
    what, trace = "taken as it was", folder / "trace"
    if not trace.exists():
        what, trace = slice_trace(work)
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        trace.rename(folder / "trace")
        trace = folder / "trace"
    _make(folder / "runs" / "recorded", "replay", trace, "--mode", "recorded", *OVERCOMMIT)
    for policy in POLICIES:
        _make(folder / "runs" / policy, "replay", trace, "--policy", policy, *OVERCOMMIT)
    _serverless(work, folder / "runs")
    reports = folder / "reports"
    reports.mkdir(exist_ok=True)
    _print(reports / "gangs.json", "replay", "--faults", "fitted", "--fleet", "400", "--gang-nodes", "128")
    _cluster(reports)
    if OPENB.exists():
        lists = (OPENB / "openb_node_list_gpu_node.csv", OPENB / "openb_pod_list_default.parquet")
        for policy in ("fgd", "stowage"):
            _print(reports / f"fgd-{policy}.json", "fgd", *lists, "--policy", policy, "--seeds", "42-44")
    return what, folder


def _serverless(work: Path, runs: Path) -> None:
    if any(runs.glob("serverless*")):
        return
    raw = SAMPLE
    if not raw.exists():
        raw = work / "azure-raw"
        stowage("trace", "synth", "azure2019", "--functions", "500", "--days", "1", "--seed", "1", "-o", raw)
    if not (work / "azure").exists():
        stowage("trace", "import", "azure2019", raw, "-o", work / "azure")
    words = ["serverless", "replay", work / "azure", "--policy", "fixed", "--policy", "hybrid"]
    stowage(*words, "-o", runs / "serverless")


def _cluster(reports: Path) -> None:
    """A busy cluster, what packing and an auction make of it, and a diagnosis of a job with a slow connection."""
    from tests.dashboard.workspaces import a_cluster, slow_connection

    cluster = reports / "cluster-200.json"
    if not cluster.exists():
        cluster.write_text(json.dumps(a_cluster(200)))
    _print(reports / "pack-200.json", "pack", cluster, "--budget", "5s")
    if not any((reports / "auction").glob("*.json")):
        (reports / "auction").mkdir(exist_ok=True)
        _print(reports / "auction" / "exact.json", "auction", cluster, "--frontier", "6")
    if not any(reports.glob("diagnosis*.json")):
        dumps = reports.parent / "dumps"
        dumps.mkdir(exist_ok=True)
        (dumps / "node.jsonl").write_bytes(b"\n".join(slow_connection()))
        _print(reports / "diagnosis.json", "diagnose", dumps)


def _make(out: Path, *words: str | Path) -> None:
    if not out.exists():
        stowage(*words, "-o", out)


def _print(out: Path, *words: str | Path) -> None:
    if not out.exists():
        out.write_text(json.dumps(stowage(*words)[0]))


def links(folder: Path, pages: Sequence[PageInfo]) -> list[str]:
    """Addresses of pages with every run they may be of: the same page of another run is another load."""
    runs = sorted(
        path.parent.name for path in (folder / "runs").glob("*/run.json") if "serverless" not in path.parent.name
    )
    of_runs = ("replay", "nodes", "fragmentation", "cost")
    return [
        f"{info.path}{f'?run=runs/{run}' if run else ''}"
        for info in pages for run in (runs if info.module in of_runs else [""])
    ]  # fmt: skip
