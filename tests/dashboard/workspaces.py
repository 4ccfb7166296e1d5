"""A small workspace with something for every page, made by the commands themselves; its names are hostile."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scheduler.live.journal import Journal
from tests.scheduler.core.gpu.telemetry.samples import inspector_line

# Runs a command of stowage and gives what it printed on stdout.
Run = Callable[..., str]

# No comma and no slash: it must live in a CSV file and in the name of a folder.
HOSTILE = "<img src=x onerror=alert(1)> **bold** [link](javascript:alert(2)) $x^2$ :material-home: `code`"


def make_workspace(folder: Path, run: Run) -> Path:
    """Fill `folder` (runs, reports, snapshots; the journal is under `journal`), and give it."""
    raw = folder.with_name(f"{folder.name}-raw")
    _make_runs(folder / "runs", raw, run)
    _make_serverless(folder / "runs", raw, run)
    reports = folder / "reports"
    reports.mkdir(parents=True)
    snapshot = reports / f"{HOSTILE}.json"
    snapshot.write_text(json.dumps(a_cluster()))
    (raw / "dumps").mkdir()
    (raw / "dumps" / "node.jsonl").write_bytes(b"\n".join(slow_connection()))
    nodes, pods = _gpu_cluster(raw)
    for name, words in {
        "pack": ["pack", snapshot, "--budget", "1s", "--workers", "1"],
        "auction": ["auction", snapshot, "--frontier", "4"],
        "auction-greedy": ["auction", snapshot, "--mechanism", "greedy"],
        "diagnosis": ["diagnose", raw / "dumps"],
        "gangs": ["replay", "--faults", "fitted", "--fleet", "40", "--gang-nodes", "8"],
        "fgd": ["fgd", nodes, pods, "--policy", "fgd", "--seeds", "42-43"],
        "fgd-ours": ["fgd", nodes, pods, "--policy", "stowage", "--seeds", "42-43"],
    }.items():
        (reports / f"{name}.json").write_text(run(*words, "--json"))
    _write_journal(folder / "journal")
    return folder


def _make_runs(runs: Path, raw: Path, run: Run) -> None:
    run("trace", "synth", "google2011", "--machines", "30", "--days", "0.1", "--seed", "1", "-o", raw / "google2011")
    _rename_a_user(raw / "google2011")
    trace = runs.parent / "trace"
    run("trace", "import", "google2011", raw / "google2011", "-o", trace)
    run("replay", trace, "--mode", "recorded", "-o", runs / "recorded")
    for policy, name in (("best-fit", "best-fit"), ("kube-default", HOSTILE), ("auction", "auction")):
        run(
            "replay", trace, "--policy", policy, "--overcommit", "cpu=1.35", "--overcommit", "memory=1.25",
            "-o", runs / name,
        )  # fmt: skip


def _rename_a_user(raw: Path) -> None:
    """Give the user of the first job a name that a browser would run."""
    user = None
    for part in sorted((raw / "job_events").glob("*.gz")) + sorted((raw / "task_events").glob("*.gz")):
        text = gzip.decompress(part.read_bytes()).decode()
        column = 4 if part.parent.name == "job_events" else 6
        user = user or next(line.split(",")[column] for line in text.splitlines() if line.split(",")[column])
        part.write_bytes(gzip.compress(text.replace(f",{user},", f",{HOSTILE},").encode()))
    (raw / "SHA256SUMS").unlink(missing_ok=True)


def _make_serverless(runs: Path, raw: Path, run: Run) -> None:
    run("trace", "synth", "azure2019", "--functions", "20", "--days", "1", "--seed", "1", "-o", raw / "azure2019")
    run("trace", "import", "azure2019", raw / "azure2019", "-o", runs.parent / "azure")
    words = ["--policy", "fixed", "--policy", "hybrid"]
    run("serverless", "replay", runs.parent / "azure", *words, "-o", runs / "serverless")


def a_cluster(nodes: int = 6, seed: int = 1) -> dict[str, Any]:
    """What `kubectl get nodes,pods -A -o json` says of full nodes and of pods that wait, two of them for good."""
    rng = random.Random(seed)
    items: list[dict[str, Any]] = []
    for number in range(nodes):
        labels = {
            "kubernetes.io/hostname": f"node-{number}",
            "topology.kubernetes.io/rack": HOSTILE if number else "r0",
        }
        size = {"cpu": "8", "memory": "32Gi", "pods": "110"}
        items.append({
            "kind": "Node", "metadata": {"name": f"node-{number}", "labels": labels}, "spec": {},
            "status": {"capacity": size, "allocatable": size},
        })  # fmt: skip
        for part in range(5):
            items.append(_a_pod(f"{HOSTILE}-{number}-{part}", rng.choice((500, 1000, 1500)), 4, f"node-{number}"))
    items += [_a_pod(f"waits-{number}", 5000, 16) for number in range(3)]
    items += [_a_pod(HOSTILE, 64_000, 512), _a_pod("elsewhere", 100, 1, selector={"pool": HOSTILE})]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _a_pod(
    name: str, cpu_milli: int, memory_gib: int, node: str = "", selector: dict[str, str] | None = None
) -> dict[str, Any]:
    requests = {"cpu": f"{cpu_milli}m", "memory": f"{memory_gib}Gi"}
    spec: dict[str, Any] = {"containers": [{"name": "main", "resources": {"requests": requests}}]}
    spec |= {"nodeName": node} if node else {}
    spec |= {"nodeSelector": selector} if selector else {}
    about = {
        "name": name, "namespace": "shop", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": HOSTILE},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": True, "apiVersion": "v1"}],
    }  # fmt: skip
    return {"kind": "Pod", "metadata": about, "spec": spec, "status": {"phase": "Running" if node else "Pending"}}


def slow_connection() -> list[bytes]:
    """NCCL Inspector's lines of eight ranks of which 3 is slow to reach 6."""
    rng = np.random.default_rng(1)
    return [
        inspector_line(
            rank, sequence, ranks=8, op="Send", peer=peer,
            took_us=1000 * float(np.exp(0.1 * rng.standard_normal())) * (2 if (rank, peer) == (3, 6) else 1),
        )
        for sequence in range(8) for rank in range(8) for peer in range(8) if peer != rank
    ]  # fmt: skip


def _gpu_cluster(folder: Path) -> tuple[Path, Path]:
    """Eight nodes and sixty pods in openb's files."""
    rng = random.Random(1)
    nodes, pods = folder / "openb_node_list.csv", folder / "openb_pod_list.csv"
    rows = [f"node-{number},64000,262144,{rng.choice((2, 4, 8))},V100M16" for number in range(8)]
    nodes.write_text("\n".join(["sn,cpu_milli,memory_mib,gpu,model", *rows, ""]))
    times = "creation_time,deletion_time,scheduled_time"
    rows = [f"name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,{times}"]
    for number in range(60):
        gpus, milli = rng.choice(((0, 0), (1, 500), (1, 1000), (2, 1000)))
        cpu_milli = rng.choice((2000, 6000))
        rows.append(f"pod-{number},{cpu_milli},8192,{gpus},{milli},,LS,Running,{number},{number + 900},{number}")
    pods.write_text("\n".join([*rows, ""]))
    return nodes, pods


def _write_journal(folder: Path) -> None:
    journal = Journal(folder, "planner-1")
    for second, state in enumerate(("suspect", "failing", "healthy")):
        journal.append("node", 1.7e9 + second, node=HOSTILE, verdict=state, message=HOSTILE)
    journal.flush()
