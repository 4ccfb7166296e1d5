"""Compiled local search on an allocation: shift, eject and re-seat, gangs as wholes; every move can be taken back.

All loops repeat themselves exactly for one seed. An allocation here is always legal: a move that cannot be made legal,
or that is not accepted, is undone from its log.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scheduler.core.auction.market import Floats
from scheduler.core.columns import Codes, Ints
from scheduler.core.compiled import compiled

NOWHERE = -1
ANYWHERE = -2
EJECTED_AT_MOST = 4


class Board(NamedTuple):
    """An allocation that is being worked on. Requests of one node are a linked list.

    first, node, value: offers by request, most promising first. demand, free: integers. at: (J,) node of each request.
    worth: (J,) its bid there. head: (N,), after, before: (J,) the lists. log, log_worth: request, the node it left and
    its bid there, for each move since the last decision; logged: (1,) how many. held: (J,) not to be moved.
    """

    first: Ints
    node: Codes
    value: Floats
    demand: Ints
    gang: Codes
    free: Ints
    at: Codes
    worth: Floats
    head: Codes
    after: Codes
    before: Codes
    log: Codes
    log_worth: Floats
    logged: Ints
    held: Codes


@compiled
def next_random(state: np.uint64) -> np.uint64:
    """Xorshift."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@compiled
def fits(b: Board, j: int, n: int) -> bool:
    """Whether request j fits in what is free on node n."""
    for r in range(b.free.shape[1]):  # noqa: SIM110 (numba compiles no generator)
        if b.demand[j, r] > b.free[n, r]:
            return False
    return True


@compiled
def seat(b: Board, j: int, n: int, worth: float) -> None:
    """Move request j to node n (or NOWHERE), logged; the room may become negative."""
    old = b.at[j]
    b.log[b.logged[0], 0], b.log[b.logged[0], 1] = j, old
    b.log_worth[b.logged[0]] = b.worth[j]
    b.logged[0] += 1
    _move(b, j, old, n)
    b.worth[j] = worth


@compiled
def _move(b: Board, j: int, old: int, n: int) -> None:
    if old >= 0:
        if b.before[j] >= 0:
            b.after[b.before[j]] = b.after[j]
        else:
            b.head[old] = b.after[j]
        if b.after[j] >= 0:
            b.before[b.after[j]] = b.before[j]
        for r in range(b.free.shape[1]):
            b.free[old, r] += b.demand[j, r]
    if n >= 0:
        b.before[j] = NOWHERE
        b.after[j] = b.head[n]
        if b.head[n] >= 0:
            b.before[b.head[n]] = j
        b.head[n] = j
        for r in range(b.free.shape[1]):
            b.free[n, r] -= b.demand[j, r]
    b.at[j] = n


@compiled
def undo(b: Board, to: int) -> None:
    """Take back all moves after the first `to` of the log."""
    for i in range(b.logged[0] - 1, to - 1, -1):
        j = b.log[i, 0]
        _move(b, j, b.at[j], b.log[i, 1])
        b.worth[j] = b.log_worth[i]
    b.logged[0] = to


@compiled
def best_free(b: Board, j: int, but: int) -> int:
    """The offer of request j with the highest bid on a node with room, other than `but`; -1 if there is none."""
    best, found = -1.0, -1
    for e in range(b.first[j], b.first[j + 1]):
        if b.value[e] > best and b.node[e] != but and fits(b, j, b.node[e]):
            best, found = b.value[e], e
    return found


@compiled
def force(b: Board, j: int, e: int) -> float:
    """Seat request j by its offer e, whatever must go; gives the change of welfare, -inf where it cannot be done.

    While the node is too full, the resident whose leaving costs least per share of what is missing goes to the best
    node with room, or out. Gang members never go out.
    """
    n = b.node[e]
    resources = b.free.shape[1]
    gain = b.value[e] - b.worth[j]
    seat(b, j, n, b.value[e])
    for _ in range(EJECTED_AT_MOST):
        missing = False
        for r in range(resources):
            if b.free[n, r] < 0:
                missing = True
        if not missing:
            return gain
        cheapest, who, seat_at = np.inf, -1, -1
        k = b.head[n]
        while k >= 0:
            helps, cures = 0.0, True
            for r in range(resources):
                lack = -b.free[n, r]
                if lack > 0:
                    helps += min(b.demand[k, r], lack) / lack
                    cures = cures and b.demand[k, r] >= lack
            if k != j and helps > 0 and b.held[k] == 0:
                other = best_free(b, k, n)
                loss = b.worth[k] - (b.value[other] if other >= 0 else 0.0)
                if other >= 0 or b.gang[k] < 0:
                    # two that go in place of one cost what both are worth: compare per part cured
                    rate = loss if cures else loss * (1.0 + resources - helps)
                    if rate < cheapest:
                        cheapest, who, seat_at = rate, k, other
            k = b.after[k]
        if who < 0:
            return -np.inf
        gain -= b.worth[who]
        if seat_at >= 0:
            gain += b.value[seat_at]
            seat(b, who, b.node[seat_at], b.value[seat_at])
        else:
            seat(b, who, NOWHERE, 0.0)
    for r in range(resources):
        if b.free[n, r] < 0:
            return -np.inf
    return gain


