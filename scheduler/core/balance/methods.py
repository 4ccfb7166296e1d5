"""The balancing methods by name, what each is, and where it stands; light, so that a list of them loads no solver.

`solve` has the searches themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scheduler.core.taxonomy import Declared, Taxonomy

_EXACT, _META = Taxonomy(method="exact"), Taxonomy(method="metaheuristic")
DEFAULT: Final = "cover"
DECLARED: Final[Mapping[str, Declared]] = {
    DEFAULT: Declared("From the bound: the cheapest tasks that must leave; then CP-SAT on neighbourhoods.", _EXACT),
    "greedy": Declared("The move that ends most overload per cost, until none is left.", Taxonomy(method="greedy")),
    "tabu": Declared("Tabu search from the greedy placement.", _META),
    "annealing": Declared("Simulated annealing, in several cooling runs.", _META),
    "genetic": Declared("A genetic algorithm from random placements.", _META),
    "seeded-genetic": Declared("The same from the answers of greedy, tabu search and annealing.", _META),
    "full-scan": Declared("Every placement, for tiny cases.", _EXACT),
    "cp-sat": Declared("One CP-SAT model, with its bound.", _EXACT),
}
METHODS: Final = tuple(DECLARED)
