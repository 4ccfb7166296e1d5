"""Slow connections from NCCL Inspector's point-to-point records: the delay matrix of a job's messages.

Pairs on one host are compared with such, and pairs across hosts with theirs. A send takes until the receiver is there,
so who comes late makes its messages long: what touches a rank that is known to be late is not put down to the network.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from scheduler.core.gpu.delay_matrix import DelayMatrix, delay_matrix, slow_connections
from scheduler.core.gpu.findings import Findings
from scheduler.core.gpu.telemetry.inspector import Operations
from scheduler.core.gpu.telemetry.inspector_slow import point_to_point


def message_delays(operations: Operations) -> DelayMatrix:
    """How long messages between ranks of the job take, against what is usual for messages alike."""
    sent = point_to_point(operations)
    host_of = _hosts(operations)
    numbers = {host: n for n, host in enumerate(sorted(set(host_of.values())))}
    size = max([*host_of, *sent.src.tolist(), *sent.dst.tolist(), 0]) + 1
    host_number = np.array([numbers.get(host_of.get(rank, ""), -1) for rank in range(size)])
    is_near = (host_number[sent.src] == host_number[sent.dst]) & (host_number[sent.src] >= 0)
    return delay_matrix(sent.src, sent.dst, sent.seconds, sent.bytes, is_near.astype(np.int64))


def diagnose_messages(
    operations: Operations, late: Collection[int] = (), matrix: DelayMatrix | None = None
) -> Findings:
    """Ranks whose messages take long, and connections of others that do. late: ranks of the job.

    matrix: of `message_delays`, if it is known already.
    """
    matrix = matrix or message_delays(operations)
    host_of = _hosts(operations)
    accused = []
    for one in slow_connections(matrix):
        ranks = (one.rank,) if one.rank is not None else one.among
        if not set(ranks) & set(late):
            where = "" if one.rank is not None else " on " + " and ".join(host_of.get(rank, "?") for rank in ranks)
            host = host_of.get(one.rank) if one.rank is not None else None
            accused.append(replace(one, host=host, evidence=one.evidence + where))
    judged = "healthy" if len(matrix.source) else "undecided"
    return Findings("communication slow" if accused else judged, accused)


def _hosts(operations: Operations) -> dict[int, str]:
    return {one.job_rank: one.host for one in operations.processes if one.job_rank >= 0 and one.host}
