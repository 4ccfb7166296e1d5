"""The instance that MOHAF was published with: requests of a trace on machines that are drawn, and its utility.

Agrawal et al., "MOHAF: A Multi-Objective Hierarchical Auction Framework for Scalable and Fair Resource Allocation in
IoT Ecosystems", arXiv 2508.14830. Of the trace (Google ClusterData 2011, SUBMIT rows of job_events) the published run
takes scheduling class and user only; machines and all positions come from Python's generator, seed 42. The draws here
follow its order, so that the published figures come out again.

A capacity is a share of the largest machine and a demand a third of it per scheduling class: class 0 asks for nothing,
class 3 for more than any machine has. As amounts, a third is `THIRD` and a capacity is rounded down, which leaves every
comparison as it was.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.core.auction.market import Floats, Market
from scheduler.core.auction.terms import Terms
from scheduler.core.columns import Codes, Ints, intern
from scheduler.core.errors import StowageInputError

SEED = 42
THIRD = 1_000_000
WHOLE = 3 * THIRD
CLASSES = 4
REQUESTS_PER_MACHINE = 4
PRIORITY = 8  # job_events has no priority, the published loader's default applies to all
SIDE = (-100.0, 100.0)
# capacity, cost, position, availability, reliability, energy
DRAWN = ((0.5, 1.0), (0.3, 0.8), SIDE, SIDE, (0.95, 1.0), (0.95, 1.0), (0.6, 0.9))
REACH = 200.0  # of locations in [-100, 100] squared; farther is no use
FREE_PLAY = 0.5  # beta of u_fair = p / 10 - beta * past allocations


@dataclass(frozen=True, slots=True, eq=False)
class PaperInstance:
    """Requests and machines as columns; positions are (rows, 2).

    demand: (J,) and room: (N,) in WHOLE per machine of capacity 1. budget: (J,) dollars. priority: (J,) 0 to 10.
    history: (J,) past allocations of the request's user. cost: (N,) dollars per capacity 1. reliability, availability,
    energy: (N,) in [0, 1]. user: (J,) rows of `users`. Names are sorted; requests keep the order of the trace.
    """

    requests: tuple[str, ...]
    demand: Ints
    budget: Floats
    priority: Ints
    history: Ints
    request_position: Floats
    user: Codes
    users: tuple[str, ...]
    machines: tuple[str, ...]
    room: Ints
    cost: Floats
    reliability: Floats
    availability: Floats
    energy: Floats
    machine_position: Floats

    @property
    def size(self) -> Floats:
        """(J,) d_i, the demand as a share of a machine of capacity 1."""
        return self.demand / WHOLE

    def distance(self) -> Floats:
        """(J, N) between request and machine."""
        apart = self.request_position[:, None, :] - self.machine_position[None, :, :]
        return np.asarray(np.hypot(apart[..., 0], apart[..., 1]))


@dataclass(frozen=True, slots=True)
class UtilityRule:
    """Weights of the terms (eq 2); normalised: the QoS term stays in [0, 1], else it reaches 1.5 as in the code."""

    cost: float
    qos: float
    energy: float
    fairness: float
    normalised: bool


UTILITIES = {
    "paper": UtilityRule(cost=0.4, qos=0.3, energy=0.1, fairness=0.2, normalised=True),
    "as-run": UtilityRule(cost=0.3, qos=0.3, energy=0.2, fairness=0.2, normalised=False),
}


def draw_instance(scheduling_class: Sequence[int], user: Sequence[str], seed: int = SEED) -> PaperInstance:
    """The published instance of these jobs: a machine for every four requests, drawn in the published order.

    Raises StowageInputError for a class outside 0 to 3, or fewer than four requests.
    """
    jobs, machines = len(scheduling_class), len(scheduling_class) // REQUESTS_PER_MACHINE
    if machines == 0:
        raise StowageInputError(f"{jobs} requests make no machine: the published instance has one for every four")
    for row, one in enumerate(scheduling_class):
        if not 0 <= one < CLASSES:
            raise StowageInputError(f"scheduling class of request {row} is {one}; classes are 0 to {CLASSES - 1}")
    draw = random.Random(seed).uniform
    drawn = np.array([[draw(*limits) for limits in DRAWN] for _ in range(machines)])
    positions = np.array([[draw(*limits) for limits in (SIDE, SIDE)] for _ in range(jobs)])
    demand = np.array(scheduling_class, np.int64) * THIRD
    priority = np.full(jobs, PRIORITY, np.int64)
    owner = intern(user)
    return PaperInstance(
        requests=_numbered("request", jobs),
        demand=demand,
        budget=20 * (demand / WHOLE) + 5 * priority,
        priority=priority,
        history=np.zeros(jobs, np.int64),
        request_position=positions,
        user=owner.code,
        users=owner.values,
        machines=_numbered("machine", machines),
        room=np.floor(drawn[:, 0] * WHOLE).astype(np.int64),
        cost=drawn[:, 1].copy(),
        machine_position=drawn[:, 2:4].copy(),
        availability=drawn[:, 4].copy(),
        reliability=drawn[:, 5].copy(),
        energy=drawn[:, 6].copy(),
    )


def _numbered(what: str, count: int) -> tuple[str, ...]:
    """Names whose order is their number's."""
    return tuple(f"{what}-{row:0{len(str(count - 1))}d}" for row in range(count))


