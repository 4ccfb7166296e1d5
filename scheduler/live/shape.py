"""What makes two pods of one controller interchangeable: a replacement has the owner and the shape."""

from __future__ import annotations

import hashlib

import msgspec

from scheduler.core.snapshot import Pod


def shape_hash(pod: Pod) -> str:
    """Twelve hex digits over what the pod asks for: requests, priority, node selector, tolerations, host ports.

    Affinity is left out, because releasing a gate adds to it; names, labels and volumes differ between replicas.
    """
    tolerations = sorted((t.key, t.operator, t.value, t.effect) for t in pod.tolerations)
    ports = [(p.protocol, p.port, p.ip) for p in pod.host_ports]
    parts = (sorted(pod.requests.items()), pod.priority, sorted(pod.node_selector.items()), tolerations, ports)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:12]
