"""What tasks use, from a trace's table `usage`: one amount per task, so that it can be replayed at another time."""

from __future__ import annotations

import duckdb
import numpy as np
from numpy.typing import NDArray

from analytics.errors import InputError
from traces.schema import Trace

MEASURED = ("cpu_milli", "memory_mib", "disk_mib")
UNKNOWN = -1


def read_use(trace: Trace, resources: tuple[str, ...]) -> NDArray[np.int64]:
    """(rows of `tasks`, R) mean use over the task's usage rows, weighted with their length; UNKNOWN where it has none.

    So is that of resources that are not measured. Raises InputError where the trace has no such table.
    """
    if not trace.has("usage"):
        raise InputError("--load use: this trace has no table `usage`; --load requests is what it has")
    means = ", ".join(
        f"round(sum({name} * (end_us - start_us)) / sum(end_us - start_us) FILTER ({name} IS NOT NULL)) AS {name}"
        for name in MEASURED
    )
    found = duckdb.sql(
        f"""WITH task AS (SELECT job, task_index, row_number() OVER () - 1 AS task FROM {trace.scan("tasks")}),
        mean AS (SELECT job, task_index, {means} FROM {trace.scan("usage")} WHERE end_us > start_us GROUP BY ALL)
        SELECT task, {", ".join(f"coalesce({name}, {UNKNOWN}) AS {name}" for name in MEASURED)}
        FROM task LEFT JOIN mean USING (job, task_index) ORDER BY task"""
    ).fetchnumpy()
    nothing = np.full(len(found["task"]), UNKNOWN)
    columns = [np.asarray(found[name] if name in MEASURED else nothing) for name in resources]
    return np.ascontiguousarray(np.stack(columns, axis=1).astype(np.int64))