def utility(instance: PaperInstance, rule: UtilityRule, cost: Floats | None = None) -> Floats:
    """(J, N) U_ij, the weighted sum of the four terms; in [0, 1] where the rule is normalised.

    cost: (N,) prices in place of the machines' own. A budget of 0 leaves no use in a machine that costs anything. The
    fairness term is kept at 0 or more. The text defines only that one; the others are those of the published code, and
    the normalised QoS term is the mean of nearness and of mean reliability and availability.
    """
    price = (instance.cost if cost is None else cost)[None, :] * instance.size[:, None]
    budget = instance.budget[:, None]
    share = np.divide(price, budget, out=np.where(price > 0, np.inf, 0.0), where=budget > 0)
    near = np.maximum(0.0, 1.0 - instance.distance() / REACH)
    steady = 0.5 * (instance.reliability + instance.availability)
    qos = 0.5 * steady + 0.5 * near if rule.normalised else steady + 0.5 * near
    fairness = np.maximum(0.0, instance.priority / 10 - FREE_PLAY * instance.history)
    return np.asarray(
        rule.cost * np.maximum(0.0, 1.0 - share)
        + rule.qos * qos
        + rule.energy * instance.energy
        + rule.fairness * fairness[:, None]
    )


def market_of(instance: PaperInstance, rule: UtilityRule, *, exclusive: bool) -> Market:
    """The instance as a round in which a request bids its utility for every machine that can hold it.

    exclusive: one request per machine, as the published code has it; else as many as fit, as the text has it.
    """
    fits = instance.demand[:, None] <= instance.room[None, :]
    return Market(
        nodes=np.array(instance.machines),
        room=instance.room[:, None].copy(),
        requests=np.array(instance.requests),
        demand=instance.demand[:, None].copy(),
        resources=("capacity",),
        tenants=instance.users,
        tenant=instance.user,
        first=np.concatenate([[0], np.cumsum(fits.sum(axis=1))]).astype(np.int64),
        node=np.nonzero(fits)[1].astype(np.int32),
        value=utility(instance, rule)[fits],
        gang=np.full(len(instance.requests), -1, np.int32),
        unlisted=np.zeros(len(instance.requests)),
        exclusive=exclusive,
    )


def paper_terms(instance: PaperInstance, market: Market) -> Terms:
    """The instance's money: an offer asks cost_j d_i, budgets are the requests', scores are the utilities."""
    request = market.offer_request()
    return Terms(
        size=instance.size,
        budget=instance.budget[request],
        asked=instance.cost[market.node] * instance.size[request],
        cost=instance.cost,
        score=market.value,
        priority=instance.priority,
    )