@compiled
def place(b: Board, j: int, tries: int) -> float:
    """Give request j the node that gains most, by ejecting where need be; moves are in the log. -inf if none can."""
    start = b.logged[0]
    best, found, tried = -np.inf, -1, 0
    for e in range(b.first[j], b.first[j + 1]):
        n = b.node[e]
        up = b.value[e] - b.worth[j]
        if n == b.at[j] or up <= best:
            continue
        if fits(b, j, n):
            best, found = up, e
        elif tried < tries:
            tried += 1
            gain = force(b, j, e)
            undo(b, start)
            if gain > best:
                best, found = gain, e
    return force(b, j, found) if found >= 0 else -np.inf


@compiled
def seat_gang(b: Board, members: Codes, tries: int) -> float:
    """Place all members of a gang; the change of welfare, -inf if one finds no node. Members are held meanwhile."""
    gain = 0.0
    for j in members:
        gain += place(b, j, tries)
        if gain == -np.inf:
            break
        b.held[j] = 1
    for j in members:
        b.held[j] = 0
    return gain


@compiled
def fill(b: Board, n: int, node_first: Ints, node_request: Codes, node_offer: Ints) -> float:
    """Seat waiting requests of no gang on node n, highest bids first; gives the gain."""
    gain = 0.0
    for i in range(node_first[n], node_first[n + 1]):
        j = node_request[i]
        if b.at[j] < 0 and b.gang[j] < 0 and fits(b, j, n):
            worth = b.value[node_offer[i]]
            seat(b, j, n, worth)
            gain += worth
    return gain


@compiled
def seat_in_order(b: Board, order: Codes, wish: Codes, gang_first: Ints, member: Codes) -> None:
    """Give every request in this order, with its whole gang, the first of its offers that has room.

    wish: (J,) the only node a request is given; ANYWHERE for the first of its offers that has room.
    """
    alone = np.zeros(1, np.int32)
    for j in order:
        if b.at[j] >= 0:
            continue
        g = b.gang[j]
        alone[0] = j
        members = alone if g < 0 else member[gang_first[g] : gang_first[g + 1]]
        b.logged[0] = 0
        for k in members:
            placed = False
            for e in range(b.first[k], b.first[k + 1]):
                if (wish[k] == ANYWHERE or wish[k] == b.node[e]) and fits(b, k, b.node[e]):
                    seat(b, k, b.node[e], b.value[e])
                    placed = True
                    break
            if not placed:
                undo(b, 0)
                break


@compiled
def anneal(
    b: Board,
    gang_first: Ints,
    member: Codes,
    node_first: Ints,
    node_request: Codes,
    node_offer: Ints,
    steps: int,
    hot: float,
    cold: float,
    tries: int,
    seed: int,
) -> float:
    """Random moves, worse ones by chance of exp(gain / heat), heat from hot to cold; gives the change of welfare."""
    state = np.uint64(seed * 2654435761 + 1442695040888963407)
    total = 0.0
    cooling = (cold / hot) ** (1.0 / max(steps, 1))
    heat = hot
    for step in range(steps):
        heat *= cooling
        state = next_random(state)
        j = int(state >> np.uint64(33)) % len(b.at)
        state = next_random(state)
        chance = float(state >> np.uint64(11)) * 1.1102230246251565e-16
        b.logged[0] = 0
        g = b.gang[j]
        if g < 0 or (b.at[j] >= 0 and step & 7 > 0):
            gain = place(b, j, tries)
        else:
            members = member[gang_first[g] : gang_first[g + 1]]
            if b.at[j] < 0:
                gain = seat_gang(b, members, tries)
            else:
                gain = 0.0
                for k in members:
                    gain -= b.worth[k]
                    seat(b, k, NOWHERE, 0.0)
                for i in range(len(members)):
                    gain += fill(b, b.log[i, 1], node_first, node_request, node_offer)
        if gain == -np.inf or gain < heat * np.log(chance + 1e-300):
            undo(b, 0)
        else:
            total += gain
    return total
