"""Which machines a task's own constraints leave it: Google's task_constraints against machine_attributes.

Attributes are taken as they stand when the window opens (for a machine that comes later, as first stated). A trace that
has constraints but no attributes cannot say which machines meet them: the constraints are then left out, and counted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from scheduler.core.rules import Constraint
from traces.schema import Trace

log = logging.getLogger(__name__)

Wish = tuple[Constraint, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """The distinct sets of constraints, set 0 being none, and the set of some tasks (rows of the trace's table)."""

    wishes: list[Wish]
    task_row: NDArray[np.int64]  # ascending
    wish: NDArray[np.int64]
    unjudged: int  # tasks whose constraints no attribute can answer

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The set of each of the given tasks."""
        if not len(self.task_row):
            return np.zeros(len(rows), np.int64)
        at = np.minimum(np.searchsorted(self.task_row, rows), len(self.task_row) - 1)
        return np.where(self.task_row[at] == rows, self.wish[at], 0)


def read_constraints(trace: Trace) -> Constraints:
    """What the tasks of the trace demand of machines."""
    none = Constraints([()], np.zeros(0, np.int64), np.zeros(0, np.int64), 0)
    if not trace.has("task_constraints"):
        return none
    con = duckdb.connect()
    con.execute(
        f"""CREATE TABLE wanted AS
            WITH numbered AS (SELECT job, task_index, row_number() OVER () - 1 AS row FROM {trace.scan("tasks")})
            SELECT row, list_sort(list(DISTINCT {{attribute: attribute, operator: operator, value: value}})) AS wish
            FROM {trace.scan("task_constraints")} JOIN numbered USING (job, task_index) GROUP BY row"""
    )
    if not trace.has("machine_attributes"):
        tasks = int(con.execute("SELECT count(*) FROM wanted").fetchone()[0])
        log.warning("constraints_left_out tasks=%d reason=the trace has no machine_attributes", tasks)
        return Constraints(none.wishes, none.task_row, none.wish, tasks)
    wishes = con.execute("SELECT DISTINCT wish FROM wanted ORDER BY wish").fetchall()
    con.execute("CREATE TABLE named AS SELECT wish, row_number() OVER (ORDER BY wish) AS number FROM "
                "(SELECT DISTINCT wish FROM wanted)")  # fmt: skip
    found = con.execute("SELECT row, number FROM wanted JOIN named USING (wish) ORDER BY row").fetchnumpy()
    sets = [tuple(Constraint(one["attribute"], one["operator"], one["value"]) for one in wish) for (wish,) in wishes]
    return Constraints([(), *sets], np.asarray(found["row"]), np.asarray(found["number"]).astype(np.int64), 0)


def machines_that_meet(
    trace: Trace, wishes: list[Wish], machines: NDArray[np.int64], opens_us: int
) -> NDArray[np.bool_]:
    """(wishes, machines): True where the machine meets every constraint of the set."""
    meets = np.ones((len(wishes), len(machines)), np.bool_)
    attributes = sorted({constraint.attribute for wish in wishes for constraint in wish})
    if not attributes:
        return meets
    values = {name: np.full(len(machines), None, object) for name in attributes}
    rows = duckdb.execute(
        f"""WITH ranked AS (
                SELECT machine, attribute, CASE WHEN deleted THEN NULL ELSE coalesce(value, '') END AS value,
                    row_number() OVER (PARTITION BY machine, attribute ORDER BY time_us > $opens,
                        CASE WHEN time_us > $opens THEN time_us ELSE -time_us END) AS place
                FROM {trace.scan("machine_attributes")})
            SELECT machine, attribute, value FROM ranked WHERE place = 1 AND list_contains($names, attribute)""",
        {"opens": opens_us, "names": attributes},
    ).fetchall()
    order = np.argsort(machines, kind="stable")
    for machine, attribute, value in rows:
        low, high = np.searchsorted(machines, [machine, machine + 1], sorter=order)
        values[attribute][order[low:high]] = value
    for number, wish in enumerate(wishes):
        for constraint in wish:
            column = values[constraint.attribute]
            answers = {value: constraint.holds(value) for value in set(column.tolist())}
            meets[number] &= np.array([answers[value] for value in column.tolist()], np.bool_)
    return meets
