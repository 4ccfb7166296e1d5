"""CP-SAT over sets of requests: which nearly best set every node takes, some nodes at a time, the rest held.

A model over sets has the bound of `shared_patterns`, close to what can be had, where the model over single offers has
the LP's. Sets are those that lose least against their node's best at the prices of requests; what a node has now is
always among them, so nothing is lost. One worker, a seed and deterministic time, as in `shared_exact`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats
from scheduler.core.auction.shared_exact import whole_worths
from scheduler.core.auction.shared_pattern_loops import near_sets, price_sets
from scheduler.core.auction.shared_patterns import STEPS_PER_NODE, Patterns
from scheduler.core.auction.shared_search import Allocation
from scheduler.core.columns import Ints, Mask

WINDOW = 40  # nodes
SETS = 1_300  # in one model, besides what the nodes have
ROWS = 16 * SETS
BARREN = 4  # windows in a row without gain end it
LISTINGS = 12  # at most, each with twice the loss allowed before
SMALLEST_SHARE = 0.25  # of a node's part of the gap: what a set may lose at first


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """Sets of requests that nodes may take. node: (S,); members row[first[s]:first[s + 1]], rows of offers by node."""

    node: Ints
    first: Ints
    row: Ints

    def of(self, s: int) -> Ints:
        """The rows of offers in set s."""
        return self.row[self.first[s] : self.first[s + 1]]


def solve_windows(allocation: Allocation, patterns: Patterns, windows: int, work: float, seed: int) -> int:
    """Solve up to so many windows again, around the nodes that lose most first, for so much deterministic time each;
    gives how many gained. Keeps the allocation legal."""
    gained = barren = 0
    nodes = len(allocation.made.room)
    lost = losses(allocation, patterns)
    done = np.zeros(nodes, np.bool_)
    for _ in range(windows):
        worst = int(np.argmax(np.where(done, -1.0, lost)))
        if done[worst] or barren == BARREN:
            break
        window = np.arange(nodes) if nodes <= WINDOW else around(allocation, patterns, worst)
        done[worst] = True
        if solve_window(allocation, patterns, window, work, seed):
            gained, barren = gained + 1, 0
            lost = losses(allocation, patterns)
        else:
            barren += 1
        done[window] = True
    return gained


def losses(allocation: Allocation, patterns: Patterns) -> Floats:
    """(N,) what each node's requests are worth less than its best set, at the prices of requests."""
    board, price = allocation.board, patterns.price
    best = np.zeros(len(allocation.made.room))
    price_sets(patterns.offers, price, STEPS_PER_NODE, np.zeros(len(price), np.int64), best)
    placed = board.at >= 0
    np.subtract.at(best, board.at[placed], (board.worth - price)[placed])
    return best


