"""solve(): the one entry point of the search."""

from __future__ import annotations

import numpy as np

from scheduler.core.packing import bounds, loops
from scheduler.core.packing.child import SolverProcess, shared_solver
from scheduler.core.packing.ledger import disturbed, harm, placed_per_tier
from scheduler.core.packing.problem import Budget, Order, PackingResult, Problem, TierResult, Verdict
from scheduler.core.packing.search import Search


def warm(wait_s: float = 30.0) -> bool:
    """Load the compiled loops and start the solver process, so that the first budget is not spent on it.

    Returns whether the solver process was ready within `wait_s`; a search starts without it and uses it once it is.
    """
    global _is_warm
    solver = shared_solver()
    if _is_warm:
        return solver.wait_ready(wait_s)
    one = np.ones((1, 1), np.int64)
    small = np.zeros(1, np.int32)
    where, real = np.ones((1, 1), bool), np.ones((1, 1))
    loops.best_fit(one, small, small, where, one.copy(), one.copy(), real, np.full(1, -1, np.int32))
    loops.anneal(
        one, small, np.ones(1), small, small, where, one.copy(), real, small.copy(), small.copy(), 1.0, 0.5, 2, 1, True
    )
    loops.keep_what_fits(one, small.copy(), one.copy())
    loops.squeeze_in(one, small, where, one.copy(), real, small.copy(), np.zeros(1, np.int64), 1)
    loops.shed(one, small, small, 0, one.copy(), real, small.copy())
    bounds.warm_up()
    _is_warm = True
    return solver.wait_ready(wait_s)


_is_warm = False


def solve(
    problem: Problem,
    order: Order = "no-harm",
    budget: Budget | None = None,
    seed: int = 0,
    workers: int = 2,
    *,
    harm_budget: int = 0,
    solver: SolverProcess | None = None,
) -> PackingResult:
    """The best placement found within the budget, never worse than the present one, with what was proven.

    workers: 1 keeps to this process (no exact solver, fewer proofs). harm_budget: with no-harm, disruption a level may
    suffer for less important ones. solver: another solver process than the shared one.
    """
    if not _is_warm:
        warm(3.0 if workers > 1 and solver is None else 0.0)
    budget = budget or Budget(1.0)
    chosen = None if workers < 2 else solver or shared_solver()
    if chosen is not None:
        chosen.start()
    if chosen is not None and budget.deterministic:
        chosen.wait_ready()
    search = Search(problem, order, budget, seed, chosen, harm_budget)
    search.run()
    return summarise(search)


def summarise(search: Search) -> PackingResult:
    """The result of a finished search."""
    problem, assign = search.problem, search.assign
    before, placed = placed_per_tier(problem, problem.home), placed_per_tier(problem, assign)
    totals = np.bincount(problem.pod_tier, minlength=len(problem.priority))
    tiers = [
        TierResult(
            priority=problem.priority[t],
            total=int(totals[t]),
            before=before[t],
            placed=placed[t],
            bound=max(proof.bound, placed[t]),
            proven=proof.proven,
        )
        for t, proof in enumerate(search.tiers)
    ]
    gone = disturbed(problem, assign)
    cost = harm(problem, assign)
    bound = max((proof.bound for proof in search.harms.values()), default=0)
    quiet = cost == 0 or all(proof.proven for proof in search.harms.values())
    all_proven = all(t.proven for t in tiers)
    gained = any(a > b for a, b in zip(placed, before, strict=True))
    verdict: Verdict = "optimal" if all_proven else "feasible" if gained else "undecided"
    return PackingResult(
        verdict=verdict,
        order=search.order,
        assign=assign,
        tiers=tiers,
        moves=int((gone & (assign >= 0)).sum()),
        evictions=int((gone & (assign < 0)).sum()),
        disruption=cost,
        moves_bound=min(bound, cost),
        moves_verdict="optimal" if all_proven and quiet else "feasible",
        seconds=search.meter.elapsed(),
        stages=search.stages,
        notes=search.notes,
    )
