"""Random: any feasible node, each as likely as the next; the floor that a better policy must beat."""

from __future__ import annotations

from numpy import float64, int64, uint64
from numpy.typing import NDArray

from scheduler.core.policies import Policy, score_function
from scheduler.core.taxonomy import Taxonomy


@score_function
def score(
    demand: NDArray[int64],
    demand_nonzero: NDArray[int64],
    allocatable: NDArray[int64],
    requested: NDArray[int64],
    requested_nonzero: NDArray[int64],
    node: int,
    draw: int,
) -> float:
    """A number in [0, 1) that depends on the draw and the row alone."""
    # SplitMix64's finaliser over a sequence that starts at the draw: Steele, Lea, Flood, "Fast Splittable Pseudorandom
    # Number Generators", OOPSLA 2014. The draw is mixed on its own first, or neighbouring draws would share numbers.
    mixed = uint64(draw)
    mixed = (mixed ^ (mixed >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> uint64(27))) * uint64(0x94D049BB133111EB)
    mixed += (uint64(node) + uint64(1)) * uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> uint64(27))) * uint64(0x94D049BB133111EB)
    mixed ^= mixed >> uint64(31)
    return float64(mixed >> uint64(11)) * 2.0**-53


POLICY = Policy(
    "random", "A random feasible node, seeded.", score, needs_rescan=True, taxonomy=Taxonomy(method="greedy")
)
