"""The last per cent: CP-SAT on the neighbourhoods of nodes where the bound says most is lost.

At prices p the bound exceeds the welfare by what each request gives up of its best profit, plus what free room is
worth. Both are put down to nodes; the node that loses most is solved again with the nodes its requests would also use,
in exact integers, the rest of the market held. Neighbourhoods that gained nothing are not asked about twice.
"""

from __future__ import annotations

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats
from scheduler.core.auction.shared_exact import Question, solve_exact
from scheduler.core.auction.shared_prices import Dual
from scheduler.core.auction.shared_search import Allocation
from scheduler.core.columns import Codes, Ints

NODES_ASKED = 10
OFFERS_ASKED = 500
RANKS_LOOKED_AT = 6  # a request's most profitable offers, when nodes are chosen
WORK = 0.1  # deterministic time of one neighbourhood, about a tenth of a second


def losses(allocation: Allocation, dual: Dual) -> Floats:
    """(N,) what each node is short of the bound, at the dual's prices; the sum is bound - welfare without gangs."""
    made, board = allocation.made, allocation.board
    lost = np.asarray((dual.price * (board.free / made.unit)).sum(axis=1))
    placed = board.at >= 0
    met = (made.share * dual.price[board.at]).sum(axis=1)
    best = np.maximum(np.where(np.isfinite(dual.profit), dual.profit, 0.0), 0.0)
    regret = np.where(placed, best - (board.worth - met), best)
    where = np.where(placed, board.at, dual.pick)
    known = where >= 0
    np.add.at(lost, where[known], regret[known])
    return lost


def repair(allocation: Allocation, dual: Dual, tries: int, seed: int) -> int:
    """Solve up to this many neighbourhoods again, worst first; gives how many gained. Keeps the allocation legal."""
    lost = losses(allocation, dual)
    gained = 0
    done = np.zeros(len(lost), np.bool_)
    floor = 1e-6 * allocation.scale
    for _ in range(tries):
        seed_node = int(np.argmax(np.where(done, -1.0, lost)))
        if done[seed_node] or lost[seed_node] <= floor:
            break
        done[seed_node] = True
        nodes = _neighbours(allocation, seed_node)
        question = _question(allocation, nodes, dual.profit)
        answer = solve_exact(question, WORK, seed)
        if allocation.reseat(question.requests, answer.at):
            gained += 1
            lost = losses(allocation, dual)
            done[nodes] = False
            done[seed_node] = True
    return gained


def _neighbours(allocation: Allocation, seed_node: int) -> Ints:
    """The node, and those that its requests and who waits for it rate highly, most often named first."""
    board = allocation.board
    who = allocation.node_request[allocation.node_first[seed_node] : allocation.node_first[seed_node + 1]]
    near = who[(board.at[who] == seed_node) | (board.at[who] < 0) | _is_high(allocation, who, seed_node)]
    rows = [board.node[board.first[j] : board.first[j + 1]][:RANKS_LOOKED_AT] for j in near.tolist()]
    named, times = np.unique(np.concatenate([*rows, [seed_node]]), return_counts=True)
    times = np.where(named == seed_node, len(board.at), times)
    return np.sort(named[np.argsort(-times, kind="stable")][:NODES_ASKED]).astype(np.int64)


def _is_high(allocation: Allocation, who: Codes, n: int) -> np.ndarray:
    """(K,) whether node n is among the first offers of these requests."""
    board = allocation.board
    return np.array(
        [n in board.node[board.first[j] : board.first[j + 1]][:RANKS_LOOKED_AT] for j in who.tolist()], bool
    )


def _question(allocation: Allocation, nodes: Ints, profit: Floats) -> Question:
    """Everybody on these nodes, and who waits for them, most profitable first, within OFFERS_ASKED."""
    made, board = allocation.made, allocation.board
    asked = np.zeros(len(made.room), np.bool_)
    asked[nodes] = True
    here = np.concatenate(
        [allocation.node_request[allocation.node_first[n] : allocation.node_first[n + 1]] for n in nodes]
    )
    resident = np.flatnonzero(np.isin(board.at, nodes)).astype(np.int32)
    waiting = np.unique(here[board.at[here] < 0])
    waiting = waiting[np.argsort(-profit[waiting], kind="stable")]
    requests, offers, of = [], [], []
    stay = []
    gang_inside = _gangs_inside(allocation, asked)
    count = 0
    for j in [*resident.tolist(), *waiting.tolist()]:
        g = int(made.gang[j])
        rows = np.arange(board.first[j], board.first[j + 1])
        rows = rows[asked[board.node[rows]]]
        if board.at[j] < 0 and (g >= 0 or count + len(rows) > OFFERS_ASKED):
            continue
        requests.append(j)
        of.append(np.full(len(rows), len(requests) - 1))
        offers.append(allocation.kept[rows])
        stay.append(int(g >= 0 and g not in gang_inside))
        count += len(rows)
    rows_of = np.array(requests, np.int32)
    return Question(
        made,
        rows_of,
        np.concatenate(offers).astype(np.int64) if offers else np.zeros(0, np.int64),
        np.concatenate(of).astype(np.int64) if of else np.zeros(0, np.int64),
        made.room,
        np.where(board.at[rows_of] >= 0, board.at[rows_of], UNPLACED).astype(np.int32),
        np.array(stay, np.int64),
    )


def _gangs_inside(allocation: Allocation, asked: np.ndarray) -> set[int]:
    """Placed gangs that stand on the asked nodes with all their members."""
    made, board = allocation.made, allocation.board
    if len(made.member) == 0:
        return set()
    of = made.gang[made.member]
    at = board.at[made.member]
    outside = np.bincount(of, ~((at >= 0) & asked[at]))
    return set(np.flatnonzero(outside == 0).tolist())
