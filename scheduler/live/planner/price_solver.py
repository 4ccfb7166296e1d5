"""What nodes cost in a cluster, asked of a child process: the cluster's market is solved, its duals are the prices."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from scheduler.live.planner.child import Child

if TYPE_CHECKING:
    from scheduler.core.auction.market import Market, Outcome

MOST_TOLD: Final = 1_000
"""Waiting pods whose bids an answer tells one by one."""
EFFORT: Final = 0.1
"""Of the usual work: the prices are found to a thousandth without any more, the rest betters who is told to win."""
PATIENCE_S: Final = 300.0
"""Work in a round is counted, not timed; this only ends a child that hangs."""


class PriceQuestion(msgspec.Struct, frozen=True):
    """snapshot: in our own file format. reserve: see `Round.pool_prices`. The rest: see `Terms`, both of
    `scheduler.core.auction.from_snapshot`."""

    snapshot: bytes
    pods: list[str]
    bids: dict[str, float] = {}
    weights: dict[str, float] = {}
    budgets: dict[str, float] = {}
    reserve: float = 0.0


class PoolPrice(msgspec.Struct, frozen=True):
    """Nodes that no pod can tell apart, and what a bundle costs on any of them."""

    nodes: list[str]
    price: float
    utilisation: float


class PodBid(msgspec.Struct, frozen=True):
    """What a waiting pod bids for a place, and the price of the place it won, or of the cheapest one it could use.

    pool: first node of that pool; empty where no node takes such a pod. rival, rival_bid: for who was outbid, the pod
    there that pays least for what is short; a bid that beats the price puts it out.
    """

    pod: str
    bid: float
    price: float
    pool: str
    won: bool
    rival: str = ""
    rival_bid: float = 0.0


class PriceAnswer(msgspec.Struct, frozen=True):
    """verdict, welfare, bound, steps: as of a market's Outcome; `empty` where nobody bids. cpu_s: of the child."""

    verdict: str
    welfare: float
    bound: float
    steps: int
    requests: int
    cpu_s: float
    pools: list[PoolPrice]
    waiting: list[PodBid]


def answer(question: PriceQuestion) -> PriceAnswer:
    """The prices for a question."""
    from scheduler.core.auction.from_snapshot import Terms, make_round
    from scheduler.core.auction.solve import solve_market
    from scheduler.core.snapshot import parse_snapshot

    began = time.process_time()
    terms = Terms(frozenset(question.pods), question.bids, question.weights, question.budgets)
    made = make_round(parse_snapshot(question.snapshot), terms)
    market = made.market
    pools = [list(names) for names in made.pools]
    if not len(market.requests) or not pools:
        least = made.pool_prices(np.zeros(market.room.shape), question.reserve)
        free = [PoolPrice(names, float(least[n]), float(made.utilisation[n])) for n, names in enumerate(pools)]
        return PriceAnswer("empty", 0.0, 0.0, 0, 0, time.process_time() - began, free, [])
    outcome = solve_market(market, effort=EFFORT)
    outcome = replace(outcome, at=made.keep_running(outcome.at), unit_price=made.contended(outcome.unit_price))
    prices = made.pool_prices(outcome.unit_price, question.reserve)
    teller = _Teller(market, outcome)
    return PriceAnswer(
        verdict=outcome.verdict,
        welfare=outcome.welfare,
        bound=outcome.bound,
        steps=outcome.steps,
        requests=len(market.requests),
        cpu_s=time.process_time() - began,
        pools=[PoolPrice(names, float(prices[n]), float(made.utilisation[n])) for n, names in enumerate(pools)],
        waiting=[teller.tell(j) for j in np.flatnonzero(made.waits)[:MOST_TOLD].tolist()],
    )


class _Teller:
    """Says what single pods bid and met."""

    def __init__(self, market: Market, outcome: Outcome) -> None:
        from scheduler.core.auction.market import bid_of

        self.market, self.outcome = market, outcome
        self.bids = bid_of(market, outcome.at)
        self._last: dict[tuple[int, int], int | None] = {}

    def tell(self, request: int) -> PodBid:
        from scheduler.core.auction.market import UNPLACED, price_met

        market, pod = self.market, str(self.market.requests[request])
        offers = slice(int(market.first[request]), int(market.first[request + 1]))
        nodes, met = market.node[offers], price_met(market, self.outcome, request)
        if not len(nodes):
            return PodBid(pod, 0.0, 0.0, "", won=False)
        at = int(self.outcome.at[request])
        won = at != UNPLACED
        which = int((nodes == at).argmax()) if won else int(met.argmin())
        pool = int(nodes[which])
        told = PodBid(pod, float(market.value[offers][which]), float(met[which]), str(market.nodes[pool]), won)
        short = int((market.demand[request] * self.outcome.unit_price[pool]).argmax())
        rival = None if won else self.last_in(pool, short)
        if rival is None:
            return told
        name, bid = str(market.requests[rival]), float(self.bids[rival])
        return msgspec.structs.replace(told, rival=name, rival_bid=bid)

    def last_in(self, pool: int, resource: int) -> int | None:
        """Of those in a pool that use a resource, the one whose bid is least beside the price it pays."""
        key = (pool, resource)
        if key not in self._last:
            demand = self.market.demand
            there = np.flatnonzero((self.outcome.at == pool) & (demand[:, resource] > 0))
            paid = demand[there] @ self.outcome.unit_price[pool]
            beside = self.bids[there] / np.maximum(paid, 1e-12)
            self._last[key] = int(there[beside.argmin()]) if len(there) else None
        return self._last[key]


def _warm() -> None:
    import scheduler.core.auction.solve  # noqa: F401  # loading it takes seconds


def _answer(question: bytes) -> bytes:
    return msgspec.msgpack.encode(answer(msgspec.msgpack.decode(question, type=PriceQuestion)))


class PriceSolver:
    """The child process; it starts with the first question."""

    def __init__(self) -> None:
        self._child = Child("stowage-prices", _warm, _answer)
        self.stop = self._child.stop

    def ask(self, question: PriceQuestion) -> PriceAnswer:
        """The answer. Raises SolverFailed."""
        data = self._child.ask(msgspec.msgpack.encode(question), 0.0, PATIENCE_S)
        return msgspec.msgpack.decode(data, type=PriceAnswer)
