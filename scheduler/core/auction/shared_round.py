"""A shared market made ready for search: only offers that can win, only room that can be used."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from scheduler.core.auction.market import Floats, Market
from scheduler.core.columns import Codes, Ints, Mask

SUBSET_SUM_WORK = 1 << 28  # bit operations, some 5 ms; beyond it room is only rounded to what all demands share


@dataclass(frozen=True, slots=True, eq=False)
class SharedRound:
    """What the loops read. J requests, N nodes, R resources, G gangs, E offers that can win.

    first: (J + 1,), node, value: (E,) offers by request. demand: (J, R), room: (N, R) integers; room is the most that
    demands can add up to. unlisted: (J,) the most bid for nodes not listed. gang: (J,) numbers from 0, -1 alone.
    gang_first: (G + 1,) gang g's members are member[gang_first[g]:gang_first[g + 1]]. share: (J, R) and size: (N, R)
    are demand and room over `unit`: (R,) the largest room, so that prices of unlike resources compare.
    """

    first: Ints
    node: Codes
    value: Floats
    demand: Ints
    room: Ints
    unlisted: Floats
    gang: Codes
    gang_first: Ints
    member: Codes
    unit: Floats
    share: Floats
    size: Floats

    def request(self) -> Ints:
        """(E,) the request of every offer."""
        return np.repeat(np.arange(len(self.demand)), np.diff(self.first))


def make_round(market: Market) -> SharedRound:
    """The market without offers that cannot win: that do not fit, or of gangs of which a member has nowhere to go."""
    request = market.offer_request()
    wins = market.fits()
    listed = np.bincount(request[wins], minlength=len(market.requests))
    _, rank = np.unique(market.gang, return_inverse=True)
    gang = np.where(market.gang >= 0, rank - int((market.gang < 0).any()), -1).astype(np.int32)
    torn = np.unique(gang[(gang >= 0) & (listed == 0)])
    wins &= ~np.isin(gang[request], torn)
    count = np.bincount(request[wins], minlength=len(market.requests))
    member = np.argsort(gang, kind="stable").astype(np.int32)[int((gang < 0).sum()) :]
    room = reachable_room(market.room, market.demand, count > 0)
    unit = np.maximum(room.max(axis=0, initial=1), 1).astype(np.float64)
    return SharedRound(
        first=np.concatenate([[0], np.cumsum(count)]).astype(np.int64),
        node=market.node[wins],
        value=market.value[wins],
        demand=market.demand,
        room=room,
        unlisted=market.unlisted,
        gang=gang,
        gang_first=np.concatenate([[0], np.cumsum(np.bincount(gang[gang >= 0]))]).astype(np.int64),
        member=member,
        unit=unit,
        share=market.demand / unit,
        size=room / unit,
    )


def reachable_room(room: Ints, demand: Ints, counts: Mask) -> Ints:
    """(N, R) the largest sum of demands, of each resource by itself, that each node has room for.

    counts: (J,) the requests that can win. No allocation uses more, so a bound may leave the rest out: of the 888
    machines of MOHAF's experiment (capacities 0.5 to 1, demands in thirds) a quarter of the capacity.
    """
    answer = np.zeros_like(room)
    for r in range(room.shape[1]):
        amounts, times = np.unique(demand[counts, r], return_counts=True)
        times, amounts = times[amounts > 0], amounts[amounts > 0]
        if len(amounts):
            common = int(np.gcd.reduce(amounts))
            answer[:, r] = common * _largest_sums(room[:, r] // common, amounts // common, times)
    return answer


def _largest_sums(room: Ints, amounts: Ints, times: Ints) -> Ints:
    """For every room the largest sum of the amounts, each used up to its times, that fits: bounded subset sum."""
    top = int(min(room.max(initial=0), int((amounts * times).sum())))
    if len(amounts) * math.log2(int(times.max()) + 1) * top > SUBSET_SUM_WORK:
        return np.minimum(room, top)
    within = (1 << (top + 1)) - 1
    sums = 1  # bit s: some choice adds up to s
    for amount, left in zip(amounts.tolist(), times.tolist(), strict=True):
        batch, left = 1, min(left, top // amount)
        while left > 0:
            batch = min(batch, left)
            sums |= (sums << (amount * batch)) & within
            left -= batch
            batch *= 2
    raw = np.frombuffer(sums.to_bytes((top + 8) // 8, "little"), np.uint8)
    bits = np.unpackbits(raw, bitorder="little")[: top + 1]
    below = np.maximum.accumulate(np.where(bits, np.arange(top + 1), 0))
    return np.asarray(below[np.minimum(room, top)], np.int64)
