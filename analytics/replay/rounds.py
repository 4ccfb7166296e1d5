"""The auction inside a replay: at fixed instants, what was freed since the last one goes to the highest bids.

Between rounds a freed node is kept off the market (`Ranking.withholds`): tasks that arrive start at once only where
nobody who waited could have used the room. A round settles Karma credits, turns them into the tenants' weights, bids
for everybody who waits, and lets `scheduler.core.auction.solve` find winners and prices among the nodes on sale and the
first of those who bid. What is left is anybody's again, and the compiled loop serves who waits in order of bids until
nothing more fits. A bid per unit of dominant share is tier's worth x tenant's weight: that is the order of the queue.

A node keeps the price of the last round it was on sale in, half of which is the price before; it is taken off scores as
the live extender does (`scheduler.core.auction.surplus`). Work for the solver is bounded by counts, so that the same
replay decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from analytics.load import ReplayInput
from analytics.replay.planner import move_at_once
from analytics.replay.preemption import lowest_level
from analytics.replay.progress import FREED, Progress
from analytics.replay.queues import Queues, make_ready, unblock
from analytics.replay.ranking import Ranking, mark_changed
from analytics.replay.running import Running, row_names
from analytics.replay.state import NOWHERE, WAITING, Classes, Nodes, Tasks, fits, has_room
from scheduler.core.auction.fairness import dominant_share
from scheduler.core.auction.karma import Shares, bid_weights, settle
from scheduler.core.auction.market import Market
from scheduler.core.auction.prices import carry_over
from scheduler.core.auction.solve import solve_market
from scheduler.core.auction.worth import task_values, worth_of_tiers
from scheduler.core.policies import Policy
from scheduler.core.policies.parameters import Settings
from traces.schema import Tier

ROUND_US = 60_000_000
QUANTUM_ROUNDS = 5  # rounds per quantum of Karma
SLICES = 1_000_000  # of a cluster, shared out among the tenants
FIRST_QUANTA = 12  # a tenant begins with as many credits as its fair share earns in so many quanta
REQUESTS = 160
OFFERS = 8  # nodes that one request bids for
KEPT = 0.5  # of a node's price from round to round
EFFORT = 0.0


class AuctionRounds:
    """An `IntervalPlanner`, with what is carried from round to round beside `Ranking.price`.

    Before the first round everybody has the same credits, and bids with weight 1.
    """

    def __init__(self, running: Running, policy: Policy, settings: Settings) -> None:
        """worth: (P,) by level. credits, weight: (U,)."""
        tenants = max(len(running.given.tenants), 1)
        fair = max(SLICES // tenants, 1)
        self.every_us = ROUND_US
        self.worth = worth_of_levels(running.given.priorities, running.tiers)
        self.credits = np.full(tenants, fair * FIRST_QUANTA, np.int64)
        self.weight = np.ones(tenants)
        self.shares = Shares(fair, fair // 2)
        self.counted = dict.fromkeys(("rounds", "markets", "market_bids", "market_wins"), 0)
        running.ranking.withholds[0] = True

    def counters(self) -> dict[str, int]:
        """Rounds, and of those that had anything to sell: bids and wins."""
        return self.counted

    def act(self, running: Running, now_us: int) -> None:
        """One round: winners start, then the loop serves the rest in order of bids with what is left."""
        given, ranking, progress = running.given, running.ranking, running.progress
        if self.counted["rounds"] % QUANTUM_ROUNDS == 0:
            _settle_credits(self, given)
        self.counted["rounds"] += 1
        tasks = given.tasks
        bid = self.worth[tasks.level_of_group] * self.weight[tasks.tenant_of_group]
        running.queues.base[:] = np.unique(-bid, return_inverse=True)[1].reshape(-1)
        rows = np.sort(progress.freed[: progress.at[FREED]]).astype(np.int64)
        rows = rows[given.nodes.up[rows]]
        _sell(self, running, rows, now_us)
        release(given.nodes, given.classes, tasks, running.queues, ranking, progress, running.preempts)
        ranking.withholds[0] = False
        running.advance(now_us, now_us)
        ranking.withholds[0] = True


def worth_of_levels(priorities: NDArray[np.int64], tiers: Sequence[Tier]) -> NDArray[np.float64]:
    """(P,) worth of each priority: that of its tier; 1 outside all tiers."""
    worth = np.ones(len(priorities))
    for tier, value in zip(tiers, worth_of_tiers([tier.min for tier in tiers]), strict=True):
        worth[(priorities >= tier.min) & (priorities <= tier.max)] = value
    return worth


@njit(cache=True)
def release(
    nodes: Nodes, classes: Classes, tasks: Tasks, queues: Queues, ranking: Ranking, progress: Progress, preempts: bool
) -> None:
    """The round is over: what is left of the freed nodes is anybody's, and who could use one of them asks again.

    To ask nodes in turn costs less here than to let hundreds of nodes look for who comes first, as after an event.
    """
    requested, allocatable, demand = nodes.requested, nodes.allocatable, classes.demand
    freed, count, by_level = progress.freed, progress.at[FREED], nodes.by_level
    for g in np.flatnonzero(queues.is_blocked):
        c, level = tasks.class_of_group[g], tasks.level_of_group[g]
        for i in range(count):
            n = freed[i]
            takes = has_room(requested, allocatable, demand, c, n) and fits(nodes, classes, c, n)
            if not takes and preempts and level > 0:
                takes = lowest_level(requested, allocatable, by_level, demand, classes.gpus[c] > 0, c, level, n) >= 0
            if takes:
                unblock(queues, g)
                make_ready(queues, tasks, g)
                break
    for i in range(count):
        progress.is_freed[freed[i]] = False
        ranking.withheld[freed[i]] = False
        mark_changed(ranking, freed[i])
    progress.at[FREED] = 0


def _settle_credits(auction: AuctionRounds, given: ReplayInput) -> None:
    """A quantum of Karma over dominant shares of the cluster: what tenants want, and what they hold."""
    tasks, classes = given.tasks, given.classes
    capacity = given.nodes.allocatable.sum(axis=0)
    if not capacity.any():
        return
    groups = len(tasks.class_of_group)
    used = np.zeros((len(auction.credits), len(capacity)), np.int64)
    wanted = np.zeros_like(used)
    for amounts, who in ((used, tasks.node >= 0), (wanted, tasks.node == WAITING)):
        count = np.bincount(tasks.group[who], minlength=groups)
        np.add.at(amounts, tasks.tenant_of_group, count[:, None] * classes.demand[tasks.class_of_group])
    offered = capacity > 0
    demand, held = (
        np.floor(dominant_share(amounts[:, offered], capacity[offered]) * SLICES).astype(np.int64)
        for amounts in (used + wanted, used)
    )
    auction.credits = settle(auction.credits, demand, np.minimum(held, demand), auction.shares)
    auction.weight = bid_weights(auction.credits)


def _sell(auction: AuctionRounds, running: Running, rows: NDArray[np.int64], now_us: int) -> None:
    """Find winners among the nodes on sale, start them, and keep the prices."""
    given, ranking = running.given, running.ranking
    who, fit = _bidders(given, running.queues, rows)
    if not len(who):
        return
    market = _market(auction, given, rows, who, fit)
    outcome = solve_market(market, seed=running.seed, effort=EFFORT)
    won = outcome.at >= 0
    auction.counted["markets"] += 1
    auction.counted["market_bids"] += len(who)
    auction.counted["market_wins"] += int(won.sum())
    fetches = (outcome.unit_price * given.nodes.allocatable[rows]).sum(axis=1)
    most = auction.worth.max() * auction.weight.max() * _shares(given, given.nodes.allocatable[rows])
    share = np.minimum(fetches / np.maximum(most, np.finfo(float).tiny), 1.0)
    ranking.price[rows] = carry_over(ranking.price[rows], share, KEPT)
    median, ninth, dearest = np.quantile(share, [0.5, 0.9, 1.0]).tolist()
    running.told.setdefault("prices", []).append(
        {
            "time_us": now_us, "on_sale": len(rows), "bids": len(who), "wins": int(won.sum()),
            "price_p50": median, "price_p90": ninth, "price_max": dearest,
        }
    )  # fmt: skip
    running.set_timers(move_at_once(running, who[won], rows[outcome.at[won]], now_us))


def _bidders(
    given: ReplayInput, queues: Queues, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The first of those who wait and find room on a node on sale: tasks, and (tasks, nodes) where each fits.

    Tasks with GPUs, or that keep off each other's nodes, are left to the loop: their rules are not sums.
    """
    tasks, classes = given.tasks, given.classes
    kind = tasks.class_of_group
    groups = np.flatnonzero(
        queues.is_blocked & (queues.head >= 0) & (classes.gpus[kind] == 0) & (classes.spread[kind] < 0)
    )
    if not len(groups) or not len(rows):
        return np.zeros(0, np.int64), np.zeros((0, len(rows)), np.bool_)
    groups = groups[np.lexsort((tasks.arrival[queues.head[groups]], queues.base[groups]))]
    free = _free(given, rows)
    fit = np.ones((len(groups), len(rows)), np.bool_)
    for r in range(free.shape[1]):
        wanted = classes.demand[kind[groups], r]
        fit &= (wanted[:, None] <= free[None, :, r]) | (wanted == 0)[:, None]
    masks = classes.mask[kind[groups]]
    masked = masks >= 0
    fit[masked] &= classes.eligible[masks[masked]][:, rows]
    who: list[int] = []
    row: list[int] = []
    for i in np.flatnonzero(fit.any(axis=1)).tolist():
        t, left = int(queues.head[groups[i]]), int(fit[i].sum())
        while t != NOWHERE and left > 0 and len(who) < REQUESTS:
            who.append(t)
            row.append(i)
            t, left = int(tasks.after[t]), left - 1
        if len(who) == REQUESTS:
            break
    return np.array(who, np.int64), fit[np.array(row, np.int64)]


