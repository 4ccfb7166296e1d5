"""Nodes cut from a trace at an instant, with what runs on them, as a balancing instance.

Machines are drawn by the seed from those that are up; the tasks are those that run on them. They load a machine with
what they request or, with `load="use"`, with what the trace's `usage` says for that instant (where it says nothing,
with the request). Google promises more than it has: in the published 2011 slice tasks request 113 % of all CPU and
93 % of the memory when it begins, so on installed capacity nothing is stable. Capacities are therefore multiplied by
`overcommit`, and a machine is overloaded beyond that; 1 is the installed capacity.

Moving a task costs what live migration of its requested memory sends and its downtime, in MiB. A trace says neither how
fast memory is written nor over which link: `UsualMove` states both. A task whose move is refused is pinned.
Tasks that ask for different machines keep that. Other constraints are not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np

from analytics.balance.move_notes import MOVE_NOTE, refusal_notes
from analytics.errors import InputError
from scheduler.core.balance.move_price import UsualMove, price_moves
from scheduler.core.balance.problem import Instance
from traces.schema import Trace

RESOURCES = ("cpu_milli", "memory_mib")
LOADS = ("requests", "use")
NO_USAGE = "(SELECT 0 AS job, 0 AS task_index, 0 AS start_us, 0 AS end_us, 0 AS cpu_milli, 0 AS memory_mib WHERE false)"
OVERCOMMIT: Mapping[str, float] = {"cpu_milli": 1.25, "memory_mib": 1.1}


@dataclass(frozen=True, slots=True)
class Cut:
    """What to cut. nodes: how many machines. overcommit: by resource, what capacities are multiplied by.

    move: how a task moves, which gives its cost.
    """

    at_us: int
    nodes: int = 100
    seed: int = 0
    load: str = "requests"
    overcommit: Mapping[str, float] = field(default_factory=lambda: OVERCOMMIT)
    move: UsualMove = field(default_factory=UsualMove)

    def __post_init__(self) -> None:
        if self.load not in LOADS:
            raise InputError(f"--load {self.load}: choose {' or '.join(LOADS)}")
        unknown = sorted(set(self.overcommit) - set(RESOURCES))
        if unknown:
            raise InputError(f"--overcommit {unknown[0]}: choose cpu or memory")


class TraceInstant:
    """All that is up and runs at an instant, read once; `cut` draws machines from it."""

    def __init__(self, trace: Trace, at_us: int) -> None:
        self.at_us = at_us
        self.machines = _machines(trace, at_us)
        self.tasks = _tasks(trace, at_us)
        self.has_usage = trace.has("usage")
        self.constraints = trace.has("task_constraints")
        if not len(self.machines["machine"]):
            when = f"{at_us / 1e6:g} s"
            raise InputError(f"{trace.folder}: no machine is up at {when}; `stowage trace info` has its range")

    def cut(self, cut: Cut) -> tuple[Instance, list[str]]:
        """The instance, and what a reader should know. Raises InputError where the trace lacks what is asked."""
        if cut.load == "use" and not self.has_usage:
            raise InputError("--load use: this trace has no table `usage`; --load requests is what it has")
        machines = self.machines["machine"]
        rng = np.random.default_rng(cut.seed)
        chosen = np.sort(rng.choice(len(machines), min(cut.nodes, len(machines)), replace=False))
        row = np.searchsorted(machines[chosen], self.tasks["machine"])
        inside = machines[chosen][np.minimum(row, len(chosen) - 1)] == self.tasks["machine"]
        tasks = {name: column[inside] for name, column in self.tasks.items()}
        factor = np.array([cut.overcommit.get(name, 1.0) for name in RESOURCES])
        room = np.column_stack([self.machines[name][chosen] for name in RESOURCES])
        request = _columns(tasks, "")
        names = np.array([f"machine-{m}" for m in machines[chosen].tolist()], np.str_)
        order = np.argsort(names)
        place = np.argsort(order).astype(np.int32)
        cost, refused = price_moves(request[:, 1].tolist(), cut.move)
        count = len(request)
        instance = Instance(
            nodes=names[order],
            resources=RESOURCES,
            capacity=np.ascontiguousarray(np.floor(room * factor).astype(np.int64)[order]),
            tasks=tasks["name"].astype(np.str_),
            request=request,
            use=_columns(tasks, "used_") if cut.load == "use" else request,
            home=place[row[inside]],
            cost=np.array(cost, np.int64),
            priority=tasks["priority"].astype(np.int64),
            pinned=np.array([bool(reason) for reason in refused], np.bool_),
            mask=np.zeros(count, np.int32),
            allowed=np.ones((1, len(chosen)), np.bool_),
            group=_groups(tasks),
        )
        return instance, [*self._notes(cut, room), *refusal_notes(instance, refused)]

    def _notes(self, cut: Cut, room: Any) -> list[str]:
        factors = ", ".join(f"{cut.overcommit.get(name, 1.0):g} x {name}" for name in RESOURCES)
        up = len(self.machines["machine"])
        notes = [
            f"{len(room)} of {up:,} machines; capacity is {factors} of what is installed",
            MOVE_NOTE,
        ]
        if self.constraints:
            notes.append("constraints of tasks are not modelled, but for different machines within a job")
        return notes


def _columns(tasks: Mapping[str, Any], prefix: str) -> Any:
    return np.ascontiguousarray(np.column_stack([tasks[prefix + name] for name in RESOURCES]).astype(np.int64))


def _groups(tasks: Mapping[str, Any]) -> Any:
    """(T,) a number for every job whose tasks ask for different machines, -1 for the others."""
    job = np.where(tasks["different_machines"], tasks["job"], -1)
    values, code = np.unique(job, return_inverse=True)
    return (code.reshape(-1) - (1 if len(values) and values[0] == -1 else 0)).astype(np.int32)


def _machines(trace: Trace, at_us: int) -> dict[str, Any]:
    """Columns of the machines that are up, by number."""
    found: dict[str, Any] = duckdb.sql(
        f"""WITH last AS (
            SELECT *, row_number() OVER (PARTITION BY machine ORDER BY time_us DESC, row DESC) AS rank
            FROM (SELECT *, row_number() OVER () AS row FROM {trace.scan("machines")}) WHERE time_us <= $at
        )
        SELECT machine, coalesce(cpu_milli, 0) AS cpu_milli, coalesce(memory_mib, 0) AS memory_mib
        FROM last WHERE rank = 1 AND event <> 'REMOVE' ORDER BY machine""",
        params={"at": at_us},
    ).fetchnumpy()
    return found


def _tasks(trace: Trace, at_us: int) -> dict[str, Any]:
    """Columns of the tasks that run on a machine, by name; their use is the request where nothing is said."""
    usage = trace.scan("usage") if trace.has("usage") else NO_USAGE
    found: dict[str, Any] = duckdb.sql(
        f"""WITH task AS (SELECT *, row_number() OVER () - 1 AS task FROM {trace.scan("tasks")}),
        running AS (
            SELECT task, any_value(machine) AS machine FROM {trace.scan("attempts")}
            WHERE schedule_us <= $at AND coalesce(end_us > $at, true) AND machine IS NOT NULL GROUP BY task
        ),
        used AS (
            SELECT job, task_index, max(cpu_milli) AS cpu_milli, max(memory_mib) AS memory_mib FROM {usage}
            WHERE start_us <= $at AND end_us > $at GROUP BY ALL
        )
        SELECT 'task-' || task.job || '-' || task.task_index AS name, task.job, machine, priority, different_machines,
            coalesce(task.cpu_milli, 0) AS cpu_milli, coalesce(task.memory_mib, 0) AS memory_mib,
            coalesce(used.cpu_milli, task.cpu_milli, 0) AS used_cpu_milli,
            coalesce(used.memory_mib, task.memory_mib, 0) AS used_memory_mib
        FROM task JOIN running USING (task)
        LEFT JOIN used ON used.job = task.job AND used.task_index = task.task_index
        ORDER BY name""",
        params={"at": at_us},
    ).fetchnumpy()
    return found
