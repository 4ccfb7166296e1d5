"""The nodes that pods are placed on, and what each subject's pod asks of one."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analytics.errors import InputError
from analytics.options import parse_cpu_milli, parse_memory_mib
from analytics.serverless.subjects import Subjects
from traces.schema import Trace

Ints = NDArray[np.int64]
MAX_NODES = 100_000
_PART = re.compile(r"(\d+)x([^,+]+)cpu,([^,+]+)")


@dataclass(frozen=True, slots=True)
class Fleet:
    """Nodes in groups of (how many, CPU millicores, memory MiB); groups in the order given."""

    groups: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not self.groups or any(min(group) < 1 for group in self.groups):
            raise InputError("a fleet has nodes, and each has CPU and memory")
        if len(self) > MAX_NODES:
            raise InputError(f"a fleet has at most {MAX_NODES:,} nodes, not {len(self):,}")

    @classmethod
    def parse(cls, text: str) -> Fleet:
        """`20x16cpu,64Gi`; groups of other nodes follow a plus sign: `20x16cpu,64Gi+4x500mcpu,2Gi`."""
        groups = []
        for part in text.replace(" ", "").split("+"):
            found = _PART.fullmatch(part)
            if found is None:
                raise InputError(f"nodes look like 20x16cpu,64Gi or 20x16cpu,64Gi+4x32cpu,128Gi, not {text!r}")
            groups.append((int(found[1]), parse_cpu_milli(found[2]), parse_memory_mib(found[3])))
        return cls(tuple(groups))

    def __len__(self) -> int:
        return sum(count for count, _, _ in self.groups)

    def __str__(self) -> str:
        return "+".join(f"{count}x{cpu / 1000:g}cpu,{_memory(mib)}" for count, cpu, mib in self.groups)

    @property
    def allocatable(self) -> Ints:
        """(N, 2) CPU millicores and memory MiB."""
        return np.array([(cpu, mib) for count, cpu, mib in self.groups for _ in range(count)], np.int64)


def _memory(mib: int) -> str:
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"


def read_requests(trace: Trace, subjects: Subjects, cpu_milli: int) -> tuple[Ints, tuple[str, ...]]:
    """(S, 2) CPU millicores and memory MiB that a pod of each subject requests, and notes on what was filled in.

    CPU is what the function requests, else may use, else `cpu_milli`; of an application the most of its functions.
    Memory is the limit, else the mean that the replay goes by, rounded up; an application has its functions' sum.
    """
    names = ["function", "cpu_milli", "request_milli", "limit_mib"]
    table = pa.concat_tables([pq.ParquetFile(file).read(names) for file in trace.files("functions")])
    cpu, limit = np.zeros(len(subjects), np.int64), np.zeros(len(subjects), np.int64)
    is_limited, assumed = np.ones(len(subjects), np.bool_), 0
    for function, most, wanted, mib in zip(*(table[name].to_pylist() for name in names), strict=True):
        s = subjects.of_function[function]
        if s < 0:
            continue
        known = wanted or most
        assumed += known is None
        cpu[s] = max(cpu[s], known or cpu_milli)
        limit[s] += mib or 0
        is_limited[s] &= bool(mib)
    measured = np.maximum(np.ceil(subjects.memory_gib * 1024 - 1e-9), 1).astype(np.int64)
    notes = []
    if assumed:
        notes.append(f"CPU of {assumed:,} functions is not in the trace: {cpu_milli} millicores assumed")
    if not is_limited.all():
        notes.append(f"{int((~is_limited).sum()):,} pods request their mean memory: the trace has no limit for them")
    return np.stack([cpu, np.where(is_limited, limit, measured)], axis=1), tuple(notes)
