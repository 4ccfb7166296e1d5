"""Compiled passes over the offers: the Lagrangian dual of a shared market, and its smoothed form.

Prices, shares and sizes are in the round's units (`SharedRound.unit`). With prices p on resources the requests no
longer meet: each takes the node of most profit, value - share @ p, a gang all its members' best or nothing. The sum of
those profits and of what the room is worth bounds every allocation; its least over p >= 0 is the LP's optimum.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled

NOWHERE = -1
STRIDE = 40503  # each request looks from another of its offers on, so that equal offers do not send all to one node


@compiled
def best_offers(
    first: Ints, node: Codes, value: Floats, share: Floats, price: Floats, pick: Codes, profit: Floats
) -> None:
    """Fill in (J,) pick and profit: the node of most profit for every request; NOWHERE, -inf without an offer."""
    resources = share.shape[1]
    for j in range(len(first) - 1):
        best, at = -np.inf, NOWHERE
        offers = first[j + 1] - first[j]
        for i in range(offers):
            e = first[j] + (i + j * STRIDE) % offers
            worth, n = value[e], node[e]
            for r in range(resources):
                worth -= share[j, r] * price[n, r]
            if worth > best:
                best, at = worth, n
        pick[j] = at
        profit[j] = best


@compiled
def bound_and_load(
    gang: Codes,
    gang_first: Ints,
    member: Codes,
    share: Floats,
    size: Floats,
    unlisted: Floats,
    price: Floats,
    pick: Codes,
    profit: Floats,
    load: Floats,
) -> float:
    """The bound at these prices, after `best_offers`; fills in (N, R) load: what the picks would use."""
    resources = share.shape[1]
    load[:] = 0
    total = 0.0
    for j in range(len(pick)):
        if gang[j] >= 0:
            continue
        if unlisted[j] > max(profit[j], 0.0):
            total += unlisted[j]
        elif profit[j] > 0:
            total += profit[j]
            for r in range(resources):
                load[pick[j], r] += share[j, r]
    for g in range(len(gang_first) - 1):
        whole = 0.0
        for i in range(gang_first[g], gang_first[g + 1]):
            j = member[i]
            elsewhere = unlisted[j] if unlisted[j] > 0 else -np.inf
            whole += max(profit[j], elsewhere)
        if whole <= 0:
            continue
        total += whole
        for i in range(gang_first[g], gang_first[g + 1]):
            j = member[i]
            if profit[j] >= unlisted[j] or unlisted[j] == 0:
                for r in range(resources):
                    load[pick[j], r] += share[j, r]
    for n in range(len(size)):
        for r in range(resources):
            total += price[n, r] * size[n, r]
    return total


@compiled
def smooth_load(
    first: Ints,
    node: Codes,
    value: Floats,
    share: Floats,
    unlisted: Floats,
    price: Floats,
    softness: float,
    load: Floats,
) -> float:
    """Fill in the load when requests split over offers of nearly equal profit; returns the bound's part of profits.

    A request takes fractions x maximising profit @ x - softness |x|^2 / 2 with sum(x) <= 1: what makes the dual smooth.
    Gangs' members count for themselves here.
    """
    resources = share.shape[1]
    load[:] = 0
    total = 0.0
    longest = 0
    for j in range(len(first) - 1):
        longest = max(longest, first[j + 1] - first[j])
    profit = np.empty(longest)
    for j in range(len(first) - 1):
        begin = first[j]
        offers = first[j + 1] - begin
        top = 0.0
        for i in range(offers):
            worth, n = value[begin + i], node[begin + i]
            for r in range(resources):
                worth -= share[j, r] * price[n, r]
            profit[i] = worth
            top = max(top, worth)
        total += max(top, unlisted[j])
        if top <= 0 or unlisted[j] > top:
            continue
        # x = (profit - level)+ / softness, with the least level >= 0 for which sum(x) <= 1
        level = max(top - softness, 0.0)
        while True:
            count, mass = 0, 0.0
            for i in range(offers):
                if profit[i] > level:
                    count += 1
                    mass += profit[i]
            higher = (mass - softness) / count
            if higher <= level + 1e-15:
                break
            level = higher
        for i in range(offers):
            if profit[i] > level:
                part = (profit[i] - level) / softness
                n = node[begin + i]
                for r in range(resources):
                    load[n, r] += part * share[j, r]
    return total


@compiled
def top_offers(
    first: Ints, node: Codes, value: Floats, share: Floats, price: Floats, most: int, kept_first: Ints, kept: Ints
) -> int:
    """Fill in the offers of each request with most profit, at most `most`, best first; gives how many in all."""
    resources = share.shape[1]
    count = 0
    profit = np.empty(most)
    for j in range(len(first) - 1):
        begin, size = count, 0
        offers = first[j + 1] - first[j]
        for turn in range(offers):
            e = first[j] + (turn + j * STRIDE) % offers
            worth, n = value[e], node[e]
            for r in range(resources):
                worth -= share[j, r] * price[n, r]
            if size == most and worth <= profit[most - 1]:
                continue
            i = min(size, most - 1)
            while i > 0 and profit[i - 1] < worth:
                profit[i] = profit[i - 1]
                kept[begin + i] = kept[begin + i - 1]
                i -= 1
            profit[i] = worth
            kept[begin + i] = e
            size = min(size + 1, most)
        count += size
        kept_first[j + 1] = count
    return count
