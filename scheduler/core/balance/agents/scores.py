"""What a candidate makes of a task: scores that can be replaced, by name.

Ours, not the thesis': its two formulas were not reachable, so their names are reserved and nothing stands behind them.
To try a formula of your own, compile it with `score_function` and hand it to `simulate` in place of a name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from numba import float64, int64, types
from numba.core.types import WrapperAddressProtocol
from numba.experimental.function_type import _get_wrapper_address

from scheduler.core.columns import Ints
from scheduler.core.compiled import compile_with
from scheduler.core.errors import StowageInputError

SCORE_TEXT: Final = "float64(int64[::1], int64[:, ::1], int64[:, ::1], int64, float64, float64)"
SCORE_SIGNATURE: Final = float64(int64[::1], int64[:, ::1], int64[:, ::1], int64, float64, float64)
"""`score(demand, capacity, booked, node, scarcity, cost)`: higher is better; asked only where the task fits.

demand: (R,). capacity, booked: (N, R) what nodes have, and what of it is taken or held. scarcity: of the node, 0 to 1,
see `world.find_scarcity`. cost: of bringing the task there, times the weight that was set; 0 for a new task.
"""


class Score(WrapperAddressProtocol):
    """A compiled score as a first-class function, so that one compiled loop serves all of them."""

    def __init__(self, function: Callable[..., float]) -> None:
        self._function = function

    def __wrapper_address__(self) -> Any:
        return _get_wrapper_address(self._function, SCORE_SIGNATURE)

    def signature(self) -> types.Type:
        return SCORE_SIGNATURE


def score_function(function: Callable[..., float]) -> Callable[..., float]:
    """Compile a score with the signature they all share."""
    return compile_with(function, SCORE_TEXT, error_model="numpy")


@score_function
def spread(demand: Ints, capacity: Ints, booked: Ints, node: int, scarcity: float, cost: float) -> float:
    """The smallest free share after, over what the node has, less the node's scarcity: room where there is most."""
    least = 1.0
    for r in range(demand.shape[0]):
        if capacity[node, r] > 0:
            least = min(least, (capacity[node, r] - booked[node, r] - demand[r]) / capacity[node, r])
    return least - scarcity


@score_function
def tightness(demand: Ints, capacity: Ints, booked: Ints, node: int, scarcity: float, cost: float) -> float:
    """1 less the room that is stranded after (the largest free share less the smallest), less the cost."""
    least, most = 1.0, 0.0
    for r in range(demand.shape[0]):
        if capacity[node, r] > 0:
            share = (capacity[node, r] - booked[node, r] - demand[r]) / capacity[node, r]
            least = min(least, share)
            most = max(most, share)
    return 1.0 - max(most - least, 0.0) - cost


@score_function
def best_fit(demand: Ints, capacity: Ints, booked: Ints, node: int, scarcity: float, cost: float) -> float:
    """The largest share taken after, less the cost: the fullest node that takes it."""
    least = 1.0
    for r in range(demand.shape[0]):
        if capacity[node, r] > 0:
            least = min(least, (capacity[node, r] - booked[node, r] - demand[r]) / capacity[node, r])
    return 1.0 - least - cost


SCORES: Final[Mapping[str, Callable[..., float]]] = MappingProxyType(
    {"spread": spread, "tightness": tightness, "best-fit": best_fit}
)
RESERVED: Final = ("sliwko-initial", "sliwko-reallocation")
INITIAL, REALLOCATION = "spread", "tightness"


@functools.cache
def _pointer_to(function: Callable[..., float]) -> Score:
    return Score(function)


def get_score(chosen: str | Callable[..., float]) -> Score:
    """The score of that name, or a function made with `score_function`.

    Raises StowageInputError for a name nobody has, and for the thesis' names, which are kept free for its formulas.
    """
    if not isinstance(chosen, str):
        if SCORE_SIGNATURE not in getattr(chosen, "nopython_signatures", ()):
            raise StowageInputError(f"a score is compiled as {SCORE_TEXT}; decorate it with scores.score_function")
        return _pointer_to(chosen)
    if chosen in RESERVED:
        raise StowageInputError(
            f"the score {chosen!r} is reserved for a formula of the thesis, which was not reachable; "
            f"there are {', '.join(SCORES)}"
        )
    if chosen not in SCORES:
        raise StowageInputError(
            f"no score is called {chosen!r}; there are {', '.join(SCORES)} (reserved: {', '.join(RESERVED)})"
        )
    return _pointer_to(SCORES[chosen])
