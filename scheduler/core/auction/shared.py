"""Nodes shared by several requests and several resources, gangs whole: who wins, at which prices, how good that is.

The LP relaxation's duals are the prices of a unit of each resource of each node (`shared_prices`); they bound every
allocation, over nodes not listed too. An allocation is rounded from them and improved by counted moves
(`shared_search`). Where a request takes much of a node the LP promises too much: prices of requests, with a knapsack
for every node, bound better (`shared_patterns`), and CP-SAT chooses among the sets of requests which these prices find
nearly best (`shared_master`), then among single offers where most is still to be gained (`shared_repair`), or on the
whole market where it is small (`shared_exact`): there it proves the optimum, whatever the bounds say.

Room is first cut down to what sums of demands can reach. `Outcome.bound` is the least of all these bounds; the prices
are always those of the LP, so `dual_bound(market, ...)` may be more.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.market import UNPLACED, Market, Outcome, bid_of
from scheduler.core.auction.shared_exact import Question, solve_exact
from scheduler.core.auction.shared_master import WINDOW, solve_windows
from scheduler.core.auction.shared_patterns import Patterns
from scheduler.core.auction.shared_prices import Dual
from scheduler.core.auction.shared_repair import repair
from scheduler.core.auction.shared_round import SharedRound, make_round
from scheduler.core.auction.shared_search import COLD, HOT, Allocation
from scheduler.core.columns import Codes

TINY = 400  # offers: always solved to the end
SMALL = 3_000  # offers: the exact solver sees the whole market
PROOF = 0.5  # deterministic time for that
PASS_WORK = 300_000_000  # offers looked at by the descents, at most: some 3 s of one core
PASSES = (20, 300)  # at least and at most
STEPS_PER_REQUEST = 30
HEAT = 2.5  # of the annealing, as a share of the mean bid, for each share of the bound that is missing; at least COOL
COOL = 0.02
NEIGHBOURHOODS = 24  # for the exact solver, where it cannot see the whole market
WINDOWS = 12  # of nodes whose sets are chosen again
SMALL_TURNS = 3  # where all nodes are in one window, each with twice the time
WINDOW_WORK = 0.4  # deterministic time of one of them, about as many seconds
PATTERN_PASSES = 250
PATTERN_WORK = 40_000_000  # steps and offers, at most: some 4 s
FINE = 4e-3  # of the bound: at smaller gaps sets of requests cost several times the rest and close next to nothing
CLOSED = 1e-9  # of the bound: a gap of rounding


def solve_shared(market: Market, *, seed: int = 0, effort: float = 1.0, start: Outcome | None = None) -> Outcome:
    """Winners, unit prices and bound of a market whose nodes are shared.

    effort: multiples of the usual work, counted and not timed; 0 rounds the prices and stops there. Up to TINY offers
    the answer is optimal whatever the effort. start: the outcome of a market of the same nodes and resources, whose
    prices are begun with; where it has as many requests they are taken for the same, and begin where they were.
    Raises ValueError for an exclusive market, or a start of another shape.
    """
    if market.exclusive:
        raise ValueError("the nodes of this market are not shared: see solve_assignment")
    if start is not None and start.unit_price.shape != market.room.shape:
        raise ValueError(f"the start has prices of shape {start.unit_price.shape}, the market has {market.room.shape}")
    made = make_round(market)
    first_price = np.zeros(made.room.shape) if start is None else start.unit_price * made.unit
    dual = Dual(made, np.ascontiguousarray(first_price))
    search = _Search(made, dual, seed)
    search.find_prices(effort, warm=start is not None)
    search.allocate(effort, None if start is None or len(start.at) != len(made.demand) else start.at)
    if len(made.value) <= TINY:
        search.prove(np.inf)
    elif len(made.value) <= SMALL and effort > 0:
        search.prove(PROOF * effort)
    at = search.best
    welfare = float(bid_of(market, at).sum())
    bound = max(search.bound, welfare)
    return Outcome(
        at=at,
        welfare=welfare,
        bound=bound,
        node_price=np.zeros(len(market.nodes)),
        unit_price=dual.price / made.unit,
        verdict="optimal" if bound - welfare <= CLOSED * max(bound, 1.0) else "feasible",
        steps=dual.passes * len(made.value) + search.steps,
    )


class _Search:
    """One solve: the best allocation so far, and the least bound."""

    def __init__(self, made: SharedRound, dual: Dual, seed: int) -> None:
        self.made = made
        self.dual = dual
        self.seed = seed
        self.best: Codes = np.full(len(made.demand), UNPLACED, np.int32)
        self.welfare = 0.0
        self.proven_bound = np.inf
        self.steps = 0

    @property
    def bound(self) -> float:
        return min(self.dual.bound, self.proven_bound)

    @property
    def is_closed(self) -> bool:
        return self.bound - self.welfare <= CLOSED * max(self.bound, 1.0)

    def find_prices(self, effort: float, warm: bool) -> None:
        """Descend the dual."""
        if self.is_closed:
            return
        passes = int(np.clip(PASS_WORK / max(len(self.made.value), 1), *PASSES) * min(effort, 1.0)) + PASSES[0]
        self.dual.level()
        self.dual.smooth(passes // 2 if warm else passes)

    def allocate(self, effort: float, start: Codes | None) -> None:
        """Round the prices, and improve what comes out; or the start, where it is better with its gaps filled."""
        if len(self.made.value) == 0:
            return
        allocation = Allocation(self.made, self.dual.price)
        self.dual.look(self.dual.price, np.empty_like(self.dual.price))
        allocation.round_prices(self.dual)
        self._take(allocation)
        if start is not None:
            filled = Allocation(self.made, self.dual.price)
            filled.adopt(start)
            filled.round_prices(self.dual)
            self._take(filled)
            allocation = filled if filled.welfare > allocation.welfare else allocation
        self.dual.polish(PASSES[0], self.welfare, 0.3)
        steps = int(STEPS_PER_REQUEST * effort * len(self.made.demand))
        if steps and not self.is_closed:
            hot = max(HEAT * (1 - self.welfare / self.bound), COOL)
            allocation.improve(steps, self.seed, hot, hot * COLD / HOT)
            self.steps += steps
            self._take(allocation)
        tries = int(NEIGHBOURHOODS * effort)
        if tries and not self.is_closed and len(self.made.value) > SMALL:
            self.dual.look(self.dual.price, np.empty_like(self.dual.price))
            repair(allocation, self.dual, tries, self.seed)
            self._take(allocation)
        if steps and self.bound - self.welfare > FINE * self.bound and len(self.made.value) > TINY:
            self._choose_sets(allocation, effort)

    def _choose_sets(self, allocation: Allocation, effort: float) -> None:
        """Bound the market by what whole nodes can do, and choose among the sets that this finds."""
        self.dual.look(self.dual.price, np.empty_like(self.dual.price))
        patterns = Patterns(self.made, self.dual)
        patterns.descend(PATTERN_PASSES, self.welfare, int(PATTERN_WORK * effort))
        self.steps += patterns.work
        self.proven_bound = min(self.proven_bound, patterns.bound)
        if len(self.made.room) > WINDOW:
            solve_windows(allocation, patterns, int(np.ceil(WINDOWS * effort)), WINDOW_WORK, self.seed)
        else:
            for turn in range(SMALL_TURNS):
                solve_windows(allocation, patterns, 1, WINDOW_WORK * 2**turn * effort, self.seed + turn)
        self._take(allocation)

    def _take(self, allocation: Allocation) -> None:
        if allocation.welfare > self.welfare:
            self.best, self.welfare = allocation.rows(), allocation.welfare

    def prove(self, work: float) -> None:
        """Give the whole market to the exact solver."""
        made = self.made
        if self.is_closed:
            return
        listed = np.flatnonzero(np.diff(made.first)).astype(np.int32)
        of = np.repeat(np.arange(len(listed)), np.diff(made.first)[listed])
        stay = np.zeros(len(listed), np.int64)
        now = self.best[listed]
        question = Question(made, listed, np.arange(len(made.value)), of, made.room, now, stay)
        answer = solve_exact(question, work, self.seed)
        at = np.full(len(made.demand), UNPLACED, np.int32)
        at[listed] = answer.at
        self._consider(at)
        if not made.unlisted.any():
            self.proven_bound = min(self.proven_bound, answer.bound)
            if answer.proven:
                self.proven_bound = self.welfare

    def _consider(self, at: Codes) -> None:
        request = self.made.request()
        welfare = float(self.made.value[at[request] == self.made.node].sum())
        if welfare > self.welfare:
            self.best, self.welfare = at, welfare
