"""Runs the packing benchmark: every cell and seed through the default scheduler and the methods, resumably.

Each run is one line of a results file, written when it is done; a run whose line is there already is not run again. The
key holds the method's source, so a changed solver never answers with old results. Runs go one at a time: the methods
have a wall-clock limit, and a second run beside them would eat it.

Clocks: our methods get the limit all in, problem building included. The paper's model gets its own accounting: building
is not counted and 0.2 s of the limit is kept back.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from analytics.packing_default import PENDING, run_default
from analytics.packing_instances import Cell, PackingInstance, derive_random, generate
from analytics.packing_report import Outcome, classify

ROOT = Path(__file__).resolve().parent.parent
CORE_PACKING = ROOT / "scheduler" / "core" / "packing"
METHODS = ("paper", "no-harm", "max-pack")


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a method made of an instance. node_of: None without a plan. bound: per priority, from the top, or None."""

    node_of: NDArray[np.int64] | None
    status: str
    placement_proven: bool
    moves_proven: bool
    seconds: float
    bound: tuple[int, ...] | None = None
    stages: str = ""


Method = Callable[[PackingInstance, NDArray[np.int64], float, int | None], Answer]


def answer_paper(
    instance: PackingInstance, start: NDArray[np.int64], limit_s: float, workers: int | None = None
) -> Answer:
    """The paper's model on its own accounting; seconds exclude building, as its limit does."""
    from scheduler.core.packing.paper import PaperProblem, solve_model

    problem = PaperProblem(instance.demand, instance.node_capacity, instance.priority, start)
    result = solve_model(problem, limit_s, time.monotonic, workers=workers or 0)
    proven = result.status == "OPTIMAL"
    placing = [stage.status for stage in result.stages if stage.goal == "place"]
    return Answer(
        result.node_of,
        result.status,
        proven or (bool(placing) and result.node_of is not None and set(placing) == {"OPTIMAL"}),
        proven,
        sum(stage.seconds for stage in result.stages),
        stages=" ".join(f"{s.goal}{s.tier}:{s.status[0]}{s.seconds:.2f}" for s in result.stages),
    )


def answer_ours(
    order: Literal["no-harm", "max-pack"],
    instance: PackingInstance,
    start: NDArray[np.int64],
    limit_s: float,
    workers: int | None = None,
) -> Answer:
    """Our solver in one of its orders, everything from the instance's columns to the plan inside the limit."""
    from scheduler.core.packing import Budget, problem_from_arrays, solve
    from scheduler.core.packing.solve import warm

    warm()  # a planner's process is warm before its first deadline
    begun = time.monotonic()
    problem = problem_from_arrays(
        instance.node_capacity, instance.demand, instance.priority, instance.replicaset, start
    )
    left_s = max(limit_s - (time.monotonic() - begun), 0.001)
    result = solve(problem, order, Budget(left_s), seed=instance.seed % 2**31, workers=workers or 2)
    seconds = time.monotonic() - begun
    bound = dict.fromkeys(range(1, instance.cell.priorities + 1), 0)
    for tier in result.tiers:
        bound[tier.priority] += tier.bound
    return Answer(
        np.asarray(result.assign, dtype=np.int64),
        result.verdict,
        all(tier.proven for tier in result.tiers),
        result.moves_verdict == "optimal",
        seconds,
        tuple(bound[priority] for priority in sorted(bound, reverse=True)),
        "; ".join(result.stages),
    )


def count_by_priority(instance: PackingInstance, node_of: NDArray[np.int64]) -> tuple[int, ...]:
    """Placed pods per priority, the highest first."""
    placed = np.bincount(instance.priority[node_of != PENDING], minlength=instance.cell.priorities + 1)
    return tuple(placed[:0:-1].tolist())


