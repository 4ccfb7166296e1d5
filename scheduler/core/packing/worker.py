"""The child process that runs CP-SAT and LPs.

Reads pickled requests on standard input, writes pickled reports on standard output, each after its length. A solver
that crashes, hangs or eats its memory takes this process with it and nothing else. It ends when its parent does.
"""

from __future__ import annotations

import math
import os
import pickle
import struct
import sys
import threading
import time
from dataclasses import dataclass
from queue import SimpleQueue
from typing import IO, Any

from scheduler.core.packing.problem import Ints
from scheduler.core.packing.stage import Stage


@dataclass(frozen=True, slots=True)
class Request:
    """Solve a stage: `kind` is "columns" (bound only) or "exact". seconds: wall clock, or deterministic units."""

    number: int
    kind: str
    stage: Stage
    seconds: float
    deterministic: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Report:
    """News about a request: a placement (counts of the stage), a bound on its value, or its end."""

    number: int
    counts: Ints | None = None
    bound: int | None = None
    finished: bool = False
    status: str = ""


def framed(message: object) -> bytes:
    """One pickled object after its length."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return struct.pack("<Q", len(body)) + body


def write_message(stream: IO[bytes], message: object) -> None:
    """Write one object and push it out."""
    stream.write(framed(message))
    stream.flush()


def read_message(stream: IO[bytes]) -> Any:
    """The next object; EOFError at the end."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    return pickle.loads(stream.read(size))


class _Job:
    """What the reading thread tells the request that runs."""

    def __init__(self) -> None:
        self.stopped_up_to = -1

    def is_stopped(self, number: int) -> bool:
        return number <= self.stopped_up_to


def _read_requests(queue: SimpleQueue[Request], job: _Job, send: Any) -> None:
    stream = sys.stdin.buffer
    try:
        while True:
            message = read_message(stream)
            if isinstance(message, int):  # stop this request and all before it
                job.stopped_up_to = message
            else:
                send(Report(message.number, status="TAKEN"))
                queue.put(message)
    except EOFError:
        os._exit(0)


def solve_exact(request: Request, job: _Job, send: Any) -> str:
    """Solve the stage with CP-SAT, reporting placements and bounds as they come; returns the solver's last word."""
    from ortools.sat.python import cp_model

    from scheduler.core.packing.model import StageModel

    stage = request.stage
    built = StageModel(stage)
    if job.is_stopped(request.number):
        return "STOPPED"
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.num_workers = 1
    parameters.random_seed = request.seed % (1 << 31)
    parameters.cp_model_presolve = True
    parameters.linearization_level = 2
    if request.deterministic:
        parameters.max_deterministic_time = request.seconds
    else:
        parameters.max_time_in_seconds = max(0.001, request.seconds)
    sign = 1 if stage.tier is not None else -1

    class Watch(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self) -> None:
            send(Report(request.number, counts=built.counts(self.value)))

    def report_bound(bound: float) -> None:
        send(Report(request.number, bound=math.floor(bound / built.unit + 1e-6) if sign > 0 else -round(bound)))

    if not request.deterministic:
        solver.best_bound_callback = report_bound
    done = threading.Event()

    def stop_when_told() -> None:
        while not done.wait(0.005):
            if job.is_stopped(request.number):
                solver.stop_search()

    threading.Thread(target=stop_when_told, daemon=True).start()
    try:
        status = solver.solve(built.model, Watch())
    finally:
        done.set()
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        send(Report(request.number, counts=built.counts(solver.value)))
        report_bound(solver.best_objective_bound)
    return str(solver.status_name(status))


def bound_by_columns(request: Request, job: _Job, send: Any) -> str:
    """Bound the stage by the LP over node patterns, and dive for a placement where no rule binds pods together."""
    from scheduler.core.packing.patterns import STEPS_PER_UNIT, bound_by_patterns

    stage, began = request.stage, time.monotonic()
    ruled = bool(stage.antis or stage.affinities or stage.spreads or stage.budgets or stage.gangs)

    def stop(steps: int) -> bool:
        spent = steps / STEPS_PER_UNIT if request.deterministic else time.monotonic() - began
        return spent > request.seconds or job.is_stopped(request.number)

    answer = bound_by_patterns(
        stage,
        stop,
        goal=stage.value(stage.now),
        dive=not ruled,
        report=lambda bound, counts: send(Report(request.number, counts=counts, bound=bound)),
    )
    return f"PATTERNS bound={answer.bound} rounds={answer.rounds} steps={answer.steps}"


def main() -> None:
    """Answer requests until standard input ends."""
    limit = int(os.environ.get("STOWAGE_SOLVER_MEMORY_BYTES", "0"))
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    out = sys.stdout.buffer
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def send(report: Report) -> None:
        with lock:
            write_message(out, report)

    queue: SimpleQueue[Request] = SimpleQueue()
    job = _Job()
    threading.Thread(target=_read_requests, args=(queue, job, send), daemon=True).start()
    from ortools.sat.python import cp_model  # noqa: F401  a slow import, done before the first request

    from scheduler.core.packing import model, pattern_pricing, patterns  # noqa: F401

    pattern_pricing.warm_up()
    send(Report(-1, finished=True, status="READY"))
    while True:
        request = queue.get()
        status = "STOPPED"
        if not job.is_stopped(request.number):
            try:
                status = (bound_by_columns if request.kind == "columns" else solve_exact)(request, job, send)
            except MemoryError:
                status = "OUT OF MEMORY"
        send(Report(request.number, finished=True, status=status))
