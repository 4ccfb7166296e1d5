"""Packing with a proof: which waiting pods can run if running pods may move or, when less important, go."""

from scheduler.core.packing.problem import Budget, PackingResult, Problem, TierResult, problem_from_arrays
from scheduler.core.packing.solve import solve

__all__ = ["Budget", "PackingResult", "Problem", "TierResult", "problem_from_arrays", "solve"]