def find_breaches(
    instance: PackingInstance, start: NDArray[np.int64], plan: NDArray[np.int64], method: str
) -> tuple[str, ...]:
    """The rules a plan breaks; knows the rules only, shares nothing with the solvers.

    For no-harm: while nothing is gained among pods of priority t or more, none of them that runs is disturbed, and
    never do fewer of them run than before. The paper's model promises as much only when its stages end optimal.
    """
    breaches = []
    if plan.shape != start.shape or ((plan < PENDING) | (plan >= instance.cell.nodes)).any():
        return ("a pod is on a node that does not exist",)
    for node in range(instance.cell.nodes):
        load = instance.demand[plan == node].sum(axis=0)
        if (load > instance.capacity).any():
            breaches.append(f"node {node} holds {load.tolist()} of {instance.capacity.tolist()}")
    if method != "no-harm":
        return tuple(breaches)
    for tier in range(instance.cell.priorities, 0, -1):
        these = instance.priority >= tier
        before, after = int((start[these] != PENDING).sum()), int((plan[these] != PENDING).sum())
        if after < before:
            breaches.append(f"{after} pods of priority {tier} or more run, {before} did")
        if after > before:
            break
        disturbed = int((these & (start != PENDING) & (plan != start)).sum())
        if disturbed:
            breaches.append(f"{disturbed} running pods of priority {tier} or more give way to less important ones")
    return tuple(breaches)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One instance with both runs of the default scheduler."""

    instance: PackingInstance
    baseline: NDArray[np.int64]
    start: NDArray[np.int64]

    @property
    def pending(self) -> tuple[int, int]:
        return int((self.baseline == PENDING).sum()), int((self.start == PENDING).sum())


def make_case(cell: Cell, seed: int, *, with_baseline: bool = True, preempting_start: bool = False) -> Case:
    """The instance and where the default scheduler leaves it.

    with_baseline=False takes the start for the baseline: preemption on thousands of nodes takes minutes to emulate.
    preempting_start=True starts the solver from the baseline itself, as a production cluster would.
    """
    instance = generate(cell, seed)
    if preempting_start:
        baseline = run_default(instance, derive_random(seed, "default-with-preemption"), preemption=True)
        return Case(instance, baseline, baseline)
    start = run_default(instance, derive_random(seed, "default-without-preemption"), preemption=False)
    if not with_baseline:
        return Case(instance, start, start)
    return Case(instance, run_default(instance, derive_random(seed, "default-with-preemption"), preemption=True), start)


def judge(case: Case, name: str, limit_s: float, answer: Answer) -> Outcome:
    """The outcome of an answer: its class, its moves, and what our validator says."""
    instance = case.instance
    plan = case.start if answer.node_of is None else answer.node_of
    placed, baseline = count_by_priority(instance, plan), count_by_priority(instance, case.baseline)
    optimal = answer.status == "OPTIMAL" if name == "paper" else answer.placement_proven
    ran = case.start != PENDING
    return Outcome(
        cell=instance.cell,
        seed=instance.seed,
        method=name,
        limit_s=limit_s,
        klass=classify(None if answer.node_of is None else placed, baseline, optimal=optimal, pending=case.pending),
        status=answer.status,
        placement_proven=answer.placement_proven,
        moves_proven=answer.moves_proven,
        baseline=baseline,
        start=count_by_priority(instance, case.start),
        placed=placed,
        bound=answer.bound,
        moved=int((ran & (plan != case.start) & (plan != PENDING)).sum()),
        evicted=int((ran & (plan == PENDING)).sum()),
        seconds=answer.seconds,
        budget_s=limit_s,
        load=os.getloadavg()[0],
        breaches=find_breaches(instance, case.start, plan, name),
        stages=answer.stages,
    )


def digest_source(method: str) -> str:
    """A short digest of the code a method's results depend on."""
    files = [CORE_PACKING / "paper.py"] if method == "paper" else sorted(CORE_PACKING.glob("*.py"))
    digest = hashlib.blake2b(digest_size=6)
    for file in files:
        if method == "paper" or file.name != "paper.py":
            digest.update(file.read_bytes())
    return digest.hexdigest()


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import ortools

    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "ortools": ortools.__version__,
        "load_1min": os.getloadavg()[0],
    }


class ResultsFile:
    """One JSON line per finished run; opened again, it knows what is done."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.done: dict[tuple[Any, ...], Outcome] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                self._take(line)

    def _take(self, line: str) -> None:
        try:
            record = json.loads(line)
            outcome = _read_outcome(record["outcome"])
        except (ValueError, KeyError, TypeError):
            return  # the last line of a run that was cut off
        self.done[_key(outcome.cell, outcome.seed, outcome.method, outcome.limit_s, record["variant"])] = outcome

    def find(self, cell: Cell, seed: int, method: str, limit_s: float, variant: str) -> Outcome | None:
        return self.done.get(_key(cell, seed, method, limit_s, variant))

    def add(self, outcome: Outcome, variant: str) -> None:
        self.done[_key(outcome.cell, outcome.seed, outcome.method, outcome.limit_s, variant)] = outcome
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"variant": variant, "outcome": asdict(outcome)}) + "\n")


def _key(cell: Cell, seed: int, method: str, limit_s: float, variant: str) -> tuple[Any, ...]:
    return cell, seed, method, float(limit_s), variant


def _read_outcome(record: dict[str, Any]) -> Outcome:
    values = {field.name: record[field.name] for field in fields(Outcome)}
    values["cell"] = Cell(**record["cell"])
    for name in ("baseline", "start", "placed", "bound", "breaches"):
        values[name] = None if values[name] is None else tuple(values[name])
    return Outcome(**values)


def run_grid(
    cells: Sequence[Cell],
    seeds: Sequence[int],
    methods: dict[str, Method],
    limit_s: float,
    results: ResultsFile,
    *,
    workers: int | None = None,
    with_baseline: bool = True,
    preempting_start: bool = False,
) -> Iterator[list[Outcome]]:
    """Every instance's outcomes, one list per instance, the methods in turn on each."""
    variant = {
        name: f"{digest_source(name)}/w{workers or 0}"
        f"/{'preempting' if preempting_start else 'paper' if with_baseline else 'start'}"
        for name in methods
    }
    for seed in seeds:
        for cell in cells:
            outcomes = {name: results.find(cell, seed, name, limit_s, variant[name]) for name in methods}
            if None in outcomes.values():
                case = make_case(cell, seed, with_baseline=with_baseline, preempting_start=preempting_start)
                for name, method in methods.items():
                    if outcomes[name] is None:
                        answer = (
                            Answer(case.start, "NO_CALL", True, True, 0.0)
                            if case.pending == (0, 0)
                            else method(case.instance, case.start, limit_s, workers)
                        )
                        outcome = judge(case, name, limit_s, answer)
                        results.add(outcome, variant[name])
                        outcomes[name] = outcome
            yield [outcome for outcome in outcomes.values() if outcome is not None]


def select_methods(names: Sequence[str]) -> dict[str, Method]:
    """The methods by name, in the order asked for. Raises ValueError for a name that is not one."""
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise ValueError(f"methods are {', '.join(METHODS)}; got {', '.join(unknown) or 'none'}")
    known: dict[str, Method] = {
        "paper": answer_paper,
        "no-harm": partial(answer_ours, "no-harm"),
        "max-pack": partial(answer_ours, "max-pack"),
    }
    return {name: known[name] for name in names}
