"""NCCL Inspector's other output: a file of Prometheus text per GPU, means of half a minute instead of operations.

Source: plugins/profiler/inspector, inspector_prom.cc (format v5.1). A mean over operations names no culprit;
it shows which kind of operation and size is slow, and on which GPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scheduler.core.gpu.telemetry.inspector import MAJORS, VERSION
from scheduler.core.gpu.telemetry.metrics_text import Sample, read_samples
from scheduler.core.gpu.telemetry.rejects import Rejects

GPU: Final = re.compile(r"(?:GPU)?(\d{1,4})$")
MICRO: Final = 1e-6
NAMES: Final = {
    "nccl_bus_bandwidth_gbs": ("busbw_gbs", "collective"),
    "nccl_collective_exec_time_microseconds": ("exec_s", "collective"),
    "nccl_p2p_bus_bandwidth_gbs": ("busbw_gbs", "p2p_operation"),
    "nccl_p2p_exec_time_microseconds": ("exec_s", "p2p_operation"),
}


@dataclass(frozen=True, slots=True)
class MeanOperation:
    """Means over one kind of operation, of about one size, of one GPU in one communicator, since the last dump.

    size: the bucket as it is written (`4-5GB`). exec_s, busbw_gbs (GB/s): None where the file has only the other.
    """

    node: str
    gpu: int | None
    communicator: str
    ranks: int
    op: str
    size: str
    algorithm: str
    exec_s: float | None = None
    busbw_gbs: float | None = None


def read_inspector_metrics(lines: Iterable[bytes], rejects: Rejects) -> list[MeanOperation]:
    """The means in a file, sorted; other metrics are skipped."""
    found: dict[tuple[str, int | None, str, int, str, str, str], dict[str, float]] = {}
    for sample in read_samples(lines, rejects):
        if sample.name not in NAMES:
            continue
        what, kind = NAMES[sample.name]
        rule = _rule(sample, kind)
        if rule is not None:
            rejects.add(sample.line, rule)
            continue
        labels = sample.labels
        gpu = GPU.match(labels.get("gpu", ""))
        ranks = labels.get("nranks", "0")
        key = (
            labels.get("node", ""), int(gpu[1]) if gpu else None, labels.get("comm_name", ""),
            int(ranks) if ranks.isdecimal() and len(ranks) < 10 else 0, labels[kind], labels.get("message_size", ""),
            labels.get("algo_proto", ""),
        )  # fmt: skip
        found.setdefault(key, {})[what] = sample.value * MICRO if what == "exec_s" else sample.value
    order = sorted(found, key=lambda key: (key[0], -1 if key[1] is None else key[1], *key[2:]))
    return [MeanOperation(*key, found[key].get("exec_s"), found[key].get("busbw_gbs")) for key in order]


def _rule(sample: Sample, kind: str) -> str | None:
    version = sample.labels.get("version", "")
    numbers = VERSION.match(version)
    if version and version != "unknown" and (numbers is None or int(numbers[1]) not in MAJORS):
        return f"{sample.name}: version {version[:40]!r}, and v{MAJORS[0]} to v{MAJORS[-1]} can be read"
    if kind not in sample.labels:
        return f"{sample.name} without label {kind}"
    return None if sample.value >= 0 else f"{sample.name} is {sample.value:g}"
