"""What a request without a bid of its own is taken to bid."""

from __future__ import annotations

import math


def bid_of_priority(priority: int, size: float) -> float:
    """size: share of the largest node. A whole node is worth 1 at priority 0, and one more per power of ten above.

    Only the order of priorities means anything, and Kubernetes' run to two billion; below 0 it is worth less than 1.
    """
    power = math.log10(1 + abs(priority))
    return size * (1.0 + power if priority >= 0 else 1.0 / (1.0 + power))