def around(allocation: Allocation, patterns: Patterns, seed_node: int) -> Ints:
    """The node and those nearest to it: by how many requests are worth their price at both, in two steps."""
    board, offers = allocation.board, patterns.offers
    nodes = np.array([seed_node], np.int64)
    for most in (WINDOW // 4, WINDOW):
        here = np.zeros(len(allocation.made.room), np.bool_)
        here[nodes] = True
        near = np.zeros(len(board.at), np.bool_)
        for n in nodes.tolist():
            rows = slice(offers.first[n], offers.first[n + 1])
            who = offers.request[rows]
            near[who[offers.value[rows] > patterns.price[who]]] = True
        near[(board.at >= 0) & here[board.at]] = True
        rows_of = [np.arange(board.first[j], board.first[j + 1]) for j in np.flatnonzero(near).tolist()]
        kept = np.concatenate([np.zeros(0, np.int64), *rows_of])
        who = np.repeat(np.flatnonzero(near), [len(rows) for rows in rows_of])
        times = np.bincount(board.node[kept][board.value[kept] > patterns.price[who]], minlength=len(here))
        times[nodes] += len(board.at)
        nodes = np.argsort(-times, kind="stable")[:most]
        nodes = nodes[times[nodes] > 0]
    return np.sort(nodes).astype(np.int64)


def solve_window(allocation: Allocation, patterns: Patterns, nodes: Ints, work: float, seed: int) -> bool:
    """Choose these nodes' sets again; whether that gained."""
    made, board = allocation.made, allocation.board
    inside = np.zeros(len(made.room) + 1, np.bool_)  # the last stands for UNPLACED
    inside[nodes] = True
    inside[UNPLACED] = True
    allowed = inside[board.at]
    sets = with_present(allocation, patterns, nodes, list_sets(allocation, patterns, nodes, allowed))
    chosen = choose_sets(allocation, patterns, sets, allowed, work, seed)
    requests = np.flatnonzero(allowed).astype(np.int32)
    at = np.full(len(board.at), UNPLACED, np.int32)
    for s in chosen:
        at[patterns.offers.request[sets.of(s)]] = sets.node[s]
    return len(chosen) > 0 and allocation.reseat(requests, at[requests])


def list_sets(allocation: Allocation, patterns: Patterns, nodes: Ints, allowed: Mask) -> Sets:
    """The SETS sets that lose least against their nodes' best."""
    first, row, short = np.zeros(8 * SETS + 1, np.int64), np.zeros(8 * ROWS, np.int64), np.zeros(8 * SETS)
    within = SMALLEST_SHARE * max(patterns.bound - allocation.welfare, 1e-9 * allocation.scale)
    within /= len(allocation.made.room)
    count = 0
    for _ in range(LISTINGS):
        count = near_sets(patterns.offers, nodes, patterns.price, allowed, within, STEPS_PER_NODE, first, row, short)
        if count >= SETS:
            break
        within *= 2
    keep = np.sort(np.argsort(short[:count], kind="stable")[:SETS])
    rows = [row[first[s] : first[s + 1]] for s in keep.tolist()]
    node = np.searchsorted(patterns.offers.first, row[first[keep]], side="right") - 1
    return Sets(node, np.cumsum([0, *map(len, rows)]).astype(np.int64), np.concatenate([np.zeros(0, np.int64), *rows]))


def with_present(allocation: Allocation, patterns: Patterns, nodes: Ints, sets: Sets) -> Sets:
    """With what every node has now in front."""
    offers, at = patterns.offers, allocation.board.at
    node, rows = [], []
    for n in nodes.tolist():
        own = np.arange(offers.first[n], offers.first[n + 1])
        own = own[at[offers.request[own]] == n]
        if len(own):
            node.append(n)
            rows.append(own)
    return Sets(
        np.array([*node, *sets.node.tolist()], np.int64),
        np.concatenate([np.cumsum([0, *map(len, rows)]), sum(map(len, rows)) + sets.first[1:]]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int64), *rows, sets.row]),
    )


def choose_sets(
    allocation: Allocation, patterns: Patterns, sets: Sets, allowed: Mask, work: float, seed: int
) -> list[int]:
    """The sets of most worth that the solver finds to go together."""
    from ortools.sat.python import cp_model

    at = allocation.board.at
    model = cp_model.CpModel()
    take = [model.new_bool_var("") for _ in sets.node]
    of_node: dict[int, list[Any]] = {}
    of_request: dict[int, list[Any]] = {}
    worth = np.zeros(len(take))
    for s, var in enumerate(take):
        n, rows = int(sets.node[s]), sets.of(s)
        who = patterns.offers.request[rows]
        worth[s] = patterns.offers.value[rows].sum()
        # what a node has now comes first of its sets
        model.add_hint(var, int(n not in of_node and bool((at[who] == n).all())))
        of_node.setdefault(n, []).append(var)
        for j in who.tolist():
            of_request.setdefault(j, []).append(var)
    for options in of_node.values():
        model.add_at_most_one(options)
    add_requests(model, allocation, of_request, allowed)
    amounts, _ = whole_worths(worth)
    model.maximize(cp_model.LinearExpr.weighted_sum(take, amounts.tolist()))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed % (1 << 31)
    solver.parameters.linearization_level = 2
    solver.parameters.max_deterministic_time = work
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return []
    return [s for s, var in enumerate(take) if solver.value(var)]


def add_requests(model: Any, allocation: Allocation, of_request: dict[int, list[Any]], allowed: Mask) -> None:
    """A request is in one set at most; a gang is placed whole, or as it is where members are held outside."""
    made, at = allocation.made, allocation.board.at
    whole: dict[int, Any] = {}
    for j, options in sorted(of_request.items()):
        g = int(made.gang[j])
        if g < 0:
            model.add_at_most_one(options)
            continue
        members = made.member[made.gang_first[g] : made.gang_first[g + 1]]
        if not allowed[members].all():
            model.add(sum(options) == int(at[j] >= 0))
            continue
        if g not in whole:
            whole[g] = model.new_bool_var("") if all(int(k) in of_request for k in members) else 0
        model.add(sum(options) == whole[g])
