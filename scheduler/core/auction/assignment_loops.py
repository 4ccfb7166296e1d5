"""The loops of the assignment auction: what `assignment` does, one offer at a time.

Columns, everywhere: request j's offers are rows first[j] to first[j + 1] of `node` and `value`. outside: (J,) what a
request has when it is not placed. price: (N,). offer: (J,) the row of the offer that a request holds, -1 when it is not
placed. holder: (N,) who holds a node, -1 when nobody does. `offer`, `holder` and `price` are changed in place.

Between calls *slackness within epsilon* holds: nobody who holds a node could have epsilon more at the present prices
elsewhere, and nobody who was told that nothing is left for it could have epsilon.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled


@compiled
def keep_slack(
    first: Ints, node: Codes, value: Floats, outside: Floats, price: Floats, offer: Ints, holder: Ints, epsilon: float
) -> int:
    """Take nodes away from requests that would have epsilon more elsewhere; the offers looked at."""
    for j in range(len(outside)):
        held = offer[j]
        if held < 0:
            continue
        least = value[held] - price[node[held]] + epsilon
        content = outside[j] <= least - epsilon
        for e in range(first[j], first[j + 1]):
            if value[e] - price[node[e]] > least:
                content = False
                break
        if not content:
            holder[node[held]] = -1
            offer[j] = -1
    return len(node)


@compiled
def bid_forward(
    first: Ints, node: Codes, value: Floats, outside: Floats, price: Floats, offer: Ints, holder: Ints, epsilon: float,
    waiting: Ints, count: int, limit: int,
) -> tuple[int, int]:  # fmt: skip
    """Let requests without a node bid until each has one or wants none; prices rise.

    waiting: (J,) the first `count` bid, the last first; whoever is outbid bids next. Gives the offers looked at, and
    how many still wait when that reached `limit`.
    """
    steps = 0
    while count > 0:
        if steps >= limit:
            return steps, count
        j = waiting[count - 1]
        count -= 1
        best = -np.inf
        second = outside[j]
        pick = -1
        for e in range(first[j], first[j + 1]):
            profit = value[e] - price[node[e]]
            if profit > best:
                second = max(second, best)
                best = profit
                pick = e
            elif profit > second:
                second = profit
        steps += first[j + 1] - first[j] + 1
        if best <= outside[j]:
            continue
        n = node[pick]
        # Nobody bids above what the node is worth to it. A bid that rounding keeps from rising would go on for ever.
        bid = min(value[pick] - outside[j], price[n] + (best - second) + epsilon)
        if bid <= price[n]:
            continue
        price[n] = bid
        loser = holder[n]
        holder[n] = j
        offer[j] = pick
        if loser >= 0:
            offer[loser] = -1
            waiting[count] = loser
            count += 1
    return steps, count


@compiled
def by_node(node: Codes, nodes: int) -> tuple[Ints, Ints]:
    """The offers of node n are by_node[1][by_node[0][n]:by_node[0][n + 1]], requests ascending."""
    start = np.zeros(nodes + 1, np.int64)
    for n in node:
        start[n + 1] += 1
    for n in range(nodes):
        start[n + 1] += start[n]
    at = start[:-1].copy()
    rows = np.empty(len(node), np.int64)
    for e in range(len(node)):
        rows[at[node[e]]] = e
        at[node[e]] += 1
    return start, rows


@compiled
def bid_reverse(
    request: Codes, node: Codes, value: Floats, outside: Floats, price: Floats, offer: Ints, holder: Ints,
    epsilon: float, start: Ints, rows: Ints, limit: int,
) -> tuple[int, bool]:  # fmt: skip
    """Let nodes without a request, whose price is above 0, bid for one; prices fall, to 0 where nobody is won.

    start, rows: see `by_node`. Gives the offers looked at, and whether no such node is left.
    """
    steps = 0
    for begin in range(len(price)):
        n = begin
        while n >= 0 and holder[n] < 0 and price[n] > 0:
            if steps >= limit:
                return steps, False
            best = second = 0.0
            pick = -1
            for row in range(start[n], start[n + 1]):
                e = rows[row]
                j = request[e]
                held = offer[j]
                profit = outside[j] if held < 0 else value[held] - price[node[held]]
                gain = value[e] - profit
                if gain > best:
                    second = best
                    best = gain
                    pick = e
                elif gain > second:
                    second = gain
            steps += start[n + 1] - start[n] + 1
            price[n] = max(second - epsilon, 0.0)
            if pick < 0:
                break
            j = request[pick]
            left = -1
            if offer[j] >= 0:
                left = node[offer[j]]
                holder[left] = -1
            offer[j] = pick
            holder[n] = j
            n = left
    return steps, True


@compiled
def worth(
    first: Ints, node: Codes, value: Floats, outside: Floats, unlisted: Floats, price: Floats, offer: Ints
) -> tuple[float, float]:
    """What the requests have, those without a node their `outside`; and the most they could have, by these prices."""
    lowest = np.inf
    bound = 0.0
    for p in price:
        lowest = min(lowest, p)
        bound += p
    welfare = 0.0
    for j in range(len(outside)):
        welfare += value[offer[j]] if offer[j] >= 0 else outside[j]
        best = max(outside[j], unlisted[j] - lowest)
        for e in range(first[j], first[j + 1]):
            best = max(best, value[e] - price[node[e]])
        bound += best
    return welfare, bound


@compiled
def fingerprints(first: Ints, node: Codes, bits: Ints) -> Ints:
    """(J,) a number for the offers of each request, the same where they are the same. bits: (E,) of the bids."""
    marks = np.zeros(len(first) - 1, np.int64)
    for j in range(len(marks)):
        for e in range(first[j], first[j + 1]):
            # FNV-1a, over words instead of bytes.
            marks[j] = ((marks[j] ^ node[e]) * 1099511628211 ^ bits[e]) * 1099511628211
    return marks


@compiled
def alike_in_order(first: Ints, node: Codes, value: Floats, offer: Ints, holder: Ints, order: Ints) -> None:
    """Of requests that bid the same, let the earlier ones have the nodes, the earlier nodes first.

    order: (J,) requests, those that may bid the same next to each other and ascending. The welfare stays as it is.
    """
    begin = 0
    while begin < len(order):
        like = order[begin]
        wide = first[like + 1] - first[like]
        end = begin + 1
        while end < len(order):
            other = order[end]
            if first[other + 1] - first[other] != wide:
                break
            same = True
            for i in range(wide):
                e, o = first[like] + i, first[other] + i
                if node[e] != node[o] or value[e] != value[o]:
                    same = False
                    break
            if not same:
                break
            end += 1
        if end - begin > 1:
            held = np.full(end - begin, wide)
            for i in range(end - begin):
                j = order[begin + i]
                if offer[j] >= 0:
                    held[i] = offer[j] - first[j]
            held.sort()
            for i in range(end - begin):
                j = order[begin + i]
                offer[j] = -1
                if held[i] < wide:
                    offer[j] = first[j] + held[i]
                    holder[node[offer[j]]] = j
        begin = end
