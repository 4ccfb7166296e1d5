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
    found = []
    for step in range(points):
        weight = step / (points - 1)
        factor = _factor(made, towards, weight)[made.market.offer_request()]
        began = time.process_time()
        outcome = solve(replace(made.market, value=made.market.value * factor), seed, effort)
        cpu_s = time.process_time() - began
        scores = score(made.market, outcome.at, made.scale)
        found.append(Point(weight, scores, outcome.welfare, outcome.bound, outcome.gap, outcome.verdict, cpu_s))
    return found


def _factor(made: Round, towards: str, weight: float) -> Floats:
    """(J,) what each request's bids are multiplied by; 1 on the mean or at most."""
    if towards == "demand":
        mean = float(made.terms.size.mean()) if len(made.terms.size) else 0.0
        return 1 - weight + weight * made.terms.size / (mean or 1.0)
    requests = np.bincount(made.market.tenant, minlength=len(made.market.tenants))
    return np.asarray(requests[made.market.tenant].astype(np.float64) ** -weight)


def draw_frontier(points: Sequence[Point], towards: str, title: str) -> str:
    """An SVG of the other aim's figure over efficiency, the weight beside every point."""
    width, height, margin = 640, 400, 70
    across = [point.scores.efficiency for point in points]
    label = "share of demand placed" if towards == "demand" else "Jain's index over tenants"
    up = [point.placed if towards == "demand" else point.scores.jain_tenants for point in points]
    to_x, to_y = _axis(across, margin, width - margin), _axis(up, height - margin, margin)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{width / 2}" y="20" text-anchor="middle">{_escape(title)}</text>',
        f'<text x="{width / 2}" y="{height - 20}" text-anchor="middle">efficiency</text>',
        f'<text x="14" y="{margin - 14}">{label}</text>',
    ]
    for value in (min(across), max(across)):
        parts.append(f'<text x="{to_x(value):.1f}" y="{height - margin + 20}" text-anchor="middle">{value:.4f}</text>')
    for value in (min(up), max(up)):
        parts.append(f'<text x="{margin - 12}" y="{to_y(value) + 4:.1f}" text-anchor="end">{value:.4f}</text>')
    line = " ".join(f"{to_x(a):.1f},{to_y(b):.1f}" for a, b in zip(across, up, strict=True))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f6f8b" stroke-width="2"/>')
    for point, a, b in zip(points, across, up, strict=True):
        parts.append(f'<circle cx="{to_x(a):.1f}" cy="{to_y(b):.1f}" r="3" fill="#c2571a"/>')
        parts.append(f'<text x="{to_x(a) + 6:.1f}" y="{to_y(b) - 6:.1f}">{point.weight:.2f}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axis(values: Sequence[float], low: float, high: float) -> Any:
    least, most = min(values), max(values)
    return lambda value: low + (value - least) / ((most - least) or 1.0) * (high - low)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
