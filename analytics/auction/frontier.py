"""The frontier between two aims: rounds solved with bids weighted from one to the other, each with its own bound.

`demand`: from every request counting the same to every unit of room counting the same. `tenants`: from every request
counting the same to every tenant counting the same, however many requests it has. All points are scored by the bids as
they were.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analytics.auction.mechanisms import solve
from analytics.auction.rounds import Round
from analytics.errors import InputError
from analytics.plot import draw_lines
from scheduler.core.auction.market import Floats
from scheduler.core.auction.scores import Scores, score

AIMS = ("demand", "tenants")
FEWEST = 2


@dataclass(frozen=True, slots=True)
class Point:
    """weight: 0 for the bids as they are, 1 for the other aim alone. gap: of the weighted round, as `Outcome.gap`."""

    weight: float
    scores: Scores
    welfare: float
    bound: float
    gap: float
    verdict: str
    cpu_s: float

    @property
    def placed(self) -> float:
        """The mean over resources of the share of demand that is placed."""
        return float(np.mean(list(self.scores.placed.values()))) if self.scores.placed else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON; welfare and bound are those of the weighted round."""
        return {
            "weight": self.weight, "efficiency": self.scores.efficiency, "satisfaction": self.scores.satisfaction,
            "placed": self.scores.placed, "jain_requests": self.scores.jain_requests,
            "jain_tenants": self.scores.jain_tenants, "weighted_welfare": self.welfare, "weighted_bound": self.bound,
            "gap": self.gap, "verdict": self.verdict, "cpu_s": self.cpu_s,
        }  # fmt: skip


def trace_frontier(made: Round, points: int, towards: str, seed: int, effort: float) -> list[Point]:
    """Points at evenly spread weights, from the bids to the other aim. Raises InputError for fewer than two."""
    if points < FEWEST:
        raise InputError(f"--frontier {points}: a frontier has at least {FEWEST} points")
    if towards not in AIMS:
        raise InputError(f"--towards {towards}: choose {' or '.join(AIMS)}")
    return [solve_point(made, step / (points - 1), towards, seed, effort) for step in range(points)]


def solve_point(made: Round, weight: float, towards: str, seed: int, effort: float) -> Point:
    """The round with its bids weighted from the bids as they are (0) to the other aim (1)."""
    factor = _factor(made, towards, weight)[made.market.offer_request()]
    began = time.process_time()
    outcome = solve(replace(made.market, value=made.market.value * factor), seed, effort)
    cpu_s = time.process_time() - began
    scores = score(made.market, outcome.at, made.scale)
    return Point(weight, scores, outcome.welfare, outcome.bound, outcome.gap, outcome.verdict, cpu_s)


def _factor(made: Round, towards: str, weight: float) -> Floats:
    """(J,) what each request's bids are multiplied by; 1 on the mean or at most."""
    if towards == "demand":
        mean = float(made.terms.size.mean()) if len(made.terms.size) else 0.0
        return 1 - weight + weight * made.terms.size / (mean or 1.0)
    requests = np.bincount(made.market.tenant, minlength=len(made.market.tenants))
    return np.asarray(requests[made.market.tenant].astype(np.float64) ** -weight)


def draw_frontier(points: Sequence[Point], towards: str) -> str:
    """An SVG of what is served and how evenly, over efficiency."""
    figures = {
        "demand placed": [point.placed for point in points],
        "requests served": [point.scores.satisfaction for point in points],
        "Jain's index over tenants": [point.scores.jain_tenants for point in points],
    }
    across = [point.scores.efficiency for point in points]
    lines = {name: list(zip(across, up, strict=True)) for name, up in figures.items()}
    return draw_lines(lines, "efficiency", "share, or index", title=f"from the bids towards {towards}")