def _market(
    auction: AuctionRounds, given: ReplayInput, rows: NDArray[np.int64], who: NDArray[np.int64], fit: NDArray[np.bool_]
) -> Market:
    """Everybody bids its value for the tightest nodes it fits on; the same value on each."""
    tasks, nodes = given.tasks, given.nodes
    group = tasks.group[who]
    demand = given.classes.demand[tasks.class_of_group[group]]
    tenants, tenant = np.unique(tasks.tenant_of_group[group], return_inverse=True)
    value = task_values(
        auction.worth[tasks.level_of_group[group]],
        auction.weight[tasks.tenant_of_group[group]],
        demand,
        nodes.allocatable.sum(axis=0),
    )
    free = _free(given, rows)
    room = (free / np.maximum(nodes.allocatable[rows], 1)).sum(axis=1)
    tightest = np.argsort(room, kind="stable")
    is_offer = np.zeros_like(fit)
    among = fit[:, tightest]
    is_offer[:, tightest] = among & (np.cumsum(among, axis=1) <= OFFERS)
    request, node = np.nonzero(is_offer)
    return Market(
        nodes=row_names(len(rows)),
        room=free,
        requests=row_names(len(who)),
        demand=demand,
        resources=given.resources,
        tenants=tuple(row_names(len(tenants)).tolist()),
        tenant=tenant.reshape(-1).astype(np.int32),
        first=np.concatenate([[0], np.cumsum(np.bincount(request, minlength=len(who)))]).astype(np.int64),
        node=node.astype(np.int32),
        value=value[request],
        gang=np.full(len(who), -1, np.int32),
        unlisted=np.where(fit.sum(axis=1) > OFFERS, value, 0.0),
    )


def _free(given: ReplayInput, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, R) room; what ran when the window opened may exceed what a node offers."""
    return np.maximum(given.nodes.allocatable[rows] - given.nodes.requested[rows], 0)


def _shares(given: ReplayInput, amounts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) the dominant share of the cluster that each row of amounts is."""
    ones = np.ones(len(amounts))
    return np.asarray(task_values(ones, ones, amounts, given.nodes.allocatable.sum(axis=0)))
