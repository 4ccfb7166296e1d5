"""What a packing plan puts first, by name; light, so that a list of the orders loads no solver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scheduler.core.taxonomy import Declared, Taxonomy

_EXACT: Final = Taxonomy(method="exact")
DECLARED: Final[Mapping[str, Declared]] = {
    "no-harm": Declared("CP-SAT: running pods are never disturbed for less important ones.", _EXACT),
    "max-pack": Declared("CP-SAT: all that can be placed, by priority, then the fewest moves.", _EXACT),
    "paper": Declared("The published model of Priority Matters, for comparison.", _EXACT),
}
ORDERS: Final = tuple(DECLARED)
