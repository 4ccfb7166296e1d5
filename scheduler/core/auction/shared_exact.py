"""The exact solver on a shared market, or on a neighbourhood of it: some requests and some nodes, the rest held.

CP-SAT runs in this process, with one worker, a seed and deterministic time, so that the same market gives the same
answer. (Packing runs it in a process of its own because its models are of any size; here callers bound them.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scheduler.core.auction.market import UNPLACED, Floats
from scheduler.core.auction.shared_round import SharedRound
from scheduler.core.columns import Codes, Ints

MOST_DIGITS = 53  # amounts beyond it are halved, demands rounded up: safe, and CP-SAT takes them
WORTH_DIGITS = 44  # of all bids together; one part in 10^13


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of nodes for the asked requests; their welfare's bound among the asked nodes; whether it is proven best."""

    at: Codes
    bound: float
    proven: bool


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What to solve: requests (K,) with offers e of the round, `of` (rows of requests); room: (N, R) what is theirs.

    now: (K,) where they are. bound_to_stay: (K,) must be placed, since the rest of the gang is held.
    """

    made: SharedRound
    requests: Codes
    offer: Ints
    of: Ints
    room: Ints
    now: Codes
    bound_to_stay: Ints


def solve_exact(question: Question, work: float, seed: int) -> Answer:
    """The best the solver finds in this much deterministic time, at least as good as `now`."""
    from ortools.sat.python import cp_model

    made, offer = question.made, question.offer
    model = cp_model.CpModel()
    take = [model.new_bool_var("") for _ in offer]
    node = made.node[offer]
    by_request: list[list[Any]] = [[] for _ in question.requests]
    for var, k, n in zip(take, question.of.tolist(), node.tolist(), strict=True):
        by_request[k].append(var)
        model.add_hint(var, int(question.now[k] == n))
    add_one_node_each(model, question, by_request)
    add_rooms(model, question, take)
    add_gangs(model, question, by_request)
    whole, unit = whole_worths(made.value[offer])
    model.maximize(cp_model.LinearExpr.weighted_sum(take, whole.tolist()))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed % (1 << 31)
    solver.parameters.linearization_level = 2
    solver.parameters.max_deterministic_time = work
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Answer(question.now.copy(), np.inf, False)
    at = np.full(len(question.requests), UNPLACED, np.int32)
    for var, k, n in zip(take, question.of.tolist(), node.tolist(), strict=True):
        if solver.value(var):
            at[k] = n
    # bids were rounded down to whole units: each request may be worth one more
    slack = 0.0 if unit == 1 and not (made.value[offer] % 1).any() else unit * len(question.requests)
    return Answer(at, solver.best_objective_bound * unit + slack, status == cp_model.OPTIMAL)


def add_one_node_each(model: Any, question: Question, by_request: list[list[Any]]) -> None:
    """A request is placed once or not at all."""
    for k, options in enumerate(by_request):
        if question.bound_to_stay[k]:
            model.add_exactly_one(options)
        else:
            model.add_at_most_one(options)


def add_rooms(model: Any, question: Question, take: list[Any]) -> None:
    """What is placed on a node fits into its room, in every resource."""
    made = question.made
    node = made.node[question.offer]
    order = np.argsort(node, kind="stable")
    begin = np.flatnonzero(np.diff(node[order], prepend=-1))
    for offers in np.split(order, begin[1:]) if len(order) else []:
        n = int(node[offers[0]])
        demand = made.demand[question.requests[question.of[offers]]]
        for r in range(demand.shape[1]):
            shift = max(0, int(question.room[n, r]).bit_length() - MOST_DIGITS)
            asked = [-(-amount >> shift) for amount in demand[:, r].tolist()]
            room = int(question.room[n, r]) >> shift
            if sum(asked) > room:
                model.add(sum(amount * take[e] for amount, e in zip(asked, offers.tolist(), strict=True)) <= room)


def add_gangs(model: Any, question: Question, by_request: list[list[Any]]) -> None:
    """A gang that is asked about is placed whole or not at all."""
    gang = question.made.gang[question.requests]
    for g in np.unique(gang[(gang >= 0) & (question.bound_to_stay == 0)]).tolist():
        leader, *others = np.flatnonzero((gang == g) & (question.bound_to_stay == 0)).tolist()
        for k in others:
            model.add(sum(by_request[k]) == sum(by_request[leader]))


def whole_worths(value: Floats) -> tuple[Ints, float]:
    """Bids as whole numbers of a unit: of 1 where they are whole already, else as fine as the solver's sums allow."""
    total = float(value.sum())
    if not (value % 1).any() and total < 2.0**WORTH_DIGITS:
        return value.astype(np.int64), 1.0
    unit = total / 2.0**WORTH_DIGITS
    return np.floor(value / unit).astype(np.int64), unit
