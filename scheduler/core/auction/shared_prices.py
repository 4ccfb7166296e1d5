"""Prices of a shared market: the Lagrangian dual over the rooms of nodes, descended by counted passes.

Three descents follow each other, each from the best prices so far and each kept only for what it gains: one price per
resource for all nodes; accelerated gradients on a smoothed dual whose softness falls (Basu et al., "ECLIPSE: An Extreme
Scale Linear Program Solver for Web-Applications", ICML 2020; we restart the momentum and try several step lengths);
and Polyak's subgradient steps on the dual itself, which knows gangs. Duals are never below 0, and every one of them
bounds, so stopping early costs tightness and not soundness.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.auction.shared_loops import best_offers, bound_and_load, smooth_load
from scheduler.core.auction.shared_round import SharedRound
from scheduler.core.columns import Codes

GOLDEN = (5**0.5 - 1) / 2
STEP_LENGTHS = (0.3, 0.1, 0.03)
SOFT, HARD = 0.012, 0.0005  # of the mean best bid
PATIENCE = 8  # Polyak steps without gain before they are shortened


@dataclass(slots=True)
class Dual:
    """The best prices so far and their bound. passes: over all offers, counted."""

    round: SharedRound
    price: Floats
    bound: float = np.inf
    passes: int = 0
    pick: Codes = field(init=False)
    profit: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.pick = np.zeros(len(self.round.demand), np.int32)
        self.profit = np.zeros(len(self.round.demand))
        self.look(self.price, np.empty_like(self.price))

    def look(self, price: Floats, load: Floats) -> float:
        """The bound at these prices, kept if it is the best; fills in the load."""
        made = self.round
        best_offers(made.first, made.node, made.value, made.share, price, self.pick, self.profit)
        bound = bound_and_load(
            made.gang,
            made.gang_first,
            made.member,
            made.share,
            made.size,
            made.unlisted,
            price,
            self.pick,
            self.profit,
            load,
        )
        self.passes += 1
        self._keep(price, bound)
        return float(bound)

    def _keep(self, price: Floats, bound: float) -> None:
        if bound < self.bound:
            self.bound, self.price = float(bound), price.copy()

    # ---- one price per resource

    def level(self, looks: int = 18) -> None:
        """Try one price per resource for all nodes, in the ratio of their scarcity; golden section."""
        made = self.round
        offered = np.diff(made.first) > 0
        wanted = made.share[offered].sum(axis=0) / np.maximum(made.size.sum(axis=0), 1e-9)
        wanted = np.where(wanted > 1, wanted, 0)
        if not wanted.any():
            return
        need = (made.share[offered] @ wanted).mean()
        load = np.empty_like(self.price)

        def worth(height: float) -> float:
            return self.look(np.ascontiguousarray(np.broadcast_to(wanted * height, load.shape)), load)

        low, high = 0.0, 4.0 * float(made.value.max()) / need
        a, b = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        at_a, at_b = worth(a), worth(b)
        for _ in range(looks):
            if at_a < at_b:
                high, b, at_b = b, a, at_a
                a = high - GOLDEN * (high - low)
                at_a = worth(a)
            else:
                low, a, at_a = a, b, at_b
                b = low + GOLDEN * (high - low)
                at_b = worth(b)

    # ---- the smoothed dual

    def smooth(self, passes: int) -> None:
        """Accelerated gradients on the smoothed dual; the step length that gains most in a few passes goes on."""
        if len(self.round.value) == 0:
            return
        trial = max(passes // 12, 5)
        begin = self.price
        bounds = []
        for length in STEP_LENGTHS:
            bounds.append(self._accelerate(begin, trial, length, SOFT, SOFT / 2))
        length = STEP_LENGTHS[int(np.argmin(bounds))]
        self._accelerate(self.price, passes, length, SOFT, HARD)

    def _accelerate(self, begin: Floats, passes: int, length: float, soft: float, hard: float) -> float:
        made = self.round
        scale = float(made.value.mean())
        used = made.size > 0
        safe = np.where(used, made.size, 1.0)
        at, ahead = begin.copy(), begin.copy()
        load = np.empty_like(at)
        momentum, best = 1.0, np.inf
        for turn in range(passes):
            softness = scale * soft * (hard / soft) ** (turn / max(passes - 1, 1))
            bound = smooth_load(
                made.first, made.node, made.value, made.share, made.unlisted, ahead, softness, load
            ) + float((ahead * made.size).sum())
            self.passes += 1
            best = min(best, bound)
            self._keep(ahead, bound)
            over = np.where(used, load / safe - 1.0, 0.0)
            moved = np.maximum(ahead + softness * length * over / safe, 0.0)
            if float((over * safe * (moved - at)).sum()) < 0:
                momentum = 1.0
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = np.maximum(moved + (momentum - 1) / following * (moved - at), 0.0)
            at, momentum = moved, following
        return best

    # ---- the dual itself

    def polish(self, passes: int, target: float, length: float = 1.0) -> None:
        """Polyak's subgradient steps towards `target`, the welfare of some allocation."""
        made = self.round
        used = made.size > 0
        safe = np.where(used, made.size, 1.0)
        price, load = self.price.copy(), np.empty_like(self.price)
        stale = 0
        for _ in range(passes):
            before = self.bound
            bound = self.look(price, load)
            stale = 0 if self.bound < before * (1 - 1e-7) else stale + 1
            if stale >= PATIENCE:
                length, stale = length * 0.6, 0
                price = self.price.copy()
                continue
            over = np.where(used, load / safe - 1.0, 0.0)
            over[(price <= 0) & (over < 0)] = 0.0
            squared = float((over**2).sum())
            if squared == 0 or bound <= target:
                return
            price = np.maximum(price + length * (bound - target) / squared * over / safe, 0.0)
