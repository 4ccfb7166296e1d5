"""What nodes cost in a cluster, asked of a child process: the cluster's market is solved, its duals are the prices."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

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
    """snapshot: in our own file format. The rest: see `scheduler.core.auction.from_snapshot.Terms`."""

    snapshot: bytes
    pods: list[str]
    bids: dict[str, float] = {}
    weights: dict[str, float] = {}
    budgets: dict[str, float] = {}


class PoolPrice(msgspec.Struct, frozen=True):
    """Nodes that no pod can tell apart, and what a bundle costs on any of them."""

    nodes: list[str]
    price: float
    utilisation: float


class PodBid(msgspec.Struct, frozen=True):
    """What a waiting pod bids for a place, and the price of the place it won, or of the cheapest one it could use.

    pool: first node of that pool; empty where no node takes such a pod.
    """

    pod: str
    bid: float
    price: float
    pool: str
    won: bool


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
        free = [PoolPrice(names, 0.0, float(made.utilisation[n])) for n, names in enumerate(pools)]
        return PriceAnswer("empty", 0.0, 0.0, 0, 0, time.process_time() - began, free, [])
    outcome = solve_market(market, effort=EFFORT)
    outcome = replace(outcome, unit_price=made.contended(outcome.unit_price))
    prices = made.pool_prices(outcome.unit_price)
    return PriceAnswer(
        verdict=outcome.verdict,
        welfare=outcome.welfare,
        bound=outcome.bound,
        steps=outcome.steps,
        requests=len(market.requests),
        cpu_s=time.process_time() - began,
        pools=[PoolPrice(names, float(prices[n]), float(made.utilisation[n])) for n, names in enumerate(pools)],
        waiting=[_told(market, outcome, j) for j, waits in enumerate(made.waits) if waits][:MOST_TOLD],
    )


def _told(market: Market, outcome: Outcome, request: int) -> PodBid:
    from scheduler.core.auction.market import UNPLACED, price_met

    pod = str(market.requests[request])
    offers = slice(int(market.first[request]), int(market.first[request + 1]))
    nodes, met = market.node[offers], price_met(market, outcome, request)
    if not len(nodes):
        return PodBid(pod, 0.0, 0.0, "", won=False)
    at = int(outcome.at[request])
    won = at != UNPLACED
    which = int((nodes == at).argmax()) if won else int(met.argmin())
    bid = float(market.value[offers][which])
    return PodBid(pod, bid, float(met[which]), str(market.nodes[nodes[which]]), won)


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
