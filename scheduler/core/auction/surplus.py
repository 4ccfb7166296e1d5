"""What a node is worth to a pod after its price: the one formula by which prices steer pods, in replays and live.

    surplus = value - rate x price

value: the policy's score of the node for the pod. The rate is where the two drivers differ, and has to:

* A replay's prices are shares of what a node could fetch at most, made for the policy that they are taken off, so one
  is worth one (rate 1). A node's surplus then depends on no other node, which lets the replay keep it from one
  decision to the next instead of scoring every node each time.
* On a cluster, scores are in the policy's own units and prices in whatever a round or a person wrote. There the rate
  is set for each decision, by `rate_among`: the dearest candidate loses `weight` times what parts best from worst.

At the rate that `rate_among` gives for a weight, both choose the same node.
"""

from __future__ import annotations

from scheduler.core.compiled import compiled


@compiled
def surplus(value: float, price: float, rate: float) -> float:
    """What is left of a value at a price, in the value's units. price: at least 0, of the dearness that counts."""
    return value - rate * price


@compiled
def rate_among(weight: float, worst: float, best: float, cheapest: float, dearest: float) -> float:
    """What a unit of price takes off a score, given the least and the greatest of both among the candidates; 0 where
    all cost the same. Where all score the same, only prices tell nodes apart and any rate above 0 does."""
    if dearest <= cheapest:
        return 0.0
    span = best - worst if best > worst else 1.0
    return weight * span / (dearest - cheapest)
