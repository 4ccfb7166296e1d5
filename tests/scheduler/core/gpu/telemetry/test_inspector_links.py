"""Slow connections from the Inspector's point-to-point records."""

from __future__ import annotations

import numpy as np

from scheduler.core.gpu.telemetry.inspector import InspectorReader
from scheduler.core.gpu.telemetry.inspector_links import diagnose_messages
from tests.scheduler.core.gpu.telemetry.samples import inspector_line


def operations(slow=(), factor=2.0, ranks=16):
    """Everybody sends to everybody, eight ranks a host; across hosts it takes five times as long as within."""
    rng, reader = np.random.default_rng(1), InspectorReader()
    lines = [
        inspector_line(
            rank, sequence, ranks=ranks, op="Send", peer=peer, host=f"h{rank // 8}",
            took_us=(5000 if rank // 8 != peer // 8 else 1000) * float(np.exp(0.1 * rng.standard_normal()))
            * (factor if (rank, peer) in slow else 1),
        )
        for sequence in range(8) for rank in range(ranks) for peer in range(ranks) if peer != rank
    ]  # fmt: skip
    reader.read(lines, "node")
    return reader.operations()


def test_one_slow_connection_is_named_with_its_hosts_and_accuses_no_rank():
    found = diagnose_messages(operations({(3, 12)}))
    (one,) = found.accused
    assert (found.verdict, one.rank, one.host, one.link) == ("communication slow", None, None, (3, 12))
    assert one.evidence.endswith("on h0 and h1")


def test_a_slow_sender_is_accused_unless_it_is_known_to_come_late():
    slow = {(5, peer) for peer in range(16)}
    (one,) = diagnose_messages(operations(slow)).accused
    assert (one.rank, one.host, one.syndrome) == (5, "h0", "communication slow")
    assert diagnose_messages(operations(slow), {5}).accused == []


def test_a_network_that_is_slower_between_hosts_than_within_is_nobodys_fault():
    assert diagnose_messages(operations()).verdict == "healthy"
    assert diagnose_messages(InspectorReader().operations()).verdict == "undecided"
